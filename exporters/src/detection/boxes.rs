//! Boxes in a graph under construction.

use super::{BOXES, LABELS};
use crate::losses::draft::Draft;
use isal_onnx::{DataType, Dim, Tensor, Value};

/// Keeps quotients of areas finite, as in torchvision.
const TINY: f32 = 1e-7;
/// Where a target is the prediction itself, to a hundredth of a pixel, the loss is at the tip of a kink, and rounding would say which
/// side of it the derivative is taken on. It is zero there.
const SAME: f32 = 1e-2;

/// The corners of boxes, each of one shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Corners {
    pub left: Value,
    pub top: Value,
    pub right: Value,
    pub bottom: Value,
}

impl Draft {
    /// The four numbers along the last axis of `rank`, each as an axis of size 1.
    pub(super) fn four(&mut self, x: Value, rank: usize) -> [Value; 4] {
        [0, 1, 2, 3].map(|n| self.slice(x, rank - 1, n, n + 1))
    }

    /// `(right - left) (bottom - top)`.
    pub(super) fn area(&mut self, of: &Corners) -> Value {
        let sides = self.sides_of(of);
        self.op("Mul", sides)
    }

    /// Corners by one choice of two for left and top, by another for right and bottom.
    fn corners_by(&mut self, [near, far]: [&str; 2], a: &Corners, b: &Corners) -> Corners {
        Corners {
            left: self.op(near, [a.left, b.left]),
            top: self.op(near, [a.top, b.top]),
            right: self.op(far, [a.right, b.right]),
            bottom: self.op(far, [a.bottom, b.bottom]),
        }
    }

    /// The box around both.
    fn around(&mut self, a: &Corners, b: &Corners) -> Corners {
        self.corners_by(["Min", "Max"], a, b)
    }

    /// Width and height.
    fn sides_of(&mut self, of: &Corners) -> [Value; 2] {
        [[of.right, of.left], [of.bottom, of.top]].map(|pair| self.op("Sub", pair))
    }

    /// Area in both boxes, and in either.
    fn areas(&mut self, a: &Corners, b: &Corners) -> [Value; 2] {
        let within = self.corners_by(["Max", "Min"], a, b);
        let sides = self.sides_of(&within).map(|side| self.op("Relu", [side]));
        let both = self.op("Mul", sides);
        let of_each = [a, b].map(|of| self.area(of));
        let sum = self.op("Add", of_each);
        [both, self.op("Sub", [sum, both])]
    }

    fn share(&mut self, part: Value, whole: Value) -> Value {
        let tiny = self.number(TINY);
        let whole = self.op("Add", [whole, tiny]);
        self.op("Div", [part, whole])
    }

    /// Area in both boxes as a share of that in either.
    pub(super) fn overlap(&mut self, a: &Corners, b: &Corners) -> Value {
        let [both, either] = self.areas(a, b);
        self.share(both, either)
    }

    /// The overlap less the share of the box around both that is in neither: generalised IoU (arXiv 1902.09630).
    pub(super) fn generalised_overlap(&mut self, a: &Corners, b: &Corners) -> Value {
        let [both, either] = self.areas(a, b);
        let around = self.around(a, b);
        let around = self.area(&around);
        let neither = self.op("Sub", [around, either]);
        let (overlap, empty) = (self.share(both, either), self.share(neither, around));
        self.op("Sub", [overlap, empty])
    }

    /// The overlap less how far the middles are apart, as a share of the diagonal of the box around both, and how much the shapes
    /// differ: complete IoU (arXiv 1911.08287, whose weight alpha of the shapes is no part of the derivative and is the value `held`).
    pub(super) fn complete_overlap(&mut self, a: &Corners, b: &Corners, held: &str) -> Value {
        let overlap = self.overlap(a, b);
        let tiny = self.number(TINY);
        let square = |g: &mut Self, x: Value| g.op("Mul", [x, x]);
        let around = self.around(a, b);
        let around = self.sides_of(&around).map(|side| square(self, side));
        let diagonal = self.op("Add", around);
        let diagonal = self.op("Add", [diagonal, tiny]);
        let apart = [(a.left, a.right, b.left, b.right), (a.top, a.bottom, b.top, b.bottom)].map(|(l, r, m, s)| {
            let middles = [[l, r], [m, s]].map(|pair| self.op("Add", pair));
            let off = self.op("Sub", middles);
            square(self, off)
        });
        let apart = self.op("Add", apart);
        let quarter = self.number(0.25);
        let apart = self.op("Mul", [apart, quarter]);
        let apart = self.op("Div", [apart, diagonal]);
        let angles = [a, b].map(|of| {
            let [width, height] = self.sides_of(of);
            let height = self.op("Add", [height, tiny]);
            let shape = self.op("Div", [width, height]);
            self.op("Atan", [shape])
        });
        let turned = self.op("Sub", angles);
        let turned = square(self, turned);
        let scale = self.number(4.0 / std::f32::consts::PI.powi(2));
        let shapes = self.op("Mul", [turned, scale]);
        let rest = self.op("Sub", [shapes, overlap]);
        let one = self.number(1.0 + TINY);
        let rest = self.op("Add", [rest, one]);
        let weight = self.node("Div", [shapes, rest]).outputs([held]).value();
        let shapes = self.op("Mul", [weight, shapes]);
        let off = self.op("Add", [apart, shapes]);
        self.op("Sub", [overlap, off])
    }

    /// Rows of `of`, `[N, R, ...]`, at the places `[N, K]`: `[N, K, ...]`.
    pub(super) fn rows(&mut self, of: Value, places: Value) -> Value {
        let places = self.unsqueeze(places, 2);
        self.node("GatherND", [of, places]).attr("batch_dims", 1i64).value()
    }
}

/// Boxes and labels of the images, with one more that is none, so that an image without boxes has something to look at.
pub(super) fn annotations(g: &mut Draft) -> (Value, Value) {
    let most = Dim::from("M");
    let boxes = g.annotation(BOXES, DataType::Float, vec!["N".into(), most.clone(), 4.into()]);
    let labels = g.annotation(LABELS, DataType::Int64, vec!["N".into(), most]);
    let (zero, none) = (g.number(0.0), g.constant("none", Tensor::scalar(-1i64)));
    let (box_pads, label_pads) = (g.whole("pads", &[0, 0, 0, 0, 1, 0]), g.whole("pads", &[0, 0, 0, 1]));
    (g.op("Pad", [boxes, box_pads, zero]), g.op("Pad", [labels, label_pads, none]))
}

/// `x`, or the target where it is that.
pub(super) fn held_at(g: &mut Draft, x: Value, target: Value) -> Value {
    let off = g.op("Sub", [x, target]);
    let off = g.op("Abs", [off]);
    let same = g.number(SAME);
    let there = g.op("Less", [off, same]);
    g.op("Where", [there, target, x])
}
