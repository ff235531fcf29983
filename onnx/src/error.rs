//! What can be wrong with a model, with the values a reader needs to find the place.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model cannot be read, typed or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not a well-formed `ModelProto`.
    #[error("not an ONNX model: {reason}")]
    Malformed {
        /// What is wrong, with the byte offset where there is one.
        reason: String,
    },
    /// A tensor's element count or byte count contradicts its dims and type.
    #[error("tensor `{name}` ({data_type:?} {dims:?}): expected {expected} bytes of data, found {found}")]
    TensorSize {
        /// Name of the tensor, or the attribute it stands in.
        name: String,
        /// Element type.
        data_type: crate::DataType,
        /// Dims as given.
        dims: Vec<usize>,
        /// Bytes that dims and type ask for.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// Tensor with a type or dims that have no meaning.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A node that breaks the rules of its operator or of the graph.
    #[error("node `{node}` (`{op}`, opset {opset}): {reason}")]
    Node {
        /// Node name, or `#<position>` when it has none.
        node: String,
        /// Operator, with its domain when that is not the default one.
        op: String,
        /// Version of the operator set in use.
        opset: i64,
        /// What is wrong.
        reason: String,
    },
    /// The graph as a whole is not valid: a cycle, a value without a producer, a value made twice.
    #[error("graph `{graph}`: {reason}")]
    Graph {
        /// Graph name.
        graph: String,
        /// What is wrong.
        reason: String,
    },
    /// External data that leaves the model's folder, is not a plain file, or is too short.
    #[error("external data of tensor `{tensor}`: {reason}")]
    ExternalData {
        /// Tensor name.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// A version of the standard operator set that is not taken.
    #[error("opset {found}: expected one of {first} to {last}")]
    Opset {
        /// The version the model imports.
        found: i64,
        /// The oldest taken.
        first: i64,
        /// The newest taken.
        last: i64,
    },
    /// A choice of parameters that chooses none.
    #[error("scope `{scope}`: {reason}{}", near(close))]
    Scope {
        /// The scope, or the pattern of it that is at fault.
        scope: String,
        /// What is wrong.
        reason: String,
        /// Parameter names that may have been meant.
        close: Vec<String>,
    },
    /// A limit on size or depth was passed.
    #[error("{what} is {found}, over the limit of {limit}")]
    Limit {
        /// What was counted.
        what: String,
        /// The count.
        found: u64,
        /// The most that is taken.
        limit: u64,
    },
}

/// The names that may have been meant, as the end of a sentence.
fn near(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; close: `{}`", names.join("`, `")),
    }
}
