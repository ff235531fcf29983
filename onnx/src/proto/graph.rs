//! `GraphProto`.

use super::{node, tensor, value};
use crate::{Error, Graph, Result, Tensor, ValueInfo, ValueType};
use onnx_protobuf::{GraphProto, TensorProto, ValueInfoProto};
use std::collections::{HashMap, HashSet};

/// Takes `proto` apart. Nodes stay in the order of the file.
///
/// # Errors
/// [`Error::Graph`] for an initializer without a name or given twice; whatever decoding nodes and
/// tensors gives.
pub(crate) fn decode(mut proto: GraphProto) -> Result<Graph> {
    let mut graph = Graph { name: std::mem::take(&mut proto.name), ..Graph::default() };
    for mut t in std::mem::take(&mut proto.initializer) {
        let name = std::mem::take(&mut t.name);
        let wrong = |reason: &str| Error::Graph { graph: graph.name.clone(), reason: format!("initializer {reason}") };
        if name.is_empty() {
            return Err(wrong("without a name"));
        }
        let decoded = tensor::decode(&mut t, &name)?;
        if graph.initializers.contains_key(&name) {
            return Err(wrong(&format!("`{name}` is given twice")));
        }
        if t != TensorProto::default() {
            t.name = name.clone();
            proto.initializer.push(t);
        }
        graph.initializers.insert(name, decoded);
    }
    let sparse: HashSet<String> = proto.sparse_initializer.iter().map(|s| s.values.name.clone()).collect();
    for v in std::mem::take(&mut proto.input) {
        let is_initializer = graph.initializers.contains_key(&v.name) || sparse.contains(&v.name);
        if is_initializer {
            proto.input.push(v);
        } else {
            graph.inputs.push(take_value(v, &mut proto.input));
        }
    }
    for v in std::mem::take(&mut proto.output) {
        graph.outputs.push(take_value(v, &mut proto.output));
    }
    for v in std::mem::take(&mut proto.value_info) {
        let info = take_value(v, &mut proto.value_info);
        if let Some(t) = info.value_type {
            graph.value_types.insert(info.name, t);
        }
    }
    graph.nodes = std::mem::take(&mut proto.node).into_iter().map(node::decode).collect::<Result<_>>()?;
    graph.rest = proto;
    Ok(graph)
}

/// The typed form of `proto`; the message itself goes to `rest` when it says more than that.
fn take_value(proto: ValueInfoProto, rest: &mut Vec<ValueInfoProto>) -> ValueInfo {
    let typed = value::decode(&proto);
    if value::encode(&typed, None) != proto {
        rest.push(proto);
    }
    typed
}

/// Where the data of initializers goes.
pub(crate) trait DataSink {
    /// A message for initializer `name`; `rest` is what the typed tensor does not hold.
    fn initializer(&mut self, name: &str, tensor: &Tensor, rest: Option<&TensorProto>) -> TensorProto;
}

/// Data within the message.
pub(crate) struct InlineData;

impl DataSink for InlineData {
    fn initializer(&mut self, name: &str, tensor: &Tensor, rest: Option<&TensorProto>) -> TensorProto {
        tensor::encode(tensor, name, rest)
    }
}

/// A message for `graph`, its initializers' data given to `sink`.
pub(crate) fn encode(graph: &Graph, sink: &mut dyn DataSink) -> GraphProto {
    let rest = &graph.rest;
    let mut proto = GraphProto {
        initializer: Vec::new(),
        input: Vec::new(),
        output: Vec::new(),
        value_info: Vec::new(),
        ..rest.clone()
    };
    proto.name = graph.name.clone();
    proto.node = graph.nodes.iter().map(node::encode).collect();
    let rest_of: HashMap<&str, &TensorProto> = rest.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    for (name, tensor) in &graph.initializers {
        proto.initializer.push(sink.initializer(name, tensor, rest_of.get(name.as_str()).copied()));
    }
    proto.input = encode_values(graph.inputs.iter().cloned(), &rest.input);
    // Initializers that the file also listed as inputs, which are their defaults.
    proto.input.extend(rest.input.iter().filter(|v| is_initializer(graph, &v.name)).cloned());
    proto.output = encode_values(graph.outputs.iter().cloned(), &rest.output);
    let typed = |(name, t): (&String, &ValueType)| ValueInfo::new(name.clone(), t.clone());
    proto.value_info = encode_values(graph.value_types.iter().map(typed), &rest.value_info);
    // Values without a tensor type (sequences, maps) stand in `rest` alone.
    let untyped = rest.value_info.iter().filter(|v| !graph.value_types.contains_key(&v.name));
    proto.value_info.extend(untyped.filter(|v| value::decode(v).value_type.is_none()).cloned());
    proto
}

fn is_initializer(graph: &Graph, name: &str) -> bool {
    graph.initializers.contains_key(name) || graph.rest.sparse_initializer.iter().any(|s| s.values.name == name)
}

fn encode_values(values: impl Iterator<Item = ValueInfo>, rest: &[ValueInfoProto]) -> Vec<ValueInfoProto> {
    let rest: HashMap<&str, &ValueInfoProto> = rest.iter().map(|v| (v.name.as_str(), v)).collect();
    values.map(|v| value::encode(&v, rest.get(v.name.as_str()).copied())).collect()
}
