//! Activations: piecewise functions and smooth relatives of them.
//!
//! At a kink the derivative is that of libtorch's own activation of the same name. Where one branch of a choice
//! overflows, the argument is cut before, not after: a derivative of infinity times a mask of zero would be NaN.

use super::broadcast::{onto, unary};
use super::{Op, OpError, Site, fused, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "Celu", forward: |s, x| unary(x, |x| celu(s, x)) },
    Op { name: "Clip", forward: clip },
    Op { name: "Elu", forward: |s, x| unary(x, |x| exponential_unit(x, s.float("alpha")?.unwrap_or(1.0))) },
    Op { name: "Gelu", forward: |s, x| unary(x, |x| gelu(s, x)) },
    Op { name: "HardSigmoid", forward: |s, x| unary(x, |x| hard_sigmoid(s, x)) },
    Op { name: "HardSwish", forward: |_, x| unary(x, hard_swish) },
    Op { name: "LeakyRelu", forward: |s, x| unary(x, |x| leaky_relu(s, x)) },
    Op { name: "Mish", forward: |_, x| unary(x, mish) },
    Op { name: "PRelu", forward: p_relu },
    Op { name: "Relu", forward: |_, x| unary(x, |x| Ok(x.f_relu()?)) },
    Op { name: "Selu", forward: |s, x| unary(x, |x| selu(s, x)) },
    Op { name: "Shrink", forward: |s, x| unary(x, |x| shrink(s, x)) },
    Op { name: "Sigmoid", forward: |_, x| unary(x, |x| Ok(x.f_sigmoid()?)) },
    Op { name: "Softplus", forward: |_, x| unary(x, softplus) },
    Op { name: "Softsign", forward: |_, x| unary(x, |x| Ok(x.f_div(&x.f_abs()?.f_add_scalar(1.0)?)?)) },
    Op { name: "Swish", forward: |s, x| unary(x, |x| swish(s, x)) },
    Op { name: "ThresholdedRelu", forward: |s, x| unary(x, |x| thresholded_relu(s, x)) },
];

/// A scalar of the kind of `x`.
fn scalar(value: f64, x: &Tensor) -> Result<Tensor, OpError> {
    let scalar = Tensor::f_from_slice(&[value])?.f_to_kind(x.f_kind()?)?;
    Ok(scalar.f_to_device(x.device())?.f_reshape(&[] as &[i64])?)
}

/// [Clip](https://onnx.ai/onnx/operators/onnx__Clip.html): the bounds are attributes before opset 11, inputs since.
fn clip(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let attribute = |name| site.float(name)?.map(|v| scalar(v, x)).transpose();
    let bound = |i: usize, name| -> Result<Option<Tensor>, OpError> {
        let Some(bound) = input::optional(inputs, i) else { return Ok(None) };
        input::same_kind(x, bound, name)?;
        if bound.numel() != 1 {
            let found = format!("the shape {:?}", bound.size());
            return Err(OpError::Input { name, expected: "a scalar".into(), found });
        }
        Ok(Some(bound.f_reshape(&[] as &[i64])?))
    };
    let (low, high) =
        if site.opset < 11 { (attribute("min")?, attribute("max")?) } else { (bound(1, "min")?, bound(2, "max")?) };
    if low.is_none() && high.is_none() {
        return Ok(vec![x.shallow_clone()]);
    }
    Ok(vec![clipped(x, low, high)?])
}

/// `x` between the bounds. At a bound itself the derivative is zero, as a tangent graph and PyTorch's ReLU6 have it; that of
/// libtorch's clamp is one.
fn clipped(x: &Tensor, low: Option<Tensor>, high: Option<Tensor>) -> Result<Tensor, OpError> {
    if !x.is_floating_point() {
        return Ok(x.f_clamp_tensor(low, high)?);
    }
    let above = low.as_ref().map(|low| x.f_gt_tensor(low)).transpose()?;
    let below = high.as_ref().map(|high| x.f_lt_tensor(high)).transpose()?;
    let inside = match (above, below) {
        (Some(above), Some(below)) => above.f_logical_and(&below)?,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Ok(x.shallow_clone()),
    };
    Ok(x.f_where_self(&inside, &x.f_detach()?.f_clamp_tensor(low, high)?)?)
}

