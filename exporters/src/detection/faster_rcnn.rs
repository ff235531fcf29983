//! The loss of Faster R-CNN (Ren et al., arXiv 1506.01497), as torchvision has it, of each image by itself and without its draws.
//!
//! Four parts are added: whether an anchor is on an object (cross-entropy of yes and no) and where that is (smoothed distance), what a
//! proposal shows (softmax cross-entropy, class 0 the background) and where that is. Trainers draw 256 anchors, up to half of them
//! positive, and 512 proposals, up to a quarter positive, and take means over these. Here each part is the *expected value* of that
//! over the draw ([`Sampling`]): the same for the same image, as an influence must be, and of the same gradient on average.
//!
//! Proposals come from the model and are held: no derivative flows through them. The annotated boxes are not added to the proposals,
//! as some trainers do, since the model says nothing about those.

use super::boxes::{Corners, annotations};
use super::coder::Weights;
use super::detections::{Best, Suppression};
use super::heads::Shapes;
use super::matching::{Matched, Sampling, Thresholds, matched};
use super::{Anchors, Detections, Grid};
use crate::Result;
use crate::losses::Pair;
use crate::losses::draft::{Draft, Role};
use isal_onnx::{Dim, Tensor, Value};

pub(super) const NAME: &str = "faster-rcnn";
/// The class scores of proposals first, by whose last axis classes are counted.
pub(super) const HEADS: &[&str] = &["class_logits", "box_regression", PROPOSALS, "objectness", "bbox_deltas"];
pub(super) const PROPOSALS: &str = "proposals";

/// What anchors are for.
const ANCHORS: Thresholds = Thresholds { low: 0.3, high: 0.7, at_least_one: true };
/// What proposals are for.
const REGIONS: Thresholds = Thresholds { low: 0.5, high: 0.5, at_least_one: false };
/// Below which difference a distance is smoothed.
const BETA: f32 = 1.0 / 9.0;
/// Sides that a detection has at least, in pixels.
const LEAST: f32 = 1e-2;

/// Options of `faster-rcnn`.
#[derive(Debug, Clone, PartialEq)]
pub struct FasterRcnn {
    /// The anchors that the model was trained with.
    pub anchors: Anchors,
    /// How anchors are drawn.
    pub of_anchors: Sampling,
    /// How proposals are drawn.
    pub of_proposals: Sampling,
    /// What the decode graph makes of the heads.
    pub detections: Detections,
}

impl Default for FasterRcnn {
    fn default() -> Self {
        FasterRcnn {
            anchors: Anchors::doubling(32.0, 5),
            of_anchors: Sampling { count: 256, positive: 0.5 },
            of_proposals: Sampling { count: 512, positive: 0.25 },
            detections: Detections { overlap: 0.5, ..Detections::default() },
        }
    }
}

/// The heads in a graph, and what they are for.
struct Heads {
    class_logits: Value,
    box_regression: Value,
    proposals: Value,
    objectness: Value,
    deltas: Value,
    grid: Grid,
    /// How many proposals an image has.
    count: usize,
    /// Classes without the background.
    classes: usize,
}

/// Candidates with what they are for, and how they are drawn.
struct Weighed<'a> {
    of: &'a Matched,
    by: Sampling,
}

impl FasterRcnn {
    /// The two graphs, for a model that sees images of `[height, width]` and gives values of these shapes: `class_logits`
    /// `[N, P, C + 1]` and `box_regression` `[N, P, 4 (C + 1)]` of `proposals` `[N, P, 4]` (a box without a size is none),
    /// `objectness` `[N, A, 1]` and `bbox_deltas` `[N, A, 4]` of anchors.
    ///
    /// # Errors
    /// [`Error::LossOption`](crate::Error::LossOption) for other shapes, and an opset before 13.
    pub fn pair(&self, image: [usize; 2], heads: &[Vec<Dim>], opset: i64) -> Result<Pair> {
        let shapes = Shapes::of(NAME, HEADS, heads, opset)?;
        let known = |head, axis| shapes.known(head, axis);
        let wrong = || {
            shapes.wrong_shapes(
                "class_logits [N, P, C + 1], box_regression [N, P, 4 (C + 1)], proposals [N, P, 4], objectness [N, A, 1], \
                 bbox_deltas [N, A, 4], all but N known",
            )
        };
        let (Some(count @ 1..), Some(scores @ 2..), Some(anchors)) = (known(0, 1), known(0, 2), known(3, 1)) else {
            return Err(wrong());
        };
        let rest = [(1, count, 4 * scores), (2, count, 4), (3, anchors, 1), (4, anchors, 4)];
        if rest.iter().any(|(head, rows, last)| known(*head, 1) != Some(*rows) || known(*head, 2) != Some(*last)) {
            return Err(wrong());
        }
        let grid = shapes.anchored(image, &self.anchors, anchors)?;
        shapes.pair(|g, heads| {
            let [class_logits, box_regression, proposals, objectness, deltas] = heads else { return };
            let of = Heads {
                class_logits: *class_logits,
                box_regression: *box_regression,
                proposals: *proposals,
                objectness: *objectness,
                deltas: *deltas,
                grid: grid.clone(),
                count,
                classes: scores - 1,
            };
            match g.role {
                Role::Loss => self.loss(g, &of),
                Role::Decode => self.decode(g, &of),
            }
        })
    }

