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

mod boxes;
mod detections;
mod fcos;
mod grid;
mod heads;
mod network;
mod yolo;

pub use detections::{Detections, PSEUDO_SCORE};
pub use fcos::{BoxLoss, Fcos};
pub use grid::Grid;
pub use yolo::Yolo;

use crate::losses::{OPSETS, Pair};
use crate::network::Network;
use crate::{Error, ModelOptions, Result};
use isal_onnx::{Dim, Model};

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
    layout: network::Layout,
}

const DETECTORS: &[Entry] = &[
    Entry {
        name: "fcos-tiny",
        description: "FCOS for a CPU: seven layers and a pyramid 48 wide, strides 4, 8, 16",
        defaults: ModelOptions::images([3, 128, 128], true),
        task: fcos::NAME,
        layout: network::TINY,
    },
    Entry {
        name: "fcos-resnet18",
        description: "FCOS on ResNet-18 and a feature pyramid, strides 8 to 128",
        defaults: ModelOptions::images([3, 512, 512], true),
        task: fcos::NAME,
        layout: network::RESNET_18,
    },
    Entry {
        name: "fcos-resnet50",
        description: "FCOS on ResNet-50 and a feature pyramid, strides 8 to 128: torchvision's fcos_resnet50_fpn",
        defaults: ModelOptions::images([3, 800, 800], true),
        task: fcos::NAME,
        layout: network::RESNET_50,
    },
];

/// Every detector of the zoo.
pub fn detectors() -> &'static [Entry] {
    DETECTORS
}

/// Builds a detector with freshly drawn weights; as [`crate::build`], with the raw heads as outputs.
pub(crate) fn build(entry: &Entry, options: &ModelOptions) -> Result<Model> {
    let (mut network, images) = Network::new(entry.name, options)?;
    let heads = network::heads(&mut network, images, &entry.layout)?;
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
}

const TASKS: &[Task] = &[
    Task {
        name: fcos::NAME,
        description: "boxes, raw heads cls [N, L, C], reg [N, L, 4], ctr [N, L, 1]: focal loss, generalised IoU, centre-ness",
        heads: fcos::HEADS,
        class_axis: 2,
    },
    Task {
        name: yolo::NAME,
        description: "boxes, raw heads cls [N, C, L], box [N, 4 R, L] of YOLOv8 and later: task-aligned, complete IoU, distances as distributions",
        heads: yolo::HEADS,
        class_axis: 1,
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
/// order of [`Task::heads`].
///
/// # Errors
/// [`Error::LossOption`] for shapes that the task does not take; [`Error::UnknownLoss`].
pub fn pair(task: &str, image: [usize; 2], heads: &[Vec<Dim>], opset: i64) -> Result<Pair> {
    match task {
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
