//! Normalizations: the output has the shape of the input.
//!
//! Meaning changed: BatchNormalization has running statistics as outputs 1 and 2 with `training_mode`
//! from opset 14; before 9 it had `spatial`.

use super::Flow::{All, Only};
use super::Tangent::Rule;
use super::site::like_first;
use super::{Kind, OpSpec, Site};
use crate::shape::Expr;
use crate::tangent::{At, Tangents, Term, sum};
use crate::{DataType, Result};
use Kind::{Float, Int, Ints};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "BatchNormalization",
        since: 1,
        inputs: 5..=5,
        outputs: 1..=5,
        attributes: &[("epsilon", Float), ("momentum", Float), ("spatial", Int), ("training_mode", Int)],
        flows: Only(&[0, 1, 2]),
        tangent: Rule(batch_normalization_tangent),
        infer: batch_normalization,
    },
    OpSpec {
        name: "InstanceNormalization",
        since: 1,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[("epsilon", Float)],
        flows: All,
        tangent: Rule(instance_normalization_tangent),
        infer: by_channel,
    },
    OpSpec {
        name: "GroupNormalization",
        since: 18,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[("epsilon", Float), ("num_groups", Int), ("stash_type", Int)],
        flows: All,
        tangent: Rule(group_normalization_tangent),
        infer: like_first,
    },
    OpSpec {
        name: "LayerNormalization",
        since: 17,
        inputs: 2..=3,
        outputs: 1..=3,
        attributes: &[("axis", Int), ("epsilon", Float), ("stash_type", Int)],
        flows: All,
        tangent: Rule(layer_normalization_tangent),
        infer: layer_normalization,
    },
    OpSpec {
        name: "RMSNormalization",
        since: 23,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("axis", Int), ("epsilon", Float), ("stash_type", Int)],
        flows: All,
        tangent: Rule(rms_normalization_tangent),
        infer: rms_normalization,
    },
    OpSpec {
        name: "LpNormalization",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("axis", Int), ("p", Int)],
        flows: All,
        tangent: Rule(lp_normalization_tangent),
        infer: like_first,
    },
    OpSpec {
        name: "LRN",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("alpha", Float), ("beta", Float), ("bias", Float), ("size", Int)],
        flows: All,
        tangent: Rule(lrn_tangent),
        infer: like_first,
    },
    OpSpec {
        name: "MeanVarianceNormalization",
        since: 9,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("axes", Ints)],
        flows: All,
        tangent: Rule(mean_variance_tangent),
        infer: like_first,
    },
];

/// The vectors at these inputs have one entry a channel.
fn check_channels(site: &Site, inputs: std::ops::Range<usize>) -> Result<Option<Expr>> {
    let Some(x) = site.shape(0) else { return Ok(None) };
    let channels = match x {
        [_, channels, ..] => channels.clone(),
        // A batch of vectors without a channel axis has one channel.
        _ => Expr::Known(1),
    };
    for i in inputs {
        if let Some([n]) = site.shape(i) {
            site.agree(&format!("channels of input 0 against input {i}"), &channels, n)?;
        }
    }
    Ok(Some(channels))
}

fn by_channel(site: &mut Site) -> Result<()> {
    check_channels(site, 1..3)?;
    like_first(site)
}

fn batch_normalization(site: &mut Site) -> Result<()> {
    let spatial = site.opset >= 9 || site.int("spatial", 1) != 0;
    let channels = if spatial { check_channels(site, 1..5)? } else { None };
    like_first(site)?;
    let statistics = site.data_type(3);
    for i in 1..site.outputs.len() {
        site.set(i, statistics, channels.clone().map(|c| vec![c]));
    }
    Ok(())
}

/// Outputs 1 and 2 are the mean and the inverse deviation, 1 on every axis that is normalized, in the
/// type `stash_type` names.
fn layer_normalization(site: &mut Site) -> Result<()> {
    like_first(site)?;
    let stash = site.type_number(site.int("stash_type", 1))?;
    let reduced = match site.shape(0) {
        Some(x) => {
            let axis = site.axis(site.int("axis", -1), x.len())?;
            check_trailing(site, x, axis)?;
            Some(x.iter().enumerate().map(|(i, d)| if i < axis { d.clone() } else { Expr::Known(1) }).collect())
        }
        None => None,
    };
    site.set(1, Some(stash), reduced.clone());
    site.set(2, Some(stash), reduced);
    Ok(())
}

fn rms_normalization(site: &mut Site) -> Result<()> {
    if let Some(x) = site.shape(0) {
        let axis = site.axis(site.int("axis", -1), x.len())?;
        check_trailing(site, x, axis)?;
    }
    like_first(site)
}

