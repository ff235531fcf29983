//! Operators that work element by element.

use super::error::check_size;
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "Add", forward: |_, x| binary(x, |a, b| Ok(a.f_add(b)?)) },
    Op { name: "Clip", forward: clip },
    Op { name: "Identity", forward: |_, x| Ok(vec![input::required(x, 0, "input")?.shallow_clone()]) },
    Op { name: "Mul", forward: |_, x| binary(x, |a, b| Ok(a.f_mul(b)?)) },
    Op { name: "Relu", forward: |_, x| unary(x, |a| Ok(a.f_relu()?)) },
];

fn unary(inputs: &[Option<Tensor>], f: impl Fn(&Tensor) -> Result<Tensor, OpError>) -> Result<Vec<Tensor>, OpError> {
    Ok(vec![f(input::required(inputs, 0, "X")?)?])
}

/// The dims that `a` and `b` broadcast to.
pub(super) fn broadcast(a: &[i64], b: &[i64]) -> Result<Vec<i64>, OpError> {
    let rank = a.len().max(b.len());
    let at = |dims: &[i64], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let mut out = Vec::with_capacity(rank);
    for i in 0..rank {
        out.push(match (at(a, i), at(b, i)) {
            (1, n) | (n, 1) => n,
            (m, n) if m == n => n,
            _ => {
                return Err(OpError::Input {
                    name: "B",
                    expected: format!("a shape that broadcasts with {a:?}").into(),
                    found: format!("{b:?}"),
                });
            }
        });
    }
    check_size(&out)?;
    Ok(out)
}

fn binary(
    inputs: &[Option<Tensor>],
    f: impl Fn(&Tensor, &Tensor) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let a = input::required(inputs, 0, "A")?;
    let b = input::required(inputs, 1, "B")?;
    broadcast(&a.size(), &b.size())?;
    Ok(vec![f(a, b)?])
}

/// [Clip](https://onnx.ai/onnx/operators/onnx__Clip.html): the bounds are attributes before opset 11, inputs since.
fn clip(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let attribute = |name| -> Result<Option<Tensor>, OpError> {
        match site.float(name)? {
            None => Ok(None),
            Some(v) => Ok(Some(
                Tensor::f_from_slice(&[v])?.f_to_kind(x.f_kind()?)?.f_to_device(x.device())?.f_reshape(&[] as &[i64])?,
            )),
        }
    };
    let input = |i: usize, name| -> Result<Option<Tensor>, OpError> {
        let Some(bound) = input::optional(inputs, i) else { return Ok(None) };
        if bound.numel() != 1 {
            return Err(OpError::Input {
                name,
                expected: "a scalar".into(),
                found: format!("the shape {:?}", bound.size()),
            });
        }
        Ok(Some(bound.f_reshape(&[] as &[i64])?))
    };
    let (low, high) =
        if site.opset < 11 { (attribute("min")?, attribute("max")?) } else { (input(1, "min")?, input(2, "max")?) };
    if low.is_none() && high.is_none() {
        return Ok(vec![x.shallow_clone()]);
    }
    Ok(vec![x.f_clamp_tensor(low, high)?])
}
