//! Why a study stopped before its end.

use crate::compare::CompareError;
use crate::durable::DurableError;
use crate::rounds::{RoundsError, SettingError};
use std::path::PathBuf;

/// Why a study stopped before its end. Whatever had finished is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// A file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that is no TOML, or not of a study.
    #[error("`{}`: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// A value or a combination that makes no study.
    #[error("{0}")]
    Config(String),
    /// An override that has no place.
    #[error("{of}: `{key}`")]
    Setting {
        /// Whose it is.
        of: String,
        /// Its key.
        key: String,
        /// Why it has none.
        source: SettingError,
    },
    /// A combination that is no run.
    #[error("{of} on {data} is no run: {source}")]
    Run {
        /// The arm.
        of: String,
        /// The data set.
        data: String,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// A run's own files, or its interruption.
    #[error(transparent)]
    Rounds(#[from] RoundsError),
    /// Runs that failed, while the others went on.
    #[error("{failed} of {of} runs failed, first `{}`", folder.display())]
    Failed {
        /// How many.
        failed: usize,
        /// Of how many.
        of: usize,
        /// The first of them.
        folder: PathBuf,
        /// Why it did.
        source: Box<RoundsError>,
    },
    /// The observer asked to stop between two runs.
    #[error("interrupted between two runs")]
    Interrupted,
    /// The comparison.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Files that are written.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl StudyError {
    /// Whether the observer asked to stop.
    pub fn is_interruption(&self) -> bool {
        match self {
            StudyError::Interrupted => true,
            StudyError::Rounds(error) => error.is_interruption(),
            _ => false,
        }
    }
}
