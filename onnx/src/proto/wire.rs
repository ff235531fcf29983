//! A walk over the wire format of a `ModelProto` before it is decoded.
//!
//! The decoder (`protobuf` 3.4.0, RUSTSEC-2024-0437) recurses without bound over group wire types in
//! unknown fields: 400 kB of start-group bytes overflow the stack. ONNX has no groups, so this walk
//! refuses them, along with lengths past the end, nesting too deep, and small files that stand for
//! enormous messages. It follows the message types of `onnx.proto`; the content of fields it does not
//! know is skipped, as the decoder skips it.

use crate::{Error, Limits, Result};
use onnx_protobuf as onnx;
use std::mem::size_of;

/// The message types of `onnx.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Opset,
    Entry,
    TrainingInfo,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Segment,
    SparseTensor,
    ValueInfo,
    Annotation,
    Type,
    TypeTensor,
    TypeSequence,
    TypeMap,
    TypeOptional,
    TypeSparse,
    Shape,
    Dimension,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Nested(Message),
    /// A string or bytes.
    Bytes,
    Varint,
    Fixed32,
    /// Repeated scalars, packed or one a tag.
    Varints,
    Fixed32s,
    Fixed64s,
}

impl Message {
    /// What field `number` holds; `None` for a field this version of `onnx.proto` lacks.
    fn field(self, number: u64) -> Option<Field> {
        use self::Message as M;
        use Field::*;
        Some(match (self, number) {
            (M::Model, 1 | 5) => Varint,
            (M::Model, 2..=4 | 6) => Bytes,
            (M::Model, 7) => Nested(M::Graph),
            (M::Model, 8) => Nested(M::Opset),
            (M::Model, 14) => Nested(M::Entry),
            (M::Model, 20) => Nested(M::TrainingInfo),
            (M::Model, 25) => Nested(M::Function),

            (M::Opset, 1) => Bytes,
            (M::Opset, 2) => Varint,

            (M::Entry, 1 | 2) => Bytes,

            (M::TrainingInfo, 1 | 2) => Nested(M::Graph),
            (M::TrainingInfo, 3 | 4) => Nested(M::Entry),

            (M::Function, 1 | 4..=6 | 8 | 10 | 13) => Bytes,
            (M::Function, 7) => Nested(M::Node),
            (M::Function, 9) => Nested(M::Opset),
            (M::Function, 11) => Nested(M::Attribute),
            (M::Function, 12) => Nested(M::ValueInfo),
            (M::Function, 14) => Nested(M::Entry),

            (M::Graph, 1) => Nested(M::Node),
            (M::Graph, 2 | 10) => Bytes,
            (M::Graph, 5) => Nested(M::Tensor),
            (M::Graph, 11..=13) => Nested(M::ValueInfo),
            (M::Graph, 14) => Nested(M::Annotation),
            (M::Graph, 15) => Nested(M::SparseTensor),
            (M::Graph, 16) => Nested(M::Entry),

            (M::Node, 1..=4 | 6..=8) => Bytes,
            (M::Node, 5) => Nested(M::Attribute),
            (M::Node, 9) => Nested(M::Entry),

            (M::Attribute, 1 | 4 | 9 | 13 | 21) => Bytes,
            (M::Attribute, 2) => Fixed32,
            (M::Attribute, 3 | 20) => Varint,
            (M::Attribute, 5 | 10) => Nested(M::Tensor),
            (M::Attribute, 6 | 11) => Nested(M::Graph),
            (M::Attribute, 7) => Fixed32s,
            (M::Attribute, 8) => Varints,
            (M::Attribute, 14 | 15) => Nested(M::Type),
            (M::Attribute, 22 | 23) => Nested(M::SparseTensor),

            (M::Tensor, 1 | 5 | 7 | 11) => Varints,
            (M::Tensor, 2 | 14) => Varint,
            (M::Tensor, 3) => Nested(M::Segment),
            (M::Tensor, 4) => Fixed32s,
            (M::Tensor, 6 | 8 | 9 | 12) => Bytes,
            (M::Tensor, 10) => Fixed64s,
            (M::Tensor, 13 | 16) => Nested(M::Entry),

            (M::Segment, 1 | 2) => Varint,

            (M::SparseTensor, 1 | 2) => Nested(M::Tensor),
            (M::SparseTensor, 3) => Varints,

            (M::ValueInfo, 1 | 3) => Bytes,
            (M::ValueInfo, 2) => Nested(M::Type),
            (M::ValueInfo, 4) => Nested(M::Entry),

            (M::Annotation, 1) => Bytes,
            (M::Annotation, 2) => Nested(M::Entry),

            (M::Type, 1) => Nested(M::TypeTensor),
            (M::Type, 4) => Nested(M::TypeSequence),
            (M::Type, 5) => Nested(M::TypeMap),
            (M::Type, 6) => Bytes,
            (M::Type, 8) => Nested(M::TypeSparse),
            (M::Type, 9) => Nested(M::TypeOptional),

            (M::TypeTensor | M::TypeSparse, 1) => Varint,
            (M::TypeTensor | M::TypeSparse, 2) => Nested(M::Shape),
            (M::TypeSequence | M::TypeOptional, 1) => Nested(M::Type),
            (M::TypeMap, 1) => Varint,
            (M::TypeMap, 2) => Nested(M::Type),

            (M::Shape, 1) => Nested(M::Dimension),
            (M::Dimension, 1) => Varint,
            (M::Dimension, 2 | 3) => Bytes,

            _ => return None,
        })
    }

