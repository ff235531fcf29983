//! A model: a graph with its opsets and metadata.

use crate::Graph;
use indexmap::IndexMap;

/// A model as read from, or written to, a `.onnx` file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator-set version by domain; the standard domain is the empty string.
    pub opsets: IndexMap<String, i64>,
    /// The main graph.
    pub graph: Graph,
    /// Metadata properties, in the order of the file.
    pub metadata: IndexMap<String, String>,
    /// What the typed fields do not hold (producer, doc string, functions, unknown fields).
    pub rest: onnx_protobuf::ModelProto,
}

impl Model {
    /// Version of the standard operator set; 0 when the model imports none.
    pub fn opset(&self) -> i64 {
        self.opsets.get("").copied().unwrap_or(0)
    }
}
