//! Residual networks of basic blocks (He et al., arXiv 1512.03385) for images of CIFAR's size.
//!
//! Both families have one shape: a 3x3 stem, stages of basic blocks whose first block halves the size from
//! the second stage on, the mean over what is left, one dense layer. The CIFAR ResNets have three stages of
//! 16, 32 and 64 channels and 6n + 2 layers; ResNet-18 keeps torchvision's four stages but for the 3x3 stem
//! and the missing max-pooling. Where a block changes the size, the shortcut is a 1x1 convolution with
//! BatchNormalization, as in pycls and torchvision (option B of the paper). Names are torchvision's, so
//! `layer2.0.downsample.1.running_var` is what it is there.

use crate::Result;
use crate::network::{Conv, Feature, Network};

/// Channels and number of blocks of each stage; the stem has the first stage's channels.
pub(crate) struct Stages(&'static [(usize, usize)]);

pub(crate) const CIFAR_8: Stages = Stages(&[(16, 1), (32, 1), (64, 1)]);
pub(crate) const CIFAR_20: Stages = Stages(&[(16, 3), (32, 3), (64, 3)]);
pub(crate) const CIFAR_56: Stages = Stages(&[(16, 9), (32, 9), (64, 9)]);
pub(crate) const RESNET_18: Stages = Stages(&[(64, 2), (128, 2), (256, 2), (512, 2)]);

pub(crate) fn layers(network: &mut Network, images: Feature, stages: &Stages) -> Result<Feature> {
    let Stages(stages) = stages;
    let blocks: usize = stages.iter().map(|(_, blocks)| blocks).sum();
    // Without normalisation every block would add its branch's variance to the sum; branches that start
    // smaller by the root of their number keep the sum's scale whatever the depth.
    let gain = if network.batch_norm() { 1.0 } else { 1.0 / (blocks as f32).sqrt() };
    let width = stages.first().map_or(0, |(width, _)| *width);
    let x = conv_bn(network, &images, ("conv1", "bn1"), conv(width, 3, 1));
    let mut x = network.relu(&x, "relu");
    for (stage, (width, blocks)) in stages.iter().enumerate() {
        for block in 0..*blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            x = basic_block(network, &x, &name, *width, stride, gain);
        }
    }
    let x = network.global_average(&x, "avgpool");
    let x = network.flatten(&x, "flatten");
    let classes = network.classes();
    Ok(network.linear(&x, "fc", classes, 0.01))
}

fn basic_block(network: &mut Network, x: &Feature, name: &str, width: usize, stride: usize, gain: f32) -> Feature {
    let at = |part: &str| format!("{name}.{part}");
    let y = conv_bn(network, x, (&at("conv1"), &at("bn1")), conv(width, 3, stride));
    let y = network.relu(&y, &at("relu1"));
    let y = conv_bn(network, &y, (&at("conv2"), &at("bn2")), Conv { gain, ..conv(width, 3, 1) });
    let shortcut = if stride != 1 || x.shape[0] != width {
        conv_bn(network, x, (&at("downsample.0"), &at("downsample.1")), conv(width, 1, stride))
    } else {
        x.clone()
    };
    let y = network.sum(&y, &shortcut, &at("add"));
    network.relu(&y, &at("relu2"))
}

fn conv(channels: usize, kernel: usize, stride: usize) -> Conv {
    Conv { channels, kernel, stride, padding: kernel / 2, bias: false, gain: 1.0 }
}

/// A convolution under the first name, then BatchNormalization under the second (or a bias in its place).
fn conv_bn(network: &mut Network, x: &Feature, names: (&str, &str), conv: Conv) -> Feature {
    let batch_norm = network.batch_norm();
    let y = network.conv(x, names.0, Conv { bias: !batch_norm, ..conv });
    if batch_norm { network.bn(&y, names.1) } else { y }
}
