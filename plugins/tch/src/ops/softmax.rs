//! Softmax and its logarithm.

use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "LogSoftmax", forward: |s, x| along(s, x, |x, axis| Ok(x.f_log_softmax(axis, None)?)) },
    Op { name: "Softmax", forward: |s, x| along(s, x, |x, axis| Ok(x.f_softmax(axis, None)?)) },
];

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
