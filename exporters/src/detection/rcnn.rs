//! Faster R-CNN (Ren et al., arXiv 1506.01497) on a feature pyramid, the names of layers torchvision's.
//!
//! A small network slides over all levels and says of every anchor whether it is on an object and how to move it; the best become
//! proposals, as many of every image. Features of each proposal go through two dense layers to its class scores and to how each class
//! would move it. Proposals are held: training and influence take them as they are.

use super::faster_rcnn::PROPOSALS;
use super::proposals::Proposals;
use super::pyramid::{by_location, conv, pyramid, together};
use super::regions::Regions;
use super::{Anchors, DETECTION_OPSETS, Grid};
use crate::Result;
use crate::network::{Feature, Network};
use crate::resnet::{self, Layout as Backbone};
use isal_onnx::tangent::HELD;
use isal_onnx::{Node, Tensor};

/// What makes one detector of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    backbone: &'static Backbone,
    /// Channels of the pyramid.
    width: usize,
    /// Whether there is a level more for proposals, every second place of the last one.
    pooled: bool,
    /// Size of the anchors of the finest level.
    anchor: f32,
    proposals: Proposals,
    regions: Regions,
    /// Width of the two dense layers.
    features: usize,
}

pub(super) const TINY: Layout = Layout {
    backbone: &resnet::IMAGENET_TINY,
    width: 48,
    pooled: false,
    anchor: 16.0,
    proposals: Proposals { candidates: 200, overlap: 0.7, most: 100 },
    regions: Regions { bins: 5, samples: 2, canonical: 64.0 },
    features: 128,
};
pub(super) const RESNET_18: Layout = Layout {
    backbone: &resnet::IMAGENET_18,
    width: 256,
    pooled: true,
    anchor: 32.0,
    proposals: Proposals { candidates: 1000, overlap: 0.7, most: 1000 },
    regions: Regions { bins: 7, samples: 2, canonical: 224.0 },
    features: 1024,
};
pub(super) const RESNET_50: Layout = Layout { backbone: &resnet::IMAGENET_50, ..RESNET_18 };

/// The layers of the classes.
pub(super) const CLASS_LAYERS: &[&str] = &["roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"];

/// Deviation of the weights of the last layers at first, and of those that move boxes of regions.
const DEVIATION: f32 = 0.01;
const OF_REGIONS: f32 = 0.001;

/// What the loss and the decode graph read: `class_logits` `[N, P, C + 1]`, class 0 the background; `box_regression`
/// `[N, P, 4 (C + 1)]`; `proposals` `[N, P, 4]`; `objectness` `[N, A, 1]`; `bbox_deltas` `[N, A, 4]`.
pub(super) fn heads(network: &mut Network, images: Feature, layout: &Layout) -> Result<Vec<(&'static str, Feature)>> {
    network.since(*DETECTION_OPSETS.start(), "as the loss of a detector")?;
    let size = [images.shape[1], images.shape[2]];
    let stages = layout.backbone.stages();
    let coarsest = 4usize << (stages - 1);
    if size.iter().any(|side| side % coarsest != 0) {
        return Err(network.unsuited(format!("height and width that {coarsest} divides")));
    }
    let found = resnet::stages(network, images, layout.backbone, "backbone.body.");
    let levels = pyramid(network, &found, layout.width);
    let mut with_pooled = levels.clone();
    if layout.pooled {
        with_pooled.push(network.max_pool(&levels[levels.len() - 1], "backbone.fpn.extra_blocks.pool", 1, 0));
    }
    let anchors = Anchors::doubling(layout.anchor, with_pooled.len());
    let grid = Grid { image: size, strides: (0..with_pooled.len()).map(|level| 4 << level).collect() };
    for (key, value) in anchors.properties() {
        network.note(key, value);
    }
    network.note(HELD, PROPOSALS.to_owned());

    let [objectness, deltas] = of_anchors(network, &with_pooled, layout, anchors.per_location());
    let proposals = layout.proposals.graph(&anchors, &grid, network.opset())?;
    let found = network.inline(PROPOSALS, proposals, &[("objectness", &objectness), ("bbox_deltas", &deltas)]);
    let count = layout.proposals.count(&anchors, &grid);
    let proposals = Feature { name: found[0].clone(), shape: vec![count, 4] };

    let shapes: Vec<[usize; 3]> = levels.iter().map(|level| [level.shape[0], level.shape[1], level.shape[2]]).collect();
    let regions = layout.regions.graph(count, &shapes, 4, network.opset())?;
    let names: Vec<String> = (0..levels.len()).map(|level| format!("level.{level}")).collect();
    let mut inputs = vec![(PROPOSALS, &proposals)];
    inputs.extend(names.iter().map(String::as_str).zip(&levels));
    let found = network.inline("regions", regions, &inputs);
    let width = layout.width * layout.regions.bins * layout.regions.bins;
    let features = Feature { name: found[0].clone(), shape: vec![width] };
    let [scores, moves] = of_regions(network, features, &found[1], &proposals, layout);
    Ok(vec![
        ("class_logits", scores),
        ("box_regression", moves),
        (PROPOSALS, proposals),
        ("objectness", objectness),
        ("bbox_deltas", deltas),
    ])
}

