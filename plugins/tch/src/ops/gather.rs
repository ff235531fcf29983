//! Elements picked by index.

use super::error::check_size;
use super::{Op, OpError, Site, input};
use tch::{Device, Kind, Tensor};

pub(super) const OPS: &[Op] = &[
    Op { name: "Compress", forward: compress },
    Op { name: "Gather", forward: gather },
    Op { name: "GatherElements", forward: gather_elements },
    Op { name: "GatherND", forward: gather_nd },
    Op { name: "OneHot", forward: one_hot },
];

/// Indices as int64 counted from the front; a negative one counts from behind.
pub(super) fn indices(tensor: &Tensor, size: i64) -> Result<Tensor, OpError> {
    let found = tensor.f_kind()?;
    if !matches!(found, Kind::Int64 | Kind::Int) {
        let expected = "int32 or int64".into();
        return Err(OpError::Input { name: "indices", expected, found: format!("{found:?}") });
    }
    let wide = tensor.f_to_kind(Kind::Int64)?;
    // On a GPU an index out of bounds trips an assertion that ends the use of the device, so they are checked on every
    // device before they are used.
    if wide.numel() > 0 {
        let low = wide.f_min()?.f_int64_value(&[])?;
        let high = wide.f_max()?.f_int64_value(&[])?;
        if low < -size || high >= size {
            let expected = format!("indices from -{size} to {}", size - 1).into();
            return Err(OpError::Input { name: "indices", expected, found: format!("{low} to {high}") });
        }
        if low < 0 {
            return Ok(wide.f_add_scalar(size)?.f_where_self(&wide.f_lt(0)?, &wide)?);
        }
    }
    Ok(wide)
}

/// [Gather](https://onnx.ai/onnx/operators/onnx__Gather.html).
fn gather(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let places = input::required(inputs, 1, "indices")?;
    let dims = input::rank(x, "data", 1..=usize::MAX)?;
    let axis = input::axis(site.int("axis")?.unwrap_or(0), dims.len())?;
    let at = input::at(axis);
    let places = indices(places, dims[at])?;
    let mut out = dims[..at].to_vec();
    out.extend(places.size());
    out.extend(&dims[at + 1..]);
    check_size(&out)?;
    Ok(vec![x.f_index_select(axis, &places.f_reshape([-1])?)?.f_reshape(&out)?])
}

/// [GatherElements](https://onnx.ai/onnx/operators/onnx__GatherElements.html).
fn gather_elements(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let places = input::required(inputs, 1, "indices")?;
    let dims = input::rank(x, "data", 1..=usize::MAX)?;
    let axis = input::axis(site.int("axis")?.unwrap_or(0), dims.len())?;
    check_elementwise(&dims, &places.size(), axis)?;
    let places = indices(places, dims[input::at(axis)])?;
    Ok(vec![x.f_gather(axis, &places, false)?])
}

/// Checks that indices have the rank of the data and, but for `axis`, no larger sizes.
pub(super) fn check_elementwise(dims: &[i64], places: &[i64], axis: i64) -> Result<(), OpError> {
    let fits = dims.len() == places.len()
        && dims.iter().zip(places).enumerate().all(|(i, (d, p))| i == input::at(axis) || p <= d);
    if fits {
        return Ok(());
    }
    let expected = format!("a shape within {dims:?} but for axis {axis}").into();
    Err(OpError::Input { name: "indices", expected, found: format!("{places:?}") })
}

/// Where the tuples along the last axis of `tuples` point in data of dims `dims`, counted over the axes they index
/// (`batch` axes in front apart).
///
/// Gives the flat places `[tuples]`, and the dims of what one tuple picks.
pub(super) fn flat_places(tuples: &Tensor, dims: &[i64], batch: usize) -> Result<(Tensor, Vec<i64>), OpError> {
    let shape = input::rank(tuples, "indices", 1..=usize::MAX)?;
    let depth = input::at(shape[shape.len() - 1]);
    let fits = batch < shape.len() && batch + depth <= dims.len() && shape[..batch] == dims[..batch] && depth >= 1;
    if !fits {
        return Err(OpError::Input {
            name: "indices",
            expected: format!("tuples of 1 to {} indices, {batch} batch axes alike", dims.len()).into(),
            found: format!("the shape {shape:?} against {dims:?}"),
        });
    }
    let mut flat: Option<Tensor> = None;
    for (i, &size) in dims[batch..batch + depth].iter().enumerate() {
        let along = indices(&tuples.f_select(-1, i as i64)?, size)?;
        flat = Some(match flat {
            None => along,
            Some(flat) => flat.f_mul_scalar(size)?.f_add(&along)?,
        });
    }
    let mut flat = flat.ok_or(OpError::MissingInput { index: 1, name: "indices" })?;
    if batch > 0 {
        let batches: i64 = dims[..batch].iter().product();
        let stride: i64 = dims[batch..batch + depth].iter().product();
        let offsets = Tensor::f_arange(batches, (Kind::Int64, tuples.device()))?.f_mul_scalar(stride)?;
        flat = flat.f_reshape([batches, -1])?.f_add(&offsets.f_reshape([-1, 1])?)?;
    }
    Ok((flat.f_reshape([-1])?, dims[batch + depth..].to_vec()))
}

