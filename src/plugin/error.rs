//! Why a plugin could not be used.

use crate::influence::EngineError;
use isal_plugin_abi::Status;
use std::path::PathBuf;

/// Why a plugin could not be found, opened or called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// No plugin anywhere.
    #[error("no gradient plugin found; looked for {}. `make plugin` builds it (with libtorch, some minutes); an existing one is named by `--plugin` or ISAL_PLUGIN",
        searched.iter().map(|p| format!("`{}`", p.display())).collect::<Vec<_>>().join(", "))]
    Missing {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// The file is there, and the system does not load it.
    #[error("the plugin `{}` does not load: {reason}. When a libtorch library is what is missing, `make setup` installs it and `make plugin` links to it", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A plugin for another version of this program.
    #[error("the plugin `{}` speaks version {found} of the ABI, expected {expected}: build it anew with `make plugin`", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version this program speaks.
        expected: u32,
        /// The plugin's version.
        found: u32,
    },
    /// A call that was answered with a failure.
    #[error("plugin call `{call}` failed: {message}")]
    Call {
        /// The ABI function.
        call: &'static str,
        /// The ABI's number for what went wrong.
        status: i32,
        /// The plugin's explanation.
        message: String,
    },
    /// An answer that breaks the ABI's promises.
    #[error("plugin call `{call}` gave no valid answer: {reason}")]
    Answer {
        /// The ABI function.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The model could not be turned into the bytes of a file.
    #[error(transparent)]
    Model(#[from] isal_onnx::Error),
    /// The task's graphs could not be built.
    #[error(transparent)]
    Task(#[from] isal_exporters::Error),
}

impl From<PluginError> for EngineError {
    fn from(error: PluginError) -> Self {
        match error {
            PluginError::Call { status, message, .. } if status == Status::NOT_FINITE.0 => {
                EngineError::NotFinite { message }
            }
            PluginError::Call { call, message, .. } => EngineError::Plugin { call, message },
            PluginError::Answer { call, reason } => EngineError::Plugin { call, message: reason },
            other => EngineError::Plugin { call: "load", message: other.to_string() },
        }
    }
}
