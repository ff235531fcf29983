//! Reductions over axes, and running sums along one.

use super::{Op, OpError, Site, input};
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] = &[
    Op { name: "CumSum", forward: cum_sum },
    Op { name: "ReduceL1", forward: |s, x| reduce(s, x, 18, |x, r| keep_kind(x, &sum(&x.f_abs()?, r)?)) },
    Op { name: "ReduceL2", forward: |s, x| reduce(s, x, 18, euclidean) },
    Op { name: "ReduceLogSum", forward: |s, x| reduce(s, x, 18, |x, r| Ok(sum(x, r)?.f_log()?)) },
    Op { name: "ReduceLogSumExp", forward: |s, x| reduce(s, x, 18, |x, r| Ok(x.f_logsumexp(&r.axes, r.keep)?)) },
    Op { name: "ReduceMax", forward: |s, x| reduce(s, x, 18, |x, r| extreme(x, r, true)) },
    Op { name: "ReduceMean", forward: |s, x| reduce(s, x, 18, mean) },
    Op { name: "ReduceMin", forward: |s, x| reduce(s, x, 18, |x, r| extreme(x, r, false)) },
    Op { name: "ReduceProd", forward: |s, x| reduce(s, x, 18, product) },
    Op { name: "ReduceSum", forward: |s, x| reduce(s, x, 13, sum) },
    Op { name: "ReduceSumSquare", forward: |s, x| reduce(s, x, 18, |x, r| sum(&x.f_mul(x)?, r)) },
];

/// What a reduction runs over.
struct Reduced {
    axes: Vec<i64>,
    keep: bool,
}

impl Reduced {
    /// Dims of the result.
    fn dims(&self, dims: &[i64]) -> Vec<i64> {
        let reduced = |i: usize| self.axes.contains(&(i as i64));
        let kept = dims.iter().enumerate().filter(|(i, _)| self.keep || !reduced(*i));
        kept.map(|(i, d)| if reduced(i) { 1 } else { *d }).collect()
    }
}

/// Runs a reduction over the node's axes: an attribute before opset `since`, the second input from there on. None mean
/// all, unless `noop_with_empty_axes` says that nothing is joined then.
fn reduce(
    site: &Site,
    inputs: &[Option<Tensor>],
    since: i64,
    f: impl Fn(&Tensor, &Reduced) -> Result<Tensor, OpError>,
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
        // Over one element each, as ONNX Runtime has it: no sum is taken, yet ReduceL1 still gives absolute values.
        _ if site.flag("noop_with_empty_axes", false)? => {
            let alone = Reduced { axes: vec![rank as i64], keep: false };
            return Ok(vec![f(&x.f_unsqueeze(-1)?, &alone)?]);
        }
        _ => (0..rank as i64).collect(),
    };
    Ok(vec![f(x, &Reduced { axes, keep: site.flag("keepdims", true)? })?])
}

fn keep_kind(x: &Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    Ok(y.f_to_kind(x.f_kind()?)?)
}

fn sum(x: &Tensor, r: &Reduced) -> Result<Tensor, OpError> {
    Ok(x.f_sum_dim_intlist(&r.axes[..], r.keep, x.f_kind()?)?)
}

/// Integers through float64, which holds every mean of theirs that ONNX can ask for.
fn mean(x: &Tensor, r: &Reduced) -> Result<Tensor, OpError> {
    if input::is_float(x)? {
        return Ok(x.f_mean_dim(&r.axes[..], r.keep, None)?);
    }
    keep_kind(x, &x.f_mean_dim(&r.axes[..], r.keep, Kind::Double)?)
}

/// The square root of the sum of squares. At zero its derivatives of every order count as zero; libtorch's own norm has
/// none of second order there, and a vector of zeros is what a padded token of an attention is normalised from.
fn euclidean(x: &Tensor, r: &Reduced) -> Result<Tensor, OpError> {
    let wide = if input::is_float(x)? { x.shallow_clone() } else { x.f_to_kind(Kind::Double)? };
    let square = sum(&wide.f_mul(&wide)?, r)?;
    let zero = square.f_eq(0)?;
    keep_kind(x, &square.f_masked_fill(&zero, 1)?.f_sqrt()?.f_masked_fill(&zero, 0)?)
}

/// The greatest or least; of nothing, the type's own least or greatest. A derivative is shared among equals.
fn extreme(x: &Tensor, r: &Reduced, greatest: bool) -> Result<Tensor, OpError> {
    let dims = x.size();
    if r.axes.iter().any(|a| dims[input::at(*a)] == 0) {
        let (low, high) = match x.f_kind()? {
            Kind::Bool => (0.0, 1.0),
            Kind::Uint8 => (0.0, 255.0),
            Kind::Int8 => (f64::from(i8::MIN), f64::from(i8::MAX)),
            Kind::Int16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
            Kind::Int => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Kind::Int64 => {
                let value = if greatest { i64::MIN } else { i64::MAX };
                return Ok(Tensor::f_full(r.dims(&dims), value, (Kind::Int64, x.device()))?);
            }
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        };
        let value = if greatest { low } else { high };
        return Ok(Tensor::f_full(r.dims(&dims), value, (x.f_kind()?, x.device()))?);
    }
    Ok(if greatest { x.f_amax(&r.axes, r.keep)? } else { x.f_amin(&r.axes, r.keep)? })
}

/// The product, over all axes at once: they are moved to the end and joined.
fn product(x: &Tensor, r: &Reduced) -> Result<Tensor, OpError> {
    let dims = x.size();
    let rest: Vec<i64> = (0..dims.len() as i64).filter(|a| !r.axes.contains(a)).collect();
    let mut order = rest.clone();
    order.extend(&r.axes);
    let mut joined: Vec<i64> = rest.iter().map(|a| dims[input::at(*a)]).collect();
    joined.push(r.axes.iter().map(|a| dims[input::at(*a)]).product());
    let y = x.f_permute(&order)?.f_reshape(&joined)?.f_prod_dim_int(-1, false, x.f_kind()?)?;
    Ok(y.f_reshape(r.dims(&dims))?)
}

/// [CumSum](https://onnx.ai/onnx/operators/onnx__CumSum.html): forwards or backwards, with or without the element itself.
fn cum_sum(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "x")?;
    input::rank(x, "x", 1..=usize::MAX)?;
    let axis = input::axis(input::int(input::required(inputs, 1, "axis")?, "axis")?, x.dim())?;
    let reverse = site.flag("reverse", false)?;
    let turned = if reverse { x.f_flip([axis])? } else { x.shallow_clone() };
    let mut sums = turned.f_cumsum(axis, x.f_kind()?)?;
    if site.flag("exclusive", false)? {
        sums = sums.f_sub(&turned)?;
    }
    Ok(vec![if reverse { sums.f_flip([axis])? } else { sums }])
}
