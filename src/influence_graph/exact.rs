//! Exact influences of a sample, by the plugin or by the tangent graph.

use super::InfluenceGraphError;
use super::evaluate::{Evaluator, batches, influences};
use super::step::Judge;
use crate::influence::{GradientEngine as _, SolvedVector};
use crate::network::Network;
use crate::observe::Observer;
use crate::plugin::{LoadOptions, Plugin, PluginEngine, PluginError};
use crate::runtime::{ExecutionProvider, Library, SessionOptions};
use crate::sweep::{Predictor, influences as derivatives};
use crate::task::Task;
use isal_onnx::influence::{Direction, TangentOptions, tangent};
use ndarray::ArrayView4;
use std::path::Path;

/// Where the plugin is looked for and what it runs on, and what decodes pseudo-labels for it.
pub(super) struct Where<'a> {
    pub(super) library: &'a Library,
    pub(super) plugin: Option<&'a Path>,
    pub(super) device: &'a str,
    pub(super) threads: usize,
}

/// The plugin's derivative of the sample; `None` where there is no plugin, or none that takes the model, which is said.
///
/// # Errors
/// A plugin that was named and is not there, or fails at what it took on.
pub(super) fn by_plugin(
    (network, task): (&Network, &Task),
    vectors: &[SolvedVector],
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
    let parameters = vectors.iter().take(1).flat_map(|v| &v.parameters).map(|p| p.name.clone()).collect();
    let load = LoadOptions::for_task(task, parameters, at.device, at.threads);
    // The model as it was read: weights that its file keeps in Constant nodes are parameters there.
    let mut engine = match PluginEngine::from_model(&plugin, &network.model, &load) {
        Ok(engine) => engine,
        Err(PluginError::Call { message, .. }) => {
            observer.say(&format!("the gradient plugin does not take this model: {message}"));
            return Ok(None);
        }
        Err(other) => return Err(other.into()),
    };
    let on_cpu = SessionOptions { provider: ExecutionProvider::Cpu, threads: at.threads };
    let mut predictor = Predictor::open(at.library, network, task, on_cpu)?;
    let total = images.shape().first().copied().unwrap_or(0) * vectors.len();
    let batches: Vec<_> = batches(images).collect();
    let believed = batches.iter().map(|batch| predictor.decode(*batch)).collect::<Result<Vec<_>, _>>()?;
    observer.begin("exact influences", total as u64, "images");
    let mut columns = Vec::with_capacity(vectors.len());
    for vector in vectors {
        let s = engine.upload(&vector.s)?;
        let mut column = Vec::new();
        for (batch, believed) in batches.iter().zip(&believed) {
            if observer.interrupted() {
                observer.end();
                return Err(InfluenceGraphError::Interrupted);
            }
            column.extend(derivatives(&engine, *batch, believed, &s)?);
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
    (network, task): (&Network, &Task),
    directions: &[Direction],
    images: ArrayView4<f32>,
    evaluator: &Evaluator<'_>,
    observer: &dyn Observer,
) -> Result<Option<Judge>, InfluenceGraphError> {
    let refused = |source| InfluenceGraphError::model(&network.path, source);
    let graph = tangent(&network.model, directions, &task.parts(), TangentOptions::default()).map_err(refused);
    let found = graph.and_then(|graph| influences(&mut evaluator.open(&graph)?, images, directions.len()));
    match found {
        Ok(influences) => Ok(Some(Judge::Exact { influences, by: "the exact tangent graph".to_owned() })),
        Err(error) => {
            observer.say(&format!("no tangent graph to compare with: {}", crate::error_chain::in_one_line(&error)));
            Ok(None)
        }
    }
}
