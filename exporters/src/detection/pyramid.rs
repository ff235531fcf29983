//! The feature pyramid (Lin et al., arXiv 1612.03144), the names of layers torchvision's.
//!
//! It makes each stage of the backbone equally wide and adds to it what the coarser ones see, doubled in size.

use crate::network::{Conv, Feature, Network};
use isal_onnx::{Node, Tensor};

/// Levels of equal width, the finest first.
pub(super) fn pyramid(network: &mut Network, stages: &[Feature], width: usize) -> Vec<Feature> {
    // Without normalisation between them, two layers in a row keep the scale where each keeps half of He's variance.
    let conv = |kernel| Conv { gain: 0.5f32.sqrt(), ..conv(width, kernel, 1) };
    let mut levels = Vec::with_capacity(stages.len() + 2);
    let mut above: Option<Feature> = None;
    for (number, stage) in stages.iter().enumerate().rev() {
        let at = |part: &str| format!("backbone.fpn.{part}.{number}");
        let mut x = network.conv(stage, &format!("{}.0", at("inner_blocks")), conv(1));
        if let Some(above) = &above {
            let doubled = double(network, above, &at("upsample"));
            x = network.sum(&x, &doubled, &at("add"));
        }
        levels.insert(0, network.conv(&x, &format!("{}.0", at("layer_blocks")), conv(3)));
        above = Some(x);
    }
    levels
}

/// Twice as high and wide, each place repeated.
fn double(network: &mut Network, x: &Feature, name: &str) -> Feature {
    let scales = network.fixed(&format!("{name}.scales"), Tensor::new([4], &[1.0f32, 1.0, 2.0, 2.0]));
    let node = Node::new("Resize", name, [x.name.as_str(), "", &scales], [""])
        .with("mode", "nearest")
        .with("coordinate_transformation_mode", "asymmetric")
        .with("nearest_mode", "floor");
    network.layer(node, vec![x.shape[0], 2 * x.shape[1], 2 * x.shape[2]])
}

/// `[N, B C, H, W]` as `[N, H W B, C]`: of each location C numbers of each of B boxes.
pub(super) fn by_location(network: &mut Network, x: &Feature, name: &str, last: usize) -> Feature {
    let [channels, height, width] = x.shape[..] else { return x.clone() };
    let node = Node::new("Transpose", format!("{name}.turn"), [x.name.clone()], [""]).with("perm", vec![0i64, 2, 3, 1]);
    let turned = network.layer(node, vec![height, width, channels]);
    let rows = height * width * channels / last;
    let dims = Tensor::new([3], &[0, rows as i64, last as i64]);
    let dims = network.fixed(&format!("{name}.dims"), dims);
    network.node("Reshape", &format!("{name}.rows"), &[&turned.name, &dims], &[], &[rows, last])
}

/// The rows of all levels behind each other.
pub(super) fn together(network: &mut Network, levels: &[Feature], name: &str) -> Feature {
    let inputs: Vec<&str> = levels.iter().map(|level| level.name.as_str()).collect();
    let rows = levels.iter().map(|level| level.shape[0]).sum();
    network.node("Concat", name, &inputs, &[("axis", 1)], &[rows, levels[0].shape[1]])
}

/// A convolution with a bias whose output is as large as its input, or smaller by the stride.
pub(super) fn conv(channels: usize, kernel: usize, stride: usize) -> Conv {
    Conv { channels, kernel, stride, padding: kernel / 2, groups: 1, bias: true, gain: 1.0 }
}
