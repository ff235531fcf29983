//! Where the extreme elements are, and which they are.

use super::error::check_size;
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "ArgMax", forward: |s, x| arg(s, x, |x, axis| Ok(x.f_argmax(axis, true)?)) },
    Op { name: "ArgMin", forward: |s, x| arg(s, x, |x, axis| Ok(x.f_argmin(axis, true)?)) },
    Op { name: "Hardmax", forward: hardmax },
    Op { name: "NonZero", forward: non_zero },
    Op { name: "TopK", forward: top_k },
];

/// The place of the extreme along the node's axis; of equals the first, or the last with `select_last_index`.
fn arg(
    site: &Site,
    inputs: &[Option<Tensor>],
    f: impl Fn(&Tensor, i64) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let dims = input::rank(x, "data", 1..=usize::MAX)?;
    let axis = input::axis(site.int("axis")?.unwrap_or(0), dims.len())?;
    let places = if site.flag("select_last_index", false)? {
        let turned = f(&x.f_flip([axis])?, axis)?;
        turned.f_neg()?.f_add_scalar(dims[input::at(axis)] - 1)?
    } else {
        f(x, axis)?
    };
    Ok(vec![if site.flag("keepdims", true)? { places } else { places.f_squeeze_dim(axis)? }])
}

/// [Hardmax](https://onnx.ai/onnx/operators/onnx__Hardmax.html): 1 at the first maximum, 0 elsewhere; before opset 13
/// all axes from `axis` on count as one.
fn hardmax(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    super::softmax::along(site, inputs, |x, axis| {
        let place = x.f_detach()?.f_argmax(axis, true)?;
        Ok(x.f_detach()?.f_zeros_like()?.f_scatter_value(axis, &place, 1.0)?)
    })
}

/// [TopK](https://onnx.ai/onnx/operators/onnx__TopK.html): `k` is an attribute before opset 10; of equals the one with
/// the lower index comes first.
fn top_k(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let dims = input::rank(x, "X", 1..=usize::MAX)?;
    let axis = input::axis(site.int("axis")?.unwrap_or(-1), dims.len())?;
    let k = if site.opset < 10 {
        site.required("k", site.int("k")?)?
    } else {
        input::int(input::required(inputs, 1, "K")?, "K")?
    };
    let size = dims[input::at(axis)];
    if !(0..=size).contains(&k) {
        return Err(OpError::Input { name: "K", expected: format!("0 to {size}").into(), found: k.to_string() });
    }
    // A stable sort instead of libtorch's own topk, which breaks ties as it likes.
    let (values, places) = x.f_sort_stable(true, axis, site.flag("largest", true)?)?;
    Ok(vec![values.f_narrow(axis, 0, k)?, places.f_narrow(axis, 0, k)?])
}

/// [NonZero](https://onnx.ai/onnx/operators/onnx__NonZero.html): one column an element, one row an axis.
fn non_zero(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    check_size(&[x.dim() as i64, x.numel() as i64])?;
    Ok(vec![x.f_detach()?.f_nonzero()?.f_transpose(0, 1)?])
}
