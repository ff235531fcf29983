//! `TensorProto`: every element type in every encoding it may come in.

use crate::{DataType, Error, Result, Tensor};
use bytemuck::cast_slice;
use onnx_protobuf::TensorProto;
use protobuf::MessageField;

/// Takes the data out of `proto`; what is left holds no data, type or dims.
///
/// External data must have been brought in before (`file::external`).
///
/// # Errors
/// [`Error::Tensor`] or [`Error::TensorSize`].
pub(crate) fn decode(proto: &mut TensorProto, name: &str) -> Result<Tensor> {
    let wrong = |reason: String| Error::Tensor { name: name.to_owned(), reason };
    let number = std::mem::take(&mut proto.data_type);
    let data_type = DataType::from_number(number).ok_or_else(|| wrong(format!("element type {number} is unknown")))?;
    if proto.segment.is_some() {
        return Err(wrong("it is cut into segments, which no runtime reads".to_owned()));
    }
    let dims = dims(&proto.dims, name)?;
    proto.dims = Vec::new();

    let float = std::mem::take(&mut proto.float_data);
    let int32 = std::mem::take(&mut proto.int32_data);
    let string = std::mem::take(&mut proto.string_data);
    let int64 = std::mem::take(&mut proto.int64_data);
    let double = std::mem::take(&mut proto.double_data);
    let uint64 = std::mem::take(&mut proto.uint64_data);
    let raw = std::mem::take(&mut proto.raw_data);

    let fields = [
        ("raw_data", raw.is_empty()),
        ("float_data", float.is_empty()),
        ("int32_data", int32.is_empty()),
        ("string_data", string.is_empty()),
        ("int64_data", int64.is_empty()),
        ("double_data", double.is_empty()),
        ("uint64_data", uint64.is_empty()),
    ];
    let mut used = fields.iter().filter(|(_, empty)| !empty).map(|(field, _)| *field);
    let field = used.next();
    if let (Some(first), Some(second)) = (field, used.next()) {
        return Err(wrong(format!("data in `{first}` and in `{second}`")));
    }
    let typed = typed_field(data_type);
    match field {
        // Without data only a tensor of no elements is right; `from_bytes` checks that.
        None if data_type == DataType::String => Tensor::strings(name, dims, Vec::new()),
        None => Tensor::from_bytes(name, dims, data_type, Vec::new()),
        Some("raw_data") => Tensor::from_bytes(name, dims, data_type, raw),
        Some(other) if other != typed => Err(wrong(format!("{data_type:?} data in `{other}`, expected `{typed}`"))),
        Some("float_data") => Tensor::from_bytes(name, dims, data_type, cast_slice::<f32, u8>(&float)),
        Some("double_data") => Tensor::from_bytes(name, dims, data_type, cast_slice::<f64, u8>(&double)),
        Some("int64_data") => Tensor::from_bytes(name, dims, data_type, cast_slice::<i64, u8>(&int64)),
        Some("string_data") => Tensor::strings(name, dims, string),
        Some("uint64_data") if data_type == DataType::Uint32 => {
            let narrow: Option<Vec<u32>> = uint64.iter().map(|v| u32::try_from(*v).ok()).collect();
            let narrow = narrow.ok_or_else(|| wrong("a value does not fit Uint32".to_owned()))?;
            Tensor::from_bytes(name, dims, data_type, cast_slice::<u32, u8>(&narrow))
        }
        Some("uint64_data") => Tensor::from_bytes(name, dims, data_type, cast_slice::<u64, u8>(&uint64)),
        Some(_) => Tensor::from_bytes(name, dims, data_type, narrow_int32(&int32, data_type, name)?),
    }
}

/// The typed field that holds elements of this type.
fn typed_field(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Float | DataType::Complex64 => "float_data",
        DataType::Double | DataType::Complex128 => "double_data",
        DataType::Int64 => "int64_data",
        DataType::Uint32 | DataType::Uint64 => "uint64_data",
        DataType::String => "string_data",
        _ => "int32_data",
    }
}

/// Elements of up to 32 bits that each take an int32: signed ones by value, the others (halves, bytes,
/// pairs of 4-bit elements) by bit pattern.
fn narrow_int32(values: &[i32], data_type: DataType, name: &str) -> Result<Vec<u8>> {
    let misfit = |v: i32| Error::Tensor { name: name.to_owned(), reason: format!("{v} does not fit {data_type:?}") };
    match data_type.bits() {
        32 => Ok(cast_slice(values).to_vec()),
        16 => {
            let mut bytes = Vec::with_capacity(values.len() * 2);
            for v in values {
                let bits = u16::try_from(*v).or_else(|_| i16::try_from(*v).map(|v| v as u16));
                bytes.extend(bits.map_err(|_| misfit(*v))?.to_le_bytes());
            }
            Ok(bytes)
        }
        _ => values
            .iter()
            .map(|v| u8::try_from(*v).or_else(|_| i8::try_from(*v).map(|v| v as u8)).map_err(|_| misfit(*v)))
            .collect(),
    }
}

/// Dims as sizes.
///
/// # Errors
/// [`Error::Tensor`] for a negative one, or for a product that overflows.
pub(crate) fn dims(dims: &[i64], name: &str) -> Result<Vec<usize>> {
    let sizes: Option<Vec<usize>> = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    sizes
        .filter(|sizes| sizes.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).is_some())
        .ok_or_else(|| Error::Tensor { name: name.to_owned(), reason: format!("dims {dims:?} are not sizes") })
}

/// Bytes that the data of `proto` takes, by its dims and type.
///
/// # Errors
/// [`Error::Tensor`] when they make no sense, or for strings.
pub(crate) fn byte_len(proto: &TensorProto, name: &str) -> Result<usize> {
    let wrong = |reason: String| Error::Tensor { name: name.to_owned(), reason };
    let data_type = DataType::from_number(proto.data_type)
        .filter(|t| *t != DataType::String)
        .ok_or_else(|| wrong(format!("element type {} has no raw form", proto.data_type)))?;
    let elements = dims(&proto.dims, name)?.iter().product();
    data_type.byte_len(elements).ok_or_else(|| wrong(format!("dims {:?} overflow", proto.dims)))
}

/// Puts `tensor` into `rest`, which holds what a tensor has beside type, dims and data.
pub(crate) fn encode(tensor: &Tensor, name: &str, rest: Option<&TensorProto>) -> TensorProto {
    let mut proto = encode_header(tensor, name, rest);
    if tensor.data_type() == DataType::String {
        proto.string_data = tensor.as_strings().to_vec();
    } else {
        proto.raw_data = tensor.bytes().to_vec();
    }
    proto
}

/// [`encode`] without the data.
pub(crate) fn encode_header(tensor: &Tensor, name: &str, rest: Option<&TensorProto>) -> TensorProto {
    let mut proto = rest.cloned().unwrap_or_default();
    proto.name = name.to_owned();
    proto.data_type = tensor.data_type().number();
    // Sizes come from `i64` dims or from memory, so they fit.
    proto.dims = tensor.dims().iter().map(|d| i64::try_from(*d).unwrap_or(i64::MAX)).collect();
    proto.segment = MessageField::none();
    proto
}
