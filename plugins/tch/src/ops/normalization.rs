//! Normalization by statistics of the input, or by stored ones.

use super::broadcast::onto;
use super::{Op, OpError, Site, fused, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "BatchNormalization", forward: batch_normalization },
    Op { name: "GroupNormalization", forward: group_normalization },
    Op { name: "InstanceNormalization", forward: instance_normalization },
    Op { name: "LRN", forward: local_response },
    Op { name: "LayerNormalization", forward: layer_normalization },
    Op { name: "LpNormalization", forward: lp_normalization },
    Op { name: "MeanVarianceNormalization", forward: mean_variance },
    Op { name: "RMSNormalization", forward: root_mean_square },
];

/// A factor or an offset with one entry a channel, as `[1, C, 1, ...]` of the given rank.
fn per_channel(
    inputs: &[Option<Tensor>],
    index: usize,
    name: &'static str,
    channels: i64,
    rank: usize,
) -> Result<Tensor, OpError> {
    let p = input::required(inputs, index, name)?;
    if p.size() != [channels] {
        let expected = format!("the shape [{channels}]").into();
        return Err(OpError::Input { name, expected, found: format!("{:?}", p.size()) });
    }
    let mut shape = vec![1; rank];
    shape[1] = channels;
    Ok(p.f_reshape(&shape)?)
}

/// Mean, differences from it, and population variance over the axes, which keep size 1.
fn moments(x: &Tensor, axes: &[i64]) -> Result<(Tensor, Tensor, Tensor), OpError> {
    let mean = x.f_mean_dim(axes, true, None)?;
    let centred = x.f_sub(&mean)?;
    let variance = centred.f_mul(&centred)?.f_mean_dim(axes, true, None)?;
    Ok((mean, centred, variance))
}

fn inverse_deviation(variance: &Tensor, epsilon: f64) -> Result<Tensor, OpError> {
    Ok(variance.f_add_scalar(epsilon)?.f_rsqrt()?)
}

fn epsilon(site: &Site) -> Result<f64, OpError> {
    Ok(site.float("epsilon")?.unwrap_or(1e-5))
}

/// [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html): stored statistics, or the batch's
/// own in training.
///
/// A node trains when the run does, when `training_mode` says so (since 14), or, before 14, when it names further
/// outputs. It then gives `Y`, the new running mean, the new running variance (`old * momentum + batch * (1 -
/// momentum)`), and before 14 the batch's mean and variance. As ONNX defines it the variance is the population's
/// (divided by n) throughout, where PyTorch's own layer puts the sample variance (n - 1) into its running one.
/// In a training run no derivative flows through the statistics.
fn batch_normalization(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let dims = input::rank(x, "X", 2..=usize::MAX)?;
    if !site.flag("spatial", true)? {
        return Err(OpError::Unsupported {
            feature: "statistics for each position",
            found: "`spatial` = 0".to_owned(),
        });
    }
    let mut shape = vec![1; dims.len()];
    shape[1] = dims[1];
    let parameter = |index, name| per_channel(inputs, index, name, dims[1], dims.len());
    let scale = parameter(1, "scale")?;
    let bias = parameter(2, "B")?;
    let mean = parameter(3, "input_mean")?;
    let variance = parameter(4, "input_var")?;
    let epsilon = epsilon(site)?;
    let older = site.opset < 14 && site.node.outputs.iter().skip(1).any(|o| !o.is_empty());
    if !(site.training || older || site.flag("training_mode", false)?) {
        // One multiplication and one addition an element: the statistics go into the factors first.
        let factor = scale.f_mul(&inverse_deviation(&variance, epsilon)?)?;
        let offset = bias.f_sub(&mean.f_mul(&factor)?)?;
        return Ok(vec![x.f_mul(&factor)?.f_add(&offset)?.f_to_kind(x.f_kind()?)?]);
    }
    let momentum = site.float("momentum")?.unwrap_or(0.9);
    let (y, batch_mean, batch_variance) = if site.training && x.numel() > 0 && fused::allowed(&[x, &scale, &bias])? {
        let flat = |t: &Tensor| t.f_reshape([-1]);
        let (y, mean, inverse) =
            x.f_native_batch_norm(Some(flat(&scale)?), Some(flat(&bias)?), None, None, true, 0.0, epsilon)?;
        let variance = inverse.f_square()?.f_reciprocal()?.f_sub_scalar(epsilon)?.f_clamp_min(0.0)?;
        (y, mean.f_detach()?, variance.f_detach()?)
    } else {
        let axes: Vec<i64> = (0..dims.len() as i64).filter(|a| *a != 1).collect();
        let (mean, centred, variance) = moments(x, &axes)?;
        let factor = inverse_deviation(&variance, epsilon)?.f_mul(&scale)?;
        (centred.f_mul(&factor)?.f_add(&bias)?, mean, variance)
    };
    let (batch_mean, batch_variance) = (batch_mean.f_reshape(&shape)?, batch_variance.f_reshape(&shape)?);
    let blend = |old: &Tensor, new: &Tensor| -> Result<Tensor, OpError> {
        Ok(old.f_mul_scalar(momentum)?.f_add(&new.f_mul_scalar(1.0 - momentum)?)?.f_reshape([-1])?)
    };
    let mut outputs = vec![y, blend(&mean, &batch_mean)?, blend(&variance, &batch_variance)?];
    if site.opset < 14 {
        outputs.extend([batch_mean.f_reshape([-1])?, batch_variance.f_reshape([-1])?]);
    }
    Ok(outputs)
}

