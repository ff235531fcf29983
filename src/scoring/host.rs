//! A scoring host: an influence graph and ONNX Runtime, no plugin, no labels, no libtorch.

use super::carried::Carried;
use super::engines::describe_graph;
use super::prepared::Prepared;
use super::stages::{Scored, predictions, runtime, sweep_stage};
use super::{ScoreOptions, ScoringError, served};
use crate::data::{Dataset, Loader, LoaderOptions};
use crate::influence::spearman;
use crate::influence_graph::AGREEMENT;
use crate::observe::Observer;
use crate::runtime::{ExecutionProvider, SessionOptions};
use crate::select::Needs;
use crate::sweep::{InfluenceGraph, Predictor, Scorer};
use indexmap::IndexMap;
use ndarray::{Array4, Axis};
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
    if let Some(server) = &options.server {
        return served::graph(server, path, carried, options, observer);
    }
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
    let mut provenance = provenance_of(carried);
    describe_graph(&carried.metadata, &library, &scorer, &mut provenance);
    sweep_stage(options, prepared, &mut scorer, provenance, observer)
}

/// Where the numbers of an influence graph come from, as far as the graph knows.
pub(super) fn provenance_of(carried: &Carried) -> IndexMap<String, String> {
    let mut provenance = carried.prepared.provenance.clone();
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
    provenance
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
    // Few at a time: an accelerator may have little memory.
    match agreement(pool, prepared, (scorer, on_cpu), AT_A_TIME)? {
        Some(agreement) if !agreement.is_enough() => {
            let provider = scorer.provider();
            Err(ScoringError::Precision { provider, spearman: agreement.0, wanted: AGREEMENT })
        }
        _ => Ok(()),
    }
}

/// Spearman's rank correlation of two scorers' influences.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agreement(pub(super) f64);

impl Agreement {
    pub(super) fn is_enough(self) -> bool {
        self.0 >= AGREEMENT
    }
}

/// How two scorers rank a sample of the pool; `None` for a pool that is too small to say.
pub(super) fn agreement(
    pool: &Dataset,
    prepared: &Prepared,
    (one, other): (&mut dyn Scorer, &mut dyn Scorer),
    at_a_time: usize,
) -> Result<Option<Agreement>, ScoringError> {
    let Some(images) = sample(pool, prepared)? else { return Ok(None) };
    let (mut found, mut exact) = (Vec::new(), Vec::new());
    for few in images.axis_chunks_iter(Axis(0), at_a_time) {
        found.extend(one.score(few)?.influence.unwrap_or_default());
        exact.extend(other.score(few)?.influence.unwrap_or_default());
    }
    Ok((found.len() >= 2).then(|| Agreement(spearman(&found, &exact).unwrap_or(f64::NAN))))
}

/// Images of the pool, spread over it; `None` where none can be used.
pub(super) fn sample(pool: &Dataset, prepared: &Prepared) -> Result<Option<Array4<f32>>, ScoringError> {
    let loader = LoaderOptions { batch_size: SAMPLE, ..LoaderOptions::default() };
    let batch = Loader::over(pool.clone(), prepared.recipe.clone(), pool.spread(SAMPLE), &loader)?.next();
    Ok(batch.transpose()?.map(|batch| batch.images))
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
