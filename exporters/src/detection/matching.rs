//! Which of the annotated boxes an anchor or a proposal is for, by overlap (Ren et al., arXiv 1506.01497, section 3.1.2).

use super::boxes::Corners;
use crate::losses::draft::Draft;
use isal_onnx::{DataType, Tensor, Value};

/// From which overlap on a candidate is for a box, and below which for none; between the two it counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Thresholds {
    pub low: f32,
    pub high: f32,
    /// Whether each box has at least the candidates that overlap it most, however little that is.
    pub at_least_one: bool,
}

/// What so many overlaps of a box differ by and are still its best: float32's rounding. Two programs then choose the same candidates.
const ALIKE: f32 = 1e-5;

/// What candidates `[N, K]` are for.
pub(super) struct Matched {
    /// Whether it is for a box.
    pub positive: Value,
    /// Whether it is for none.
    pub negative: Value,
    /// The number of the box that it overlaps most.
    pub best: Value,
}

/// Matches candidates with corners `[N, K, 1]` (or `[1, K, 1]`) to boxes `[N, M, 4]`; the label -1 is padding.
pub(super) fn matched(g: &mut Draft, of: &Corners, boxes: Value, labels: Value, by: Thresholds) -> Matched {
    // Boxes along the last axis: [N, 1, M].
    let [left, top, right, bottom] = g.four(boxes, 3).map(|side| g.reshape(side, &[0, 1, -1]));
    let overlap = g.overlap(of, &Corners { left, top, right, bottom });
    let (row, none, zero) = (g.unsqueeze(labels, 1), g.constant("none", Tensor::scalar(-1i64)), g.number(0.0));
    let there = g.op("Greater", [row, none]);
    let overlap = g.op("Where", [there, overlap, zero]);
    let best = g.arg_max(overlap, 2);
    let most = g.largest(overlap, 2);
    let [low, high] = [by.low, by.high].map(|x| g.number(x));
    let mut positive = g.op("GreaterOrEqual", [most, high]);
    let mut negative = g.op("Less", [most, low]);
    if by.at_least_one {
        let of_box = g.largest(overlap, 1);
        let nearly = g.number(1.0 - ALIKE);
        let of_box = g.op("Mul", [of_box, nearly]);
        let of_box = g.unsqueeze(of_box, 1);
        let (as_good, some) = (g.op("Greater", [overlap, of_box]), g.op("Greater", [overlap, zero]));
        let chosen = g.op("And", [as_good, some]);
        let chosen = g.cast(chosen, DataType::Float);
        let chosen = g.largest(chosen, 2);
        let chosen = g.op("Greater", [chosen, zero]);
        positive = g.op("Or", [positive, chosen]);
        let others = g.op("Not", [chosen]);
        negative = g.op("And", [negative, others]);
    }
    Matched { positive, negative, best }
}

/// How many candidates of an image a trainer draws, and which share of them at most is positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Candidates of an image.
    pub count: usize,
    /// The largest share of positive ones.
    pub positive: f32,
}

impl Sampling {
    /// The weight of each positive and each negative candidate in the *expected* loss over the draw, `[N, 1]` each.
    ///
    /// Of P positive and Q negative candidates a trainer draws `p = min(P, share count)` and `q = min(Q, count - p)` and takes the mean
    /// over the drawn. A positive one is drawn with probability p / P, so it weighs `p / P / (p + q)` in the mean over all draws; a
    /// negative one `q / Q / (p + q)`. Without a draw, a loss is a function of the image.
    pub(super) fn weights(&self, g: &mut Draft, positive: Value, negative: Value) -> [Value; 2] {
        let most = (self.count as f64 * f64::from(self.positive)).floor() as f32;
        let (one, most, whole) = (g.number(1.0), g.number(most), g.number(self.count as f32));
        let [positives, negatives] = [positive, negative].map(|mask| {
            let counted = g.cast(mask, DataType::Float);
            g.sum(counted, 1, true)
        });
        let drawn = g.op("Min", [positives, most]);
        let room = g.op("Sub", [whole, drawn]);
        let others = g.op("Min", [negatives, room]);
        let all = g.op("Add", [drawn, others]);
        let all = g.op("Max", [all, one]);
        [(drawn, positives), (others, negatives)].map(|(drawn, of)| {
            let of = g.op("Max", [of, one]);
            let share = g.op("Div", [drawn, of]);
            g.op("Div", [share, all])
        })
    }
}