/// [LayerNormalization](https://onnx.ai/onnx/operators/onnx__LayerNormalization.html), with mean and inverse deviation.
fn layer_normalization(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let axes = trailing_axes(site, x)?;
    if let Some(outputs) = fused_layer_normalization(site, inputs, &x.size()[input::at(axes[0])..])? {
        return Ok(outputs);
    }
    let (mean, centred, variance) = moments(x, &axes)?;
    let inverse = inverse_deviation(&variance, epsilon(site)?)?;
    let y = scaled(x, centred.f_mul(&inverse)?, inputs)?;
    Ok(vec![y, mean, inverse])
}

/// The same by libtorch's own kernel, where scale and bias have just the dims that are normalized. No derivative flows
/// through the kernel's statistics, so it is for nodes that name `Y` alone.
fn fused_layer_normalization(
    site: &Site,
    inputs: &[Option<Tensor>],
    dims: &[i64],
) -> Result<Option<Vec<Tensor>>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let scale = input::required(inputs, 1, "Scale")?;
    let bias = input::optional(inputs, 2);
    let given: Vec<&Tensor> = [x, scale].into_iter().chain(bias).collect();
    let kind = x.f_kind()?;
    for t in &given[1..] {
        if t.size() != dims || t.f_kind()? != kind {
            return Ok(None);
        }
    }
    let alone = site.node.outputs.iter().skip(1).all(String::is_empty);
    if !alone || !input::is_float(x)? || x.numel() == 0 || !fused::allowed(&given)? {
        return Ok(None);
    }
    let (y, _, _) = x.f_native_layer_norm(dims, Some(scale), bias, epsilon(site)?)?;
    Ok(Some(vec![y]))
}

/// [RMSNormalization](https://onnx.ai/onnx/operators/onnx__RMSNormalization.html).
fn root_mean_square(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let mean = x.f_mul(x)?.f_mean_dim(trailing_axes(site, x)?, true, None)?;
    Ok(vec![scaled(x, x.f_mul(&inverse_deviation(&mean, epsilon(site)?)?)?, inputs)?])
}

/// The axes from the attribute `axis` on.
fn trailing_axes(site: &Site, x: &Tensor) -> Result<Vec<i64>, OpError> {
    let rank = input::rank(x, "X", 1..=usize::MAX)?.len();
    Ok((input::axis(site.int("axis")?.unwrap_or(-1), rank)?..rank as i64).collect())
}

/// Times the second input, plus the third where there is one.
fn scaled(x: &Tensor, normal: Tensor, inputs: &[Option<Tensor>]) -> Result<Tensor, OpError> {
    let scale = input::required(inputs, 1, "Scale")?;
    onto(&x.size(), &scale.size(), "Scale")?;
    let y = normal.f_mul(scale)?;
    let Some(bias) = input::optional(inputs, 2) else { return Ok(y) };
    onto(&x.size(), &bias.size(), "B")?;
    Ok(y.f_add(bias)?)
}

/// [InstanceNormalization](https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html).
fn instance_normalization(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = input::rank(x, "input", 3..=usize::MAX)?;
    let axes: Vec<i64> = (2..dims.len() as i64).collect();
    let (_, centred, variance) = moments(x, &axes)?;
    let scale = per_channel(inputs, 1, "scale", dims[1], dims.len())?;
    let bias = per_channel(inputs, 2, "B", dims[1], dims.len())?;
    let factor = inverse_deviation(&variance, epsilon(site)?)?.f_mul(&scale)?;
    Ok(vec![centred.f_mul(&factor)?.f_add(&bias)?])
}

/// [GroupNormalization](https://onnx.ai/onnx/operators/onnx__GroupNormalization.html): scale and bias have an entry a
/// group in opset 18, an entry a channel since 21.
fn group_normalization(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let dims = input::rank(x, "X", 3..=usize::MAX)?;
    let groups = site.required("num_groups", site.int("num_groups")?)?;
    if groups < 1 || dims[1] % groups != 0 {
        let expected = format!("a divisor of the {} channels", dims[1]).into();
        return Err(OpError::Attribute { name: "num_groups", expected, found: groups.to_string() });
    }
    let grouped = x.f_reshape([dims[0], groups, dims[1] / groups, dims[2..].iter().product()])?;
    let (_, centred, variance) = moments(&grouped, &[2, 3])?;
    let normal = centred.f_mul(&inverse_deviation(&variance, epsilon(site)?)?)?;
    if site.opset < 21 {
        let scale = per_channel(inputs, 1, "scale", groups, 4)?;
        let bias = per_channel(inputs, 2, "bias", groups, 4)?;
        return Ok(vec![normal.f_mul(&scale)?.f_add(&bias)?.f_reshape(&dims)?]);
    }
    let scale = per_channel(inputs, 1, "scale", dims[1], dims.len())?;
    let bias = per_channel(inputs, 2, "bias", dims[1], dims.len())?;
    Ok(vec![normal.f_reshape(&dims)?.f_mul(&scale)?.f_add(&bias)?])
}

