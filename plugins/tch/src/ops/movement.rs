//! Operators that move elements about and leave their values alone.

use super::error::check_size;
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "Concat", forward: concat },
    Op { name: "Flatten", forward: flatten },
    Op { name: "Reshape", forward: reshape },
];

/// [Concat](https://onnx.ai/onnx/operators/onnx__Concat.html); negative axes since 11.
fn concat(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let first = input::required(inputs, 0, "inputs")?.size();
    let axis = input::axis(site.required("axis", site.int("axis")?)?, first.len())?;
    let mut total = 0i64;
    let mut tensors = Vec::with_capacity(inputs.len());
    for i in 0..inputs.len() {
        let tensor = input::required(inputs, i, "inputs")?;
        let dims = tensor.size();
        let fits = dims.len() == first.len()
            && dims.iter().zip(&first).enumerate().all(|(d, (a, b))| d == input::at(axis) || a == b);
        if !fits {
            let expected = format!("the shape {first:?} but for axis {axis}").into();
            return Err(OpError::Input { name: "inputs", expected, found: format!("{dims:?} in place {i}") });
        }
        total = total.saturating_add(dims[input::at(axis)]);
        tensors.push(tensor);
    }
    let mut dims = first;
    dims[input::at(axis)] = total;
    check_size(&dims)?;
    Ok(vec![Tensor::f_cat(&tensors, axis)?])
}

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
