//! From the scores and differences of anchors to a fixed number of proposals (Ren et al., arXiv 1506.01497, section 3.3), as torchvision
//! makes them: the best anchors of each level, moved and cut off at the edges; overlapping ones of a level suppressed; the best of all.
//!
//! An image with fewer proposals has boxes without a size in their stead: 0, 0, 0, 0.

use super::boxes::Corners;
use super::coder::Weights;
use super::detections::Suppression;
use super::faster_rcnn::PROPOSALS;
use super::{Anchors, Grid};
use crate::Result;
use crate::losses::draft::{Draft, Role};
use isal_onnx::{DataType, Dim, Graph, Tensor, Value};

/// How many, and which.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proposals {
    /// How many anchors of a level go on.
    pub candidates: usize,
    /// The overlap (IoU) with a better one of its level from which on one is left out.
    pub overlap: f32,
    /// How many an image has at most.
    pub most: usize,
}

/// Sides that a proposal has at least, in pixels.
const LEAST: f32 = 1e-3;
/// What no score is as low as.
const NEVER: f32 = -1e9;

impl Proposals {
    /// How many an image has: as many as there is room for, or anchors.
    pub fn count(&self, anchors: &Anchors, grid: &Grid) -> usize {
        self.most.min(anchors.counts(grid).iter().map(|count| self.candidates.min(*count)).sum())
    }

    /// A graph from `objectness` `[N, A, 1]` and `bbox_deltas` `[N, A, 4]` to `proposals` `[N, P, 4]`.
    pub fn graph(&self, anchors: &Anchors, grid: &Grid, opset: i64) -> Result<Graph> {
        let counts = anchors.counts(grid);
        let of_anchors = |last: usize| vec![Dim::from("N"), counts.iter().sum::<usize>().into(), last.into()];
        let values = [("objectness", of_anchors(1)), ("bbox_deltas", of_anchors(4))];
        let (mut g, values) = Draft::of(PROPOSALS, Role::Decode, &values, opset)?;
        let found = self.found(&mut g, [values[0], values[1]], anchors, grid);
        let shape = vec!["N".into(), self.count(anchors, grid).into(), 4.into()];
        g.give_annotation(PROPOSALS, found, DataType::Float, shape);
        Ok(g.finish().graph)
    }

    fn found(&self, g: &mut Draft, [objectness, deltas]: [Value; 2], anchors: &Anchors, grid: &Grid) -> Value {
        let sides = anchors.sides(grid);
        let (mut scores, mut moves, mut from, mut levels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (level, count) in anchors.counts(grid).into_iter().enumerate() {
            let kept = self.candidates.min(count);
            let of_level = [objectness, deltas].map(|x| g.slice(x, 1, start, start + count));
            let flat = g.reshape(of_level[0], &[0, -1]);
            let [score, at] = g.top(flat, kept);
            let rows: Vec<f32> = (start..start + count).flat_map(|n| [0, 1, 2, 3].map(|side| sides[side][n])).collect();
            let table = g.constant("anchors", Tensor::new([count, 4], &rows));
            scores.push(score);
            moves.push(g.rows(of_level[1], at));
            from.push(g.node("Gather", [table, at]).attr("axis", 0i64).value());
            levels.extend(std::iter::repeat_n(level as i64, kept));
            start += count;
        }
        let several = levels.last().map_or(0, |last| *last as usize + 1);
        let [score, moves, from] = [scores, moves, from].map(|levels| g.concat(levels, 1));
        let moves = g.four(moves, 3);
        let [left, top, right, bottom] = g.four(from, 3);
        let boxes = g.moved(&Corners { left, top, right, bottom }, moves, Weights::ONE);
        let boxes = g.within(&boxes, grid.image);
        let sized = g.at_least(&boxes, LEAST);
        let sized = g.reshape(sized, &[0, -1]);
        let never = g.number(NEVER);
        let score = g.op("Where", [sized, score, never]);
        let Corners { left, top, right, bottom } = boxes;
        let boxes = g.concat(vec![left, top, right, bottom], 2);

        // To the suppression a level is a class.
        let number = g.constant("level", Tensor::new([1, 1, levels.len()], &levels));
        let numbers = g.class_numbers("levels", several, &[1, several, 1]);
        let own = g.op("Equal", [number, numbers]);
        let of_level = g.unsqueeze(score, 1);
        let by_level = g.op("Where", [own, of_level, never]);
        let kept = Suppression { overlap: self.overlap, least: NEVER / 2.0, most: self.most };
        let kept = kept.survivors(g, boxes, by_level, score);
        let half = g.number(0.5);
        let kept = g.op("Greater", [kept, half]);
        let score = g.op("Where", [kept, score, never]);
        let [score, at] = g.top(score, self.count(anchors, grid));
        let boxes = g.rows(boxes, at);
        let least = g.number(NEVER / 2.0);
        let found = g.op("Greater", [score, least]);
        let found = g.unsqueeze(found, 2);
        let zero = g.number(0.0);
        g.op("Where", [found, boxes, zero])
    }
}
