//! Exact influences of a sample, by the plugin.

use super::InfluenceGraphError;
use super::evaluate::batches;
use super::step::Judge;
use crate::classifier::Classifier;
use crate::durable::DurableError;
use crate::influence::{Contraction, GradientEngine as _, OutputKind, PseudoLabels, SolvedVector};
use crate::observe::Observer;
use crate::plugin::{LoadOptions, Plugin, PluginEngine, PluginError};
use ndarray::ArrayView4;
use std::path::Path;

/// Where the plugin is looked for and what it runs on.
pub(super) struct Where<'a> {
    pub(super) plugin: Option<&'a Path>,
    pub(super) device: &'a str,
    pub(super) threads: usize,
}

/// The plugin's derivative as judge, where there is a plugin that takes the model; else neighbouring steps, and why.
///
/// # Errors
/// A plugin that was named and is not there, or fails at what it took on.
pub(super) fn judge(
    classifier: &Classifier,
    vectors: &[SolvedVector],
    pseudo_labels: PseudoLabels,
    images: ArrayView4<f32>,
    at: &Where<'_>,
    observer: &dyn Observer,
) -> Result<Judge, InfluenceGraphError> {
    let plugin = match Plugin::find(at.plugin) {
        Ok(plugin) => plugin,
        Err(PluginError::Missing { .. }) if at.plugin.is_none() => {
            observer.say("the gradient plugin is not there, so neighbouring steps are held against each other");
            return Ok(Judge::Neighbours);
        }
        Err(other) => return Err(other.into()),
    };
    let load = LoadOptions {
        parameters: vectors.iter().take(1).flat_map(|v| &v.parameters).map(|p| p.name.clone()).collect(),
        loss_output: Some(classifier.logits.clone()),
        device: at.device.to_owned(),
        threads: u32::try_from(at.threads).unwrap_or(0),
        ..LoadOptions::default()
    };
    // From its file: a model whose data lies beside it may be too large for one message.
    let path = &classifier.path;
    let bytes = std::fs::read(path).map_err(|source| DurableError::Io { doing: "read", path: path.clone(), source })?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut engine = match PluginEngine::load(&plugin, &bytes, Some(folder), &load) {
        Ok(engine) => engine,
        Err(PluginError::Call { message, .. }) => {
            let why = "the gradient plugin does not take this model, so neighbouring steps are held against each other";
            observer.say(&format!("{why}: {message}"));
            return Ok(Judge::Neighbours);
        }
        Err(other) => return Err(other.into()),
    };
    // The engine's model ends at the logits, whatever the file's own output is.
    let contraction = Contraction { output: OutputKind::Logits, pseudo_labels, per_class: false };
    let fixed = classifier.input.first().copied().flatten();
    let total = images.shape().first().copied().unwrap_or(0) * vectors.len();
    observer.begin("exact influences", total as u64, "images");
    let mut influences = Vec::with_capacity(vectors.len());
    for vector in vectors {
        let s = engine.upload(&vector.s)?;
        let mut column = Vec::new();
        for batch in batches(images, fixed) {
            if observer.interrupted() {
                observer.end();
                return Err(InfluenceGraphError::Interrupted);
            }
            column.extend(contraction.score_images(&mut engine, batch, &s)?.influence);
            observer.advance(batch.shape().first().copied().unwrap_or(0) as u64);
        }
        influences.push(column);
    }
    observer.end();
    Ok(Judge::Exact { influences, by: "the plugin's exact derivative".to_owned() })
}
