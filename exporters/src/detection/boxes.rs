//! Boxes in a graph under construction.

use crate::losses::draft::Draft;
use isal_onnx::Value;

/// Keeps quotients of areas finite, as in torchvision.
const TINY: f32 = 1e-7;

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
        let [width, height] = [[of.right, of.left], [of.bottom, of.top]].map(|pair| self.op("Sub", pair));
        self.op("Mul", [width, height])
    }

    /// Area in both boxes, in either, and of the box around both.
    fn areas(&mut self, a: &Corners, b: &Corners) -> [Value; 3] {
        let most = |g: &mut Self, x, y| g.op("Max", [x, y]);
        let least = |g: &mut Self, x, y| g.op("Min", [x, y]);
        let within = Corners {
            left: most(self, a.left, b.left),
            top: most(self, a.top, b.top),
            right: least(self, a.right, b.right),
            bottom: least(self, a.bottom, b.bottom),
        };
        let around = Corners {
            left: least(self, a.left, b.left),
            top: least(self, a.top, b.top),
            right: most(self, a.right, b.right),
            bottom: most(self, a.bottom, b.bottom),
        };
        let [width, height] = [[within.right, within.left], [within.bottom, within.top]].map(|pair| {
            let side = self.op("Sub", pair);
            self.op("Relu", [side])
        });
        let both = self.op("Mul", [width, height]);
        let [of_a, of_b] = [a, b].map(|of| self.area(of));
        let sum = self.op("Add", [of_a, of_b]);
        let either = self.op("Sub", [sum, both]);
        [both, either, self.area(&around)]
    }

    fn share(&mut self, part: Value, whole: Value) -> Value {
        let tiny = self.number(TINY);
        let whole = self.op("Add", [whole, tiny]);
        self.op("Div", [part, whole])
    }

    /// Area in both boxes as a share of that in either.
    pub(super) fn overlap(&mut self, a: &Corners, b: &Corners) -> Value {
        let [both, either, _] = self.areas(a, b);
        self.share(both, either)
    }

    /// The overlap less the share of the box around both that is in neither: generalised IoU (arXiv 1902.09630).
    pub(super) fn generalised_overlap(&mut self, a: &Corners, b: &Corners) -> Value {
        let [both, either, around] = self.areas(a, b);
        let neither = self.op("Sub", [around, either]);
        let (overlap, empty) = (self.share(both, either), self.share(neither, around));
        self.op("Sub", [overlap, empty])
    }

    /// Rows of `of`, `[N, R, ...]`, at the places `[N, K]`: `[N, K, ...]`.
    pub(super) fn rows(&mut self, of: Value, places: Value) -> Value {
        let places = self.unsqueeze(places, 2);
        self.node("GatherND", [of, places]).attr("batch_dims", 1i64).value()
    }
}