/// ln(1 + e^x) = -ln sigmoid(-x). The second derivative of `logaddexp` is not a number where e^-x overflows, and libtorch's own
/// `softplus` is cut at 20.
fn softplus(x: &Tensor) -> Result<Tensor, OpError> {
    Ok(x.f_neg()?.f_log_sigmoid()?.f_neg()?)
}

/// x where it is positive, alpha (e^x - 1) elsewhere.
fn exponential_unit(x: &Tensor, alpha: f64) -> Result<Tensor, OpError> {
    let positive = x.f_gt(0.0)?;
    let below = x.f_masked_fill(&positive, 0.0)?.f_expm1()?.f_mul_scalar(alpha)?;
    Ok(x.f_where_self(&positive, &below)?)
}

/// max(0, x) + min(0, alpha (e^(x / alpha) - 1)).
fn celu(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    let alpha = site.float("alpha")?.unwrap_or(1.0);
    if alpha == 0.0 {
        return Err(OpError::Attribute {
            name: "alpha",
            expected: "a value other than 0".into(),
            found: "0".to_owned(),
        });
    }
    let positive = x.f_gt(0.0)?;
    let below = x.f_masked_fill(&positive, 0.0)?.f_mul_scalar(1.0 / alpha)?.f_expm1()?.f_mul_scalar(alpha)?;
    Ok(x.f_where_self(&positive, &below)?)
}

/// gamma times the exponential unit.
fn selu(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    // The float32 values that the definition gives as defaults.
    let alpha = site.float("alpha")?.unwrap_or(1.673_263_192_176_818_8);
    let gamma = site.float("gamma")?.unwrap_or(1.050_701_022_148_132_3);
    Ok(exponential_unit(x, alpha)?.f_mul_scalar(gamma)?)
}

/// [Gelu](https://onnx.ai/onnx/operators/onnx__Gelu.html): x times the normal distribution function, or its tanh form.
fn gelu(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    match site.string("approximate")?.unwrap_or("none") {
        form @ ("none" | "tanh") => Ok(x.f_gelu(form)?),
        found => {
            let found = format!("`{found}`");
            Err(OpError::Attribute { name: "approximate", expected: "`none` or `tanh`".into(), found })
        }
    }
}

/// alpha x + beta, held between 0 and 1.
fn ramp(x: &Tensor, alpha: f64, beta: f64) -> Result<Tensor, OpError> {
    Ok(x.f_mul_scalar(alpha)?.f_add_scalar(beta)?.f_clamp(0.0, 1.0)?)
}

/// x times the ramp from -3 to 3.
fn hard_swish(x: &Tensor) -> Result<Tensor, OpError> {
    if input::is_float(x)? && fused::allowed(&[x])? {
        return Ok(x.f_hardswish()?);
    }
    Ok(x.f_mul(&ramp(x, 1.0 / 6.0, 0.5)?)?)
}

/// x tanh(ln(1 + e^x)).
fn mish(x: &Tensor) -> Result<Tensor, OpError> {
    if input::is_float(x)? && fused::allowed(&[x])? {
        return Ok(x.f_mish()?);
    }
    Ok(x.f_mul(&softplus(x)?.f_tanh()?)?)
}

fn hard_sigmoid(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    ramp(x, site.float("alpha")?.unwrap_or(0.2), site.float("beta")?.unwrap_or(0.5))
}

fn leaky_relu(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    let alpha = site.float("alpha")?.unwrap_or(0.01);
    Ok(x.f_where_self(&x.f_gt(0.0)?, &x.f_mul_scalar(alpha)?)?)
}

/// [PRelu](https://onnx.ai/onnx/operators/onnx__PRelu.html): the slope broadcasts to the input.
fn p_relu(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let slope = input::required(inputs, 1, "slope")?;
    input::same_kind(x, slope, "slope")?;
    onto(&x.size(), &slope.size(), "slope")?;
    Ok(vec![x.f_where_self(&x.f_gt(0.0)?, &x.f_mul(slope)?)?])
}

