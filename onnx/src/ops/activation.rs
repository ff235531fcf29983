//! Activations: element by element on one input, and the softmaxes along an axis.
//!
//! Meaning changed: Clip takes its bounds as inputs from opset 11; Softmax and its kin flatten to two axes before 13
//! (same shape either way).
//!
//! Where the sign or the bounds of the output tell which piece an element is on, the slope is taken from the output: the
//! input may be inside a convolution that a runtime has fused with the activation.

use super::Flow::{All, Nothing, Only};
use super::Tangent::{Kinked, Rule, Slope, Zero};
use super::{Kind, OpSpec};
use crate::Result;
use crate::tangent::Pieces::{Curved, Linear};
use crate::tangent::{At, Tangents, Term};
use Kind::{Float, Int, String};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, TAU};

pub(super) const OPS: &[OpSpec] = &[
    like!("Celu", All, Slope(celu), 12, 1..=1, &[("alpha", Float)]),
    like!("Clip", Only(&[0]), Kinked(Curved, clip), 1, 1..=3, &[("min", Float), ("max", Float)]),
    like!("Elu", All, Slope(elu), 1, 1..=1, &[("alpha", Float)]),
    like!("Gelu", All, Slope(gelu), 20, 1..=1, &[("approximate", String)]),
    like!("HardSigmoid", All, Kinked(Curved, hard_sigmoid), 1, 1..=1, &[("alpha", Float), ("beta", Float)]),
    like!("HardSwish", All, Kinked(Curved, hard_swish), 14, 1..=1, &[]),
    like!("Hardmax", Nothing, Zero, 1, 1..=1, &[("axis", Int)]),
    like!("LeakyRelu", All, Kinked(Linear, leaky_relu), 1, 1..=1, &[("alpha", Float)]),
    like!("LogSoftmax", All, Rule(log_softmax), 1, 1..=1, &[("axis", Int)]),
    like!("Mish", All, Slope(mish), 18, 1..=1, &[]),
    like!("Relu", All, Kinked(Linear, relu), 1, 1..=1, &[]),
    like!("Selu", All, Kinked(Curved, selu), 1, 1..=1, &[("alpha", Float), ("gamma", Float)]),
    like!("Shrink", All, Kinked(Curved, shrink), 9, 1..=1, &[("bias", Float), ("lambd", Float)]),
    like!("Sigmoid", All, Slope(sigmoid), 1, 1..=1, &[]),
    like!("Softmax", All, Rule(softmax), 1, 1..=1, &[("axis", Int)]),
    like!("Softplus", All, Slope(softplus), 1, 1..=1, &[]),
    like!("Softsign", All, Slope(softsign), 1, 1..=1, &[]),
    like!("Swish", All, Slope(swish), 24, 1..=1, &[("alpha", Float)]),
    like!("ThresholdedRelu", All, Kinked(Linear, thresholded_relu), 10, 1..=1, &[("alpha", Float)]),
];

/// On the positive side 1, on the other exp(x/a) = y/a + 1.
fn celu<'a>(at: &At<'a>) -> Term<'a> {
    let y = at.y(0);
    one_or(y.above(0.0), y / at.float("alpha", 1.0) + 1.0)
}

/// On the positive side 1, on the other a exp(x) = y + a.
fn elu<'a>(at: &At<'a>) -> Term<'a> {
    let (x, y) = (at.x(0), at.y(0));
    one_or(x.above(0.0), y + at.float("alpha", 1.0))
}

/// On the positive side gamma, on the other gamma a exp(x) = y + gamma a.
fn selu<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (x, y) = (at.x(0), at.y(0));
    let gamma = at.float("gamma", 1.050_701_022_148_132_3);
    let other = y + gamma * at.float("alpha", 1.673_263_192_176_818_8);
    times(at, || x.above(0.0).cast(y.data_type()) * (gamma - other) + other)
}

/// With the normal distribution's P and p, P(x) + x p(x); with tanh in its place, the derivative of that form.
fn gelu<'a>(at: &At<'a>) -> Term<'a> {
    let x = at.x(0);
    if at.node.string("approximate") == Some("tanh") {
        let (scale, cubic) = (FRAC_2_PI.sqrt(), 0.044715);
        let squared = x.squared();
        let t = (x * scale * (squared * cubic + 1.0)).op("Tanh");
        let inner = squared * (3.0 * cubic * scale) + scale;
        return (t + 1.0) * 0.5 + x * 0.5 * (1.0 - t.squared()) * inner;
    }
    let cumulative = ((x * FRAC_1_SQRT_2).op("Erf") + 1.0) * 0.5;
    cumulative + x * (x.squared() * -0.5).op("Exp") * (1.0 / TAU.sqrt())
}