/// [LRN](https://onnx.ai/onnx/operators/onnx__LRN.html): the mean square over neighbouring channels.
fn local_response(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let dims = input::rank(x, "X", 2..=usize::MAX)?;
    let size = site.required("size", site.int("size")?)?;
    if size < 1 {
        return Err(OpError::Attribute { name: "size", expected: "1 or more".into(), found: size.to_string() });
    }
    let alpha = site.float("alpha")?.unwrap_or(1e-4) / size as f64;
    let beta = site.float("beta")?.unwrap_or(0.75);
    let bias = site.float("bias")?.unwrap_or(1.0);
    // Neighbours past either end are zeros, so a longer reach adds nothing.
    let (before, after) = (((size - 1) / 2).min(dims[1]), (size / 2).min(dims[1]));
    let rows = x.f_mul(x)?.f_reshape([dims[0], 1, dims[1], dims[2..].iter().product()])?;
    let padded = rows.f_constant_pad_nd([0, 0, before, after])?;
    let sums = padded.f_avg_pool2d([before + after + 1, 1], [1, 1], [0, 0], false, true, Some(1))?;
    let norm = sums.f_reshape(&dims)?.f_mul_scalar(alpha)?.f_add_scalar(bias)?;
    Ok(vec![x.f_mul(&norm.f_pow_tensor_scalar(-beta)?)?])
}

/// [LpNormalization](https://onnx.ai/onnx/operators/onnx__LpNormalization.html): a vector of zeros stays one.
fn lp_normalization(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let axis = input::axis(site.int("axis")?.unwrap_or(-1), input::rank(x, "input", 1..=usize::MAX)?.len())?;
    input::check_float(x, "input")?;
    let norm = match site.int("p")?.unwrap_or(2) {
        1 => x.f_abs()?.f_sum_dim_intlist([axis].as_slice(), true, None)?,
        2 => x.f_norm_scalaropt_dim(2, [axis], true)?,
        p => return Err(OpError::Attribute { name: "p", expected: "1 or 2".into(), found: p.to_string() }),
    };
    Ok(vec![x.f_div(&norm.f_masked_fill(&norm.f_eq(0.0)?, 1.0)?)?])
}

/// [MeanVarianceNormalization](https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html).
fn mean_variance(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let axes = input::axes(site.ints("axes")?.unwrap_or(&[0, 2, 3]), x.dim())?;
    let (_, centred, variance) = moments(x, &axes)?;
    // The definition keeps the deviation off zero by this much.
    Ok(vec![centred.f_div(&variance.f_sqrt()?.f_add_scalar(1e-9)?)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use isal_onnx::Node;
    use tch::{Device, Kind};

    fn run(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        batch_normalization(site, inputs)
    }

    #[test]
    fn a_training_run_gives_what_a_node_in_training_mode_gives() -> Result<(), OpError> {
        let values = |n: i64, step: f64| -> Result<Tensor, OpError> {
            Ok(Tensor::f_arange(n, (Kind::Double, Device::Cpu))?.f_mul_scalar(step)?.f_sin()?)
        };
        let x = values(2 * 3 * 2 * 2, 1.7)?.f_reshape([2, 3, 2, 2])?;
        let inputs: Vec<Option<Tensor>> =
            vec![Some(x), Some(values(3, 0.9)?), Some(values(3, 0.4)?), Some(values(3, 0.2)?), Some(values(3, 0.5)?)];
        let node = Node::new("BatchNormalization", "", [] as [&str; 0], ["y", "m", "v"]).with("momentum", 0.7f32);
        let stated = node.clone().with("training_mode", 1i64);
        let site = |node, training| Site { node, opset: 15, training, kind: Kind::Double, device: Device::Cpu };
        // The conformance suite holds the second form to ONNX's definition.
        let (found, expected) = (run(&site(&node, true), &inputs)?, run(&site(&stated, false), &inputs)?);
        assert_eq!(found.len(), 3);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found.f_allclose(expected, 1e-9, 1e-12, false)?, "output {i}: {found:?} {expected:?}");
        }
        let evaluated = run(&site(&node, false), &inputs)?;
        assert!(!evaluated[0].f_allclose(&expected[0], 1e-3, 1e-3, false)?, "evaluation uses the stored statistics");
        Ok(())
    }
}
