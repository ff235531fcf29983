//! FCOS (Tian et al., arXiv 1904.01355) on a feature pyramid (Lin et al., arXiv 1612.03144), the names of layers torchvision's.
//!
//! Two coarser levels follow those of the backbone's stages, by convolutions with stride 2. All levels share the head: two towers of convolutions with GroupNorm, one for the classes,
//! one for the distances to the four sides of a box and the centre-ness.

use super::DETECTION_OPSETS;
use super::pyramid::{by_location, conv, pyramid, together};
use crate::Result;
use crate::network::{Conv, Feature, Network};
use crate::resnet::{self, Layout as Backbone};

/// What makes one detector of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    backbone: &'static Backbone,
    /// Stages of the backbone that are left out, the finest first.
    skipped: usize,
    /// Coarser levels that are made of the last one.
    extra: usize,
    /// Channels of the pyramid and of the head.
    width: usize,
    /// Convolutions of a tower.
    convs: usize,
    /// Groups of a tower's normalisation.
    groups: usize,
    /// Distances are `exp(scale x)` with a trained scale a level (section 3.2 of the paper), else `max(x, 0)` as in torchvision.
    scales: bool,
}

pub(super) const TINY: Layout =
    Layout { backbone: &resnet::IMAGENET_TINY, skipped: 0, extra: 0, width: 48, convs: 2, groups: 8, scales: true };
pub(super) const RESNET_18: Layout =
    Layout { backbone: &resnet::IMAGENET_18, skipped: 1, extra: 2, width: 256, convs: 4, groups: 32, scales: false };
pub(super) const RESNET_50: Layout = Layout { backbone: &resnet::IMAGENET_50, ..RESNET_18 };

/// The layer of the classes.
pub(super) const CLASS_LAYERS: &[&str] = &["head.classification_head.cls_logits"];

/// How likely a class is anywhere at first (arXiv 1708.02002, section 3.3), so that the many locations without a box do not
/// drown the others.
const PRIOR: f32 = 0.01;
/// Deviation of the head's weights at first.
const DEVIATION: f32 = 0.01;

/// The raw heads: `cls` `[N, L, C]`, `reg` `[N, L, 4]` (left, top, right, bottom, in strides), `ctr` `[N, L, 1]`.
pub(super) fn heads(network: &mut Network, images: Feature, layout: &Layout) -> Result<Vec<(&'static str, Feature)>> {
    network.since(*DETECTION_OPSETS.start(), "as the loss of a detector")?;
    let stages = layout.backbone.stages() - layout.skipped;
    let coarsest = 4usize << (layout.backbone.stages() - 1);
    if images.shape[1..].iter().any(|side| side % coarsest != 0) {
        return Err(network.unsuited(format!("height and width that {coarsest} divides")));
    }
    let found = resnet::stages(network, images, layout.backbone, "backbone.body.");
    let mut levels = pyramid(network, &found[found.len() - stages..], layout.width);
    coarser(network, &mut levels, stages, layout);
    let classes = network.classes();
    let outputs = [
        ("cls", "classification_head", "cls_logits", classes),
        ("reg", "regression_head", "bbox_reg", 4),
        ("ctr", "regression_head", "bbox_ctrness", 1),
    ];
    let mut rows: [Vec<Feature>; 3] = Default::default();
    for (level, x) in levels.iter().enumerate() {
        let towers = ["classification_head", "regression_head"].map(|head| tower(network, x, head, level, layout));
        for ((row, (name, head, last, channels)), of) in rows.iter_mut().zip(outputs).zip([0, 1, 1]) {
            let weights = format!("head.{head}.{last}");
            let mut y = network.conv_as(&towers[of], &format!("{weights}.{level}"), &weights, conv(channels, 3, 1));
            if name == "reg" {
                y = distances(network, &y, level, layout);
            }
            row.push(by_location(network, &y, &format!("head.{name}.{level}"), y.shape[0]));
        }
    }
    for (_, head, last, _) in outputs {
        network.redraw(&format!("head.{head}.{last}.weight"), DEVIATION);
    }
    network.begin_at("head.classification_head.cls_logits.bias", (PRIOR / (1.0 - PRIOR)).ln());
    Ok(outputs
        .iter()
        .zip(&rows)
        .map(|((name, ..), row)| (*name, together(network, row, &format!("head.{name}"))))
        .collect())
}

/// Adds levels that are made of the last one by convolutions with stride 2.
fn coarser(network: &mut Network, levels: &mut Vec<Feature>, stages: usize, layout: &Layout) {
    for extra in 0..layout.extra {
        let last = &levels[levels.len() - 1];
        let name = format!("backbone.fpn.extra_blocks.p{}", stages + 3 + extra);
        let x = if extra == 0 { last.clone() } else { network.relu(last, &format!("{name}.relu")) };
        let conv = Conv { gain: 0.5f32.sqrt(), ..conv(layout.width, 3, 2) };
        levels.push(network.conv(&x, &name, conv));
    }
}

/// Convolution, GroupNorm, ReLU, as often as the layout has it; torchvision numbers them 0, 3, 6, 9 and 1, 4, 7, 10.
fn tower(network: &mut Network, x: &Feature, head: &str, level: usize, layout: &Layout) -> Feature {
    let mut x = x.clone();
    for layer in 0..layout.convs {
        let weights = |part: usize| format!("head.{head}.conv.{}", 3 * layer + part);
        let at = |part: usize| format!("{}.{level}", weights(part));
        x = network.conv_as(&x, &at(0), &weights(0), conv(layout.width, 3, 1));
        x = network.group_norm_as(&x, &at(1), &weights(1), layout.groups);
        x = network.relu(&x, &at(2));
    }
    x
}

/// What the last layer says as distances above zero, in strides.
fn distances(network: &mut Network, x: &Feature, level: usize, layout: &Layout) -> Feature {
    let at = |part: &str| format!("head.regression_head.{part}.{level}");
    if !layout.scales {
        return network.relu(x, &at("bbox_reg.relu"));
    }
    let scale = format!("head.regression_head.scales.{level}");
    network.constant(&scale, 1, 1.0);
    let scaled = network.node("Mul", &at("bbox_reg.scale"), &[&x.name, &scale], &[], &x.shape);
    network.node("Exp", &at("bbox_reg.exp"), &[&scaled.name], &[], &x.shape)
}
