//! Why an audit stopped before its end.

use crate::data::{DataError, SplitError};
use crate::durable::DurableError;
use crate::influence::ArtefactError;
use crate::scores::ScoreError;
use crate::scoring::ScoringError;
use crate::train::TrainError;
use std::path::PathBuf;

/// Why an audit stopped before its end. Whatever had finished is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Influence needs the images that the model was trained on.
    #[error("an audit needs labelled images (`--labeled`): the images the model was trained on")]
    NoLabels,
    /// Too few images to tell an order.
    #[error("{images} images of the pool have an influence, and an order needs at least {least}")]
    FewImages {
        /// Those that have one.
        images: usize,
        /// How many it takes.
        least: usize,
    },
    /// Images could not be divided.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Images could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A solve, or the sweep of the pool with it.
    #[error(transparent)]
    Scoring(Box<ScoringError>),
    /// The scores of a solve.
    #[error(transparent)]
    Scores(#[from] ScoreError),
    /// A solved vector that cannot be read.
    #[error(transparent)]
    Artefact(#[from] Box<ArtefactError>),
    /// A training on a half of the labelled images.
    #[error("training on half {half} of the labelled images")]
    Train {
        /// Which half, from 1.
        half: usize,
        /// Why.
        source: Box<TrainError>,
    },
    /// A file of another audit.
    #[error("`{}` belongs to another audit: other images, another model or other training; take another folder", path.display())]
    Another {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// Somebody stopped it.
    #[error("stopped")]
    Interrupted,
}

impl From<ScoringError> for AuditError {
    fn from(source: ScoringError) -> Self {
        AuditError::Scoring(Box::new(source))
    }
}

impl AuditError {
    /// Whether somebody stopped it.
    pub fn is_interruption(&self) -> bool {
        match self {
            AuditError::Interrupted => true,
            AuditError::Scoring(source) => source.is_interruption(),
            AuditError::Train { source, .. } => matches!(source.as_ref(), TrainError::Interrupted { .. }),
            _ => false,
        }
    }
}
