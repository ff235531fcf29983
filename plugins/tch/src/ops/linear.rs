//! Matrix products.

use super::broadcast::{onto, shapes};
use super::error::check_size;
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[Op { name: "Gemm", forward: gemm }, Op { name: "MatMul", forward: mat_mul }];

/// [Gemm](https://onnx.ai/onnx/operators/onnx__Gemm.html): `alpha A B + beta C`; `C` may be left out since 11.
fn gemm(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let oriented = |i, name, flag| -> Result<Tensor, OpError> {
        let m = input::required(inputs, i, name)?;
        input::rank(m, name, 2..=2)?;
        Ok(if site.flag(flag, false)? { m.f_transpose(0, 1)? } else { m.shallow_clone() })
    };
    let a = oriented(0, "A", "transA")?;
    let b = oriented(1, "B", "transB")?;
    input::same_kind(&a, &b, "B")?;
    let (a_dims, b_dims) = (a.size(), b.size());
    if a_dims[1] != b_dims[0] {
        let expected = format!("{} rows (transposition taken into account)", a_dims[1]).into();
        return Err(OpError::Input { name: "B", expected, found: format!("the shape {b_dims:?}") });
    }
    let dims = vec![a_dims[0], b_dims[1]];
    check_size(&dims)?;
    let alpha = site.float("alpha")?.unwrap_or(1.0);
    let beta = site.float("beta")?.unwrap_or(1.0);
    let c = input::optional(inputs, 2);
    if let Some(c) = c {
        input::same_kind(&a, c, "C")?;
        onto(&dims, &c.size(), "C")?;
    }
    let scaled = |t: Tensor, by: f64| -> Result<Tensor, OpError> {
        if by == 1.0 { Ok(t) } else { Ok(t.f_mul_scalar(by)?.f_to_kind(a.f_kind()?)?) }
    };
    Ok(vec![match c {
        Some(c) if alpha == 1.0 && beta == 1.0 => c.f_addmm(&a, &b)?,
        Some(c) => scaled(a.f_mm(&b)?, alpha)?.f_add(&scaled(c.shallow_clone(), beta)?)?,
        None => scaled(a.f_mm(&b)?, alpha)?,
    }])
}

/// [MatMul](https://onnx.ai/onnx/operators/onnx__MatMul.html), with numpy's rules for one and for many axes.
fn mat_mul(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let a = input::required(inputs, 0, "A")?;
    let b = input::required(inputs, 1, "B")?;
    input::same_kind(a, b, "B")?;
    let a_dims = input::rank(a, "A", 1..=usize::MAX)?;
    let b_dims = input::rank(b, "B", 1..=usize::MAX)?;
    let (rows, inner) = match a_dims.as_slice() {
        [.., m, k] => (*m, *k),
        dims => (1, dims[0]),
    };
    let (found, columns) = match b_dims.as_slice() {
        [.., k, n] => (*k, *n),
        dims => (dims[0], 1),
    };
    if inner != found {
        let expected = format!("{inner} rows, as `A` of shape {a_dims:?} has columns").into();
        return Err(OpError::Input { name: "B", expected, found: format!("the shape {b_dims:?}") });
    }
    let batch = |dims: &[i64]| dims[..dims.len().saturating_sub(2)].to_vec();
    let mut dims = shapes(&batch(&a_dims), &batch(&b_dims))?;
    // Either operand may be copied out to the common batch.
    for (m, n) in [(rows, columns), (rows, inner), (inner, columns)] {
        dims.extend([m, n]);
        check_size(&dims)?;
        dims.truncate(dims.len() - 2);
    }
    Ok(vec![a.f_matmul(b)?])
}
