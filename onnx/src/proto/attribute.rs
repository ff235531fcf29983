//! `AttributeProto`.

use super::{graph, tensor};
use crate::{Attribute, Error, Result};
use onnx_protobuf::{AttributeProto, attribute_proto::AttributeType};

/// The typed form, and what it does not hold when there is anything of the kind.
///
/// # Errors
/// [`Error::Malformed`] for a value that is missing or of an unknown kind; whatever decoding its
/// tensors and graphs gives.
pub(crate) fn decode(mut proto: AttributeProto) -> Result<(String, Attribute, Option<AttributeProto>)> {
    let name = std::mem::take(&mut proto.name);
    let kind = kind(&proto).ok_or_else(|| Error::Malformed {
        reason: format!("attribute `{name}` has the unknown kind {}", proto.type_.value()),
    })?;
    let missing = || Error::Malformed { reason: format!("attribute `{name}` of kind {kind:?} has no value") };
    let is_reference = !proto.ref_attr_name.is_empty();
    let value = match kind {
        _ if is_reference => other(&mut proto, &name),
        AttributeType::FLOAT => Attribute::Float(std::mem::take(&mut proto.f)),
        AttributeType::INT => Attribute::Int(std::mem::take(&mut proto.i)),
        AttributeType::STRING => Attribute::String(std::mem::take(&mut proto.s)),
        AttributeType::FLOATS => Attribute::Floats(std::mem::take(&mut proto.floats)),
        AttributeType::INTS => Attribute::Ints(std::mem::take(&mut proto.ints)),
        AttributeType::STRINGS => Attribute::Strings(std::mem::take(&mut proto.strings)),
        AttributeType::TENSOR => {
            let t = proto.t.as_mut().ok_or_else(missing)?;
            let value = Attribute::Tensor(tensor::decode(t, &name)?);
            if *t == Default::default() {
                proto.t.clear();
            }
            value
        }
        AttributeType::GRAPH => {
            let g = proto.g.take().ok_or_else(missing)?;
            Attribute::Graph(Box::new(graph::decode(g)?))
        }
        AttributeType::TENSORS => {
            let decoded = proto.tensors.iter_mut().map(|t| tensor::decode(t, &name)).collect::<Result<_>>()?;
            if proto.tensors.iter().all(|t| *t == Default::default()) {
                proto.tensors.clear();
            }
            Attribute::Tensors(decoded)
        }
        AttributeType::GRAPHS => {
            let graphs = std::mem::take(&mut proto.graphs);
            Attribute::Graphs(graphs.into_iter().map(graph::decode).collect::<Result<_>>()?)
        }
        AttributeType::SPARSE_TENSOR
        | AttributeType::SPARSE_TENSORS
        | AttributeType::TYPE_PROTO
        | AttributeType::TYPE_PROTOS => other(&mut proto, &name),
        AttributeType::UNDEFINED => return Err(missing()),
    };
    proto.type_ = AttributeType::UNDEFINED.into();
    let rest = (proto != AttributeProto::default()).then(|| {
        proto.name = name.clone();
        proto
    });
    Ok((name, value, rest))
}

/// The whole message as the value.
fn other(proto: &mut AttributeProto, name: &str) -> Attribute {
    let mut whole = std::mem::take(proto);
    whole.name = name.to_owned();
    Attribute::Other(Box::new(whole))
}

/// The kind, which files older than IR version 2 leave to be seen from the field in use.
fn kind(proto: &AttributeProto) -> Option<AttributeType> {
    match proto.type_.enum_value().ok()? {
        AttributeType::UNDEFINED => {}
        kind => return Some(kind),
    }
    let in_use = [
        (AttributeType::TENSOR, proto.t.is_some()),
        (AttributeType::GRAPH, proto.g.is_some()),
        (AttributeType::SPARSE_TENSOR, proto.sparse_tensor.is_some()),
        (AttributeType::TYPE_PROTO, proto.tp.is_some()),
        (AttributeType::STRING, !proto.s.is_empty()),
        (AttributeType::FLOATS, !proto.floats.is_empty()),
        (AttributeType::INTS, !proto.ints.is_empty()),
        (AttributeType::STRINGS, !proto.strings.is_empty()),
        (AttributeType::TENSORS, !proto.tensors.is_empty()),
        (AttributeType::GRAPHS, !proto.graphs.is_empty()),
        (AttributeType::SPARSE_TENSORS, !proto.sparse_tensors.is_empty()),
        (AttributeType::TYPE_PROTOS, !proto.type_protos.is_empty()),
        (AttributeType::FLOAT, proto.f != 0.0),
        (AttributeType::INT, proto.i != 0),
    ];
    Some(in_use.iter().find(|(_, used)| *used).map_or(AttributeType::UNDEFINED, |(kind, _)| *kind))
}

/// A message for `value` that also says what `rest` says.
pub(crate) fn encode(name: &str, value: &Attribute, rest: Option<&AttributeProto>) -> AttributeProto {
    let mut proto = match value {
        Attribute::Other(whole) => (**whole).clone(),
        _ => rest.cloned().unwrap_or_default(),
    };
    proto.name = name.to_owned();
    let kind = match value {
        Attribute::Float(v) => {
            proto.f = *v;
            AttributeType::FLOAT
        }
        Attribute::Int(v) => {
            proto.i = *v;
            AttributeType::INT
        }
        Attribute::String(v) => {
            proto.s = v.clone();
            AttributeType::STRING
        }
        Attribute::Floats(v) => {
            proto.floats = v.clone();
            AttributeType::FLOATS
        }
        Attribute::Ints(v) => {
            proto.ints = v.clone();
            AttributeType::INTS
        }
        Attribute::Strings(v) => {
            proto.strings = v.clone();
            AttributeType::STRINGS
        }
        Attribute::Tensor(v) => {
            let rest = proto.t.take();
            let inner_name = rest.as_ref().map(|t| t.name.clone()).unwrap_or_default();
            proto.t = Some(tensor::encode(v, &inner_name, rest.as_ref())).into();
            AttributeType::TENSOR
        }
        Attribute::Tensors(v) => {
            let rest = std::mem::take(&mut proto.tensors);
            proto.tensors = v
                .iter()
                .enumerate()
                .map(|(i, t)| {
                    let rest = rest.get(i);
                    tensor::encode(t, rest.map_or("", |r| r.name.as_str()), rest)
                })
                .collect();
            AttributeType::TENSORS
        }
        Attribute::Graph(v) => {
            proto.g = Some(graph::encode(v, &mut graph::InlineData)).into();
            AttributeType::GRAPH
        }
        Attribute::Graphs(v) => {
            proto.graphs = v.iter().map(|g| graph::encode(g, &mut graph::InlineData)).collect();
            AttributeType::GRAPHS
        }
        Attribute::Other(_) => return proto,
    };
    proto.type_ = kind.into();
    proto
}
