//! What the images of a round are scored from: its model, what that was trained on, and how influence is solved for.

use super::going::{Going, Labels};
use super::state::{self, Identity, Layout};
use super::{Execution, RoundsError, RunConfig};
use crate::data::Dataset;
use crate::families::default_solver;
use crate::influence::SolverOptions;
use crate::influence_graph::{PairedDifference, Unproven};
use crate::observe::Observer;
use crate::scoring::{CurvatureOptions, ModelSource, ReferenceSet, ScoringError};
use crate::task::{self, ModelOptions};

/// A round that has ended, as its run scored by it.
#[derive(Debug, Clone)]
pub struct RoundSource {
    /// Counted from 0.
    pub round: usize,
    /// What the run is made of.
    pub config: RunConfig,
    /// Its model, with the images that it was trained on and the reference set.
    pub source: ModelSource,
    /// The images that had no label then.
    pub unlabelled: Dataset,
}

/// The model of `round` with what it was trained on, and the settings of the run.
pub(super) fn source(going: &Going, round: usize, labels: &Labels) -> Result<ModelSource, RoundsError> {
    let model = going.layout().model(round);
    let influence = &going.config.influence;
    let (top_k, noised_score_thresh) = (influence.expected_top_k, influence.noised_score_thresh);
    let task = ModelOptions { task: task::of_file(&model)?, top_k, noised_score_thresh, ..ModelOptions::default() };
    let unknown = |source| RoundsError::Score { round, source: Box::new(ScoringError::from(source)) };
    Ok(ModelSource {
        preprocess: task::preprocess_of_file(&model, &task)?,
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
            None => SolverOptions::named(default_solver(task.built_in())).map_err(unknown)?,
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
    })
}

/// A round of the run in a folder, `execution.out`, which is only read: `round`, or the last that has ended and has its model.
///
/// # Errors
/// [`RoundsError::NoRun`], [`RoundsError::NoModel`]; files and images of the run that are no longer what they were.
pub fn round_source(
    execution: &Execution,
    round: Option<usize>,
    observer: &dyn Observer,
) -> Result<RoundSource, RoundsError> {
    let (folder, layout) = (execution.out.clone(), Layout(&execution.out));
    let Some(identity) = state::read::<Identity>(&layout.run())? else { return Err(RoundsError::NoRun { folder }) };
    let ended = layout.so_far(&identity.config)?.ended.len();
    let there: Vec<usize> = (0..ended).filter(|round| layout.model(*round).is_file()).collect();
    let Some(round) = round.or(there.last().copied()).filter(|round| there.contains(round)) else {
        return Err(RoundsError::NoModel { folder, round, ended, there });
    };
    let going = Going::look(&identity, execution, observer)?;
    let labels = going.labels(round)?;
    let source = source(&going, round, &labels)?;
    let unlabelled = going.subset(&labels.open(going.pool.len()))?;
    Ok(RoundSource { round, source, unlabelled, config: identity.config.clone() })
}