fn hard_sigmoid<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let y = at.y(0);
    times(at, || y.above(0.0).and(y.below(1.0)).cast(y.data_type()) * at.float("alpha", 0.2))
}

/// x/3 + 1/2 between -3 and 3; 0 before, 1 after.
fn hard_swish<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let x = at.x(0);
    times(at, || {
        let inside = x.op("Abs").below(3.0).cast(x.data_type());
        inside * (x * (1.0 / 3.0) + 0.5) + x.above(3.0).cast(x.data_type())
    })
}

fn leaky_relu<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let alpha = at.float("alpha", 0.01);
    let told = if alpha > 0.0 { at.y(0) } else { at.x(0) };
    times(at, || told.above(0.0).cast(told.data_type()) * (1.0 - alpha) + alpha)
}

/// With t = tanh(softplus(x)), t + x (1 - t^2) sigmoid(x).
fn mish<'a>(at: &At<'a>) -> Term<'a> {
    let x = at.x(0);
    let t = x.op("Softplus").op("Tanh");
    t + x * (1.0 - t.squared()) * x.op("Sigmoid")
}

fn sigmoid<'a>(at: &At<'a>) -> Term<'a> {
    let y = at.y(0);
    y * (1.0 - y)
}

/// sigmoid(x) = exp(x - y). ONNX Runtime's Sigmoid is 0 below -18 and half wrong at -16; this is right to the rounding of y
/// wherever x is, as the slope of a loss has to be where the model is sure.
fn softplus<'a>(at: &At<'a>) -> Term<'a> {
    (at.x(0) - at.y(0)).op("Exp")
}

fn softsign<'a>(at: &At<'a>) -> Term<'a> {
    1.0 / (at.x(0).op("Abs") + 1.0).squared()
}

/// y = x sigmoid(a x): with q = sigmoid(a x), q + a x q (1 - q).
fn swish<'a>(at: &At<'a>) -> Term<'a> {
    let scaled = at.x(0) * at.float("alpha", 1.0);
    let q = scaled.op("Sigmoid");
    q + scaled * q * (1.0 - q)
}

/// 1 where the mask holds, else `other`.
fn one_or<'a>(mask: Term<'a>, other: Term<'a>) -> Term<'a> {
    mask.cast(other.data_type()) * (1.0 - other) + other
}

/// The tangent times a slope.
fn times<'a>(at: &At<'a>, slope: impl FnOnce() -> Term<'a>) -> Result<Tangents<'a>> {
    Ok(vec![at.dx(0).map(|dx| slope() * dx)])
}

/// The tangent where the mask holds, else 0: times the mask as a number, which ONNX Runtime computes several times faster
/// than a Where.
fn where_it_holds<'a>(at: &At<'a>, mask: impl FnOnce() -> Term<'a>) -> Result<Tangents<'a>> {
    times(at, || mask().cast(at.x(0).data_type()))
}

fn relu<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    times(at, || at.positive())
}

fn thresholded_relu<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    where_it_holds(at, || at.x(0).above(at.float("alpha", 1.0)))
}

fn shrink<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    where_it_holds(at, || at.x(0).op("Abs").above(at.float("lambd", 0.5)))
}

/// Between the bounds, which are attributes before opset 11; without any, everywhere.
fn clip<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let y = at.y(0);
    let bound = |name: &str, i: usize| match at.opset() {
        ..11 => at.node.float(name).map(|x| y.scalar(f64::from(x))),
        _ => at.input(i),
    };
    let (low, high) = (bound("min", 1), bound("max", 2));
    match (low.map(|low| y.greater(low)), high.map(|high| y.less(high))) {
        (Some(above), Some(below)) => where_it_holds(at, || above.and(below)),
        (Some(mask), None) | (None, Some(mask)) => where_it_holds(at, || mask),
        (None, None) => Ok(vec![at.dx(0)]),
    }
}

/// The axes a softmax sums over: one from opset 13, all from `axis` on before.
fn summed(at: &At) -> Result<Vec<i64>> {
    let rank = at.first_rank()?;
    let axis = at.axis(if at.opset() < 13 { 1 } else { -1 }).unwrap_or_default();
    Ok(if at.opset() < 13 { (axis..rank).collect() } else { vec![axis] })
}

/// y (dx - sum y dx).
fn softmax<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (y, axes) = (at.y(0), summed(at)?);
    Ok(vec![at.dx(0).map(|dx| y * (dx - (y * dx).reduced("ReduceSum", &axes)))])
}

/// dx - sum exp(y) dx.
fn log_softmax<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (y, axes) = (at.y(0), summed(at)?);
    Ok(vec![at.dx(0).map(|dx| dx - (y.op("Exp") * dx).reduced("ReduceSum", &axes))])
}
