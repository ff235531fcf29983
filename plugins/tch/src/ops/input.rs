//! Inputs of a forward, checked: presence, rank, and the values of small integer tensors.

use super::OpError;
use tch::{Device, Kind, Tensor};

/// Input `index`, which the operator cannot do without.
pub(super) fn required<'a>(
    inputs: &'a [Option<Tensor>],
    index: usize,
    name: &'static str,
) -> Result<&'a Tensor, OpError> {
    optional(inputs, index).ok_or(OpError::MissingInput { index, name })
}

/// Input `index`, when it is there.
pub(super) fn optional(inputs: &[Option<Tensor>], index: usize) -> Option<&Tensor> {
    inputs.get(index).and_then(Option::as_ref)
}

/// The dims of a tensor that must have at least `least` and at most `most` axes.
pub(super) fn rank(
    tensor: &Tensor,
    name: &'static str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Vec<i64>, OpError> {
    let dims = tensor.size();
    if range.contains(&dims.len()) {
        return Ok(dims);
    }
    let expected = match (*range.start(), *range.end()) {
        (a, b) if a == b => format!("{a} axes"),
        (a, usize::MAX) => format!("{a} or more axes"),
        (a, b) => format!("{a} to {b} axes"),
    };
    Err(OpError::Input { name, expected: expected.into(), found: format!("the shape {dims:?}") })
}

/// The values of an integer tensor with at most one axis: a shape, axes, repeats.
pub(super) fn ints(tensor: &Tensor, name: &'static str) -> Result<Vec<i64>, OpError> {
    rank(tensor, name, 0..=1)?;
    if !matches!(tensor.f_kind()?, Kind::Int64 | Kind::Int | Kind::Int16 | Kind::Int8 | Kind::Uint8) {
        let found = format!("{:?}", tensor.f_kind()?);
        return Err(OpError::Input { name, expected: "integers".into(), found });
    }
    Ok(Vec::<i64>::try_from(tensor.f_to_device(Device::Cpu)?.f_reshape([-1])?)?)
}

/// An axis counted from the front; a negative one counts from behind.
pub(super) fn axis(axis: i64, rank: usize) -> Result<i64, OpError> {
    let n = i64::try_from(rank).unwrap_or(i64::MAX);
    if (-n..n).contains(&axis) {
        return Ok(if axis < 0 { axis + n } else { axis });
    }
    Err(OpError::Attribute { name: "axis", expected: format!("-{n} to {}", n - 1).into(), found: axis.to_string() })
}

/// Axes counted from the front, none of them twice.
pub(super) fn axes(axes: &[i64], rank: usize) -> Result<Vec<i64>, OpError> {
    let mut out = Vec::with_capacity(axes.len());
    for a in axes {
        let a = axis(*a, rank)?;
        if out.contains(&a) {
            let found = format!("{axes:?}");
            return Err(OpError::Attribute { name: "axes", expected: "each axis once".into(), found });
        }
        out.push(a);
    }
    Ok(out)
}

/// An axis as an index; it was checked by [`axis`] before.
pub(super) fn at(axis: i64) -> usize {
    usize::try_from(axis).unwrap_or(0)
}

/// The values of a float tensor with at most one axis (scales, a region), as they are at this point: no derivative
/// flows through them.
pub(super) fn floats(tensor: &Tensor, name: &'static str) -> Result<Vec<f64>, OpError> {
    rank(tensor, name, 0..=1)?;
    Ok(Vec::<f64>::try_from(tensor.f_detach()?.f_to_device(Device::Cpu)?.f_reshape([-1])?)?)
}

/// The single value of an integer tensor.
pub(super) fn int(tensor: &Tensor, name: &'static str) -> Result<i64, OpError> {
    match ints(tensor, name)?.as_slice() {
        [value] => Ok(*value),
        values => Err(OpError::Input { name, expected: "one value".into(), found: format!("{values:?}") }),
    }
}

/// The single value of a tensor of any number kind.
pub(super) fn float(tensor: &Tensor, name: &'static str) -> Result<f64, OpError> {
    match floats(tensor, name)?.as_slice() {
        [value] => Ok(*value),
        values => Err(OpError::Input { name, expected: "one value".into(), found: format!("{values:?}") }),
    }
}

/// Whether the kind is a float.
pub(super) fn is_float(tensor: &Tensor) -> Result<bool, OpError> {
    Ok(matches!(tensor.f_kind()?, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16))
}

/// Checks that two inputs have one element kind: ONNX converts none by itself, and libtorch would.
pub(super) fn same_kind(a: &Tensor, b: &Tensor, name: &'static str) -> Result<(), OpError> {
    let (expected, found) = (a.f_kind()?, b.f_kind()?);
    if expected == found {
        return Ok(());
    }
    Err(OpError::Input { name, expected: format!("{expected:?}, as the first").into(), found: format!("{found:?}") })
}

/// Checks that an input is a float, where libtorch would panic or convert.
pub(super) fn check_float(tensor: &Tensor, name: &'static str) -> Result<(), OpError> {
    if is_float(tensor)? {
        return Ok(());
    }
    Err(OpError::Input { name, expected: "floats".into(), found: format!("{:?}", tensor.f_kind()?) })
}
