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

#[cfg(test)]
mod tests {
    use super::*;
    use isal_onnx::Node;
    use tch::Device;

    #[test]
    fn elements_are_dropped_in_training_alone_and_the_seed_decides_which() -> Result<(), OpError> {
        let node = Node::new("Dropout", "", [] as [&str; 0], ["y", "mask"]);
        let site = |training| Site { node: &node, opset: 13, training, kind: Kind::Float, device: Device::Cpu };
        let x = Tensor::f_ones([10_000], (Kind::Float, Device::Cpu))?;
        let inputs = [Some(x.shallow_clone()), Some(Tensor::f_from_slice(&[0.2f32])?)];
        assert!(dropout(&site(false), &inputs)?[0].f_equal(&x)?);
        let draw = || -> Result<Tensor, OpError> {
            tch::manual_seed(5);
            Ok(dropout(&site(true), &inputs)?[0].shallow_clone())
        };
        let y = draw()?;
        assert!(y.f_equal(&draw()?)?, "the same seed gives the same draw");
        let kept = y.f_ne(0.0)?;
        // The scale makes up for what is dropped.
        assert!(y.f_masked_select(&kept)?.f_eq(1.25)?.f_all()?.f_int64_value(&[])? != 0);
        // 8,000 of 10,000 expected, with a standard deviation of 40.
        let count = kept.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        assert!((7_800..8_200).contains(&count), "{count} kept");
        Ok(())
    }
}
