//! Scoring the rest of the pool after a training, and selecting what to label next.

use super::RoundsError;
use super::going::{Going, Labels};
use crate::data::{Pool, Preprocess, Split};
use crate::families::default_solver;
use crate::influence::SolverOptions;
use crate::influence_graph::{PairedDifference, Unproven};
use crate::scoring::{
    CurvatureOptions, Features, ModelSource, ReferenceSet, ScoreOptions, ScoringError, Source, score_pool,
};
use crate::select::Duplicates;
use crate::task::{self, ModelOptions};

/// Ids of the images to label after `round`, the most useful first.
pub(super) fn select(going: &Going, round: usize, labels: &Labels) -> Result<Vec<String>, RoundsError> {
    let open = labels.open(going.pool.len());
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let budget = going.budget.min(open.len());
    let model = going.layout().model(round);
    let failed = |source: ScoringError| RoundsError::Score { round, source: Box::new(source) };
    let influence = &going.config.influence;
    let top_k = influence.expected_top_k;
    let task = ModelOptions { task: task::beside(&model)?, top_k, ..ModelOptions::default() };
    let source = ModelSource {
        preprocess: Preprocess::beside(&model)?,
        model,
        class_names: None,
        labelled: Some(going.labelled(labels)?),
        reference: match &going.reference {
            Some(reference) if !going.config.train.with_reference => ReferenceSet::Given(reference.clone()),
            // Not looked at: a strategy that goes by the reference set has one given that is not trained on.
            _ => ReferenceSet::HeldOut { fraction: 0.2, seed: going.config.seed },
        },
        solver: match &going.config.solver {
            Some(solver) => solver.clone(),
            None => SolverOptions::named(default_solver(task.built_in())).map_err(|e| failed(e.into()))?,
        },
        task,
        curvature: CurvatureOptions::default(),
        scope: influence.scope().map_err(RoundsError::Config)?,
        engine: None,
        difference: PairedDifference::Auto,
        unproven: Unproven::Refused,
        tangent_rank: None,
        device: going.execution.device.clone(),
        plugin: going.execution.plugin.clone(),
    };
    let options = ScoreOptions {
        source: Source::Model(Box::new(source)),
        pool: Split::<Pool>::new(going.subset(&open)?)?,
        pool_name: going.config.data.pool.display().to_string(),
        jpeg_least_side: None,
        shard: None,
        budget,
        strategy: going.config.select.seeded(going.seed(round)),
        exclude: Vec::new(),
        target: going.target.clone(),
        filters: going.config.filters,
        features: going.config.data.features.as_deref().map(Features::from).unwrap_or_default(),
        embeddings: Some(going.execution.out.join("embeddings")),
        duplicates: Duplicates::LeaveOut,
        provider: going.execution.provider,
        batch_size: None,
        threads: going.execution.threads,
        strict: false,
        out: going.layout().scored(round),
        scores: None,
        onnxruntime: going.execution.onnxruntime.clone(),
    };
    let outcome = score_pool(&options, going.observer).map_err(failed)?;
    Ok(outcome.selection.map(|selection| selection.selected.into_iter().map(|s| s.id).collect()).unwrap_or_default())
}
