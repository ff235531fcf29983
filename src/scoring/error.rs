//! Why a pool could not be scored.

use super::{MergeError, NoneUsable};
use crate::classifier::ClassifierError;
use crate::data::{DataError, PreprocessError, RecipeError, SplitError};
use crate::durable::DurableError;
use crate::influence::{ArtefactError, EngineError, InfluenceError};
use crate::influence_graph::InfluenceGraphError;
use crate::network::NetworkError;
use crate::plugin::PluginError;
use crate::runtime::{ExecutionProvider, RuntimeError};
use crate::scores::ScoreError;
use crate::select::{JointError, SelectError};
use crate::sweep::SweepError;
use crate::task::ModelError;
use std::path::PathBuf;

/// Why a pool could not be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoringError {
    /// The model file, or a graph built from it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A folder that no finished sweep left.
    #[error("`{}` is no folder of scores: {reason}", folder.display())]
    NotScored {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The strategy goes by labelled images.
    #[error("strategy `{strategy}` needs labelled images (`--labeled`): the images the model was trained on")]
    NoLabels {
        /// The strategy.
        strategy: &'static str,
    },
    /// The strategy serves images that are not given.
    #[error(
        "strategy `{strategy}` serves the pool and the reference set together, and there is none: give `--reference`, or images with `--target`"
    )]
    NoReference {
        /// The strategy.
        strategy: &'static str,
    },
    /// The strategy needs more than an influence graph.
    #[error(
        "strategy `{strategy}` chooses jointly by features, which an influence graph does not give: give `--model` and `--labeled`"
    )]
    NeedsModel {
        /// The strategy.
        strategy: &'static str,
    },
    /// A task without classes that exclude each other.
    #[error(
        "strategy `{strategy}` goes by class scores of one class an image, which the task `{task}` does not have: take `core-set` or `typiclust` with `--features`, or a strategy that orders images by a belief"
    )]
    NoClassScores {
        /// The strategy.
        strategy: &'static str,
        /// The task.
        task: String,
    },
    /// A model of which no features are found.
    #[error("`{}` {reason}: name a value of the model with `--features VALUE`, or another network with `--features ENCODER.onnx`", path.display())]
    NoFeatures {
        /// The model.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A joint strategy could not choose.
    #[error("strategy `{strategy}` cannot choose")]
    Joint {
        /// The strategy.
        strategy: &'static str,
        /// Why.
        source: JointError,
    },
    /// Images without labels cannot have the Hessian.
    #[error(
        "`{solver}` takes the Hessian of the loss, which needs labels, and the pool has none to be used: give `--curvature labeled`, or a solver on the Gauss-Newton matrix"
    )]
    CurvatureOfPool {
        /// The solver.
        solver: &'static str,
    },
    /// A loss that is at its least wherever the model's own belief is taken for the label.
    #[error(
        "the loss of the task `{task}` has no gradient at what the model itself believes, so every influence is zero: give graphs of your own (`--loss`, `--decode`) whose pseudo-label is something else than the prediction, or take a strategy without influence"
    )]
    NoGradient {
        /// The task.
        task: String,
    },
    /// A file that cannot score a pool alone.
    #[error("`{}` {reason}", path.display())]
    NotAnInfluenceGraph {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        reason: String,
    },
    /// The plugin's interpreter and ONNX Runtime compute different things.
    #[error(
        "the plugin and ONNX Runtime disagree on `{value}` of this model: relative difference {difference:.1e}, tolerance {tolerance:.0e}"
    )]
    Disagreement {
        /// The value.
        value: String,
        /// Largest difference over the output scale.
        difference: f64,
        /// What is taken as rounding.
        tolerance: f64,
    },
    /// The influence graph.
    #[error(transparent)]
    Graph(#[from] InfluenceGraphError),
    /// An accelerator that computes in too few bits for the graph.
    #[error(
        "execution provider `{provider}` ranks a sample of the pool with Spearman {spearman:.4} against the CPU, {wanted} is needed: it computes in too few bits for this graph"
    )]
    Precision {
        /// The provider.
        provider: ExecutionProvider,
        /// Its rank agreement with the CPU.
        spearman: f64,
        /// What is asked for.
        wanted: f64,
    },
    /// Influence by a server, of a model without its influence graph.
    #[error(
        "strategy `{strategy}` goes by influence, which a server gives by an influence graph: write one (`isal export influence`), have it served, and give `--influence FILE.onnx` in the place of `--model`"
    )]
    ServerWithoutInfluence {
        /// The strategy.
        strategy: &'static str,
    },
    /// Features by a server.
    #[error(
        "strategy `{strategy}`, or `--apart`, goes by features, which a server does not give: leave `--server` out"
    )]
    ServerWithoutFeatures {
        /// The strategy.
        strategy: &'static str,
    },
    /// A server that computes something else than the file says.
    #[error(
        "{place} does not compute what the file says: {reason} against ONNX Runtime here; it serves other weights, or computes in too few bits for this graph"
    )]
    ServerDisagrees {
        /// Model and server.
        place: String,
        /// How far apart they are.
        reason: String,
    },
    /// Every score came out as NaN or infinity.
    #[error("none of the {images} scores is a number: the model's weights or outputs are NaN or overflow")]
    NoScores {
        /// Images scored.
        images: usize,
    },
    /// A set of which no image can be used.
    #[error(transparent)]
    NoneUsable(#[from] NoneUsable),
    /// Slices that are not one pool.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Roles of data sets.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Preprocessing recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Preprocessing file.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// Solver and scores.
    #[error(transparent)]
    Influence(#[from] InfluenceError),
    /// The differentiating engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// `s` on disk.
    #[error(transparent)]
    Artefact(Box<ArtefactError>),
    /// The sweep.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The score files.
    #[error(transparent)]
    Scores(#[from] ScoreError),
    /// The selection.
    #[error(transparent)]
    Select(SelectError),
    /// Files and locks.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl ScoringError {
    /// Whether the work was stopped on request; what had finished is on disk.
    pub fn is_interruption(&self) -> bool {
        match self {
            ScoringError::Sweep(SweepError::Interrupted { .. }) => true,
            ScoringError::Influence(error) => matches!(error, InfluenceError::Cancelled),
            ScoringError::Joint { source, .. } => *source == JointError::Interrupted,
            ScoringError::Graph(error) => matches!(error, InfluenceGraphError::Interrupted),
            _ => false,
        }
    }
}

impl From<NetworkError> for ScoringError {
    fn from(error: NetworkError) -> Self {
        ModelError::from(error).into()
    }
}

impl From<ClassifierError> for ScoringError {
    fn from(error: ClassifierError) -> Self {
        ModelError::from(error).into()
    }
}

impl From<SelectError> for ScoringError {
    /// Scores that cannot be read are no fault of the selection that was asked for.
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Scores(error) => ScoringError::Scores(error),
            other => ScoringError::Select(other),
        }
    }
}
