//! ONNX tensors as libtorch tensors, and the operators that make tensors out of nothing.

use super::error::check_size;
use super::{Op, OpError, Site};
use isal_onnx::{DataType, Tensor as OnnxTensor};
use tch::{Device, Kind, Tensor};

pub(super) const OPS: &[Op] = &[Op { name: "Constant", forward: constant_node }];

/// The libtorch tensor of an ONNX tensor, on `device`.
///
/// Float tensors are cast to `kind`; others keep their kind, except that libtorch has no arithmetic for unsigned
/// integers past 8 bits: those become the next wider signed kind (uint64 becomes int64, in two's complement).
///
/// # Errors
/// [`OpError::DataType`] for strings, complex numbers, 4-bit and 8-bit floats.
pub fn constant(tensor: &OnnxTensor, kind: Kind, device: Device) -> Result<Tensor, OpError> {
    let dims: Vec<i64> = tensor.dims().iter().map(|d| i64::try_from(*d).unwrap_or(i64::MAX)).collect();
    check_size(&dims)?;
    let native = |kind| Tensor::f_from_data_size(tensor.bytes(), &dims, kind);
    let out = match tensor.data_type() {
        DataType::Float => native(Kind::Float)?.f_to_kind(kind)?,
        DataType::Double => native(Kind::Double)?.f_to_kind(kind)?,
        DataType::Float16 => native(Kind::Half)?.f_to_kind(kind)?,
        DataType::Bfloat16 => native(Kind::BFloat16)?.f_to_kind(kind)?,
        DataType::Int8 => native(Kind::Int8)?,
        DataType::Int16 => native(Kind::Int16)?,
        DataType::Int32 => native(Kind::Int)?,
        DataType::Int64 | DataType::Uint64 => native(Kind::Int64)?,
        DataType::Uint8 => native(Kind::Uint8)?,
        DataType::Bool => native(Kind::Uint8)?.f_ne(0)?,
        DataType::Uint16 => {
            let wide: Vec<i32> = tensor.to_vec::<u16>().unwrap_or_default().into_iter().map(i32::from).collect();
            Tensor::f_from_slice(&wide)?.f_reshape(&dims)?
        }
        DataType::Uint32 => {
            let wide: Vec<i64> = tensor.to_vec::<u32>().unwrap_or_default().into_iter().map(i64::from).collect();
            Tensor::f_from_slice(&wide)?.f_reshape(&dims)?
        }
        data_type => return Err(OpError::DataType { data_type }),
    };
    Ok(out.f_to_device(device)?)
}

/// [Constant](https://onnx.ai/onnx/operators/onnx__Constant.html); before opset 12 only `value`.
fn constant_node(site: &Site, _: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    if let Some(tensor) = site.tensor("value")? {
        return Ok(vec![constant(tensor, site.kind, site.device)?]);
    }
    if let Some(v) = site.float("value_float")? {
        return Ok(vec![site.floats_tensor(&[v], &[])?]);
    }
    if let Some(v) = site.floats("value_floats")? {
        let wide: Vec<f64> = v.iter().copied().map(f64::from).collect();
        return Ok(vec![site.floats_tensor(&wide, &[-1])?]);
    }
    if let Some(v) = site.int("value_int")? {
        return Ok(vec![site.ints_tensor(&[v], &[])?]);
    }
    if let Some(v) = site.ints("value_ints")? {
        return Ok(vec![site.ints_tensor(v, &[-1])?]);
    }
    for name in ["sparse_value", "value_string", "value_strings"] {
        if site.node.attributes.contains_key(name) {
            return Err(OpError::Unsupported { feature: "a constant of this form", found: name.to_owned() });
        }
    }
    Err(OpError::MissingAttribute { name: "value" })
}
