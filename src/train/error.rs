//! Why a training did not come to its end.

use crate::classifier::ClassifierError;
use crate::data::{DataError, RecipeError, SplitError};
use crate::durable::DurableError;
use crate::families::AnnotationError;
use crate::influence::{EngineError, InfluenceError};
use crate::network::NetworkError;
use crate::plugin::PluginError;
use crate::task::ModelError;
use std::path::PathBuf;

/// Why a training did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An image without the annotation that its loss needs.
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    /// Annotations that do not go together.
    #[error(transparent)]
    Influence(#[from] InfluenceError),
    /// Augmentation where annotations are tied to places of the image.
    #[error(
        "random shifts and mirrorings move the pixels, and the annotations of the task `{task}` stay where they are: train without them"
    )]
    Augmented {
        /// The task.
        task: String,
    },
    /// Nothing left to train.
    #[error("every parameter of the model is frozen by {}; leave some of it, such as the last layer", patterns.join(", "))]
    AllFrozen {
        /// The patterns.
        patterns: Vec<String>,
    },
    /// Roles of data sets.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Loss or weights left the floats.
    #[error("the training diverged in epoch {epoch} ({reason}); lower the learning rate, which is {learning_rate}")]
    Diverged {
        /// Counted from 1.
        epoch: usize,
        /// At that point.
        learning_rate: f64,
        /// What the plugin said.
        reason: String,
    },
    /// No image that could be used.
    #[error("none of the {images} training images could be used; the first, `{id}`: {reason}")]
    NoImages {
        /// How many there are.
        images: usize,
        /// Id of the first.
        id: String,
        /// Why it was left out.
        reason: String,
    },
    /// The folder holds a training with other options or data.
    #[error("`{}` holds another training; choose another folder, or remove it", folder.display())]
    Another {
        /// The folder.
        folder: PathBuf,
    },
    /// A checkpoint could not be written or read.
    #[error("checkpoint `{}`", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The observer asked to stop; the last whole epoch is on disk.
    #[error("interrupted after {epochs} epochs")]
    Interrupted {
        /// Whole epochs that are on disk.
        epochs: usize,
    },
    /// Images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Preprocessing.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Files and locks.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl From<NetworkError> for TrainError {
    fn from(error: NetworkError) -> Self {
        ModelError::from(error).into()
    }
}

impl From<ClassifierError> for TrainError {
    fn from(error: ClassifierError) -> Self {
        ModelError::from(error).into()
    }
}
