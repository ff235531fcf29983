//! `ValueInfoProto` and `TypeProto`.

use crate::{DataType, Dim, ValueInfo, ValueType};
use onnx_protobuf::{
    TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};
use protobuf::MessageField;

/// The typed form, as far as there is one: sequences, maps, optionals and sparse tensors have none.
pub(crate) fn decode(proto: &ValueInfoProto) -> ValueInfo {
    ValueInfo { name: proto.name.clone(), value_type: proto.type_.as_ref().and_then(decode_type) }
}

/// The tensor type in `proto`, if it is one.
pub(crate) fn decode_type(proto: &TypeProto) -> Option<ValueType> {
    let Some(type_proto::Value::TensorType(tensor)) = &proto.value else { return None };
    let data_type = DataType::from_number(tensor.elem_type)?;
    let shape = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(decode_dim).collect());
    Some(ValueType { data_type, shape })
}

fn decode_dim(proto: &Dimension) -> Dim {
    match &proto.value {
        // Some exporters write -1 for a size they do not know.
        Some(dimension::Value::DimValue(n)) => usize::try_from(*n).map_or(Dim::Unknown, Dim::Known),
        Some(dimension::Value::DimParam(s)) if !s.is_empty() => Dim::Symbol(s.clone()),
        _ => Dim::Unknown,
    }
}

/// A message for `value`. `rest`, the message it was read from, is kept where it says the same; where
/// it does not, its type alone is replaced.
pub(crate) fn encode(value: &ValueInfo, rest: Option<&ValueInfoProto>) -> ValueInfoProto {
    if let Some(rest) = rest {
        if decode(rest) == *value {
            return rest.clone();
        }
        let mut proto = rest.clone();
        proto.name = value.name.clone();
        if let Some(t) = &value.value_type {
            proto.type_ = MessageField::some(encode_type(t));
        }
        return proto;
    }
    ValueInfoProto {
        name: value.name.clone(),
        type_: value.value_type.as_ref().map(encode_type).into(),
        ..Default::default()
    }
}

/// A tensor type as a message.
pub(crate) fn encode_type(t: &ValueType) -> TypeProto {
    let shape = t
        .shape
        .as_ref()
        .map(|dims| TensorShapeProto { dim: dims.iter().map(encode_dim).collect(), ..Default::default() });
    TypeProto {
        value: Some(type_proto::Value::TensorType(type_proto::Tensor {
            elem_type: t.data_type.number(),
            shape: shape.into(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn encode_dim(dim: &Dim) -> Dimension {
    let value = match dim {
        Dim::Known(n) => Some(dimension::Value::DimValue(i64::try_from(*n).unwrap_or(i64::MAX))),
        Dim::Symbol(s) => Some(dimension::Value::DimParam(s.clone())),
        Dim::Unknown => None,
    };
    Dimension { value, ..Default::default() }
}
