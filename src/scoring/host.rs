//! A scoring host: an influence graph and ONNX Runtime, no plugin, no labels, no libtorch.

use super::carried::Carried;
use super::engines::describe_graph;
use super::prepared::Prepared;
use super::stages::{Scored, predictions, runtime, sweep_stage};
use super::{ScoreOptions, ScoringError};
use crate::data::{Dataset, Loader, LoaderOptions};
use crate::influence::spearman;
use crate::influence_graph::AGREEMENT;
use crate::observe::Observer;
use crate::runtime::{ExecutionProvider, SessionOptions};
use crate::select::Needs;
use crate::sweep::{InfluenceGraph, Predictor, Scorer};
use ndarray::Axis;
use std::path::Path;

/// What of the metadata becomes provenance of the scores, in the order in which the run that wrote the file has it.
const OF_THE_VECTOR: [&str; 16] = [
    "s sha256",
    "scope",
    "parameters",
    "solver",
    "lambda",
    "iterations",
    "residual",
    "converged",
    "settled",
    "held-out residual",
    "labelled sha256",
    "labelled images",
    "curvature images",
    "reference sha256",
    "reference images",
    "reference loss",
];

/// Sweeps the pool with the graph at `path`.
pub(super) fn sweep_alone(
    path: &Path,
    carried: &Carried,
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let prepared = &carried.prepared;
    if options.strategy.row().needs != Needs::Influence {
        return without_influence(path, carried, options, observer);
    }
    let (library, session_options) = runtime(options, observer)?;
    let model = &prepared.network.model;
    let mut scorer = InfluenceGraph::open(&library, model, path, session_options)?;
    if scorer.provider() != ExecutionProvider::Cpu {
        let cpu = SessionOptions { provider: ExecutionProvider::Cpu, ..session_options };
        let mut on_cpu = InfluenceGraph::open(&library, model, path, cpu)?;
        check_precision(options.pool.dataset(), prepared, &mut scorer, &mut on_cpu)?;
    }
    let mut provenance = prepared.provenance.clone();
    for key in OF_THE_VECTOR {
        let Some(value) = carried.metadata.get(key) else { continue };
        // The graph holds lambda to the last digit; tables show seven.
        let value = match value.parse::<f64>() {
            Ok(lambda) if key == "lambda" => format!("{lambda:.6e}"),
            _ => value.to_owned(),
        };
        provenance.insert(key.to_owned(), value);
    }
    provenance.extend(carried.metadata.get("pseudo-labels").map(|text| ("pseudo-labels".to_owned(), text.to_owned())));
    describe_graph(&carried.metadata, &library, &scorer, &mut provenance);
    sweep_stage(options, prepared, &mut scorer, provenance, observer)
}

/// Images on which an accelerator's influences are compared with the CPU's.
const SAMPLE: usize = 128;
/// Of these, images a run.
const AT_A_TIME: usize = 32;

/// The step of a paired graph was chosen where the graph was written, for the arithmetic there. A device that computes in
/// fewer bits loses the difference in rounding; then the scores would be noise.
fn check_precision(
    pool: &Dataset,
    prepared: &Prepared,
    scorer: &mut InfluenceGraph,
    on_cpu: &mut dyn Scorer,
) -> Result<(), ScoringError> {
    let loader = LoaderOptions { batch_size: SAMPLE, ..LoaderOptions::default() };
    let Some(batch) = Loader::over(pool.clone(), prepared.recipe.clone(), pool.spread(SAMPLE), &loader)?.next() else {
        return Ok(());
    };
    let images = batch?.images;
    let (mut found, mut exact) = (Vec::new(), Vec::new());
    // Few at a time: an accelerator may have little memory.
    for few in images.axis_chunks_iter(Axis(0), AT_A_TIME) {
        found.extend(scorer.score(few)?.influence.unwrap_or_default());
        exact.extend(on_cpu.score(few)?.influence.unwrap_or_default());
    }
    let agreement = spearman(&found, &exact).unwrap_or(f64::NAN);
    if agreement >= AGREEMENT || found.len() < 2 {
        return Ok(());
    }
    let provider = scorer.provider();
    Err(ScoringError::Precision { provider, spearman: agreement, wanted: AGREEMENT })
}

/// Predictions alone.
fn without_influence(
    path: &Path,
    carried: &Carried,
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let (library, session_options) = runtime(options, observer)?;
    let mut predictor = Predictor::of(&library, carried.prepared.network.model.clone(), path, session_options)?;
    predictions(&mut predictor, &library, &carried.prepared, options, observer)
}