    fn decode(&self, g: &mut Draft, of: &Heads) {
        let (count, classes) = (of.count as i64, of.classes as i64);
        // By class, the background left out: [N, C, P] and [N, C, P, 4].
        let log = g.log_softmax_along(of.class_logits, of.classes + 1, 2);
        let p = g.op("Exp", [log]);
        let entropy = g.op("Mul", [p, log]);
        let entropy = g.sum(entropy, 2, false);
        let entropy = g.op("Neg", [entropy]);
        let scores = g.slice(p, 2, 1, of.classes + 1);
        let scores = g.node("Transpose", [scores]).attr("perm", vec![0i64, 2, 1]).value();
        let deltas = g.reshape(of.box_regression, &[0, 0, classes + 1, 4]);
        let deltas = g.slice(deltas, 2, 1, of.classes + 1);
        let deltas = g.node("Transpose", [deltas]).attr("perm", vec![0i64, 2, 1, 3]).value();
        let deltas = g.four(deltas, 4);
        let proposals = g.unsqueeze(of.proposals, 1);
        let [left, top, right, bottom] = g.four(proposals, 4);
        let boxes = g.moved(&Corners { left, top, right, bottom }, deltas, Weights::OF_REGIONS);
        let boxes = g.within(&boxes, of.grid.image);
        let sized = g.at_least(&boxes, LEAST);
        let sized = g.reshape(sized, &[0, classes, count]);
        let zero = g.number(0.0);
        let scores = g.op("Where", [sized, scores, zero]);
        let Corners { left, top, right, bottom } = boxes;
        let boxes = g.concat(vec![left, top, right, bottom], 3);

        // A class has boxes of its own, so to the suppression it is an image of its own.
        let (of_class, alone) = (g.reshape(boxes, &[-1, count, 4]), g.reshape(scores, &[-1, 1, count]));
        let like = g.reshape(scores, &[-1, count]);
        let most = self.detections.most.min(of.classes * of.count);
        let kept = Suppression { overlap: self.detections.overlap, least: self.detections.score, most };
        let kept = kept.survivors(g, of_class, alone, like);
        let kept = g.op("Mul", [kept, like]);
        let kept = g.reshape(kept, &[-1, classes * count]);
        let [scores, at] = g.top(kept, most);
        let boxes = g.reshape(boxes, &[0, -1, 4]);
        let boxes = g.rows(boxes, at);
        let number = g.constant("count", Tensor::scalar(count));
        let (classes, proposal) = (g.op("Div", [at, number]), g.op("Mod", [at, number]));
        let entropy = g.rows(entropy, proposal);
        self.detections.declare(g, &Best { scores, boxes, classes, entropy, most });
    }

    fn loss(&self, g: &mut Draft, of: &Heads) {
        g.hold(&[PROPOSALS]);
        let (boxes, labels) = annotations(g);
        let anchors = self.of_anchors(g, of, boxes, labels);
        let regions = self.of_regions(g, of, boxes, labels);
        let loss = g.op("Add", [anchors, regions]);
        g.give_loss(loss);
    }