/// Scores and moves of every anchor.
fn of_anchors(network: &mut Network, levels: &[Feature], layout: &Layout, each: usize) -> [Feature; 2] {
    let parts = [("cls_logits", each, 1), ("bbox_pred", 4 * each, 4)];
    let mut rows: [Vec<Feature>; 2] = Default::default();
    for (level, x) in levels.iter().enumerate() {
        let shared = "rpn.head.conv.0.0";
        let x = network.conv_as(x, &format!("{shared}.{level}"), shared, conv(layout.width, 3, 1));
        let x = network.relu(&x, &format!("rpn.head.conv.0.1.{level}"));
        for ((part, channels, last), row) in parts.into_iter().zip(&mut rows) {
            let weights = format!("rpn.head.{part}");
            let y = network.conv_as(&x, &format!("{weights}.{level}"), &weights, conv(channels, 1, 1));
            row.push(by_location(network, &y, &format!("{weights}.rows.{level}"), last));
        }
    }
    for part in ["conv.0.0", "cls_logits", "bbox_pred"] {
        network.redraw(&format!("rpn.head.{part}.weight"), DEVIATION);
    }
    let [scores, moves] = rows;
    [together(network, &scores, "rpn.head.cls_logits.all"), together(network, &moves, "rpn.head.bbox_pred.all")]
}

/// Class scores and moves of every proposal, from the features of regions in another order.
fn of_regions(
    network: &mut Network,
    features: Feature,
    places: &str,
    proposals: &Feature,
    layout: &Layout,
) -> [Feature; 2] {
    let at = |part: &str| format!("roi_heads.{part}");
    let mut x = features;
    for layer in ["fc6", "fc7"] {
        let deviation = (2.0 / x.shape[0] as f32).sqrt();
        x = network.linear_of_rows(&x, &at(&format!("box_head.{layer}")), layout.features, deviation);
        let relu = at(&format!("box_head.{layer}.relu"));
        network.push(Node::new("Relu", relu.clone(), [x.name], [relu.clone()]));
        x = Feature { name: relu, shape: vec![layout.features] };
    }
    let scores = network.classes() + 1;
    let parts = [("cls_score", scores, DEVIATION), ("bbox_pred", 4 * scores, OF_REGIONS)];
    parts.map(|(part, width, deviation)| {
        let name = at(&format!("box_predictor.{part}"));
        let rows = network.linear_of_rows(&x, &name, width, deviation);
        // Back to images and proposals.
        let within = |step: &str| format!("{name}.{step}");
        let (axes, last) = (Tensor::new([2], &[0i64, 1]), Tensor::new([1], &[width as i64]));
        let (axes, last) = (network.fixed(&within("axes"), axes), network.fixed(&within("width"), last));
        let nodes = [
            Node::new("Shape", within("shape"), [proposals.name.clone()], [within("shape")]),
            Node::new("Gather", within("count"), [within("shape"), axes], [within("count")]).with("axis", 0),
            Node::new("Concat", within("dims"), [within("count"), last], [within("dims")]).with("axis", 0),
            Node::new("ConstantOfShape", within("empty"), [within("dims")], [within("empty")])
                .with("value", Tensor::new([1], &[0.0f32])),
        ];
        nodes.into_iter().for_each(|node| network.push(node));
        let placed = [within("empty"), places.to_owned(), rows.name];
        network.layer(Node::new("ScatterND", within("placed"), placed, [""]), vec![proposals.shape[0], width])
    })
}