/// Scale and bias broadcast to the axes from `axis` on, and make them no larger.
fn check_trailing(site: &Site, x: &[Expr], axis: usize) -> Result<()> {
    let normalized = x.get(axis..).unwrap_or_default();
    for i in 1..3 {
        if let Some(scale) = site.shape(i) {
            let spread = site.broadcast(normalized, scale)?;
            for (full, own) in spread.iter().rev().zip(normalized.iter().rev()) {
                site.agree(&format!("normalized size against input {i}"), own, full)?;
            }
        }
    }
    Ok(())
}

/// The standardized input and its tangent, mean and variance taken over `axes`:
/// with c = x - mean(x), i = 1 / sqrt(mean(c^2) + epsilon) and h = c i, dh = i (dc - h mean(h dc)).
fn standardized<'a>(x: Term<'a>, dx: Option<Term<'a>>, axes: &[i64], epsilon: f64) -> (Term<'a>, Option<Term<'a>>) {
    let mean = |t: Term<'a>| t.reduced("ReduceMean", axes);
    let c = x - mean(x);
    let i = 1.0 / (mean(c.squared()) + epsilon).op("Sqrt");
    let h = c * i;
    let dh = dx.map(|dx| {
        let dc = dx - mean(dx);
        i * (dc - h * mean(h * dc))
    });
    (h, dh)
}

/// dh scale + h dscale + dbias, the last two under `shape` as they broadcast.
fn scaled<'a>(
    at: &At<'a>,
    (h, dh): (Term<'a>, Option<Term<'a>>),
    shape: impl Fn(Term<'a>) -> Term<'a>,
) -> Option<Term<'a>> {
    let by_x = dh.map(|dh| dh * shape(at.x(1)));
    let by_scale = at.dx(1).map(|ds| h * shape(ds));
    let terms = sum(by_x.into_iter().chain(by_scale));
    match (terms, at.dx(2)) {
        (Some(terms), Some(db)) => Some(terms + shape(db)),
        (None, Some(db)) => Some(shape(db) + h * 0.0),
        (terms, None) => terms,
    }
}

/// A number a channel, with axes of size 1 for those after it.
fn per_channel(rank: i64) -> impl Fn(Term) -> Term {
    move |t| {
        let dims: Vec<i64> = std::iter::once(-1).chain((2..rank).map(|_| 1)).collect();
        t.reshaped(&dims)
    }
}

/// With the running statistics it is affine in the input, and in scale and bias together: the operator itself gives
/// both terms, centred at 0 and without a bias in the first.
fn batch_normalization_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    // Before opset 14 it is the outputs that ask for training.
    if at.int_attribute("training_mode", 0) != 0 || at.node.outputs.len() > 1 {
        return Err(at.refuse("in training mode it normalizes by the batch"));
    }
    let (x, scale, mean, variance) = (at.x(0), at.x(1), at.x(3), at.x(4));
    let attributes = || vec![("epsilon", (at.float("epsilon", 1e-5) as f32).into())];
    let term = |x: Term<'a>, scale: Term<'a>, bias: Term<'a>, mean: Term<'a>| {
        at.emit(&[Some(x), Some(scale), Some(bias), Some(mean), Some(variance)], attributes(), 1).first().copied()
    };
    // Term by term, so that each convolution before it takes the factor into its weights.
    let by_input = at.dx(0).and_then(|dx| {
        let (no_bias, no_mean) = (at.zeros(2), at.zeros(3));
        sum(dx.terms().filter_map(|dx| term(dx, scale, no_bias, no_mean)))
    });
    let by_affine = match (at.dx(1), at.dx(2)) {
        (None, None) => None,
        (dscale, dbias) => term(x, dscale.unwrap_or_else(|| at.zeros(1)), dbias.unwrap_or_else(|| at.zeros(2)), mean),
    };
    Ok(vec![sum(by_input.into_iter().chain(by_affine))])
}

fn instance_normalization_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let rank = at.first_rank()?;
    let axes: Vec<i64> = (2..rank).collect();
    let standard = standardized(at.x(0), at.dx(0), &axes, at.float("epsilon", 1e-5));
    Ok(vec![scaled(at, standard, per_channel(rank))])
}

/// As instances of `[N, groups, the rest]`. Scale and bias are one a group in opset 18, one a channel from 21.
fn group_normalization_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let rank = at.first_rank()?;
    let groups = at.int_attribute("num_groups", 1);
    let grouped = |t: Term<'a>| t.reshaped(&[0, groups, -1]);
    let (h, dh) = standardized(grouped(at.x(0)), at.dx(0).map(grouped), &[2], at.float("epsilon", 1e-5));
    if at.opset() < 21 {
        let by_group = scaled(at, (h, dh), per_channel(3));
        return Ok(vec![by_group.map(|t| t.with("Reshape", &[at.x(0).dims()], vec![]))]);
    }
    let back = |t: Term<'a>| t.with("Reshape", &[at.x(0).dims()], vec![]);
    Ok(vec![scaled(at, (back(h), dh.map(back)), per_channel(rank))])
}