    /// Bytes its decoded form takes, without what its fields point to: the message, and the typed form
    /// it is taken apart into, which may keep a message of its own for what it does not hold.
    fn size(self) -> usize {
        match self {
            Message::Model => size_of::<onnx::ModelProto>() + size_of::<crate::Model>(),
            Message::Opset => size_of::<onnx::OperatorSetIdProto>(),
            Message::Entry => size_of::<onnx::StringStringEntryProto>(),
            Message::TrainingInfo => size_of::<onnx::TrainingInfoProto>(),
            Message::Function => size_of::<onnx::FunctionProto>(),
            Message::Graph => size_of::<onnx::GraphProto>() + size_of::<crate::Graph>(),
            Message::Node => size_of::<onnx::NodeProto>() + size_of::<crate::Node>(),
            Message::Attribute => 2 * size_of::<onnx::AttributeProto>() + size_of::<crate::Attribute>(),
            Message::Tensor => 2 * size_of::<onnx::TensorProto>() + size_of::<crate::Tensor>(),
            Message::Segment => size_of::<onnx::tensor_proto::Segment>(),
            Message::SparseTensor => size_of::<onnx::SparseTensorProto>(),
            Message::ValueInfo => 2 * size_of::<onnx::ValueInfoProto>() + size_of::<crate::ValueInfo>(),
            Message::Annotation => size_of::<onnx::TensorAnnotation>(),
            Message::Type => size_of::<onnx::TypeProto>(),
            Message::TypeTensor => size_of::<onnx::type_proto::Tensor>(),
            Message::TypeSequence => size_of::<onnx::type_proto::Sequence>(),
            Message::TypeMap => size_of::<onnx::type_proto::Map>(),
            Message::TypeOptional => size_of::<onnx::type_proto::Optional>(),
            Message::TypeSparse => size_of::<onnx::type_proto::SparseTensor>(),
            Message::Shape => size_of::<onnx::TensorShapeProto>(),
            Message::Dimension => size_of::<onnx::tensor_shape_proto::Dimension>() + size_of::<crate::Dim>(),
        }
    }

    /// How often the bytes of a string of this message are held at once: the names of values stand in
    /// several tables while a graph is sorted, the data of a tensor in one place.
    fn copies(self) -> usize {
        match self {
            Message::Tensor | Message::Attribute => 1,
            _ => 4,
        }
    }
}

/// Bytes a field that the decoder does not know takes in its table of unknown fields.
const UNKNOWN_FIELD_BYTES: usize = 160;

/// Checks that `bytes` are a `ModelProto` the decoder can take within `limits`.
///
/// # Errors
/// [`Error::Malformed`] with the byte offset, or [`Error::Limit`].
pub(crate) fn check(bytes: &[u8], limits: &Limits) -> Result<()> {
    check_message(bytes, Message::Model, limits)
}

/// [`check`] for a `TensorProto` on its own.
pub(crate) fn check_tensor(bytes: &[u8], limits: &Limits) -> Result<()> {
    check_message(bytes, Message::Tensor, limits)
}

fn check_message(bytes: &[u8], message: Message, limits: &Limits) -> Result<()> {
    let found = bytes.len() as u64;
    if found > limits.file_bytes {
        return Err(Error::Limit { what: "size of the model in bytes".to_owned(), found, limit: limits.file_bytes });
    }
    let mut walk = Walk { bytes, limits, decoded: 0 };
    walk.message(message, 0, bytes.len(), 1)
}

