//! Attribute values of a node.

use crate::{Graph, Tensor};

/// An attribute value; the variants are those of `AttributeProto.type`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are ONNX's own")]
pub enum Attribute {
    Float(f32),
    Int(i64),
    /// Bytes, by convention UTF-8.
    String(Vec<u8>),
    Tensor(Tensor),
    /// A subgraph (`If`, `Loop`, `Scan`).
    Graph(Box<Graph>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Strings(Vec<Vec<u8>>),
    Tensors(Vec<Tensor>),
    Graphs(Vec<Graph>),
    /// A kind with no typed form here (sparse tensors, type protos, references inside a function),
    /// kept as it was read.
    Other(Box<onnx_protobuf::AttributeProto>),
}

impl Attribute {
    /// Its kind, as an error names it.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Attribute::Float(_) => "Float",
            Attribute::Int(_) => "Int",
            Attribute::String(_) => "String",
            Attribute::Tensor(_) => "Tensor",
            Attribute::Graph(_) => "Graph",
            Attribute::Floats(_) => "Floats",
            Attribute::Ints(_) => "Ints",
            Attribute::Strings(_) => "Strings",
            Attribute::Tensors(_) => "Tensors",
            Attribute::Graphs(_) => "Graphs",
            Attribute::Other(_) => "of another kind",
        }
    }
}

impl From<i64> for Attribute {
    fn from(v: i64) -> Self {
        Attribute::Int(v)
    }
}
impl From<f32> for Attribute {
    fn from(v: f32) -> Self {
        Attribute::Float(v)
    }
}
impl From<&str> for Attribute {
    fn from(v: &str) -> Self {
        Attribute::String(v.as_bytes().to_vec())
    }
}
impl From<Vec<i64>> for Attribute {
    fn from(v: Vec<i64>) -> Self {
        Attribute::Ints(v)
    }
}
impl From<Vec<f32>> for Attribute {
    fn from(v: Vec<f32>) -> Self {
        Attribute::Floats(v)
    }
}
impl From<Tensor> for Attribute {
    fn from(v: Tensor) -> Self {
        Attribute::Tensor(v)
    }
}