/// The axes from `axis` on.
fn trailing<'a>(at: &At<'a>) -> Result<Vec<i64>> {
    let rank = at.first_rank()?;
    Ok((at.axis(-1).unwrap_or(rank - 1)..rank).collect())
}

/// In float32 where the input is narrower, as the operator itself computes.
fn layer_normalization_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let axes = trailing(at)?;
    if (1..3).any(|i| at.node.outputs.get(i).is_some_and(|name| !name.is_empty())) {
        return Err(at.refuse("its mean and deviation are outputs too"));
    }
    let (own, wide) = stash(at.x(0));
    let (h, dh) = standardized(at.x(0).cast(wide), at.dx(0).map(|t| t.cast(wide)), &axes, at.float("epsilon", 1e-5));
    Ok(vec![scaled(at, (h.cast(own), dh.map(|t| t.cast(own))), |t| t)])
}

/// With r = 1 / sqrt(mean(x^2) + epsilon) and h = x r, dh = r (dx - h mean(h dx)).
fn rms_normalization_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let axes = trailing(at)?;
    let (own, wide) = stash(at.x(0));
    let x = at.x(0).cast(wide);
    let mean = |t: Term<'a>| t.reduced("ReduceMean", &axes);
    let r = 1.0 / (mean(x.squared()) + at.float("epsilon", 1e-5)).op("Sqrt");
    let h = x * r;
    let dh = at.dx(0).map(|dx| {
        let dx = dx.cast(wide);
        (r * (dx - h * mean(h * dx))).cast(own)
    });
    Ok(vec![scaled(at, (h.cast(own), dh), |t| t)])
}

fn stash(x: Term) -> (DataType, DataType) {
    let own = x.data_type();
    (own, if own == DataType::Double { own } else { DataType::Float })
}

/// y = x / n: (dx - y dn) / n, the norm n moving by sum(sign(x) dx) or sum(y dx).
fn lp_normalization_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (x, y) = (at.x(0), at.y(0));
    let axis = [at.axis(-1).unwrap_or(-1)];
    let first = at.int_attribute("p", 2) == 1;
    Ok(vec![at.dx(0).map(|dx| {
        let norm = x.reduced(if first { "ReduceL1" } else { "ReduceL2" }, &axis);
        let along = if first { x.op("Sign") } else { y };
        (dx - y * (along * dx).reduced("ReduceSum", &axis)) / norm
    })])
}

/// y = x d^-beta with d = bias + alpha a and a the mean of x^2 over a window of channels, which beyond the edge counts
/// zeros: dy = d^-beta (dx - 2 alpha beta x mean(x dx) / d).
fn lrn_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let x = at.x(0);
    let size = at.int_attribute("size", 1);
    let (alpha, beta, bias) = (at.float("alpha", 1e-4), at.float("beta", 0.75), at.float("bias", 1.0));
    let pads = vec![(size - 1) / 2, 0, size / 2, 0];
    let mean = |t: Term<'a>| {
        let attributes = vec![
            ("kernel_shape", vec![size, 1].into()),
            ("pads", pads.clone().into()),
            ("count_include_pad", 1i64.into()),
        ];
        // Channels as a spatial axis, [N, 1, C, the rest].
        let flat = t.reshaped(&[0, 0, -1]).unsqueezed(&[1]);
        flat.with("AveragePool", &[], attributes).with("Reshape", &[x.dims()], vec![])
    };
    Ok(vec![at.dx(0).map(|dx| {
        let d = mean(x.squared()) * alpha + bias;
        let power = d.with("Pow", &[d.scalar(-beta)], vec![]);
        power * (dx - x * mean(x * dx) * (2.0 * alpha * beta) / d)
    })])
}

/// The operator adds its epsilon, 1e-9, to the deviation, not to the variance.
fn mean_variance_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let axes = at.node.ints("axes").map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    let mean = |t: Term<'a>| t.reduced("ReduceMean", &axes);
    let c = at.x(0) - mean(at.x(0));
    let deviation = mean(c.squared()).op("Sqrt");
    let whole = deviation + 1e-9;
    Ok(vec![at.dx(0).map(|dx| {
        let dc = dx - mean(dx);
        (dc - c * mean(c * dc) / (deviation * whole)) / whole
    })])
}
