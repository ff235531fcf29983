//! The typed graph: nodes, values, initializers.

use crate::{Attribute, Tensor, ValueInfo, ValueType};
use indexmap::IndexMap;

/// One operator of a graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Name; may be empty.
    pub name: String,
    /// Operator, as ONNX spells it.
    pub op_type: String,
    /// Operator domain; empty for the standard one (`ai.onnx` is read as empty).
    pub domain: String,
    /// Input value names; an empty one stands for an optional input left out.
    pub inputs: Vec<String>,
    /// Output value names; an empty one stands for an optional output nobody uses.
    pub outputs: Vec<String>,
    /// Attributes by name, in the order of the file.
    pub attributes: IndexMap<String, Attribute>,
    /// What the typed fields do not hold (doc string, metadata, unknown fields), kept for writing.
    pub rest: onnx_protobuf::NodeProto,
}

impl Node {
    /// A node of the standard domain.
    pub fn new(
        op_type: &str,
        name: impl Into<String>,
        inputs: impl IntoIterator<Item = impl Into<String>>,
        outputs: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Node {
            name: name.into(),
            op_type: op_type.to_owned(),
            inputs: inputs.into_iter().map(Into::into).collect(),
            outputs: outputs.into_iter().map(Into::into).collect(),
            ..Node::default()
        }
    }

    /// The node with one more attribute.
    pub fn with(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Name of input `i`, unless it is left out.
    pub fn input(&self, i: usize) -> Option<&str> {
        self.inputs.get(i).map(String::as_str).filter(|s| !s.is_empty())
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name)? {
            Attribute::Int(v) => Some(*v),
            _ => None,
        }
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attributes.get(name)? {
            Attribute::Float(v) => Some(*v),
            _ => None,
        }
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name)? {
            Attribute::Ints(v) => Some(v),
            _ => None,
        }
    }

    /// A list of floats.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        match self.attributes.get(name)? {
            Attribute::Floats(v) => Some(v),
            _ => None,
        }
    }

    /// A string attribute that is UTF-8.
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name)? {
            Attribute::String(v) => std::str::from_utf8(v).ok(),
            _ => None,
        }
    }

    /// A tensor attribute.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        match self.attributes.get(name)? {
            Attribute::Tensor(v) => Some(v),
            _ => None,
        }
    }
}

/// A graph: inputs, outputs, initializers and nodes in topological order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// Graph name.
    pub name: String,
    /// Inputs without the initializers (older files list those as inputs too).
    pub inputs: Vec<ValueInfo>,
    /// Outputs.
    pub outputs: Vec<ValueInfo>,
    /// Weights and other constants, by name, in the order of the file.
    pub initializers: IndexMap<String, Tensor>,
    /// Nodes, each after those it reads from.
    pub nodes: Vec<Node>,
    /// Types of inner values, as the file or shape inference gives them.
    pub value_types: IndexMap<String, ValueType>,
    /// What the typed fields do not hold, kept for writing.
    pub rest: onnx_protobuf::GraphProto,
}

impl Graph {
    /// Type of any value of this graph, when known: input, initializer, inner value or output.
    pub fn value_type(&self, name: &str) -> Option<ValueType> {
        if let Some(tensor) = self.initializers.get(name) {
            return Some(ValueType::new(tensor.data_type(), tensor.dims().iter().copied()));
        }
        if let Some(t) = self.value_types.get(name) {
            return Some(t.clone());
        }
        self.inputs.iter().chain(&self.outputs).find(|v| v.name == name)?.value_type.clone()
    }

    /// Position of the node that makes `value`.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.nodes.iter().position(|n| n.outputs.iter().any(|o| o == value))
    }

    /// Positions of the nodes that read `value`, in order.
    pub fn consumers<'a>(&'a self, value: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.nodes.iter().enumerate().filter(move |(_, n)| n.inputs.iter().any(|i| i == value)).map(|(i, _)| i)
    }
}
