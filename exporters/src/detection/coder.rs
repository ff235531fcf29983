//! Boxes as differences from other boxes (Girshick et al., arXiv 1311.2524, appendix C): how far the middle moves, as a share of the
//! other's size, and the logarithm of how much larger it is.

use super::boxes::Corners;
use crate::losses::draft::Draft;
use isal_onnx::Value;

/// The largest logarithm of a ratio of sizes that is believed, `log(1000 / 16)`, as in torchvision and Detectron.
const LARGEST: f32 = 4.135_166_5;

/// What the four differences are multiplied by, so that they are of one scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weights {
    pub place: f32,
    pub size: f32,
}

impl Weights {
    /// None: anchors.
    pub const ONE: Weights = Weights { place: 1.0, size: 1.0 };
    /// Those of regions (arXiv 1506.01497).
    pub const OF_REGIONS: Weights = Weights { place: 10.0, size: 5.0 };
}

/// Middles and sizes along the two axes.
struct Spans {
    middle: [Value; 2],
    size: [Value; 2],
}

impl Draft {
    fn spans(&mut self, of: &Corners) -> Spans {
        let size = [[of.right, of.left], [of.bottom, of.top]].map(|pair| self.op("Sub", pair));
        let half = self.number(0.5);
        let middle = [(of.left, size[0]), (of.top, size[1])].map(|(near, size)| {
            let half = self.op("Mul", [size, half]);
            self.op("Add", [near, half])
        });
        Spans { middle, size }
    }

    /// The differences of boxes `of` from boxes `from`, which have a size.
    pub(super) fn differences(&mut self, of: &Corners, from: &Corners, weights: Weights) -> [Value; 4] {
        let (of, from) = (self.spans(of), self.spans(from));
        let (place, size) = (self.number(weights.place), self.number(weights.size));
        let moved = [0, 1].map(|axis| {
            let off = self.op("Sub", [of.middle[axis], from.middle[axis]]);
            let off = self.op("Div", [off, from.size[axis]]);
            self.op("Mul", [off, place])
        });
        let larger = [0, 1].map(|axis| {
            let ratio = self.op("Div", [of.size[axis], from.size[axis]]);
            let log = self.op("Log", [ratio]);
            self.op("Mul", [log, size])
        });
        [moved[0], moved[1], larger[0], larger[1]]
    }

    /// The boxes that differ so much from boxes `from`.
    pub(super) fn moved(&mut self, from: &Corners, [x, y, w, h]: [Value; 4], weights: Weights) -> Corners {
        let from = self.spans(from);
        let (place, size) = (self.number(weights.place), self.number(weights.size));
        let (half, largest) = (self.number(0.5), self.number(LARGEST));
        let [across, down] = [(x, w, 0), (y, h, 1)].map(|(off, larger, axis)| {
            let off = self.op("Div", [off, place]);
            let off = self.op("Mul", [off, from.size[axis]]);
            let middle = self.op("Add", [off, from.middle[axis]]);
            let larger = self.op("Div", [larger, size]);
            let larger = self.op("Min", [larger, largest]);
            let larger = self.op("Exp", [larger]);
            let length = self.op("Mul", [larger, from.size[axis]]);
            let half = self.op("Mul", [length, half]);
            [self.op("Sub", [middle, half]), self.op("Add", [middle, half])]
        });
        Corners { left: across[0], top: down[0], right: across[1], bottom: down[1] }
    }

    /// Corners of the boxes within an image of `[height, width]`.
    pub(super) fn within(&mut self, of: &Corners, [height, width]: [usize; 2]) -> Corners {
        let [left, top, right, bottom] = [(of.left, width), (of.top, height), (of.right, width), (of.bottom, height)]
            .map(|(x, far)| {
                let far = self.number(far as f32);
                let x = self.op("Min", [x, far]);
                self.op("Relu", [x])
            });
        Corners { left, top, right, bottom }
    }

    /// Whether both sides of a box are at least so long.
    pub(super) fn at_least(&mut self, of: &Corners, least: f32) -> Value {
        let size = self.spans(of).size;
        let shorter = self.op("Min", size);
        let least = self.number(least);
        self.op("GreaterOrEqual", [shorter, least])
    }

    /// `|d|` smoothed below `beta`: `d^2 / (2 beta)` there, `|d| - beta / 2` beyond (arXiv 1504.08083), summed over the four.
    pub(super) fn smooth_distance(&mut self, believed: [Value; 4], known: [Value; 4], beta: f32) -> Value {
        let parts = std::array::from_fn(|n| {
            let off = self.op("Sub", [believed[n], known[n]]);
            // No absolute value is taken, so both derivatives are right at 0.
            let near = self.clip(off, -beta, beta);
            let half = self.number(0.5);
            let half = self.op("Mul", [near, half]);
            let rest = self.op("Sub", [off, half]);
            let product = self.op("Mul", [near, rest]);
            let beta = self.number(beta);
            self.op("Div", [product, beta])
        });
        self.added(parts)
    }

    /// The sum of four values.
    pub(super) fn added(&mut self, [a, b, c, d]: [Value; 4]) -> Value {
        let (near, far) = (self.op("Add", [a, b]), self.op("Add", [c, d]));
        self.op("Add", [near, far])
    }
}
