//! How right the model is on the images it was trained on. Where it hardly is, something is wrong with what the scores stand on:
//! the order of the classes, or the preprocessing.

use super::prepared::{Prepared, TASK};
use super::{ScoreOptions, ScoringError, SolveKey};
use crate::data::{Dataset, Loader, LoaderOptions, Recipe};
use crate::durable;
use crate::families::{self, Family, Fit};
use crate::influence::InfluenceError;
use crate::observe::{Observer, Stage};
use crate::sweep::Predictor;

/// Images that are looked at, spread evenly over the labelled ones.
const IMAGES: usize = 2000;
const BATCH: usize = 64;
/// Kept beside `s`, so that a command that goes on need not measure it again.
const FILE: &str = "labelled.json";

#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    model_sha256: String,
    labelled_sha256: String,
    task: String,
    classes: Vec<String>,
    fit: Fit,
}

/// Measures how right the model is, or takes what was measured on the same images with the same model; says what is wrong with
/// it. `None` for a task of which it is not known what is right.
pub(super) fn settle(
    options: &ScoreOptions,
    prepared: &Prepared,
    labelled: &Dataset,
    predictor: &mut Predictor,
    key: &SolveKey,
    observer: &dyn Observer,
) -> Result<Option<Fit>, ScoringError> {
    let path = options.out.join(FILE);
    let kept = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    let task = prepared.provenance.get(TASK).cloned().unwrap_or_default();
    let same = |kept: &Kept| {
        kept.model_sha256 == key.model_sha256
            && kept.labelled_sha256 == key.labelled_sha256
            && kept.task == task
            && kept.classes == prepared.classes
    };
    let fit = match kept.filter(same) {
        Some(kept) => kept.fit,
        None => {
            let Some(fit) = measured(options, prepared, labelled, predictor, observer)? else { return Ok(None) };
            let (model_sha256, labelled_sha256) = (key.model_sha256.clone(), key.labelled_sha256.clone());
            let kept = Kept { model_sha256, labelled_sha256, task, classes: prepared.classes.clone(), fit };
            durable::write_bytes(&path, &serde_json::to_vec_pretty(&kept).unwrap_or_default())?;
            kept.fit
        }
    };
    if let Some(warning) = &fit.warning {
        observer.say(&format!("warning: {warning}"));
    }
    Ok(Some(fit))
}

fn measured(
    options: &ScoreOptions,
    prepared: &Prepared,
    labelled: &Dataset,
    predictor: &mut Predictor,
    observer: &dyn Observer,
) -> Result<Option<Fit>, ScoringError> {
    let part = labelled.subset(&labelled.spread(IMAGES))?;
    let (family, recipe) = (prepared.family.as_ref(), &prepared.recipe);
    measure("checking labelled images", (&part, recipe), family, predictor, options.threads, observer)
}

/// How right a model is on annotated images; `None` of a task that has no measure.
///
/// # Errors
/// Annotations that do not fit the model; ONNX Runtime's; that the observer asked to stop.
pub(crate) fn measure(
    stage: &'static str,
    (images, recipe): (&Dataset, &Recipe),
    family: &dyn Family,
    predictor: &mut Predictor,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Option<Fit>, ScoringError> {
    let Some(mut measure) = family.measure() else { return Ok(None) };
    let threads = (threads > 0).then_some(threads);
    let loader = LoaderOptions { batch_size: BATCH, threads, ..LoaderOptions::default() };
    let stage = Stage::begin(observer, stage, images.len() as u64, "images");
    for batch in Loader::new(images.clone(), recipe.clone(), &loader)? {
        let batch = batch?;
        let refused = |error| InfluenceError::Data(Box::new(error));
        let known = families::known(family, images, &batch.indices, refused)?;
        measure.add(&known, &predictor.believed(batch.images.view())?);
        observer.advance(batch.indices.len() as u64);
        if observer.interrupted() {
            return Err(InfluenceError::Cancelled.into());
        }
    }
    drop(stage);
    Ok(Some(measure.fit()))
}