    /// The loss of the anchors, `[N]`.
    fn of_anchors(&self, g: &mut Draft, of: &Heads, boxes: Value, labels: Value) -> Value {
        let sides = self.anchors.tensors(&of.grid).map(|side| g.constant("anchors", side));
        let [left, top, right, bottom] = sides;
        let anchors = Corners { left, top, right, bottom };
        let matched = matched(g, &anchors, boxes, labels, ANCHORS);
        let here = g.unsqueeze(matched.positive, 2);
        let target = g.rows(boxes, matched.best);
        let target = g.four(target, 3);
        let [left, top, right, bottom] = std::array::from_fn(|n| g.op("Where", [here, target[n], sides[n]]));
        let known = g.differences(&Corners { left, top, right, bottom }, &anchors, Weights::ONE);
        let believed = g.four(of.deltas, 3);
        let distance = g.smooth_distance(believed, known, BETA);
        let against = g.op("Neg", [of.objectness]);
        let [yes, no] = [against, of.objectness].map(|x| g.op("Softplus", [x]));
        let if_there = g.op("Add", [yes, distance]);
        let [if_there, if_not] = [if_there, no].map(|x| g.reshape(x, &[0, -1]));
        Weighed { of: &matched, by: self.of_anchors }.sum(g, if_there, if_not)
    }

    /// The loss of the proposals, `[N]`.
    fn of_regions(&self, g: &mut Draft, of: &Heads, boxes: Value, labels: Value) -> Value {
        // A place without a proposal has a box of one pixel in its stead, which counts for nothing.
        let sides = g.four(of.proposals, 3);
        let real = g.op("Greater", [sides[2], sides[0]]);
        let unit = [0.0, 0.0, 1.0, 1.0].map(|x| g.number(x));
        let sides: [Value; 4] = std::array::from_fn(|n| g.op("Where", [real, sides[n], unit[n]]));
        let [left, top, right, bottom] = sides;
        let proposals = Corners { left, top, right, bottom };
        let mut matched = matched(g, &proposals, boxes, labels, REGIONS);
        let real = g.reshape(real, &[0, -1]);
        for mask in [&mut matched.positive, &mut matched.negative] {
            *mask = g.op("And", [*mask, real]);
        }
        let label = g.rows(labels, matched.best);
        let (one, zero) = (g.constant("one", Tensor::scalar(1i64)), g.constant("zero", Tensor::scalar(0i64)));
        let label = g.op("Add", [label, one]);
        let label = g.op("Where", [matched.positive, label, zero]);
        let label = g.unsqueeze(label, 2);

        let log = g.log_softmax_along(of.class_logits, of.classes + 1, 2);
        let numbers = g.class_numbers("class_numbers", of.classes + 1, &[1, 1, of.classes + 1]);
        let hit = g.op("Equal", [label, numbers]);
        let nothing = g.number(0.0);
        let log = g.op("Where", [hit, log, nothing]);
        let log = g.sum(log, 2, false);
        let of_classes = g.op("Neg", [log]);

        let here = g.unsqueeze(matched.positive, 2);
        let target = g.rows(boxes, matched.best);
        let target = g.four(target, 3);
        let [left, top, right, bottom] = std::array::from_fn(|n| g.op("Where", [here, target[n], sides[n]]));
        let known = g.differences(&Corners { left, top, right, bottom }, &proposals, Weights::OF_REGIONS);
        let believed = g.reshape(of.box_regression, &[0, 0, of.classes as i64 + 1, 4]);
        let believed = g.node("GatherND", [believed, label]).attr("batch_dims", 2i64).value();
        let believed = g.four(believed, 3);
        let distance = g.smooth_distance(believed, known, BETA);
        let distance = g.reshape(distance, &[0, -1]);
        let if_there = g.op("Add", [of_classes, distance]);
        Weighed { of: &matched, by: self.of_proposals }.sum(g, if_there, of_classes)
    }
}

impl Weighed<'_> {
    /// The expected loss over the draw, `[N]`, of candidates that cost so much, `[N, K]`, where they are for a box and where they are
    /// for none.
    fn sum(&self, g: &mut Draft, positive: Value, negative: Value) -> Value {
        let weights = self.by.weights(g, self.of.positive, self.of.negative);
        let zero = g.number(0.0);
        let masks = [self.of.positive, self.of.negative];
        let [a, b] = std::array::from_fn(|n| {
            let cost = g.op("Where", [masks[n], [positive, negative][n], zero]);
            let sum = g.sum(cost, 1, true);
            g.op("Mul", [sum, weights[n]])
        });
        let both = g.op("Add", [a, b]);
        g.reshape(both, &[-1])
    }
}
