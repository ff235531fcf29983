//! MobileNetV2 (Sandler et al., arXiv 1801.04381) at width 1, named as in torchvision.
//!
//! A 3x3 stem with stride 2, seventeen inverted residuals (1x1 up to `expansion` times as many channels, a depthwise 3x3, 1x1
//! down without an activation; a shortcut where the shape stays), a 1x1 convolution to 1,280 channels, the mean, one
//! dense layer. Activations are ReLU6. The Dropout that torchvision has before the dense layer in training is not in
//! the graph.

use crate::Result;
use crate::network::{Conv, Feature, Network, conv_bn};
use isal_onnx::Tensor;

/// Expansion, channels, number of blocks and stride of the first one, of each stage: the paper's table 2.
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

pub(crate) fn layers(network: &mut Network, images: Feature) -> Result<Feature> {
    network.since(11, "`Clip` takes its bounds as inputs")?;
    network.fixed("relu6.least", Tensor::scalar(0.0f32));
    network.fixed("relu6.most", Tensor::scalar(6.0f32));
    let blocks: usize = STAGES.iter().map(|(_, _, blocks, _)| blocks).sum();
    // As in the ResNets: shortcuts add up where nothing is normalised.
    let gain = if network.batch_norm() { 1.0 } else { 1.0 / (blocks as f32).sqrt() };
    let mut x = conv_bn_relu6(network, &images, "features.0", conv(32, 3, 2));
    let mut index = 1;
    for (expansion, channels, blocks, stride) in STAGES {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            x = inverted_residual(network, &x, &format!("features.{index}"), expansion, channels, stride, gain);
            index += 1;
        }
    }
    let x = conv_bn_relu6(network, &x, &format!("features.{index}"), conv(1280, 1, 1));
    let x = network.global_average(&x, "avgpool");
    let x = network.flatten(&x, "flatten");
    let classes = network.classes();
    Ok(network.linear(&x, "classifier.1", classes, 0.01))
}

fn inverted_residual(
    network: &mut Network,
    x: &Feature,
    name: &str,
    expansion: usize,
    channels: usize,
    stride: usize,
    gain: f32,
) -> Feature {
    let at = |part: usize| format!("{name}.conv.{part}");
    let hidden = expansion * x.shape[0];
    let (mut y, mut part) = (x.clone(), 0);
    if expansion > 1 {
        y = conv_bn_relu6(network, &y, &at(part), conv(hidden, 1, 1));
        part += 1;
    }
    y = conv_bn_relu6(network, &y, &at(part), Conv { groups: hidden, ..conv(hidden, 3, stride) });
    let last = Conv { gain, ..conv(channels, 1, 1) };
    y = conv_bn(network, &y, (&at(part + 1), &at(part + 2)), last);
    if x.shape == y.shape { network.sum(x, &y, &format!("{name}.add")) } else { y }
}

fn conv(channels: usize, kernel: usize, stride: usize) -> Conv {
    Conv { channels, kernel, stride, padding: kernel / 2, groups: 1, bias: false, gain: 1.0 }
}

fn conv_bn_relu6(network: &mut Network, x: &Feature, name: &str, conv: Conv) -> Feature {
    let x = conv_bn(network, x, (&format!("{name}.0"), &format!("{name}.1")), conv);
    network.node("Clip", &format!("{name}.2"), &[&x.name, "relu6.least", "relu6.most"], &[], &x.shape)
}
