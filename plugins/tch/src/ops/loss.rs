//! Losses that a graph may hold itself.
//!
//! Written with a gather: libtorch's fused negative log likelihood has no forward-mode derivative.

use super::{Op, OpError, Site, input};
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] = &[
    Op { name: "NegativeLogLikelihoodLoss", forward: nll },
    Op { name: "SoftmaxCrossEntropyLoss", forward: cross_entropy },
];

/// [NegativeLogLikelihoodLoss](https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html).
fn nll(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    loss(site, inputs, input::required(inputs, 0, "input")?).map(|loss| vec![loss])
}

/// [SoftmaxCrossEntropyLoss](https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html), and the logarithms.
fn cross_entropy(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let scores = input::required(inputs, 0, "scores")?;
    input::rank(scores, "scores", 2..=usize::MAX)?;
    let logarithms = super::softmax::log_softmax(scores, 1)?;
    Ok(vec![loss(site, inputs, &logarithms)?, logarithms])
}

/// Weighted sum, weighted mean or none of minus the entries that the targets point at.
fn loss(site: &Site, inputs: &[Option<Tensor>], logarithms: &Tensor) -> Result<Tensor, OpError> {
    let dims = input::rank(logarithms, "input", 2..=usize::MAX)?;
    let target = input::required(inputs, 1, "target")?.f_to_kind(Kind::Int64)?;
    let mut expected = dims.clone();
    expected.remove(1);
    if target.size() != expected {
        let expected = format!("the shape {expected:?}").into();
        return Err(OpError::Input { name: "target", expected, found: format!("{:?}", target.size()) });
    }
    let classes = dims[1];
    let ignored = site.int("ignore_index")?.map(|index| target.f_eq(index)).transpose()?;
    let target = match &ignored {
        Some(ignored) => target.f_masked_fill(ignored, 0)?,
        None => target,
    };
    let target = super::gather::indices(&target, classes)?;
    let picked = logarithms.f_gather(1, &target.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)?.f_neg()?;
    let mut weights = match input::optional(inputs, 2) {
        Some(weights) if weights.size() == [classes] => {
            Some(weights.f_index_select(0, &target.f_reshape([-1])?)?.f_reshape(&expected)?)
        }
        Some(weights) => {
            let expected = format!("the shape [{classes}]").into();
            return Err(OpError::Input { name: "weight", expected, found: format!("{:?}", weights.size()) });
        }
        None => None,
    };
    if let Some(ignored) = &ignored {
        let ones = || picked.f_detach()?.f_ones_like();
        weights = Some(weights.map_or_else(ones, Ok)?.f_masked_fill(ignored, 0.0)?);
    }
    let weighted = match &weights {
        Some(weights) => picked.f_mul(weights)?,
        None => picked,
    };
    match site.string("reduction")?.unwrap_or("mean") {
        "none" => Ok(weighted),
        "sum" => Ok(weighted.f_sum(None)?),
        "mean" => match weights {
            Some(weights) => Ok(weighted.f_sum(None)?.f_div(&weights.f_sum(None)?)?),
            None => Ok(weighted.f_mean(None)?),
        },
        found => Err(OpError::Attribute {
            name: "reduction",
            expected: "`none`, `sum` or `mean`".into(),
            found: format!("`{found}`"),
        }),
    }
}
