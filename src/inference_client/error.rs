//! Why a server cannot be used.

use std::path::PathBuf;
use std::time::Duration;

/// Why a server did not give what was asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A file of trusted certificates, or the system's.
    #[error("{}: {reason}", authorities.as_ref().map_or_else(|| "the system's trusted certificates".to_owned(), |path| format!("`{}`", path.display())))]
    Authorities {
        /// The file; the system's when not given.
        authorities: Option<PathBuf>,
        /// What is wrong.
        reason: String,
    },
    /// The threads that send requests.
    #[error("cannot start the threads that send requests")]
    Threads(#[source] std::io::Error),
    /// No answer for as long as was asked for.
    #[error("{server}: no answer for {:.0} s, over {attempts} attempts; the last: {reason}", seconds.as_secs_f64())]
    GaveUp {
        /// The server.
        server: String,
        /// Since the first failure.
        seconds: Duration,
        /// How often it was tried.
        attempts: usize,
        /// What the last attempt met.
        reason: String,
    },
    /// The server says no.
    #[error("{server} refuses {request}: {status}{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    Refused {
        /// The server.
        server: String,
        /// What was asked.
        request: String,
        /// The status, as the transport has it.
        status: String,
        /// The server's words.
        said: String,
    },
    /// A model that is not there.
    #[error("{server} has no model `{model}`{}", if there.is_empty() { String::new() } else { format!("; it has {}", there.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")) })]
    NoModel {
        /// The server.
        server: String,
        /// The model that was named.
        model: String,
        /// Those that are there, where the server says so.
        there: Vec<String>,
    },
    /// A model that is not the one of the file.
    #[error("model `{model}` of {server} does not fit: {reason}")]
    Misfit {
        /// The server.
        server: String,
        /// The model.
        model: String,
        /// What was found and expected.
        reason: String,
    },
    /// The server came back with another model.
    #[error("model `{model}` of {server} is another one than at the beginning: {reason}")]
    Changed {
        /// The server.
        server: String,
        /// The model.
        model: String,
        /// What differs.
        reason: String,
    },
    /// An answer that is not what was asked.
    #[error("{server}: the answer to {request} is not the protocol's: {reason}")]
    Answer {
        /// The server.
        server: String,
        /// What was asked.
        request: String,
        /// What was found.
        reason: String,
    },
    /// The observer asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl ClientError {
    /// Whether the same request fails again however often it is made: another model, address or option is needed.
    pub fn is_bad_request(&self) -> bool {
        use ClientError::{Authorities, Misfit, NoModel, Refused};
        matches!(self, Authorities { .. } | Misfit { .. } | NoModel { .. } | Refused { .. })
    }
}

/// How an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may succeed later.
    Passing {
        /// What was met.
        reason: String,
        /// How long the server asks to be left alone.
        after: Option<Duration>,
    },
    /// The server says no.
    Refused {
        /// Whether it says that there is no such thing.
        absent: bool,
        /// The status, as the transport has it.
        status: String,
        /// The server's words.
        said: String,
    },
    /// What came is not the protocol's.
    Answer(String),
}

impl Failure {
    pub(super) fn passing(reason: impl Into<String>) -> Failure {
        Failure::Passing { reason: reason.into(), after: None }
    }
}
