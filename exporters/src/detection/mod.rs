//! Object detection: detectors born as ONNX graphs, and their losses and decode graphs.
//!
//! A detector gives *raw heads*: what its last layers say at every location, before any decoding. The loss graph assigns boxes to
//! locations itself, as the losses of PyTorch's detectors do, and the decode graph has the suppression of overlapping boxes in it; both
//! are of standard operators, for any batch, without If or Loop. Boxes are `x1, y1, x2, y2` in pixels of what the network sees,
//! `[N, M, 4]`, their classes `[N, M]` whole numbers, -1 where an image has fewer than M boxes.
//!
//! What the decode graphs give beside the pseudo-labels `boxes` and `labels`: `classes` and `scores`, both `[N, M]`, of all
//! detections (the pseudo-labels are those above a score), and the beliefs `confidence` (the best score), `found` (how many
//! pseudo-labels), and over these the entropy of the scores of a box in nats: `entropy` (their sum), `mean_entropy`, `max_entropy`.

mod anchors;
mod boxes;
mod coder;
mod detections;
mod faster_rcnn;
mod fcos;
mod focal;
mod grid;
mod heads;
mod matching;
mod network;
mod proposals;
mod pyramid;
mod rcnn;
mod regions;
mod retinanet;
mod yolo;

pub use anchors::Anchors;
pub use detections::{Detections, PSEUDO_SCORE};
pub use faster_rcnn::FasterRcnn;
pub use fcos::{BoxLoss, Fcos};
pub use grid::Grid;
pub use matching::Sampling;
pub use retinanet::RetinaNet;
pub use yolo::Yolo;

use crate::losses::{OPSETS, Pair};
use crate::network::{Feature, Network};
use crate::{Error, ModelOptions, Result};
use isal_onnx::{Dim, Model};

/// Values by the names of the outputs that they become.
type Outputs = Vec<(&'static str, Feature)>;

/// A detector of the zoo.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name, as [`crate::build`] takes it.
    pub name: &'static str,
    /// What it is, in a line.
    pub description: &'static str,
    /// Options to start from.
    pub defaults: ModelOptions,
    /// Name of the task that it is trained for.
    pub task: &'static str,
    /// The layers that have as many outputs as there are classes, or some times as many. The first has one for each class, and those
    /// of [`Task::background`].
    pub class_layers: &'static [&'static str],
    heads: fn(&mut Network, Feature) -> Result<Outputs>,
}

const DETECTORS: &[Entry] = &[
    Entry {
        name: "fcos-tiny",
        description: "FCOS for a CPU: seven layers and a pyramid 48 wide, strides 4, 8, 16",
        defaults: ModelOptions::images([3, 128, 128], true),
        task: fcos::NAME,
        class_layers: network::CLASS_LAYERS,
        heads: |network, images| network::heads(network, images, &network::TINY),
    },
    Entry {
        name: "fcos-resnet18",
        description: "FCOS on ResNet-18 and a feature pyramid, strides 8 to 128",
        defaults: ModelOptions::images([3, 512, 512], true),
        task: fcos::NAME,
        class_layers: network::CLASS_LAYERS,
        heads: |network, images| network::heads(network, images, &network::RESNET_18),
    },
    Entry {
        name: "fcos-resnet50",
        description: "FCOS on ResNet-50 and a feature pyramid, strides 8 to 128: torchvision's fcos_resnet50_fpn",
        defaults: ModelOptions::images([3, 800, 800], true),
        task: fcos::NAME,
        class_layers: network::CLASS_LAYERS,
        heads: |network, images| network::heads(network, images, &network::RESNET_50),
    },
    Entry {
        name: "faster-rcnn-tiny",
        description: "Faster R-CNN for a CPU: seven layers and a pyramid 48 wide, 100 proposals",
        defaults: ModelOptions::images([3, 128, 128], true),
        task: faster_rcnn::NAME,
        class_layers: rcnn::CLASS_LAYERS,
        heads: |network, images| rcnn::heads(network, images, &rcnn::TINY),
    },
    Entry {
        name: "faster-rcnn-resnet18",
        description: "Faster R-CNN on ResNet-18 and a feature pyramid, 1000 proposals",
        defaults: ModelOptions::images([3, 512, 512], true),
        task: faster_rcnn::NAME,
        class_layers: rcnn::CLASS_LAYERS,
        heads: |network, images| rcnn::heads(network, images, &rcnn::RESNET_18),
    },
    Entry {
        name: "faster-rcnn-resnet50",
        description: "Faster R-CNN on ResNet-50 and a feature pyramid, 1000 proposals: torchvision's fasterrcnn_resnet50_fpn",
        defaults: ModelOptions::images([3, 800, 800], true),
        task: faster_rcnn::NAME,
        class_layers: rcnn::CLASS_LAYERS,
        heads: |network, images| rcnn::heads(network, images, &rcnn::RESNET_50),
    },
];

