//! Why a call failed.

use crate::ops::OpError;
use isal_plugin_abi::Status;
use std::fmt;
use tch::TchError;

/// Why a model could not be loaded or run. [`Failure::status`] gives the ABI's number for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A null pointer, a number out of range, a name that the model does not have.
    #[error("{what}: {reason}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A handle that was never given out, or was freed.
    #[error("there is no {what} with the handle {handle}")]
    Handle {
        /// What it should have been.
        what: &'static str,
        /// The number.
        handle: u64,
    },
    /// The bytes are no valid model.
    #[error(transparent)]
    Onnx(#[from] isal_onnx::Error),
    /// A valid model that cannot be differentiated as asked.
    #[error("graph `{graph}`: {reason}")]
    Graph {
        /// Its name.
        graph: String,
        /// Why not.
        reason: String,
    },
    /// Operators without a forward.
    #[error("{} of {total} operators have no forward: {}", missing.len(), List(missing))]
    Unsupported {
        /// Those, each with the nodes that need it.
        missing: Vec<MissingOp>,
        /// Number of different operators in the graph.
        total: usize,
    },
    /// A device that is not there.
    #[error("device `{asked}` is not there (found: {}){}", found.join(", "), reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Device {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: Vec<String>,
        /// Why it is not there, when that is known.
        reason: Option<String>,
    },
    /// A batch, target or vector of the wrong shape.
    #[error("{what}: expected shape {expected}, found {found:?}")]
    Shape {
        /// What had it.
        what: String,
        /// The shape that was asked for.
        expected: String,
        /// The shape that was given.
        found: Vec<i64>,
    },
    /// An array of an element kind that is not taken there.
    #[error("{what}: expected element kind {expected}, found {found}")]
    Kind {
        /// What had it.
        what: String,
        /// The kinds that are taken.
        expected: &'static str,
        /// The one that was given.
        found: String,
    },
    /// NaN or infinity.
    #[error("{what} has entries that are NaN or infinite")]
    NotFinite {
        /// Where.
        what: String,
    },
    /// An operator refused its inputs.
    #[error("node `{node}` (`{op}`, opset {opset}): {error}")]
    Node {
        /// Node name, or `#<position>` when it has none.
        node: String,
        /// Operator.
        op: String,
        /// Version of the standard operator set the model imports.
        opset: i64,
        /// What it said.
        error: Box<OpError>,
    },
    /// libtorch refused; the first line of its message.
    #[error("libtorch: {message}")]
    Backend {
        /// What it said.
        message: String,
    },
    /// A panic that was caught.
    #[error("the plugin panicked: {message}")]
    Panic {
        /// Its message.
        message: String,
    },
}

impl Failure {
    /// The ABI's number for this kind of failure.
    pub fn status(&self) -> Status {
        match self {
            Failure::Argument { .. } => Status::ARGUMENT,
            Failure::Handle { .. } => Status::HANDLE,
            Failure::Onnx(_) | Failure::Graph { .. } => Status::MODEL,
            Failure::Unsupported { .. } => Status::UNSUPPORTED,
            Failure::Device { .. } => Status::DEVICE,
            Failure::Shape { .. } | Failure::Kind { .. } => Status::SHAPE,
            Failure::NotFinite { .. } => Status::NOT_FINITE,
            Failure::Node { error, .. } => match **error {
                OpError::Unsupported { .. } => Status::UNSUPPORTED,
                OpError::Torch { .. } => Status::BACKEND,
                _ => Status::MODEL,
            },
            Failure::Backend { .. } => Status::BACKEND,
            Failure::Panic { .. } => Status::INTERNAL,
        }
    }
}

impl From<TchError> for Failure {
    fn from(error: TchError) -> Self {
        let text = match error {
            TchError::Torch(text) => text,
            other => other.to_string(),
        };
        // The rest is a C++ stack trace.
        Failure::Backend { message: text.lines().next().unwrap_or_default().to_owned() }
    }
}

/// An operator without a forward, and who needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingOp {
    /// Its name; with its domain when that is not the standard one.
    pub op: String,
    /// Names of the nodes, `#<position>` for those without.
    pub nodes: Vec<String>,
}

/// Nodes named in a message before the rest is only counted.
const NODES_NAMED: usize = 4;

struct List<'a>(&'a [MissingOp]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, missing) in self.0.iter().enumerate() {
            let named: Vec<_> = missing.nodes.iter().take(NODES_NAMED).map(|n| format!("`{n}`")).collect();
            write!(f, "{}`{}` (at {}", if i == 0 { "" } else { ", " }, missing.op, named.join(", "))?;
            match missing.nodes.len().saturating_sub(NODES_NAMED) {
                0 => f.write_str(")")?,
                more => write!(f, " and {more} more)")?,
            }
        }
        Ok(())
    }
}
