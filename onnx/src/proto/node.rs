//! `NodeProto`.

use super::attribute;
use crate::{Error, Node, Result};
use indexmap::map::Entry;
use onnx_protobuf::NodeProto;

/// Takes `proto` apart.
///
/// # Errors
/// [`Error::Malformed`] when an attribute comes twice; whatever decoding the attributes gives.
pub(crate) fn decode(mut proto: NodeProto) -> Result<Node> {
    let mut node = Node {
        name: std::mem::take(&mut proto.name),
        op_type: std::mem::take(&mut proto.op_type),
        domain: domain(std::mem::take(&mut proto.domain)),
        inputs: std::mem::take(&mut proto.input),
        outputs: std::mem::take(&mut proto.output),
        ..Node::default()
    };
    for a in std::mem::take(&mut proto.attribute) {
        let (name, value, rest) = attribute::decode(a).map_err(|e| within(&node, e))?;
        match node.attributes.entry(name) {
            Entry::Occupied(entry) => {
                let reason =
                    format!("node `{}` (`{}`): attribute `{}` is set twice", node.name, node.op_type, entry.key());
                return Err(Error::Malformed { reason });
            }
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
        }
        proto.attribute.extend(rest);
    }
    node.rest = proto;
    Ok(node)
}

/// Says which node an attribute's error belongs to.
fn within(node: &Node, error: Error) -> Error {
    match error {
        Error::Malformed { reason } => {
            Error::Malformed { reason: format!("node `{}` (`{}`): {reason}", node.name, node.op_type) }
        }
        other => other,
    }
}

/// The standard domain has two spellings.
pub(crate) fn domain(domain: String) -> String {
    if domain == "ai.onnx" { String::new() } else { domain }
}

/// A message for `node`.
pub(crate) fn encode(node: &Node) -> NodeProto {
    let rest = &node.rest;
    let mut proto = NodeProto { attribute: Vec::new(), ..rest.clone() };
    proto.name = node.name.clone();
    proto.op_type = node.op_type.clone();
    proto.domain = node.domain.clone();
    proto.input = node.inputs.clone();
    proto.output = node.outputs.clone();
    proto.attribute = node
        .attributes
        .iter()
        .map(|(name, value)| attribute::encode(name, value, rest.attribute.iter().find(|a| a.name == *name)))
        .collect();
    proto
}