struct Walk<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    /// Memory the decoder would have used so far.
    decoded: u64,
}

impl Walk<'_> {
    fn message(&mut self, message: Message, start: usize, end: usize, depth: u64) -> Result<()> {
        if depth > self.limits.depth {
            return Err(Error::Limit {
                what: format!("nesting of messages at byte {start}"),
                found: depth,
                limit: self.limits.depth,
            });
        }
        self.spend(message.size())?;
        let mut at = start;
        while at < end {
            let tag_at = at;
            let tag = self.varint(&mut at, end)?;
            let (number, wire_type) = (tag >> 3, tag & 7);
            if number == 0 || number >= 1 << 29 {
                return Err(malformed(tag_at, format!("field number {number}")));
            }
            let field = message.field(number);
            match wire_type {
                0 => {
                    self.varint(&mut at, end)?;
                }
                1 => at = self.skip(at, 8, end)?,
                2 => {
                    let length = self.varint(&mut at, end)?;
                    let body = at;
                    at = self.skip(at, length, end)?;
                    match field {
                        Some(Field::Nested(inner)) => self.message(inner, body, at, depth + 1)?,
                        Some(Field::Bytes) => {
                            let copies = message.copies();
                            self.spend((size_of::<String>() + (at - body)).saturating_mul(copies))?;
                        }
                        // A packed varint of one byte becomes an element of up to eight.
                        Some(Field::Varints) => {
                            let elements = self.bytes.get(body..at).map_or(0, count_varints);
                            self.spend(elements.saturating_mul(8))?;
                        }
                        Some(Field::Fixed32s | Field::Fixed64s) => self.spend(at - body)?,
                        Some(Field::Varint | Field::Fixed32) => {}
                        None => self.spend(UNKNOWN_FIELD_BYTES + (at - body))?,
                    }
                }
                5 => at = self.skip(at, 4, end)?,
                3 | 4 => return Err(malformed(tag_at, "a group, which ONNX does not use".to_owned())),
                other => return Err(malformed(tag_at, format!("wire type {other}"))),
            }
            if !fits(field, wire_type) {
                return Err(malformed(tag_at, format!("field {number} of {message:?} has wire type {wire_type}")));
            }
            if wire_type != 2 {
                self.spend(if field.is_none() { UNKNOWN_FIELD_BYTES } else { 8 })?;
            }
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.decoded = self.decoded.saturating_add(bytes as u64);
        if self.decoded > self.limits.decoded_bytes {
            return Err(Error::Limit {
                what: "memory of the decoded model in bytes".to_owned(),
                found: self.decoded,
                limit: self.limits.decoded_bytes,
            });
        }
        Ok(())
    }

    fn skip(&self, at: usize, length: u64, end: usize) -> Result<usize> {
        usize::try_from(length)
            .ok()
            .and_then(|n| at.checked_add(n))
            .filter(|next| *next <= end)
            .ok_or_else(|| malformed(at, format!("{length} bytes announced, {} left", end.saturating_sub(at))))
    }

    fn varint(&self, at: &mut usize, end: usize) -> Result<u64> {
        let start = *at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = match self.bytes.get(*at) {
                Some(byte) if *at < end => *byte,
                _ => return Err(malformed(start, "a number that is cut off".to_owned())),
            };
            *at += 1;
            // The tenth byte holds the topmost bit alone.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed(start, "a number of more than 64 bits".to_owned()))
    }
}

/// Whether a field of this kind may come with this wire type.
fn fits(field: Option<Field>, wire_type: u64) -> bool {
    match field {
        None => true,
        Some(Field::Nested(_) | Field::Bytes) => wire_type == 2,
        Some(Field::Varint) => wire_type == 0,
        Some(Field::Fixed32) => wire_type == 5,
        Some(Field::Varints) => wire_type == 0 || wire_type == 2,
        Some(Field::Fixed32s) => wire_type == 5 || wire_type == 2,
        Some(Field::Fixed64s) => wire_type == 1 || wire_type == 2,
    }
}

/// Varints in a packed field: each ends with a byte whose top bit is clear.
fn count_varints(packed: &[u8]) -> usize {
    packed.iter().filter(|byte| **byte & 0x80 == 0).count()
}

fn malformed(at: usize, what: String) -> Error {
    Error::Malformed { reason: format!("byte {at}: {what}") }
}
