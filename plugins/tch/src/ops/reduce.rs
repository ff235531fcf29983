//! Reductions over axes.

use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "ReduceMean", forward: |s, x| reduce(s, x, 18, |x, axes, keep| Ok(x.f_mean_dim(axes, keep, None)?)) },
    Op {
        name: "ReduceSum",
        forward: |s, x| reduce(s, x, 13, |x, axes, keep| Ok(x.f_sum_dim_intlist(axes, keep, x.f_kind()?)?)),
    },
];

/// Runs a reduction over the node's axes: an attribute before opset `since`, the second input from there on. None mean
/// all, unless `noop_with_empty_axes` says that nothing is done then.
fn reduce(
    site: &Site,
    inputs: &[Option<Tensor>],
    since: i64,
    f: impl Fn(&Tensor, &[i64], bool) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let rank = x.dim();
    let axes = if site.opset < since {
        site.ints("axes")?.map(<[i64]>::to_vec)
    } else {
        input::optional(inputs, 1).map(|axes| input::ints(axes, "axes")).transpose()?
    };
    let axes = match axes {
        Some(axes) if !axes.is_empty() => input::axes(&axes, rank)?,
        _ if site.flag("noop_with_empty_axes", false)? => return Ok(vec![x.shallow_clone()]),
        _ => (0..rank as i64).collect(),
    };
    Ok(vec![f(x, &axes, site.flag("keepdims", true)?)?])
}
