//! Pools over the spatial axes of `[N, C, ...]`.
//!
//! With `ceil_mode` a last window that would start beyond the input is left out, as PyTorch and ONNX
//! Runtime do in every version.

use super::Flow::{All, Only};
use super::Tangent::{Kinked, Linear, Refused, Rule};
use super::window::Window;
use super::{Kind, OpSpec, Site};
use crate::shape::Expr;
use crate::tangent::{At, Pieces, Tangents, Term};
use crate::{DataType, Result};
use Kind::{Float, Int, Ints, String};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "AveragePool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[
            ("auto_pad", String),
            ("ceil_mode", Int),
            ("count_include_pad", Int),
            ("dilations", Ints),
            ("kernel_shape", Ints),
            ("pads", Ints),
            ("strides", Ints),
        ],
        flows: All,
        tangent: Linear,
        infer: pool,
    },
    OpSpec {
        name: "LpPool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[
            ("auto_pad", String),
            ("ceil_mode", Int),
            ("dilations", Ints),
            ("kernel_shape", Ints),
            ("p", Int),
            ("pads", Ints),
            ("strides", Ints),
        ],
        flows: All,
        tangent: Rule(lp_pool_tangent),
        infer: pool,
    },
    OpSpec {
        name: "MaxPool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=2,
        attributes: &[
            ("auto_pad", String),
            ("ceil_mode", Int),
            ("dilations", Ints),
            ("kernel_shape", Ints),
            ("pads", Ints),
            ("storage_order", Int),
            ("strides", Ints),
        ],
        flows: All,
        tangent: Kinked(Pieces::Linear, max_pool_tangent),
        infer: max_pool,
    },
    OpSpec {
        name: "MaxUnpool",
        since: 9,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[("kernel_shape", Ints), ("pads", Ints), ("strides", Ints)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: max_unpool,
    },
    OpSpec {
        name: "GlobalAveragePool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Linear,
        infer: global,
    },
    OpSpec {
        name: "GlobalLpPool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("p", Int)],
        flows: All,
        tangent: Rule(global_lp_tangent),
        infer: global,
    },
    OpSpec {
        name: "GlobalMaxPool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Kinked(Pieces::Linear, global_max_tangent),
        infer: global,
    },
    OpSpec {
        name: "MaxRoiPool",
        since: 1,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("pooled_shape", Ints), ("spatial_scale", Float)],
        flows: Only(&[0]),
        tangent: Refused("superseded by RoiAlign before opset 7"),
        infer: max_roi_pool,
    },
    OpSpec {
        name: "RoiAlign",
        since: 10,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[
            ("coordinate_transformation_mode", String),
            ("mode", String),
            ("output_height", Int),
            ("output_width", Int),
            ("sampling_ratio", Int),
            ("spatial_scale", Float),
        ],
        flows: Only(&[0]),
        tangent: Rule(roi_align_tangent),
        infer: roi_align,
    },
];

fn pool(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = pooled(site)?;
    site.set(0, data_type, shape);
    Ok(())
}

fn window(site: &Site, rank: usize) -> Result<Window> {
    let kernel = site.node.ints("kernel_shape").ok_or_else(|| site.fail("attribute `kernel_shape` is missing"))?;
    if rank != kernel.len() + 2 {
        return Err(site.fail(format!("a window of {} axes over an input of {rank}", kernel.len())));
    }
    Window::of(site, kernel.to_vec())
}

fn pooled(site: &Site) -> Result<Option<Vec<Expr>>> {
    let Some(x) = site.shape(0) else { return Ok(None) };
    let window = window(site, x.len())?;
    let (outer, spatial) = x.split_at(2);
    let mut shape = outer.to_vec();
    shape.extend(window.slide(site, spatial)?);
    Ok(Some(shape))
}

/// The second output holds the positions of the maxima.
fn max_pool(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = pooled(site)?;
    site.set(0, data_type, shape.clone());
    site.set(1, Some(DataType::Int64), shape);
    Ok(())
}

