//! Softmax and its logarithm.

use super::{Op, OpError, Site, fused, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "LogSoftmax", forward: |s, x| along(s, x, log_softmax) },
    Op { name: "Softmax", forward: |s, x| along(s, x, softmax) },
];

/// e^x over its sum.
pub(super) fn softmax(x: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    if fused::allowed(&[x])? {
        return Ok(x.f_softmax(axis, None)?);
    }
    // Any constant may be taken off; the greatest keeps the exponential from overflowing.
    let powers = x.f_sub(&x.f_detach()?.f_amax(axis, true)?)?.f_exp()?;
    Ok(powers.f_div(&powers.f_sum_dim_intlist([axis].as_slice(), true, None)?)?)
}

/// x minus the logarithm of the sum of e^x.
pub(super) fn log_softmax(x: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    if fused::allowed(&[x])? {
        return Ok(x.f_log_softmax(axis, None)?);
    }
    Ok(x.f_sub(&x.f_logsumexp(axis, true)?)?)
}

/// Runs `f` along the node's axis. Before opset 13 the default is axis 1, and all axes from there on are one: the input
/// counts as a matrix split before `axis`.
pub(super) fn along(
    site: &Site,
    inputs: &[Option<Tensor>],
    f: impl Fn(&Tensor, i64) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = input::rank(x, "input", 1..=usize::MAX)?;
    let axis = site.int("axis")?.unwrap_or(if site.opset < 13 { 1 } else { -1 });
    let axis = input::axis(axis, dims.len())?;
    if site.opset >= 13 {
        return Ok(vec![f(x, axis)?]);
    }
    let rows: i64 = dims[..input::at(axis)].iter().product();
    let columns: i64 = dims[input::at(axis)..].iter().product();
    Ok(vec![f(&x.f_reshape([rows, columns])?, 1)?.f_reshape(&dims)?])
}
