//! ONNX tensors as libtorch tensors, and the operators that make tensors out of nothing.

use super::cast::type_attribute;
use super::error::check_size;
use super::{Op, OpError, Site, input};
use isal_onnx::{DataType, Tensor as OnnxTensor};
use tch::{Device, Kind, Tensor};

pub(super) const OPS: &[Op] = &[
    Op { name: "Constant", forward: constant_node },
    Op { name: "ConstantOfShape", forward: constant_of_shape },
    Op { name: "EyeLike", forward: eye_like },
    Op { name: "Range", forward: range },
];

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

/// [ConstantOfShape](https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html): a float 0 unless `value` says else.
fn constant_of_shape(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let dims = input::ints(input::required(inputs, 0, "input")?, "input")?;
    check_size(&dims)?;
    let Some(value) = site.tensor("value")? else {
        return Ok(vec![Tensor::f_zeros(&dims, (site.kind, site.device))?]);
    };
    if value.len() != 1 {
        let found = format!("the shape {:?}", value.dims());
        return Err(OpError::Attribute { name: "value", expected: "one element".into(), found });
    }
    let value = constant(value, site.kind, site.device)?.f_reshape(&[] as &[i64])?;
    Ok(vec![value.f_expand(&dims, false)?.f_contiguous()?])
}

/// [EyeLike](https://onnx.ai/onnx/operators/onnx__EyeLike.html): ones on the diagonal `k` of a matrix.
fn eye_like(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = input::rank(x, "input", 2..=2)?;
    let kind = type_attribute(site, "dtype")?.unwrap_or(x.f_kind()?);
    let rows = Tensor::f_arange(dims[0], (Kind::Int64, x.device()))?.f_reshape([-1, 1])?;
    let columns = Tensor::f_arange(dims[1], (Kind::Int64, x.device()))?;
    // Past either corner nothing is on the diagonal.
    let k = site.int("k")?.unwrap_or(0).clamp(-dims[0], dims[1]);
    Ok(vec![columns.f_sub(&rows)?.f_eq(k)?.f_to_kind(kind)?])
}

/// [Range](https://onnx.ai/onnx/operators/onnx__Range.html): `start + i delta`, short of `limit`.
///
/// The three numbers are taken as they are: no derivative flows through them.
fn range(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let start = input::required(inputs, 0, "start")?;
    let limit = input::required(inputs, 1, "limit")?;
    let delta = input::required(inputs, 2, "delta")?;
    let (kind, device) = (start.f_kind()?, start.device());
    let refused = |found: String| OpError::Input { name: "delta", expected: "a step other than 0".into(), found };
    if input::is_float(start)? {
        let (first, last, step) =
            (input::float(start, "start")?, input::float(limit, "limit")?, input::float(delta, "delta")?);
        let count = ((last - first) / step).ceil().max(0.0);
        if !count.is_finite() {
            return Err(refused(format!("{step} from {first} to {last}")));
        }
        let count = count as i64;
        check_size(&[count])?;
        let steps = Tensor::f_arange(count, (kind, device))?;
        return Ok(vec![steps.f_mul_scalar(step)?.f_add_scalar(first)?]);
    }
    let (first, last, step) = (input::int(start, "start")?, input::int(limit, "limit")?, input::int(delta, "delta")?);
    if step == 0 {
        return Err(refused("0".to_owned()));
    }
    // In 128 bits no difference overflows.
    let (span, wide) = (i128::from(last) - i128::from(first), i128::from(step));
    let count = (span / wide + i128::from(span % wide != 0)).max(0) * i128::from((span > 0) == (wide > 0));
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    check_size(&[count])?;
    let steps = Tensor::f_arange(count, (Kind::Int64, device))?;
    Ok(vec![steps.f_mul_scalar(step)?.f_add_scalar(first)?.f_to_kind(kind)?])
}
