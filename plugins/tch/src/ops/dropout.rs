//! Dropout.

use super::{Op, OpError, Site, input};
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] = &[Op { name: "Dropout", forward: dropout }];

/// [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html): the ratio is an attribute before opset 12, an input
/// since.
///
/// Elements are dropped when the run trains or, since 12, when the input `training_mode` says so; else this is the
/// identity. The draws come from libtorch's generator, which `tch::manual_seed` sets; the node's own `seed` is not heeded,
/// since it would draw the same mask at every step.
fn dropout(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let ratio = if site.opset < 12 {
        site.float("ratio")?.unwrap_or(0.5)
    } else {
        input::optional(inputs, 1).map(|r| input::float(r, "ratio")).transpose()?.unwrap_or(0.5)
    };
    if !(0.0..=1.0).contains(&ratio) {
        return Err(OpError::Input { name: "ratio", expected: "0 to 1".into(), found: ratio.to_string() });
    }
    let stated = match input::optional(inputs, 2) {
        Some(mode) => input::float(mode, "training_mode")? != 0.0,
        None => false,
    };
    let mask_kind = if site.opset < 10 { x.f_kind()? } else { Kind::Bool };
    if !(site.training || stated) || ratio == 0.0 {
        return Ok(vec![x.shallow_clone(), Tensor::f_ones(x.size(), (mask_kind, x.device()))?]);
    }
    let kept = Tensor::f_rand(x.size(), (Kind::Float, x.device()))?.f_ge(ratio)?;
    let scale = if ratio < 1.0 { 1.0 / (1.0 - ratio) } else { 0.0 };
    let y = x.f_mul(&kept.f_to_kind(x.f_kind()?)?.f_mul_scalar(scale)?)?;
    Ok(vec![y, kept.f_to_kind(mask_kind)?])
}
