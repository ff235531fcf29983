//! What a classifier from elsewhere is worth on the test images, by ONNX Runtime.

use crate::classifier::probabilities;
use crate::data::{Loader, LoaderOptions, Preprocess, Size, Split, Test};
use crate::observe::{Observer, Stage};
use crate::rounds::Execution;
use crate::runtime::{Library, Session, SessionOptions};
use crate::scoring::ScoringError;
use crate::task::{ClassScores, TaskModel};
use crate::train::Evaluation;

const BATCH: usize = 64;

/// Mean cross-entropy, and the share of images that is classified rightly. Labels count in the order of the class scores.
///
/// # Errors
/// A model that does not take these images, or that ONNX Runtime cannot run; that the observer asked to stop.
pub(super) fn evaluate(
    model: &TaskModel,
    scores: &ClassScores,
    preprocess: &Preprocess,
    test: &Split<Test>,
    execution: &Execution,
    observer: &dyn Observer,
) -> Result<Evaluation, ScoringError> {
    let images = test.dataset();
    let sample = images.load(0).ok().map(|image| Size { height: image.height(), width: image.width() });
    let recipe = model.network.recipe(preprocess, sample)?;
    let library = Library::load(execution.onnxruntime.as_deref())?;
    let options = SessionOptions { provider: execution.provider, threads: execution.threads };
    let mut session = Session::open(&library, &model.network.path, options)?;
    let threads = (execution.threads > 0).then_some(execution.threads);
    let loader = LoaderOptions { batch_size: BATCH, threads, ..LoaderOptions::default() };
    let stage = Stage::begin(observer, "evaluating", images.len() as u64, "images");
    let (mut loss, mut right, mut seen) = (0.0, 0, 0);
    for batch in Loader::new(images.clone(), recipe, &loader)? {
        let batch = batch?;
        let rows = session.class_scores(batch.images.view(), &scores.output)?;
        for (row, label) in rows.outer_iter().zip(&batch.labels) {
            let Some(label) = label.map(|label| label as usize) else { continue };
            let believed = probabilities(scores.kind, row, seen)?;
            let of_label = believed.get(label).copied().unwrap_or(0.0);
            loss -= of_label.max(f64::MIN_POSITIVE).ln();
            // Of classes that are as likely as each other, the first.
            let best = believed.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class);
            right += usize::from(best == Some(label));
            seen += 1;
        }
        observer.advance(batch.indices.len() as u64);
        if observer.interrupted() {
            return Err(crate::influence::InfluenceError::Cancelled.into());
        }
    }
    drop(stage);
    let count = seen.max(1) as f64;
    Ok(Evaluation { loss: loss / count, accuracy: Some(right as f64 / count), images: seen })
}
