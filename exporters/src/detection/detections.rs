//! From scores and boxes of every location to detections: the best of each level, overlapping ones of a class suppressed.

use super::Grid;
use crate::losses::draft::Draft;
use isal_onnx::{DataType, Dim, Tensor, Value};

/// Name of the value of a decode graph that a score must be above for a pseudo-label; a task's own graph may have one too.
pub const PSEUDO_SCORE: &str = "noised_score_thresh";

/// How detections are made and which of them are pseudo-labels. The defaults are those of torchvision's FCOS but for the scores, where
/// they are what COCO's protocol (0.05) and the ISAL paper (0.1) take.
#[derive(Debug, Clone, PartialEq)]
pub struct Detections {
    /// The least score of a detection.
    pub score: f32,
    /// The least score of a detection that is a pseudo-label.
    pub pseudo_score: f32,
    /// How many candidates of a level go on.
    pub candidates: usize,
    /// The overlap (IoU) with a better detection of the same class from which on one is left out.
    pub overlap: f32,
    /// How many detections an image has at most.
    pub most: usize,
}

impl Default for Detections {
    fn default() -> Self {
        Detections { score: 0.05, pseudo_score: 0.1, candidates: 1000, overlap: 0.6, most: 100 }
    }
}

/// What is known of every location: `boxes` `[N, L, 4]`, `scores` `[N, L, C]` and `logits` `[N, L, C]` of the classes.
pub(super) struct Located {
    pub boxes: Value,
    pub scores: Value,
    pub logits: Value,
    pub classes: usize,
}

/// The levels of a detector over images of one size.
pub(super) struct Levels {
    /// Height and width of what the network sees.
    pub image: [usize; 2],
    /// How many locations, or anchors, each has.
    pub counts: Vec<usize>,
}

impl Levels {
    /// Those of a grid with so many anchors around a location.
    pub fn of(grid: &Grid, each: usize) -> Levels {
        Levels { image: grid.image, counts: grid.counts().iter().map(|count| count * each).collect() }
    }
}

/// The best of an image, `[N, M]` each, the best first.
pub(super) struct Best {
    pub scores: Value,
    /// `[N, M, 4]`.
    pub boxes: Value,
    /// Their classes, whole numbers.
    pub classes: Value,
    /// The entropy of the class scores of each, in nats.
    pub entropy: Value,
    /// How many there are.
    pub most: usize,
}

impl Detections {
    /// Adds the outputs that a decode graph of detection has ([`super`]), from what is known of every location.
    pub(super) fn give(&self, g: &mut Draft, levels: &Levels, of: &Located) {
        let boxes = clipped(g, of.boxes, levels.image);
        let (score, place, class) = self.candidates(g, levels, of);
        let boxes = g.rows(boxes, place);
        let kept = self.apart(g, boxes, score, class, of.classes);
        let candidates = levels.counts.iter().map(|count| self.candidates.min(count * of.classes)).sum();
        let most = self.most.min(candidates);
        let [scores, at] = g.top(kept, most);
        let [boxes, classes, place] = [boxes, class, place].map(|value| g.rows(value, at));
        let logits = g.rows(of.logits, place);
        let entropy = entropy_of_each(g, logits);
        self.declare(g, &Best { scores, boxes, classes, entropy, most });
    }

    /// Adds the outputs that a decode graph of detection has, from the best detections.
    pub(super) fn declare(&self, g: &mut Draft, best: &Best) {
        let least = g.number(self.score);
        let found = g.op("Greater", [best.scores, least]);
        let zero = g.number(0.0);
        let scores = g.op("Where", [found, best.scores, zero]);
        let boxes = {
            let found = g.unsqueeze(found, 2);
            g.op("Where", [found, best.boxes, zero])
        };
        let none = g.constant("none", Tensor::scalar(-1i64));
        let classes = g.op("Where", [found, best.classes, none]);
        let least = g.constant(PSEUDO_SCORE, Tensor::scalar(self.pseudo_score));
        let believed = g.op("Greater", [best.scores, least]);
        let labels = g.op("Where", [believed, classes, none]);
        let rows = |last: Option<usize>| {
            [Dim::from("N"), best.most.into()].into_iter().chain(last.map(Dim::from)).collect::<Vec<_>>()
        };
        g.give_annotation(super::BOXES, boxes, DataType::Float, rows(Some(4)));
        g.give_annotation(super::LABELS, labels, DataType::Int64, rows(None));
        g.give_annotation("scores", scores, DataType::Float, rows(None));
        g.give_annotation("classes", classes, DataType::Int64, rows(None));
        let confidence = g.largest(scores, 1);
        g.give_belief("confidence", confidence, DataType::Float);
        give_entropies(g, best.entropy, believed);
    }

