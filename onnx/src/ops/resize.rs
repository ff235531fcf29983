//! Sampling an image at other places.
//!
//! Meaning changed: Resize has only scales in opset 10, sizes beside them from 11, `axes` and a policy
//! for the aspect ratio from 18. A size is the input's times the scale, rounded down, in float32.

use super::Flow::{All, Nothing, Only};
use super::Tangent::{Linear, Rule, Zero};
use super::{Kind, OpSpec, Site};
use crate::Result;
use crate::shape::Expr;
use crate::tangent::{At, Tangents};
use Kind::{Float, Floats, Int, Ints, String};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Resize",
        since: 10,
        inputs: 1..=4,
        outputs: 1..=1,
        attributes: &[
            ("antialias", Int),
            ("axes", Ints),
            ("coordinate_transformation_mode", String),
            ("cubic_coeff_a", Float),
            ("exclude_outside", Int),
            ("extrapolation_value", Float),
            ("keep_aspect_ratio_policy", String),
            ("mode", String),
            ("nearest_mode", String),
        ],
        flows: Only(&[0]),
        tangent: Linear,
        infer: resize,
    },
    OpSpec {
        name: "Upsample",
        since: 1,
        inputs: 1..=2,
        outputs: 1..=1,
        attributes: &[("mode", String), ("scales", Floats)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: upsample,
    },
    OpSpec {
        name: "GridSample",
        since: 16,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("align_corners", Int), ("mode", String), ("padding_mode", String)],
        flows: All,
        tangent: Rule(grid_sample_tangent),
        infer: grid_sample,
    },
    OpSpec {
        name: "AffineGrid",
        since: 20,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("align_corners", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: affine_grid,
    },
    OpSpec {
        name: "ImageDecoder",
        since: 20,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("pixel_format", String)],
        flows: Nothing,
        tangent: Zero,
        infer: image_decoder,
    },
];

/// A size times a scale.
fn scaled(size: &Expr, scale: f64) -> Expr {
    match size.known() {
        Some(n) => {
            let scaled = (n as f32 * scale as f32).floor();
            if (0.0..2f32.powi(31)).contains(&scaled) { Expr::Known(scaled as i64) } else { Expr::Unknown }
        }
        None if scale.fract() == 0.0 && (0.0..2f64.powi(31)).contains(&scale) => size.times(&Expr::Known(scale as i64)),
        None => Expr::Unknown,
    }
}

fn by_scales(site: &Site, axes: &[usize], scales: &[f64]) -> Result<Option<Vec<Expr>>> {
    let Some(shape) = site.shape(0) else { return Ok(None) };
    if scales.len() != axes.len() {
        return Err(site.fail(format!("{} scales for {} axes", scales.len(), axes.len())));
    }
    let mut shape = shape.to_vec();
    for (axis, scale) in axes.iter().zip(scales) {
        if let Some(size) = shape.get_mut(*axis) {
            *size = scaled(size, *scale);
        }
    }
    Ok(Some(shape))
}

fn resize(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let Some(rank) = site.rank(0) else {
        site.set(0, data_type, None);
        return Ok(());
    };
    let axes = match site.node.ints("axes") {
        Some(axes) => site.axes(axes, rank)?,
        None => (0..rank).collect(),
    };
    let (scales, sizes) = if site.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    // An empty tensor stands for an input left out.
    let given = |i: usize| site.has(i) && site.fact(i).and_then(|f| f.dims()).is_none_or(|d| d != [0]);
    let shape = if given(sizes) {
        match site.exprs(sizes) {
            Some(wanted) if wanted.len() != axes.len() => {
                return Err(site.fail(format!("{} sizes for {} axes", wanted.len(), axes.len())));
            }
            Some(wanted) => Some(by_sizes(site, &axes, wanted)?),
            None => Some(vec![Expr::Unknown; rank]),
        }
    } else if given(scales) {
        match site.reals(scales) {
            Some(factors) => by_scales(site, &axes, &factors)?,
            None => Some(vec![Expr::Unknown; rank]),
        }
    } else {
        return Err(site.fail("neither scales nor sizes"));
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// The sizes as given, or with a policy the input's all times one factor, to the nearest.
fn by_sizes(site: &Site, axes: &[usize], wanted: Vec<Expr>) -> Result<Vec<Expr>> {
    let mut shape = site.shape(0).map(<[Expr]>::to_vec).unwrap_or_default();
    let policy = site.node.string("keep_aspect_ratio_policy").unwrap_or("stretch");
    let factor = match policy {
        "stretch" => None,
        "not_larger" | "not_smaller" => {
            let ratios: Option<Vec<f32>> = axes
                .iter()
                .zip(&wanted)
                .map(|(axis, size)| Some(size.known()? as f32 / shape.get(*axis)?.known()? as f32))
                .collect();
            let pick = if policy == "not_larger" { f32::min } else { f32::max };
            Some(ratios.and_then(|r| r.into_iter().reduce(pick)))
        }
        other => return Err(site.fail(format!("`keep_aspect_ratio_policy` is `{other}`"))),
    };
    for (axis, size) in axes.iter().zip(wanted) {
        if let Some(slot) = shape.get_mut(*axis) {
            *slot = match factor {
                None => size,
                Some(factor) => match factor.zip(slot.known()) {
                    Some((factor, n)) if factor.is_finite() => Expr::Known((factor * n as f32 + 0.5).floor() as i64),
                    _ => Expr::Unknown,
                },
            };
        }
    }
    Ok(shape)
}

/// The scales are an attribute in opset 7, an input from 9.
fn upsample(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let scales = if site.opset < 9 {
        site.node.floats("scales").map(|v| v.iter().map(|x| f64::from(*x)).collect())
    } else {
        site.reals(1)
    };
    let rank = site.rank(0);
    let shape = match (rank, scales) {
        (Some(rank), Some(scales)) => by_scales(site, &(0..rank).collect::<Vec<_>>(), &scales)?,
        (Some(rank), None) => Some(vec![Expr::Unknown; rank]),
        _ => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// Batch and channels of the image, the rest of the grid without its coordinates.
fn grid_sample(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match (site.shape(0), site.shape(1)) {
        (Some([batch, channels, spatial @ ..]), Some([grid_batch, places @ .., coordinates])) => {
            site.agree("batch of image and grid", batch, grid_batch)?;
            site.agree("coordinates against spatial axes", coordinates, &Expr::from(spatial.len()))?;
            Some([&[batch.clone(), channels.clone()], places].concat())
        }
        _ => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// From the size `[N, C, (D,) H, W]` the grid `[N, (D,) H, W, 2 or 3]`.
fn affine_grid(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match site.exprs(1).as_deref() {
        Some([batch, _, places @ ..]) => {
            let mut shape = vec![batch.clone()];
            shape.extend_from_slice(places);
            shape.push(Expr::from(places.len()));
            Some(shape)
        }
        _ => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

fn image_decoder(site: &mut Site) -> Result<()> {
    let channels = if site.node.string("pixel_format") == Some("Grayscale") { 1 } else { 3 };
    let shape = vec![Expr::Unknown, Expr::Unknown, Expr::Known(channels)];
    site.set(0, Some(crate::DataType::Uint8), Some(shape));
    Ok(())
}

/// Linear in the image; a grid that moves needs the image's own slope, which no operator gives.
fn grid_sample_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    match at.has_tangent(1) {
        true => Err(at.refuse("its grid depends on the parameters")),
        false => Ok(at.linear(&[0])),
    }
}
