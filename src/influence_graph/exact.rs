//! Exact influences of a sample, by the plugin or by the tangent graph.

use super::InfluenceGraphError;
use super::evaluate::{Evaluator, batches, influences};
use super::step::Judge;
use crate::classifier::Classifier;
use crate::influence::{Contraction, GradientEngine as _, OutputKind, PseudoLabels, SolvedVector};
use crate::observe::Observer;
use crate::plugin::{LoadOptions, Plugin, PluginEngine, PluginError};
use crate::task::Task;
use isal_onnx::influence::{Direction, InfluenceOptions, TangentOptions, tangent};
use ndarray::ArrayView4;
use std::path::Path;

/// Where the plugin is looked for and what it runs on.
pub(super) struct Where<'a> {
    pub(super) plugin: Option<&'a Path>,
    pub(super) device: &'a str,
    pub(super) threads: usize,
}

/// The plugin's derivative of the sample; `None` where there is no plugin, or none that takes the model, which is said.
///
/// # Errors
/// A plugin that was named and is not there, or fails at what it took on.
pub(super) fn by_plugin(
    classifier: &Classifier,
    vectors: &[SolvedVector],
    pseudo_labels: PseudoLabels,
    images: ArrayView4<f32>,
    at: &Where<'_>,
    observer: &dyn Observer,
) -> Result<Option<Judge>, InfluenceGraphError> {
    let plugin = match Plugin::find(at.plugin) {
        Ok(plugin) => plugin,
        Err(PluginError::Missing { .. }) if at.plugin.is_none() => {
            observer.say("the gradient plugin is not there");
            return Ok(None);
        }
        Err(other) => return Err(other.into()),
    };
    let load = LoadOptions {
        parameters: vectors.iter().take(1).flat_map(|v| &v.parameters).map(|p| p.name.clone()).collect(),
        task: Some(Task::single_label(&classifier.logits, classifier.classes).map_err(PluginError::from)?),
        device: at.device.to_owned(),
        threads: u32::try_from(at.threads).unwrap_or(0),
        ..LoadOptions::default()
    };
    // The classifier as it was read: weights that its file keeps in Constant nodes are parameters there.
    let mut engine = match PluginEngine::from_model(&plugin, &classifier.model, &load) {
        Ok(engine) => engine,
        Err(PluginError::Call { message, .. }) => {
            observer.say(&format!("the gradient plugin does not take this model: {message}"));
            return Ok(None);
        }
        Err(other) => return Err(other.into()),
    };
    // The engine's model ends at the logits, whatever the file's own output is.
    let contraction = Contraction { output: OutputKind::Logits, pseudo_labels, per_class: false };
    let total = images.shape().first().copied().unwrap_or(0) * vectors.len();
    observer.begin("exact influences", total as u64, "images");
    let mut columns = Vec::with_capacity(vectors.len());
    for vector in vectors {
        let s = engine.upload(&vector.s)?;
        let mut column = Vec::new();
        for batch in batches(images) {
            if observer.interrupted() {
                observer.end();
                return Err(InfluenceGraphError::Interrupted);
            }
            column.extend(contraction.score_images(&mut engine, batch, &s)?.influence);
            observer.advance(batch.shape().first().copied().unwrap_or(0) as u64);
        }
        columns.push(column);
    }
    observer.end();
    Ok(Some(Judge::Exact { influences: columns, by: "the plugin's exact derivative".to_owned() }))
}

/// The exact tangent graph's influences of the sample; `None` where an operator has no tangent rule, or the graph does
/// not run, which is said.
pub(super) fn by_tangent(
    classifier: &Classifier,
    directions: &[Direction],
    options: &InfluenceOptions,
    images: ArrayView4<f32>,
    evaluator: &Evaluator<'_>,
    observer: &dyn Observer,
) -> Result<Option<Judge>, InfluenceGraphError> {
    let refused = |source| InfluenceGraphError::model(&classifier.path, source);
    let graph = tangent(&classifier.model, directions, options, TangentOptions::default()).map_err(refused);
    let found = graph.and_then(|graph| influences(&mut evaluator.open(&graph)?, images, directions.len()));
    match found {
        Ok(influences) => Ok(Some(Judge::Exact { influences, by: "the exact tangent graph".to_owned() })),
        Err(error) => {
            observer.say(&format!("no tangent graph to compare with: {}", crate::error_chain::in_one_line(&error)));
            Ok(None)
        }
    }
}
