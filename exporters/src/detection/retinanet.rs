//! The loss of RetinaNet (Lin et al., arXiv 1708.02002), as torchvision has it, of each image by itself.
//!
//! An anchor is for the box that it overlaps most where they overlap by 0.5 or more, and for none below 0.4; each box has at least the
//! anchors that overlap it most. The loss is the focal loss of the classes over all anchors but those in between, and of those with a
//! box the absolute difference of the four numbers that move and stretch it. All is added up and divided by the number of anchors that
//! have a box, of none by 1.

use super::boxes::{Corners, annotations};
use super::coder::Weights;
use super::detections::{Levels, Located};
use super::focal::focal;
use super::heads::Shapes;
use super::matching::{Matched, Thresholds, matched};
use super::{Anchors, Detections, Grid};
use crate::Result;
use crate::losses::Pair;
use crate::losses::draft::{Draft, Role};
use isal_onnx::{DataType, Dim, Tensor, Value};

pub(super) const NAME: &str = "retinanet";
pub(super) const HEADS: &[&str] = &["cls_logits", "bbox_regression"];

const MATCHED: Thresholds = Thresholds { low: 0.4, high: 0.5, at_least_one: true };
/// Where a target is the prediction itself, to a ten-thousandth of the anchor's size, the loss is at the tip of a kink, and rounding
/// would say which side of it the derivative is taken on. It is zero there.
const SAME: f32 = 1e-4;

/// Options of `retinanet`.
#[derive(Debug, Clone, PartialEq)]
pub struct RetinaNet {
    /// The anchors that the model was trained with.
    pub anchors: Anchors,
    /// What the decode graph makes of the heads.
    pub detections: Detections,
}

impl Default for RetinaNet {
    fn default() -> Self {
        let detections = Detections { overlap: 0.5, ..Detections::default() };
        RetinaNet { anchors: Anchors::retinanet(), detections }
    }
}

/// The heads in a graph, and what they are for.
struct Heads {
    cls: Value,
    reg: Value,
    grid: Grid,
    classes: usize,
}

impl RetinaNet {
    /// The two graphs, for a model that sees images of `[height, width]` and gives `cls_logits` and `bbox_regression` of these shapes.
    ///
    /// # Errors
    /// [`Error::LossOption`](crate::Error::LossOption) for other shapes, and an opset before 13.
    pub fn pair(&self, image: [usize; 2], heads: &[Vec<Dim>], opset: i64) -> Result<Pair> {
        let shapes = Shapes::of(NAME, HEADS, heads, opset)?;
        let sizes = (shapes.known(0, 1), shapes.known(0, 2), shapes.known(1, 1), shapes.known(1, 2));
        let (Some(count), Some(classes @ 1..), Some(same), Some(4)) = sizes else {
            return Err(shapes.wrong_shapes("cls_logits [N, A, C], bbox_regression [N, A, 4], A and C known"));
        };
        if same != count {
            return Err(shapes.wrong_shapes("cls_logits and bbox_regression of as many anchors"));
        }
        let grid = shapes.anchored(image, &self.anchors, count)?;
        shapes.pair(|g, heads| {
            let of = Heads { cls: heads[0], reg: heads[1], grid: grid.clone(), classes };
            match g.role {
                Role::Loss => self.loss(g, &of),
                Role::Decode => self.decode(g, &of),
            }
        })
    }

    fn anchors(&self, g: &mut Draft, of: &Heads) -> Corners {
        let [left, top, right, bottom] = self.anchors.tensors(&of.grid).map(|side| g.constant("anchors", side));
        Corners { left, top, right, bottom }
    }

    fn decode(&self, g: &mut Draft, of: &Heads) {
        let anchors = self.anchors(g, of);
        let deltas = g.four(of.reg, 3);
        let Corners { left, top, right, bottom } = g.moved(&anchors, deltas, Weights::ONE);
        let boxes = g.concat(vec![left, top, right, bottom], 2);
        let scores = g.op("Sigmoid", [of.cls]);
        let levels = Levels::of(&of.grid, self.anchors.per_location());
        self.detections.give(g, &levels, &Located { boxes, scores, logits: of.cls, classes: of.classes });
    }

    fn loss(&self, g: &mut Draft, of: &Heads) {
        let (boxes, labels) = annotations(g);
        let anchors = self.anchors(g, of);
        let Matched { positive, negative, best } = matched(g, &anchors, boxes, labels, MATCHED);
        let (one, zero, none) = (g.number(1.0), g.number(0.0), g.constant("none", Tensor::scalar(-1i64)));
        let (target, label) = (g.rows(boxes, best), g.rows(labels, best));

        let label = g.op("Where", [positive, label, none]);
        let counts = g.op("Or", [positive, negative]);
        let of_classes = focal(g, of.cls, of.classes, label);
        let of_classes = g.sum(of_classes, 2, false);
        let of_classes = g.op("Where", [counts, of_classes, zero]);

        let here = g.unsqueeze(positive, 2);
        let corners = [anchors.left, anchors.top, anchors.right, anchors.bottom];
        let [left, top, right, bottom] = {
            let target = g.four(target, 3);
            std::array::from_fn(|n| g.op("Where", [here, target[n], corners[n]]))
        };
        let known = g.differences(&Corners { left, top, right, bottom }, &anchors, Weights::ONE);
        let believed = g.four(of.reg, 3);
        let parts = std::array::from_fn(|n| {
            let off = g.op("Sub", [believed[n], known[n]]);
            let off = g.op("Abs", [off]);
            let same = g.number(SAME);
            let apart = g.op("Greater", [off, same]);
            g.op("Where", [apart, off, zero])
        });
        let of_boxes = g.added(parts);
        let of_boxes = g.op("Where", [here, of_boxes, zero]);
        let of_boxes = g.sum(of_boxes, 2, false);

        let all = g.op("Add", [of_classes, of_boxes]);
        let sum = g.sum(all, 1, false);
        let counted = g.cast(positive, DataType::Float);
        let count = g.sum(counted, 1, false);
        let count = g.op("Max", [count, one]);
        let loss = g.op("Div", [sum, count]);
        g.give_loss(loss);
    }
}
