//! Shapes: asked for, or changed while the elements stay in their order or are permuted as blocks.

use super::broadcast::shapes;
use super::error::check_size;
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "DepthToSpace", forward: depth_to_space },
    Op { name: "Expand", forward: expand },
    Op { name: "Flatten", forward: flatten },
    Op { name: "Reshape", forward: reshape },
    Op { name: "Shape", forward: shape },
    Op { name: "Size", forward: size },
    Op { name: "SpaceToDepth", forward: space_to_depth },
    Op { name: "Squeeze", forward: squeeze },
    Op { name: "Tile", forward: tile },
    Op { name: "Transpose", forward: transpose },
    Op { name: "Unsqueeze", forward: unsqueeze },
];

/// [Flatten](https://onnx.ai/onnx/operators/onnx__Flatten.html): two axes, split before `axis`.
fn flatten(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = x.size();
    let axis = site.int("axis")?.unwrap_or(1);
    // One past the last axis is allowed.
    let split = if axis == dims.len() as i64 { dims.len() } else { input::at(input::axis(axis, dims.len())?) };
    let rows: i64 = dims[..split].iter().product();
    let columns: i64 = dims[split..].iter().product();
    Ok(vec![x.f_reshape([rows, columns])?])
}

/// [Reshape](https://onnx.ai/onnx/operators/onnx__Reshape.html): a 0 copies the size, unless `allowzero` (since 14).
fn reshape(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let target = input::ints(input::required(inputs, 1, "shape")?, "shape")?;
    let allow_zero = site.flag("allowzero", false)?;
    let dims = x.size();
    let refused = || OpError::Input {
        name: "shape",
        expected: format!("a shape for the elements of {dims:?}").into(),
        found: format!("{target:?}"),
    };
    let mut out = Vec::with_capacity(target.len());
    for (i, &size) in target.iter().enumerate() {
        out.push(match size {
            0 if !allow_zero => *dims.get(i).ok_or_else(refused)?,
            size if size >= -1 => size,
            _ => return Err(refused()),
        });
    }
    let unknown: Vec<usize> = (0..out.len()).filter(|i| out[*i] == -1).collect();
    let elements: i64 = dims.iter().product();
    let known = out.iter().filter(|d| **d != -1).try_fold(1i64, |n, d| n.checked_mul(*d)).ok_or_else(refused)?;
    match unknown.as_slice() {
        [] if known == elements => {}
        [i] if known > 0 && elements % known == 0 => out[*i] = elements / known,
        _ => return Err(refused()),
    }
    check_size(&out)?;
    Ok(vec![x.f_reshape(&out)?])
}

/// [Shape](https://onnx.ai/onnx/operators/onnx__Shape.html): `start` and `end` since 15.
fn shape(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let dims = input::required(inputs, 0, "data")?.size();
    let rank = dims.len() as i64;
    let place = |v: i64| input::at(if v < 0 { v.saturating_add(rank) } else { v }.clamp(0, rank));
    let start = place(site.int("start")?.unwrap_or(0));
    let end = place(site.int("end")?.unwrap_or(rank));
    Ok(vec![site.ints_tensor(dims.get(start..end).unwrap_or_default(), &[-1])?])
}

fn size(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let elements = input::required(inputs, 0, "data")?.size().iter().product();
    Ok(vec![site.ints_tensor(&[elements], &[])?])
}

/// The attribute `axes` before opset 13, the second input from there on.
fn axes_of(site: &Site, inputs: &[Option<Tensor>]) -> Result<Option<Vec<i64>>, OpError> {
    if site.opset < 13 {
        return Ok(site.ints("axes")?.map(<[i64]>::to_vec));
    }
    input::optional(inputs, 1).map(|axes| input::ints(axes, "axes")).transpose()
}

