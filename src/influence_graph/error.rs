//! Why an influence graph could not be made.

use crate::classifier::ClassifierError;
use crate::data::{DataError, RecipeError};
use crate::durable::DurableError;
use crate::influence::{ArtefactError, EngineError, InfluenceError};
use crate::network::NetworkError;
use crate::plugin::PluginError;
use crate::runtime::RuntimeError;
use crate::sweep::SweepError;
use crate::task::ModelError;
use std::path::PathBuf;

/// Why an influence graph could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InfluenceGraphError {
    /// The model file, or a graph built from it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A vector that cannot be read, or belongs to another model.
    #[error("`{}` is no vector for this model", path.display())]
    Vector {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ArtefactError>,
    },
    /// A vector whose length is not that of its parameters.
    #[error(transparent)]
    Artefact(Box<ArtefactError>),
    /// Two vectors over different parameters cannot share a graph.
    #[error("`{}` is over scope `{found}`, the first vector over `{expected}`", path.display())]
    Scopes {
        /// The file that differs.
        path: PathBuf,
        /// Its scope.
        found: String,
        /// The first vector's scope.
        expected: String,
    },
    /// What is for classifiers alone, asked of another model.
    #[error(
        "the shadow form, the influence under each class and gradient embeddings are for models of one class an image, and the task is `{task}`"
    )]
    NoClassScores {
        /// The task.
        task: String,
    },
    /// A recipe that a graph cannot follow.
    #[error("the preprocessing cannot be put into the graph: it cannot say {what}")]
    Inside {
        /// The part of it.
        what: String,
    },
    /// Neither a step nor images to choose it on.
    #[error("no step: give `--sample DATA`, images to choose it on, or choose it by hand: `--step 3e-5`")]
    NoStep,
    /// The model does not tell the images apart.
    #[error(
        "the influences of {images} images are all alike: {influence:.4e}, give or take {range:.1e}, which is rounding. The model hardly tells these images apart (it may not be trained, its inputs may be scaled otherwise than in training, or the images may be the same), so no order of theirs means anything; a strategy without influence or more training helps, and `--unproven` goes on all the same"
    )]
    Alike {
        /// Images of the sample.
        images: usize,
        /// The lowest influence.
        influence: f64,
        /// The highest less the lowest.
        range: f64,
    },
    /// No step ranks the sample as it should.
    #[error(
        "the best step of the paired graph, {step:e}, ranks the sample with Spearman {spearman:.4} against {judged_by}, {wanted} is needed: its kinks or its rounding are too much for a difference, take the exact derivative (`score pool --engine tangent`, `export influence --form tangent`), or go on with `--unproven`"
    )]
    Step {
        /// The relative step.
        step: f64,
        /// Its rank agreement.
        spearman: f64,
        /// With what.
        judged_by: String,
        /// What is asked for.
        wanted: f64,
    },
    /// A tangent graph, exact by construction, and the plugin's derivative rank the sample differently.
    #[error(
        "the tangent graph ranks the sample with Spearman {spearman:.4} against {judged_by}, {wanted} is needed; `--unproven` goes on all the same"
    )]
    Tangent {
        /// Its rank agreement.
        spearman: f64,
        /// With what.
        judged_by: String,
        /// What is asked for.
        wanted: f64,
    },
    /// Too few images to tell one ranking from another.
    #[error("the sample has {found} usable images, at least {needed} are needed to choose a step")]
    SmallSample {
        /// Images that could be used.
        found: usize,
        /// How many it takes.
        needed: usize,
    },
    /// An output of the written graph is NaN or infinite.
    #[error("output `{output}` of `{}` is not finite on {images} images", path.display())]
    NotFinite {
        /// The output.
        output: String,
        /// The file, which is not written.
        path: PathBuf,
        /// Images it was run on.
        images: usize,
    },
    /// The model's own outputs do not survive in the written graph.
    #[error(
        "output `{output}` of `{}` differs from the model's own by {difference:.1e} of its scale, tolerance {tolerance:.0e}",
        path.display()
    )]
    OutputsMoved {
        /// The output.
        output: String,
        /// The file, which is not written.
        path: PathBuf,
        /// Largest difference over the largest value.
        difference: f64,
        /// What is taken as rounding.
        tolerance: f64,
    },
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Preprocessing.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Scores.
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
    /// Running a scorer.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// Files.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Interrupted,
}

impl InfluenceGraphError {
    /// What the failing of a model at `path` is called here.
    pub(super) fn model(path: &std::path::Path, source: isal_onnx::Error) -> Self {
        NetworkError::model(path, source).into()
    }
}

impl From<NetworkError> for InfluenceGraphError {
    fn from(error: NetworkError) -> Self {
        ModelError::from(error).into()
    }
}

impl From<ClassifierError> for InfluenceGraphError {
    fn from(error: ClassifierError) -> Self {
        ModelError::from(error).into()
    }
}
