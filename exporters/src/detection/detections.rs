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

impl Detections {
    /// Adds the outputs that a decode graph of detection has ([`super`]).
    pub(super) fn give(&self, g: &mut Draft, grid: &Grid, of: &Located) {
        let boxes = clipped(g, of.boxes, grid.image);
        let (score, place, class) = self.candidates(g, grid, of);
        let boxes = g.rows(boxes, place);
        let kept = self.apart(g, boxes, score, class, of.classes);
        let most = self.most.min(self.count(grid, of.classes));
        let [best, at] = g.top(kept, most);
        let least = g.number(self.score);
        let found = g.op("Greater", [best, least]);
        let zero = g.number(0.0);
        let scores = g.op("Where", [found, best, zero]);
        let [boxes, class, place] = [boxes, class, place].map(|value| g.rows(value, at));
        let boxes = {
            let found = g.unsqueeze(found, 2);
            g.op("Where", [found, boxes, zero])
        };
        let none = g.constant("none", Tensor::scalar(-1i64));
        let classes = g.op("Where", [found, class, none]);
        let least = g.constant(PSEUDO_SCORE, Tensor::scalar(self.pseudo_score));
        let believed = g.op("Greater", [best, least]);
        let labels = g.op("Where", [believed, classes, none]);
        let logits = g.rows(of.logits, place);
        let rows = |last: Option<usize>| {
            [Dim::from("N"), most.into()].into_iter().chain(last.map(Dim::from)).collect::<Vec<_>>()
        };
        g.give_annotation(super::BOXES, boxes, DataType::Float, rows(Some(4)));
        g.give_annotation(super::LABELS, labels, DataType::Int64, rows(None));
        g.give_annotation("scores", scores, DataType::Float, rows(None));
        g.give_annotation("classes", classes, DataType::Int64, rows(None));
        let confidence = g.largest(scores, 1);
        g.give_belief("confidence", confidence, DataType::Float);
        self.give_entropies(g, logits, believed);
    }

    /// `found`, and the entropies of the believed boxes: over the classes the sum of the entropies of yes and no.
    fn give_entropies(&self, g: &mut Draft, logits: Value, believed: Value) {
        let against = g.op("Neg", [logits]);
        let [yes, no] = [against, logits].map(|x| g.op("Softplus", [x]));
        let [p, q] = [logits, against].map(|x| g.op("Sigmoid", [x]));
        let (yes, no) = (g.op("Mul", [p, yes]), g.op("Mul", [q, no]));
        let of_class = g.op("Add", [yes, no]);
        let of_box = g.sum(of_class, 2, false);
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

    /// How many candidates there are.
    fn count(&self, grid: &Grid, classes: usize) -> usize {
        grid.counts().iter().map(|count| self.candidates.min(count * classes)).sum()
    }

    /// Score, location and class of the best pairs of a location and a class of each level, `[N, K]` each.
    fn candidates(&self, g: &mut Draft, grid: &Grid, of: &Located) -> (Value, Value, Value) {
        let (mut scores, mut pairs, mut start) = (Vec::new(), Vec::new(), 0);
        for count in grid.counts() {
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
        let most = g.whole("most", &[self.most as i64]);
        let [overlap, least] = [("overlap", self.overlap), ("least", self.score)]
            .map(|(stem, x)| g.constant(stem, Tensor::new([1], &[x])));
        // Image, class, candidate of each that is kept.
        let kept = g.op("NonMaxSuppression", [boxes, by_class, most, overlap, least]);
        let columns = g.whole("columns", &[0, 2]);
        let places = g.node("Gather", [kept, columns]).attr("axis", 1i64).value();
        let shape = g.op("Shape", [score]);
        let nothing = g.node("ConstantOfShape", [shape]).attr("value", Tensor::new([1], &[0.0f32])).value();
        let count = g.op("Shape", [kept]);
        let count = g.slice(count, 0, 0, 1);
        let ones = g.node("ConstantOfShape", [count]).attr("value", Tensor::new([1], &[1.0f32])).value();
        let kept = g.op("ScatterND", [nothing, places, ones]);
        g.op("Mul", [kept, score])
    }
}

/// Boxes within the image.
fn clipped(g: &mut Draft, boxes: Value, [height, width]: [usize; 2]) -> Value {
    let far = [width, height, width, height].map(|side| side as f32);
    let far = g.constant("far", Tensor::new([4], &far));
    let boxes = g.op("Min", [boxes, far]);
    g.op("Relu", [boxes])
}
