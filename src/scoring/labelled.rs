//! The influence of the labelled images themselves, under their own labels.

use super::prepared::prepare;
use super::{ModelSource, ScoreOptions, ScoringError};
use crate::data::{Loader, LoaderOptions};
use crate::families;
use crate::influence::{GradientEngine as _, InfluenceError, SolvedVector};
use crate::observe::{Observer, Stage};
use crate::plugin::{LoadOptions, Plugin, PluginEngine};
use crate::sweep::influences;
use std::path::Path;

/// What each labelled image, under its own label, is expected to change the reference loss by, along the vector at `vector`;
/// `None` of an image that cannot be read. By position in [`ModelSource::labelled`]; [`SIGN`](crate::scores::SIGN) holds.
///
/// # Errors
/// A vector that is missing or of another model, annotations that do not fit, the plugin's.
pub fn labelled_influences(
    from: &ModelSource,
    options: &ScoreOptions,
    vector: &Path,
    observer: &dyn Observer,
) -> Result<Vec<Option<f64>>, ScoringError> {
    let (prepared, task) = prepare(from, options, observer)?;
    let strategy = options.strategy.row().name;
    let labelled = from.labelled.as_ref().ok_or(ScoringError::NoLabels { strategy })?;
    let labelled = prepared.family.as_the_model_counts(labelled.dataset())?;
    let network = &prepared.network;
    let plugin = Plugin::find(from.plugin.as_deref())?;
    let load = LoadOptions::for_task(&task, network.parameters(&from.scope)?, &from.device, options.threads);
    let mut engine = PluginEngine::from_model(&plugin, &network.model, &load)?;
    let artefact = |source| ScoringError::Artefact(Box::new(source));
    let vector = SolvedVector::load(vector).map_err(artefact)?;
    vector.check(engine.parameters(), &network.sha256).map_err(artefact)?;
    let s = engine.upload(&vector.s)?;

    let loader =
        LoaderOptions { threads: (options.threads > 0).then_some(options.threads), ..LoaderOptions::default() };
    let stage = Stage::begin(observer, "influence of the labelled images", labelled.len() as u64, "images");
    let mut found = vec![None; labelled.len()];
    for batch in Loader::new(labelled.clone(), prepared.recipe.clone(), &loader)? {
        let batch = batch?;
        let refused = |error| InfluenceError::Data(Box::new(error));
        let annotations = families::annotations(prepared.family.as_ref(), &labelled, &batch.indices, refused)?;
        let along = influences(&engine, batch.images.view(), &annotations, &s)?;
        for (place, influence) in batch.indices.iter().zip(along) {
            if let Some(slot) = found.get_mut(*place) {
                *slot = Some(influence);
            }
        }
        observer.advance(batch.indices.len() as u64);
    }
    drop(stage);
    Ok(found)
}