fn max_unpool(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = if site.has(2) {
        site.exprs(2)
    } else if let Some(x) = site.shape(0) {
        let window = window(site, x.len())?;
        let (outer, spatial) = x.split_at(2);
        let mut shape = outer.to_vec();
        shape.extend(window.unslide(site, spatial)?);
        Some(shape)
    } else {
        None
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// Every spatial axis becomes 1.
fn global(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    if site.rank(0).is_some_and(|rank| rank < 2) {
        return Err(site.fail("fewer than 2 axes"));
    }
    let shape = site.shape(0).map(|x| {
        let spatial = x.iter().skip(2).map(|_| Expr::Known(1));
        x.iter().take(2).cloned().chain(spatial).collect()
    });
    site.set(0, data_type, shape);
    Ok(())
}

/// `[regions, C, height, width]`, the number of regions that of input 1.
fn regions(site: &mut Site, height: i64, width: i64) -> Result<()> {
    let data_type = site.data_type(0);
    let channels = site.shape_of_rank(0, 4)?.and_then(|x| x.get(1).cloned()).unwrap_or(Expr::Unknown);
    let count = site.shape_of_rank(1, 2)?.and_then(|r| r.first().cloned()).unwrap_or(Expr::Unknown);
    site.set(0, data_type, Some(vec![count, channels, Expr::Known(height), Expr::Known(width)]));
    Ok(())
}

fn max_roi_pool(site: &mut Site) -> Result<()> {
    match site.node.ints("pooled_shape") {
        Some([height, width]) => {
            let (height, width) = (*height, *width);
            regions(site, height, width)
        }
        _ => Err(site.fail("attribute `pooled_shape` does not have two values")),
    }
}

fn roi_align(site: &mut Site) -> Result<()> {
    let (height, width) = (site.int("output_height", 1), site.int("output_width", 1));
    regions(site, height, width)
}

/// The tangent at the place of the maximum. Places count through the whole tensor, row-major.
fn max_pool_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let Some(dx) = at.dx(0) else { return Ok(Vec::new()) };
    if at.opset() < 8 {
        return Err(at.refuse("the places of its maxima came with opset 8"));
    }
    if at.int_attribute("storage_order", 0) != 0 {
        return Err(at.refuse("its places count column by column"));
    }
    Ok(vec![Some(dx.reshaped(&[-1]).with("Gather", &[at.y(1)], vec![]))])
}

/// |x|^(p-1) sign(x) dx, which a pool of order p sums.
fn moved_norm<'a>(at: &At<'a>, dx: Term<'a>, p: i64) -> Term<'a> {
    let x = at.x(0);
    match p {
        1 => x.op("Sign") * dx,
        2 => x * dx,
        _ => x.op("Abs").with("Pow", &[x.scalar(p as f64 - 1.0)], vec![]) * x.op("Sign") * dx,
    }
}

/// `moved` y^(1-p), and 0 where y is 0.
fn over_norm<'a>(y: Term<'a>, moved: Term<'a>, p: i64) -> Term<'a> {
    let slope = match p {
        1 => return moved,
        2 => moved / y,
        _ => moved * y.with("Pow", &[y.scalar(1.0 - p as f64)], vec![]),
    };
    y.above(0.0).choose(slope, y.scalar(0.0))
}

/// A pool of order 1 sums the positive and the negative part, each over exactly the windows of this node.
fn lp_pool_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let p = at.int_attribute("p", 2);
    let Some(dx) = at.dx(0) else { return Ok(Vec::new()) };
    let moved = moved_norm(at, dx, p);
    let sum = |t: Term<'a>| {
        let mut attributes = at.attributes_but("p");
        attributes.push(("p", 1i64.into()));
        at.emit(&[Some(t.op("Relu"))], attributes, 1).first().copied()
    };
    let total = sum(moved).zip(sum(-moved)).map(|(plus, minus)| plus - minus);
    Ok(vec![total.map(|total| over_norm(at.y(0), total, p))])
}

fn spatial<'a>(at: &At<'a>) -> Result<Vec<i64>> {
    Ok((2..at.first_rank()?).collect())
}

fn global_lp_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (p, axes) = (at.int_attribute("p", 2), spatial(at)?);
    Ok(vec![at.dx(0).map(|dx| over_norm(at.y(0), moved_norm(at, dx, p).reduced("ReduceSum", &axes), p))])
}

/// The mean of the tangents at the maxima.
fn global_max_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (x, y, axes) = (at.x(0), at.y(0), spatial(at)?);
    Ok(vec![at.dx(0).map(|dx| {
        let hit = x.equal(y).cast(y.data_type());
        (hit * dx).reduced("ReduceSum", &axes) / hit.reduced("ReduceSum", &axes)
    })])
}

/// Averages are linear in the image.
fn roi_align_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    match at.node.string("mode") {
        None | Some("avg") => Ok(at.linear(&[0])),
        Some(mode) => Err(at.refuse(&format!("mode `{mode}` picks places that it does not tell"))),
    }
}