/// [GatherND](https://onnx.ai/onnx/operators/onnx__GatherND.html): `batch_dims` since 12.
fn gather_nd(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let tuples = input::required(inputs, 1, "indices")?;
    let dims = input::rank(x, "data", 1..=usize::MAX)?;
    let batch = site.int("batch_dims")?.unwrap_or(0);
    let batch = usize::try_from(batch).map_err(|_| OpError::Attribute {
        name: "batch_dims",
        expected: "0 or more".into(),
        found: batch.to_string(),
    })?;
    // No tuple picks nothing: regions of a level of a pyramid that no proposal is for.
    let none = tuples.size().last() == Some(&0) || (batch > 0 && tuples.numel() == 0);
    if dims.contains(&0) || none {
        return Err(OpError::Input {
            name: "data",
            expected: "elements to pick, and tuples that pick them".into(),
            found: format!("the shapes {dims:?} and {:?}", tuples.size()),
        });
    }
    let (places, picked) = flat_places(tuples, &dims, batch)?;
    let mut out = tuples.size();
    out.pop();
    out.extend(&picked);
    check_size(&out)?;
    let rows = x.f_reshape([-1, picked.iter().product()])?;
    Ok(vec![rows.f_index_select(0, &places)?.f_reshape(&out)?])
}

/// [Compress](https://onnx.ai/onnx/operators/onnx__Compress.html): without `axis`, of the flattened input.
fn compress(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let condition = input::required(inputs, 1, "condition")?;
    input::rank(condition, "condition", 1..=1)?;
    let (x, axis) = match site.int("axis")? {
        Some(axis) => (x.shallow_clone(), input::axis(axis, x.dim())?),
        None => (x.f_reshape([-1])?, 0),
    };
    let places = condition.f_nonzero()?.f_reshape([-1])?;
    let places = indices(&places, x.size()[input::at(axis)])?;
    Ok(vec![x.f_index_select(axis, &places)?])
}

/// [OneHot](https://onnx.ai/onnx/operators/onnx__OneHot.html): an index outside [-depth, depth) lights nothing.
fn one_hot(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let places = input::required(inputs, 0, "indices")?;
    let depth = input::required(inputs, 1, "depth")?.f_to_kind(Kind::Int64)?;
    let depth = input::int(&depth, "depth")?;
    let values = input::required(inputs, 2, "values")?;
    if values.size() != [2] {
        let found = format!("the shape {:?}", values.size());
        return Err(OpError::Input { name: "values", expected: "two values".into(), found });
    }
    let rank = places.dim();
    let axis = input::axis(site.int("axis")?.unwrap_or(-1), rank + 1)?;
    let mut dims = places.size();
    dims.insert(input::at(axis), depth);
    check_size(&dims)?;
    let mut shape = vec![1; rank + 1];
    shape[input::at(axis)] = depth;
    let classes = Tensor::f_arange(depth, (Kind::Int64, places.device()))?.f_reshape(&shape)?;
    let places = places.f_to_kind(Kind::Int64)?;
    let places = places.f_add_scalar(depth)?.f_where_self(&places.f_lt(0)?, &places)?;
    let lit = places.f_unsqueeze(axis)?.f_eq_tensor(&classes)?;
    Ok(vec![values.f_select(0, 1)?.f_where_self(&lit, &values.f_select(0, 0)?)?])
}

/// Values of an int64 tensor on the host.
pub(super) fn host(tensor: &Tensor) -> Result<Vec<i64>, OpError> {
    Ok(Vec::<i64>::try_from(tensor.f_to_device(Device::Cpu)?.f_reshape([-1])?)?)
}