    /// Score, location and class of the best pairs of a location and a class of each level, `[N, K]` each.
    fn candidates(&self, g: &mut Draft, levels: &Levels, of: &Located) -> (Value, Value, Value) {
        let (mut scores, mut pairs, mut start) = (Vec::new(), Vec::new(), 0);
        for count in &levels.counts {
            let of_level = g.slice(of.scores, 1, start, start + count);
            let flat = g.reshape(of_level, &[0, -1]);
            let [best, at] = g.top(flat, self.candidates.min(count * of.classes));
            let first = g.constant("first", Tensor::scalar((start * of.classes) as i64));
            scores.push(best);
            pairs.push(g.op("Add", [at, first]));
            start += count;
        }
        let [score, pair] = [scores, pairs].map(|levels| g.concat(levels, 1));
        let classes = g.constant("class_count", Tensor::scalar(of.classes as i64));
        (score, g.op("Div", [pair, classes]), g.op("Mod", [pair, classes]))
    }

    /// The scores `[N, K]`, zero where a better candidate of the same class overlaps.
    fn apart(&self, g: &mut Draft, boxes: Value, score: Value, class: Value, classes: usize) -> Value {
        let numbers = g.class_numbers("class_numbers", classes, &[1, classes, 1]);
        let [of_class, by_class] = [class, score].map(|x| g.unsqueeze(x, 1));
        let own = g.op("Equal", [of_class, numbers]);
        let zero = g.number(0.0);
        let by_class = g.op("Where", [own, by_class, zero]);
        let kept = Suppression { overlap: self.overlap, least: self.score, most: self.most };
        let kept = kept.survivors(g, boxes, by_class, score);
        g.op("Mul", [kept, score])
    }
}

/// Which boxes go because a better one overlaps them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suppression {
    /// The overlap (IoU) from which on one goes.
    pub overlap: f32,
    /// The score that one has to exceed.
    pub least: f32,
    /// How many of an image and a class stay at most.
    pub most: usize,
}

impl Suppression {
    /// 1 where one of `boxes`, `[N, K, 4]`, is the best around in a class by the scores `[N, C, K]`, else 0, in the shape `[N, K]` of
    /// `like`.
    pub(super) fn survivors(self, g: &mut Draft, boxes: Value, scores: Value, like: Value) -> Value {
        let most = g.whole("most", &[self.most as i64]);
        let [overlap, least] = [("overlap", self.overlap), ("least", self.least)]
            .map(|(stem, x)| g.constant(stem, Tensor::new([1], &[x])));
        // Image, class, box of each that is kept.
        let kept = g.op("NonMaxSuppression", [boxes, scores, most, overlap, least]);
        let columns = g.whole("columns", &[0, 2]);
        let places = g.node("Gather", [kept, columns]).attr("axis", 1i64).value();
        let shape = g.op("Shape", [like]);
        let nothing = g.node("ConstantOfShape", [shape]).attr("value", Tensor::new([1], &[0.0f32])).value();
        let count = g.op("Shape", [kept]);
        let count = g.slice(count, 0, 0, 1);
        let ones = g.node("ConstantOfShape", [count]).attr("value", Tensor::new([1], &[1.0f32])).value();
        g.op("ScatterND", [nothing, places, ones])
    }
}

/// Over the classes of each box the sum of the entropies of yes and no.
fn entropy_of_each(g: &mut Draft, logits: Value) -> Value {
    let against = g.op("Neg", [logits]);
    let [yes, no] = [against, logits].map(|x| g.op("Softplus", [x]));
    let [p, q] = [logits, against].map(|x| g.op("Sigmoid", [x]));
    let (yes, no) = (g.op("Mul", [p, yes]), g.op("Mul", [q, no]));
    let of_class = g.op("Add", [yes, no]);
    g.sum(of_class, 2, false)
}

/// `found`, and the entropies of the believed boxes.
fn give_entropies(g: &mut Draft, of_box: Value, believed: Value) {
    let zero = g.number(0.0);
    let of_box = g.op("Where", [believed, of_box, zero]);
    let (sum, largest) = (g.sum(of_box, 1, false), g.largest(of_box, 1));
    let counted = g.cast(believed, DataType::Float);
    let count = g.sum(counted, 1, false);
    let one = g.number(1.0);
    let divisor = g.op("Max", [count, one]);
    let mean = g.op("Div", [sum, divisor]);
    let count = g.cast(count, DataType::Int64);
    g.give_belief("found", count, DataType::Int64);
    for (name, value) in [("entropy", sum), ("mean_entropy", mean), ("max_entropy", largest)] {
        g.give_belief(name, value, DataType::Float);
    }
}

/// Boxes within the image.
fn clipped(g: &mut Draft, boxes: Value, [height, width]: [usize; 2]) -> Value {
    let far = [width, height, width, height].map(|side| side as f32);
    let far = g.constant("far", Tensor::new([4], &far));
    let boxes = g.op("Min", [boxes, far]);
    g.op("Relu", [boxes])
}