/// [Squeeze](https://onnx.ai/onnx/operators/onnx__Squeeze.html): without axes, every axis of size 1 goes.
fn squeeze(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let dims = x.size();
    let axes = match axes_of(site, inputs)? {
        Some(axes) => input::axes(&axes, dims.len())?,
        None => (0..dims.len() as i64).filter(|a| dims[input::at(*a)] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|a| dims[input::at(**a)] != 1) {
        let expected = format!("size 1 along axis {axis}").into();
        return Err(OpError::Input { name: "data", expected, found: format!("the shape {dims:?}") });
    }
    let kept: Vec<i64> =
        dims.iter().enumerate().filter(|(i, _)| !axes.contains(&(*i as i64))).map(|(_, d)| *d).collect();
    Ok(vec![x.f_reshape(&kept)?])
}

/// [Unsqueeze](https://onnx.ai/onnx/operators/onnx__Unsqueeze.html): the axes count in the result.
fn unsqueeze(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let axes = site.required("axes", axes_of(site, inputs)?)?;
    let dims = x.size();
    let rank = dims.len() + axes.len();
    let axes = input::axes(&axes, rank)?;
    let mut rest = dims.iter();
    let out: Vec<i64> =
        (0..rank as i64).map(|i| if axes.contains(&i) { 1 } else { rest.next().copied().unwrap_or(1) }).collect();
    Ok(vec![x.f_reshape(&out)?])
}

/// [Transpose](https://onnx.ai/onnx/operators/onnx__Transpose.html): without `perm` the axes are reversed.
fn transpose(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let rank = x.dim();
    let perm = match site.ints("perm")? {
        None => (0..rank as i64).rev().collect(),
        Some(perm) if perm.len() == rank => input::axes(perm, rank)?,
        Some(perm) => {
            let expected = format!("{rank} axes").into();
            return Err(OpError::Attribute { name: "perm", expected, found: format!("{perm:?}") });
        }
    };
    Ok(vec![x.f_permute(&perm)?])
}

/// [Expand](https://onnx.ai/onnx/operators/onnx__Expand.html): a broadcast both ways, so the input may win over a 1.
fn expand(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let target = input::ints(input::required(inputs, 1, "shape")?, "shape")?;
    check_size(&target)?;
    let out = shapes(&x.size(), &target)?;
    Ok(vec![x.f_expand(&out, false)?])
}

/// [Tile](https://onnx.ai/onnx/operators/onnx__Tile.html).
fn tile(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let repeats = input::ints(input::required(inputs, 1, "repeats")?, "repeats")?;
    let dims = x.size();
    if repeats.len() != dims.len() || repeats.iter().any(|r| *r < 0) {
        let expected = format!("{} numbers, 0 or more", dims.len()).into();
        return Err(OpError::Input { name: "repeats", expected, found: format!("{repeats:?}") });
    }
    check_size(&dims.iter().zip(&repeats).map(|(d, r)| d.saturating_mul(*r)).collect::<Vec<_>>())?;
    Ok(vec![x.f_repeat(&repeats)?])
}

/// The attribute `blocksize`, which divides each of `sizes`.
fn block(site: &Site, sizes: &[i64], by: impl Fn(i64) -> Option<i64>) -> Result<i64, OpError> {
    let block = site.required("blocksize", site.int("blocksize")?)?;
    match by(block) {
        Some(divisor) if block > 0 && sizes.iter().all(|s| s % divisor == 0) => Ok(block),
        _ => Err(OpError::Attribute {
            name: "blocksize",
            expected: format!("a divisor of the sizes {sizes:?}, squared for channels").into(),
            found: block.to_string(),
        }),
    }
}

/// [DepthToSpace](https://onnx.ai/onnx/operators/onnx__DepthToSpace.html): `mode` since 11.
fn depth_to_space(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = input::rank(x, "input", 4..=4)?;
    let b = block(site, &dims[1..2], |b| b.checked_mul(b))?;
    let (n, c, h, w) = (dims[0], dims[1] / (b * b), dims[2], dims[3]);
    let blocks = match site.string("mode")?.unwrap_or("DCR") {
        "DCR" => x.f_reshape([n, b, b, c, h, w])?.f_permute([0, 3, 4, 1, 5, 2])?,
        "CRD" => x.f_reshape([n, c, b, b, h, w])?.f_permute([0, 1, 4, 2, 5, 3])?,
        found => {
            let found = format!("`{found}`");
            return Err(OpError::Attribute { name: "mode", expected: "`DCR` or `CRD`".into(), found });
        }
    };
    Ok(vec![blocks.f_reshape([n, c, h * b, w * b])?])
}

fn space_to_depth(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = input::rank(x, "input", 4..=4)?;
    let b = block(site, &dims[2..], Some)?;
    let (n, c, h, w) = (dims[0], dims[1], dims[2] / b, dims[3] / b);
    let channels = b.checked_mul(b).and_then(|bb| bb.checked_mul(c)).unwrap_or(i64::MAX);
    check_size(&[n, channels, h, w])?;
    let blocks = x.f_reshape([n, c, h, b, w, b])?.f_permute([0, 3, 5, 1, 2, 4])?;
    Ok(vec![blocks.f_reshape([n, channels, h, w])?])
}
