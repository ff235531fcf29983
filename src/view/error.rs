//! Why there is nothing to look at.

use crate::data::DataError;
use crate::durable::DurableError;
use crate::rounds::RoundsError;
use crate::scores::ScoreError;
use crate::scoring::ScoringError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// A folder of neither kind.
    #[error("`{}` holds neither a run nor scores: give the folder of `isal run -o` or of `isal score pool -o`", folder.display())]
    Neither {
        /// The folder.
        folder: PathBuf,
    },
    /// A pool that was named and cannot be opened.
    #[error("cannot open the pool `{}`", path.display())]
    Pool {
        /// The pool.
        path: PathBuf,
        /// Why.
        source: Box<DataError>,
    },
    /// No place in the pages of this number.
    #[error("there is no {what} {number}")]
    NoSuch {
        /// Of what.
        what: &'static str,
        /// Its number.
        number: String,
    },
    /// A table of more rows than are numbered.
    #[error("the table has {rows} rows; up to 4 billion are shown")]
    TooMany {
        /// Its rows.
        rows: usize,
    },
    /// A label that is not taken.
    #[error("{reason}")]
    Label {
        /// Why.
        reason: String,
    },
    /// An address that cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// A file of labels that is none.
    #[error("`{}` is no list of labels that this program wrote: {reason}", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The run.
    #[error(transparent)]
    Rounds(Box<RoundsError>),
    /// The sweep.
    #[error(transparent)]
    Scoring(Box<ScoringError>),
    /// The score table.
    #[error(transparent)]
    Scores(#[from] ScoreError),
    /// Writing.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl From<RoundsError> for ViewError {
    fn from(error: RoundsError) -> ViewError {
        ViewError::Rounds(Box::new(error))
    }
}

impl From<ScoringError> for ViewError {
    fn from(error: ScoringError) -> ViewError {
        ViewError::Scoring(Box::new(error))
    }
}
