//! Pools over the spatial axes of `[N, C, ...]`.
//!
//! With `ceil_mode` a last window that would start beyond the input is left out, as PyTorch and ONNX
//! Runtime do in every version.

use super::Flow::{All, Only};
use super::window::Window;
use super::{Kind, OpSpec, Site};
use crate::shape::Expr;
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
        infer: max_pool,
    },
    OpSpec {
        name: "MaxUnpool",
        since: 9,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[("kernel_shape", Ints), ("pads", Ints), ("strides", Ints)],
        flows: Only(&[0]),
        infer: max_unpool,
    },
    OpSpec {
        name: "GlobalAveragePool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        infer: global,
    },
    OpSpec {
        name: "GlobalLpPool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("p", Int)],
        flows: All,
        infer: global,
    },
    OpSpec {
        name: "GlobalMaxPool",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        infer: global,
    },
    OpSpec {
        name: "MaxRoiPool",
        since: 1,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("pooled_shape", Ints), ("spatial_scale", Float)],
        flows: Only(&[0]),
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