/// Moves values outside [-lambd, lambd] by `bias` towards 0, and puts those inside to 0.
fn shrink(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    let lambd = site.float("lambd")?.unwrap_or(0.5);
    let bias = scalar(site.float("bias")?.unwrap_or(0.0), x)?;
    let zero = x.f_zeros_like()?;
    let above = x.f_sub(&bias)?.f_where_self(&x.f_gt(lambd)?, &zero)?;
    Ok(x.f_add(&bias)?.f_where_self(&x.f_lt(-lambd)?, &above)?)
}

/// x sigmoid(alpha x).
fn swish(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    Ok(x.f_mul(&x.f_mul_scalar(site.float("alpha")?.unwrap_or(1.0))?.f_sigmoid()?)?)
}

fn thresholded_relu(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    let alpha = site.float("alpha")?.unwrap_or(1.0);
    Ok(x.f_masked_fill(&x.f_le(alpha)?, 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponential_unit_keeps_its_slope_where_the_exponential_overflows() -> Result<(), OpError> {
        let x = Tensor::f_from_slice(&[1000.0f64, -1000.0])?.f_set_requires_grad(true)?;
        let y = exponential_unit(&x, 2.0)?.f_sum(tch::Kind::Double)?;
        let slope = Tensor::f_run_backward(&[y], &[&x], false, false)?;
        assert_eq!(Vec::<f64>::try_from(&slope[0])?, [1.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_clipped_value_has_no_slope_at_a_bound_nor_past_it() -> Result<(), OpError> {
        let x = Tensor::f_from_slice(&[-1.0f64, 0.0, 3.0, 6.0, 7.0, f64::NAN])?.f_set_requires_grad(true)?;
        let bound = |at: f64| Tensor::f_from_slice(&[at]).and_then(|bound| bound.f_reshape(&[] as &[i64]));
        for (low, high, values, slopes) in [
            (Some(0.0), Some(6.0), [0.0, 0.0, 3.0, 6.0, 6.0], [0.0, 0.0, 1.0, 0.0, 0.0]),
            (Some(0.0), None, [0.0, 0.0, 3.0, 6.0, 7.0], [0.0, 0.0, 1.0, 1.0, 1.0]),
            (None, Some(6.0), [-1.0, 0.0, 3.0, 6.0, 6.0], [1.0, 1.0, 1.0, 0.0, 0.0]),
        ] {
            let y = clipped(&x, low.map(bound).transpose()?, high.map(bound).transpose()?)?;
            let slope = Tensor::f_run_backward(&[y.f_sum(tch::Kind::Double)?], &[&x], false, false)?;
            let found = Vec::<f64>::try_from(&y.f_detach()?)?;
            assert_eq!((&found[..5], found[5].is_nan()), (&values[..], true));
            assert_eq!(Vec::<f64>::try_from(&slope[0])?[..5], slopes);
        }
        Ok(())
    }

    #[test]
    fn softplus_has_two_derivatives_wherever_its_exponential_overflows() -> Result<(), OpError> {
        for kind in [tch::Kind::Float, tch::Kind::Double] {
            let x = Tensor::f_from_slice(&[1e4f64, 0.0, -100.0, -1e4])?.f_to_kind(kind)?.f_set_requires_grad(true)?;
            let y = softplus(&x)?.f_sum(kind)?;
            let slope = Tensor::f_run_backward(&[y], &[&x], true, true)?;
            let bend = Tensor::f_run_backward(&[slope[0].f_sum(kind)?], &[&x], false, false)?;
            let numbers = |t: &Tensor| -> Result<Vec<f64>, OpError> {
                Ok(Vec::try_from(&t.f_detach()?.f_to_kind(tch::Kind::Double)?)?)
            };
            let close =
                |found: &[f64], expected: [f64; 4]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-40);
            assert!(close(&numbers(&slope[0])?, [1.0, 0.5, 0.0, 0.0]), "{kind:?}: {slope:?}");
            assert!(close(&numbers(&bend[0])?, [0.0, 0.25, 0.0, 0.0]), "{kind:?}: {bend:?}");
        }
        Ok(())
    }
}
