//! ONNX Runtime: finding its shared library, and running a model on it.
//!
//! The library is loaded at run time, never linked, so one `isal` binary works with CPU and GPU builds. A library
//! is looked at before it is opened: a wrong file or version is an error in a moment, not a hang.

mod byte_session;
mod library;
mod provider;
mod session;

pub use byte_session::{ByteSession, CutShort, Given, Port, Ran, Texts, Value, joined};
pub use library::{Library, SUPPORTED};
pub use ort::value::TensorElementType as ElementType;
pub use provider::{ExecutionProvider, Settled};
pub use session::{Session, SessionOptions, threads_for};

use std::path::PathBuf;

/// Why ONNX Runtime cannot be used, or could not run a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No shared library was found.
    #[error("ONNX Runtime was not found; looked at {}", searched.iter().map(|p| format!("`{}`", p.display())).collect::<Vec<_>>().join(", "))]
    Missing {
        /// Every place that was looked at.
        searched: Vec<PathBuf>,
    },
    /// A file that is not an ONNX Runtime library, or one of a version that is not supported.
    #[error("`{}`: {reason}", path.display())]
    Library {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The execution provider is not in this build of ONNX Runtime, or could not start.
    #[error("execution provider `{provider}` {reason}; {runtime} has {}", available.join(", "))]
    Provider {
        /// Its name.
        provider: ExecutionProvider,
        /// Version and place of ONNX Runtime.
        runtime: String,
        /// What it was built with.
        available: Vec<&'static str>,
        /// Why it cannot be used.
        reason: String,
    },
    /// ONNX Runtime refused the model or failed while running it.
    #[error("ONNX Runtime on `{model}`: {reason}")]
    Run {
        /// The model's file name.
        model: String,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// The model does not have the inputs or outputs that were asked for.
    #[error("`{model}`: {reason}")]
    Signature {
        /// The model's file name.
        model: String,
        /// What was found and what was expected.
        reason: String,
    },
}
