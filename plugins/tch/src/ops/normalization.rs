//! Normalization by statistics of the input, or by stored ones.
//!
//! Written out in elementary operations: libtorch's fused normalizations lack some second or forward-mode derivatives.

use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[Op { name: "BatchNormalization", forward: batch_normalization }];

/// [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html): stored statistics, or the batch's
/// own in training.
///
/// A node trains when the run does, when `training_mode` says so (since 14), or, before 14, when it names further
/// outputs. It then gives `Y`, the new running mean, the new running variance (`old * momentum + batch * (1 -
/// momentum)`), and before 14 the batch's mean and variance. As ONNX defines it the variance is the population's
/// (divided by n) throughout, where PyTorch's own layer puts the sample variance (n - 1) into its running one.
fn batch_normalization(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let dims = input::rank(x, "X", 2..=usize::MAX)?;
    if !site.flag("spatial", true)? {
        return Err(OpError::Unsupported {
            feature: "statistics for each position",
            found: "`spatial` = 0".to_owned(),
        });
    }
    let channels = dims[1];
    let mut shape = vec![1; dims.len()];
    shape[1] = channels;
    let parameter = |i, name| -> Result<Tensor, OpError> {
        let p = input::required(inputs, i, name)?;
        if p.size() != [channels] {
            let expected = format!("the shape [{channels}]").into();
            return Err(OpError::Input { name, expected, found: format!("{:?}", p.size()) });
        }
        Ok(p.shallow_clone())
    };
    let scale = parameter(1, "scale")?;
    let bias = parameter(2, "B")?;
    let mean = parameter(3, "input_mean")?;
    let variance = parameter(4, "input_var")?;
    let epsilon = site.float("epsilon")?.unwrap_or(1e-5);
    let older = site.opset < 14 && site.node.outputs.iter().skip(1).any(|o| !o.is_empty());
    if !(site.training || older || site.flag("training_mode", false)?) {
        // One multiplication and one addition an element: the statistics go into the factors first.
        let factor = scale.f_mul(&variance.f_add_scalar(epsilon)?.f_rsqrt()?)?;
        let offset = bias.f_sub(&mean.f_mul(&factor)?)?;
        let y = x.f_mul(&factor.f_reshape(&shape)?)?.f_add(&offset.f_reshape(&shape)?)?;
        return Ok(vec![y.f_to_kind(x.f_kind()?)?]);
    }
    let momentum = site.float("momentum")?.unwrap_or(0.9);
    let axes: Vec<i64> = (0..dims.len() as i64).filter(|a| *a != 1).collect();
    let batch_mean = x.f_mean_dim(&axes, true, None)?;
    let centred = x.f_sub(&batch_mean)?;
    let batch_variance = centred.f_mul(&centred)?.f_mean_dim(&axes, true, None)?;
    let factor = batch_variance.f_add_scalar(epsilon)?.f_rsqrt()?.f_mul(&scale.f_reshape(&shape)?)?;
    let y = centred.f_mul(&factor)?.f_add(&bias.f_reshape(&shape)?)?;
    let (batch_mean, batch_variance) = (batch_mean.f_reshape([channels])?, batch_variance.f_reshape([channels])?);
    let blend = |old: &Tensor, new: &Tensor| -> Result<Tensor, OpError> {
        Ok(old.f_mul_scalar(momentum)?.f_add(&new.f_mul_scalar(1.0 - momentum)?)?)
    };
    let mut outputs = vec![y, blend(&mean, &batch_mean)?, blend(&variance, &batch_variance)?];
    if site.opset < 14 {
        outputs.extend([batch_mean, batch_variance]);
    }
    Ok(outputs)
}
