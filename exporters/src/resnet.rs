//! Residual networks (He et al., arXiv 1512.03385), for images of CIFAR's size and for photographs.
//!
//! All have one shape: a stem, stages of blocks whose first block halves the size from the second stage on, the mean over
//! what is left, one dense layer. The CIFAR ResNets have three stages of 16, 32 and 64 channels and 6n + 2 layers;
//! the others have torchvision's four stages. The stem for CIFAR is a 3x3 convolution; that for photographs is 7x7 with
//! stride 2, then max-pooling. Basic blocks are two 3x3 convolutions; bottlenecks are 1x1, 3x3, 1x1 with four times as many
//! channels at their end, the stride in the 3x3 one (torchvision's "v1.5"). Where a block changes the size, the
//! shortcut is a 1x1 convolution with BatchNormalization, as in pycls and torchvision (option B of the paper). Names
//! are torchvision's, so `layer2.0.downsample.1.running_var` is what it is there.

use crate::Result;
use crate::network::{Conv, Feature, Network, conv_bn};

/// What makes one residual network of another.
#[derive(Debug)]
pub(crate) struct Layout {
    stem: Stem,
    block: Block,
    /// Channels of the blocks' 3x3 convolutions, and number of blocks, of each stage; the stem has the first stage's channels.
    stages: &'static [(usize, usize)],
}

impl Layout {
    /// How many stages there are.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }
}

#[derive(Debug, Clone, Copy)]
enum Stem {
    /// 3x3, for images of some 32 pixels.
    Cifar,
    /// 7x7 with stride 2 and max-pooling, for images of some 224 pixels.
    ImageNet,
}

#[derive(Debug, Clone, Copy)]
enum Block {
    Basic,
    Bottleneck,
}

const fn cifar(stages: &'static [(usize, usize)]) -> Layout {
    Layout { stem: Stem::Cifar, block: Block::Basic, stages }
}

const fn imagenet(block: Block, stages: &'static [(usize, usize)]) -> Layout {
    Layout { stem: Stem::ImageNet, block, stages }
}

const STAGES_18: &[(usize, usize)] = &[(64, 2), (128, 2), (256, 2), (512, 2)];
const STAGES_34: &[(usize, usize)] = &[(64, 3), (128, 4), (256, 6), (512, 3)];

pub(crate) const CIFAR_8: Layout = cifar(&[(16, 1), (32, 1), (64, 1)]);
pub(crate) const CIFAR_20: Layout = cifar(&[(16, 3), (32, 3), (64, 3)]);
pub(crate) const CIFAR_56: Layout = cifar(&[(16, 9), (32, 9), (64, 9)]);
pub(crate) const CIFAR_WIDE_18: Layout = cifar(STAGES_18);
/// Narrow and shallow, for detectors that a CPU trains.
pub(crate) const IMAGENET_TINY: Layout = imagenet(Block::Basic, &[(16, 1), (32, 1), (64, 1)]);
pub(crate) const IMAGENET_18: Layout = imagenet(Block::Basic, STAGES_18);
pub(crate) const IMAGENET_34: Layout = imagenet(Block::Basic, STAGES_34);
pub(crate) const IMAGENET_50: Layout = imagenet(Block::Bottleneck, STAGES_34);

pub(crate) fn layers(network: &mut Network, images: Feature, layout: &Layout) -> Result<Feature> {
    let x = stages(network, images, layout, "").pop().expect("a network has stages");
    let x = network.global_average(&x, "avgpool");
    let x = network.flatten(&x, "flatten");
    let classes = network.classes();
    Ok(network.linear(&x, "fc", classes, 0.01))
}

/// What each stage gives, the names of its layers after `prefix`.
pub(crate) fn stages(network: &mut Network, images: Feature, layout: &Layout, prefix: &str) -> Vec<Feature> {
    let at = |part: &str| format!("{prefix}{part}");
    let blocks: usize = layout.stages.iter().map(|(_, blocks)| blocks).sum();
    // Without normalisation every block would add its branch's variance to the sum; branches that start
    // smaller by the root of their number keep the sum's scale whatever the depth.
    let gain = if network.batch_norm() { 1.0 } else { 1.0 / (blocks as f32).sqrt() };
    let width = layout.stages.first().map_or(0, |(width, _)| *width);
    let mut x = match layout.stem {
        Stem::Cifar => {
            let x = conv_bn(network, &images, (&at("conv1"), &at("bn1")), conv(width, 3, 1));
            network.relu(&x, &at("relu"))
        }
        Stem::ImageNet => {
            let x = conv_bn(network, &images, (&at("conv1"), &at("bn1")), conv(width, 7, 2));
            let x = network.relu(&x, &at("relu"));
            network.max_pool(&x, &at("maxpool"), 3, 1)
        }
    };
    let mut found = Vec::with_capacity(layout.stages.len());
    for (stage, (width, blocks)) in layout.stages.iter().enumerate() {
        for block in 0..*blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = at(&format!("layer{}.{block}", stage + 1));
            x = residual(network, &x, &name, layout.block, *width, stride, gain);
        }
        found.push(x.clone());
    }
    found
}

/// A block of `width` channels, its last convolution drawn with this `gain`.
fn residual(
    network: &mut Network,
    x: &Feature,
    name: &str,
    block: Block,
    width: usize,
    stride: usize,
    gain: f32,
) -> Feature {
    let at = |part: &str| format!("{name}.{part}");
    let convolutions = match block {
        Block::Basic => vec![conv(width, 3, stride), conv(width, 3, 1)],
        Block::Bottleneck => vec![conv(width, 1, 1), conv(width, 3, stride), conv(4 * width, 1, 1)],
    };
    let last = convolutions.len();
    let mut y = x.clone();
    for (i, conv) in (1..).zip(convolutions) {
        let gain = if i == last { gain } else { 1.0 };
        y = conv_bn(network, &y, (&at(&format!("conv{i}")), &at(&format!("bn{i}"))), Conv { gain, ..conv });
        if i < last {
            y = network.relu(&y, &at(&format!("relu{i}")));
        }
    }
    let shortcut = if stride != 1 || x.shape[0] != y.shape[0] {
        conv_bn(network, x, (&at("downsample.0"), &at("downsample.1")), conv(y.shape[0], 1, stride))
    } else {
        x.clone()
    };
    let y = network.sum(&y, &shortcut, &at("add"));
    network.relu(&y, &at(&format!("relu{last}")))
}

fn conv(channels: usize, kernel: usize, stride: usize) -> Conv {
    Conv { channels, kernel, stride, padding: kernel / 2, groups: 1, bias: false, gain: 1.0 }
}