/// Every detector of the zoo.
pub fn detectors() -> &'static [Entry] {
    DETECTORS
}

/// Builds a detector with freshly drawn weights; as [`crate::build`], with the raw heads as outputs.
pub(crate) fn build(entry: &Entry, options: &ModelOptions) -> Result<Model> {
    let (mut network, images) = Network::new(entry.name, options)?;
    let heads = (entry.heads)(&mut network, images)?;
    Ok(network.finish(heads))
}

/// A built-in task of detection.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub description: &'static str,
    /// The raw heads that it reads: names of its inputs that are values of the model.
    pub heads: &'static [&'static str],
    /// The axis of the first of them that counts the classes.
    pub class_axis: usize,
    /// How many of these are no classes of objects: 1 where the first is the background.
    pub background: usize,
}

const TASKS: &[Task] = &[
    Task {
        name: faster_rcnn::NAME,
        description: "boxes, class_logits, box_regression and proposals of regions, objectness and bbox_deltas of anchors",
        heads: faster_rcnn::HEADS,
        class_axis: 2,
        background: 1,
    },
    Task {
        name: fcos::NAME,
        description: "boxes, raw heads cls [N, L, C], reg [N, L, 4], ctr [N, L, 1]: focal loss, generalised IoU, centre-ness",
        heads: fcos::HEADS,
        class_axis: 2,
        background: 0,
    },
    Task {
        name: retinanet::NAME,
        description: "boxes, raw heads cls_logits [N, A, C], bbox_regression [N, A, 4] of anchors: focal loss, distances",
        heads: retinanet::HEADS,
        class_axis: 2,
        background: 0,
    },
    Task {
        name: yolo::NAME,
        description: "boxes, raw heads cls [N, C, L], box [N, 4 R, L] of YOLOv8 and later: task-aligned, complete IoU, distances as distributions",
        heads: yolo::HEADS,
        class_axis: 1,
        background: 0,
    },
];

/// Every built-in task of detection.
pub fn tasks() -> &'static [Task] {
    TASKS
}

/// The built-in task of detection of this name.
pub fn task(name: &str) -> Option<&'static Task> {
    TASKS.iter().find(|task| task.name == name)
}

/// Builds the two graphs of a detection task for a model that sees images of `[height, width]` and has heads of these shapes, in the
/// order of [`Task::heads`]. `anchors` are those of the model, where they are not the ones of the paper.
///
/// # Errors
/// [`Error::LossOption`] for shapes that the task does not take; [`Error::UnknownLoss`].
pub fn pair(task: &str, image: [usize; 2], heads: &[Vec<Dim>], anchors: Option<Anchors>, opset: i64) -> Result<Pair> {
    match task {
        faster_rcnn::NAME => {
            let defaults = FasterRcnn::default();
            let anchors = anchors.unwrap_or(defaults.anchors);
            FasterRcnn { anchors, ..defaults }.pair(image, heads, opset)
        }
        retinanet::NAME => {
            let defaults = RetinaNet::default();
            let anchors = anchors.unwrap_or(defaults.anchors);
            RetinaNet { anchors, ..defaults }.pair(image, heads, opset)
        }
        fcos::NAME => Fcos::default().pair(image, heads, opset),
        yolo::NAME => Yolo::default().pair(image, heads, opset),
        _ => Err(Error::UnknownLoss { name: task.to_owned(), known: TASKS.iter().map(|task| task.name).collect() }),
    }
}

/// Names of the annotations.
const BOXES: &str = "boxes";
const LABELS: &str = "labels";

/// Versions of the standard operator set that the graphs are built for: from the one on whose axes of sums are inputs.
pub const DETECTION_OPSETS: std::ops::RangeInclusive<i64> = 13..=*OPSETS.end();
