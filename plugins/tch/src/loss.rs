//! Softmax cross-entropy with target weights, its gradient and its Hessian in the outputs.
//!
//! `l_n = sum_c w_nc * (-log softmax(o_n)_c) = W_n * logsumexp(o_n) - w_n . o_n` with `W_n = sum_c w_nc`. Written this
//! way because libtorch has no forward-mode derivative of `log_softmax`'s backward pass.

use crate::Failure;
use tch::{Kind, Tensor};

/// The loss of each sample, `[N]`.
///
/// # Errors
/// [`Failure::Backend`] when libtorch refuses.
pub fn per_sample(outputs: &Tensor, targets: &Tensor) -> Result<Tensor, Failure> {
    let total = targets.f_sum_dim_intlist(&[1i64][..], false, None::<Kind>)?;
    let linear = outputs.f_mul(targets)?.f_sum_dim_intlist(&[1i64][..], false, None::<Kind>)?;
    Ok(outputs.f_logsumexp([1], false)?.f_mul(&total)?.f_sub(&linear)?)
}

/// The Hessian of the loss in the outputs times `direction`, sample by sample, `[N, C]`:
/// `W (diag(p) - p p^T) d` with `p = softmax(o)`.
///
/// # Errors
/// [`Failure::Backend`] when libtorch refuses.
pub fn output_curvature(outputs: &Tensor, targets: &Tensor, direction: &Tensor) -> Result<Tensor, Failure> {
    let total = targets.f_sum_dim_intlist(&[1i64][..], true, None::<Kind>)?;
    let p = outputs.f_softmax(1, None::<Kind>)?;
    let along = p.f_mul(direction)?;
    let mean = along.f_sum_dim_intlist(&[1i64][..], true, None::<Kind>)?;
    Ok(along.f_sub(&p.f_mul(&mean)?)?.f_mul(&total)?)
}

/// The sum over samples in float64.
///
/// # Errors
/// [`Failure::NotFinite`] when it is NaN or infinite.
pub fn sum(per_sample: &Tensor) -> Result<f64, Failure> {
    let sum = per_sample.f_detach()?.f_sum(Kind::Double)?.f_double_value(&[])?;
    if sum.is_finite() { Ok(sum) } else { Err(Failure::NotFinite { what: "the loss".to_owned() }) }
}
