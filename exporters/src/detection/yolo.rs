//! The loss of YOLOv8 and later, of each image by itself, over the raw values of an exported network.
//!
//! From the papers. A distance to a side of a box is the mean of a distribution over `R` whole numbers of strides (arXiv 2006.04388). A box
//! belongs to the ten locations within it (or within a square of 16 pixels about its middle) that are aligned best with it, by `p^0.5 IoU^6` of the probability of its class and
//! the overlap there (task alignment, arXiv 2108.07755); a location that several want goes to the one that it overlaps most. The class of
//! a location is learnt towards its alignment, so scaled that the best location of a box has its best overlap, by binary
//! cross-entropy; its box by `1 - complete IoU` (arXiv 1911.08287) and by the cross-entropy of the two numbers that a distance lies
//! between, both weighted by that same target. The three are divided by the sum of the targets, of less than 1 by 1, and weigh 0.5,
//! 7.5 and 1.5. What is a target has no derivative.

use super::boxes::{Corners, annotations, held_at};
use super::detections::{Levels, Located};
use super::heads::Shapes;
use super::{Detections, Grid};
use crate::Result;
use crate::losses::Pair;
use crate::losses::draft::{Draft, Role};
use isal_onnx::{DataType, Dim, Tensor, Value};

pub(super) const NAME: &str = "yolo";
pub(super) const HEADS: &[&str] = &["cls", "box"];

/// Values without a derivative.
const TARGETS: &str = "targets";
const WEIGHT_OF_SHAPES: &str = "weight_of_shapes";
/// Keeps quotients of alignments finite.
const TINY: f32 = 1e-9;

/// Options of `yolo`.
#[derive(Debug, Clone, PartialEq)]
pub struct Yolo {
    /// How many locations a box has at most.
    pub locations: usize,
    /// Exponent of the probability in the alignment; that of the overlap is 6.
    pub alpha: f32,
    /// Weights of the three losses: of boxes, classes and distances.
    pub gains: [f32; 3],
    /// What the decode graph makes of the raw values.
    pub detections: Detections,
}

impl Default for Yolo {
    fn default() -> Self {
        let detections = Detections { overlap: 0.7, ..Detections::default() };
        Yolo { locations: 10, alpha: 0.5, gains: [7.5, 0.5, 1.5], detections }
    }
}

/// The raw values in a graph, and what they are for.
struct Raw {
    /// `[N, C, L]`.
    cls: Value,
    /// The distributions, `[N, 4, R, L]`.
    distances: Value,
    grid: Grid,
    classes: usize,
    bins: usize,
}

/// Which location has which box.
struct Assigned {
    /// `[N, M, L]`, true or false.
    owns: Value,
    /// How much of the target each location has, `[N, L]`.
    quality: Value,
}

impl Yolo {
    /// The two graphs, for a model that sees images of `[height, width]` and gives `cls` and `box` of these shapes.
    ///
    /// # Errors
    /// [`Error::LossOption`](crate::Error::LossOption) for other shapes, and an opset before 13.
    pub fn pair(&self, image: [usize; 2], heads: &[Vec<Dim>], opset: i64) -> Result<Pair> {
        let shapes = Shapes::of(NAME, HEADS, heads, opset)?;
        let sizes = (shapes.known(0, 1), shapes.known(1, 1), shapes.known(0, 2));
        let (Some(classes @ 1..), Some(rows), Some(locations)) = sizes else {
            return Err(shapes.wrong_shapes("cls [N, C, L], box [N, 4 R, L], all but N known"));
        };
        if rows % 4 != 0 || rows < 8 {
            return Err(shapes.wrong("box", rows.to_string(), "four times at least 2 numbers of each side"));
        }
        let (grid, bins) = (shapes.grid(image, locations)?, rows / 4);
        shapes.pair(|g, heads| {
            let distances = g.reshape(heads[1], &[0, 4, bins as i64, locations as i64]);
            let of = Raw { cls: heads[0], distances, grid: grid.clone(), classes, bins };
            match g.role {
                Role::Loss => self.loss(g, &of),
                Role::Decode => self.decode(g, &of),
            }
        })
    }

    fn decode(&self, g: &mut Draft, of: &Raw) {
        let turned = |g: &mut Draft, x| g.node("Transpose", [x]).attr("perm", vec![0i64, 2, 1]).value();
        let Corners { left, top, right, bottom } = of.believed(g);
        let boxes = g.concat(vec![left, top, right, bottom], 1);
        let (boxes, logits) = (turned(g, boxes), turned(g, of.cls));
        let scores = g.op("Sigmoid", [logits]);
        self.detections.give(g, &Levels::of(&of.grid, 1), &Located { boxes, scores, logits, classes: of.classes });
    }

    fn loss(&self, g: &mut Draft, of: &Raw) {
        let (boxes, labels) = annotations(g);
        let believed = of.believed(g);
        let Assigned { owns, quality } = self.assigned(g, of, &believed, boxes, labels);
        // The box of every location; of one without a box any, at weight 0.
        let owned = g.cast(owns, DataType::Float);
        let any = g.largest(owned, 1);
        let owner = g.arg_max(owned, 1);
        let (label, target) = (g.rows(labels, owner), g.rows(boxes, owner));

        let (zero, one) = (g.number(0.0), g.number(1.0));
        let weight = g.op("Mul", [quality, any]);
        let weight = g.node("Identity", [weight]).outputs([TARGETS]).value();
        let numbers = g.class_numbers("class_numbers", of.classes, &[1, of.classes, 1]);
        let [row, label] = [weight, label].map(|x| g.unsqueeze(x, 1));
        let hit = g.op("Equal", [label, numbers]);
        let wanted = g.op("Where", [hit, row, zero]);
        let (entropy, hits) = (g.op("Softplus", [of.cls]), g.op("Mul", [of.cls, wanted]));
        let of_classes = g.op("Sub", [entropy, hits]);
        let of_classes = g.sum(of_classes, 2, false);
        let of_classes = g.sum(of_classes, 1, false);

        let turned = g.node("Transpose", [target]).attr("perm", vec![0i64, 2, 1]).value();
        let known = corners(g, turned);
        // A location without a box takes its own belief for one, so that nothing there is infinite.
        let there = g.op("Greater", [row, zero]);
        let own = |g: &mut Draft, known, believed| {
            let known = g.op("Where", [there, known, believed]);
            (known, held_at(g, believed, known))
        };
        let (left, l) = own(g, known.left, believed.left);
        let (top, t) = own(g, known.top, believed.top);
        let (right, r) = own(g, known.right, believed.right);
        let (bottom, b) = own(g, known.bottom, believed.bottom);
        let known = Corners { left, top, right, bottom };
        let overlap = g.complete_overlap(&Corners { left: l, top: t, right: r, bottom: b }, &known, WEIGHT_OF_SHAPES);
        let apart = g.op("Sub", [one, overlap]);
        let of_boxes = g.op("Mul", [apart, row]);

        let distances = self.distances(g, of, &known);
        let of_distances = g.op("Mul", [distances, row]);
        let [of_boxes, of_distances] = [of_boxes, of_distances].map(|x| {
            let x = g.sum(x, 2, false);
            g.sum(x, 1, false)
        });
        let total = g.sum(weight, 1, false);
        let total = g.op("Max", [total, one]);
        let [of_boxes, of_classes, of_distances] = {
            let [boxes, classes, distances] = self.gains;
            [(of_boxes, boxes), (of_classes, classes), (of_distances, distances)].map(|(part, gain)| {
                let gain = g.number(gain);
                g.op("Mul", [part, gain])
            })
        };
        let sum = g.op("Add", [of_boxes, of_classes]);
        let sum = g.op("Add", [sum, of_distances]);
        let loss = g.op("Div", [sum, total]);
        g.hold(&[TARGETS, WEIGHT_OF_SHAPES]);
        g.give_loss(loss);
    }

    /// The cross-entropy of the two whole numbers that each distance lies between, its mean over the four sides, `[N, 1, L]`.
    fn distances(&self, g: &mut Draft, of: &Raw, known: &Corners) -> Value {
        let ([x, y], stride) = (of.middles(g), of.stride(g));
        let sides = [[x, known.left], [y, known.top], [known.right, x], [known.bottom, y]].map(|pair| {
            let side = g.op("Sub", pair);
            let side = g.op("Div", [side, stride]);
            g.clip(side, 0.0, of.bins as f32 - 1.01)
        });
        let sides = g.concat(sides.to_vec(), 1);
        let sides = g.unsqueeze(sides, 2);
        // A number weighs 1 less how far the distance is from it, if that is more than 0.
        let numbers = of.numbers(g);
        let off = g.op("Sub", [sides, numbers]);
        let off = g.op("Abs", [off]);
        let one = g.number(1.0);
        let near = g.op("Sub", [one, off]);
        let near = g.op("Relu", [near]);
        let logarithms = g.op_along("LogSoftmax", of.distances, 2);
        let weighted = g.op("Mul", [near, logarithms]);
        let of_side = g.sum(weighted, 2, false);
        let sum = g.sum(of_side, 1, true);
        let quarter = g.number(-0.25);
        g.op("Mul", [sum, quarter])
    }

    /// Whether locations lie within boxes along both axes, given by the two ends of a box and the location: nearer to the middle than
    /// half a side, which is no shorter than a stride of the second level, so that small boxes have locations too.
    fn within(&self, g: &mut Draft, of: &Raw, along: [[Value; 3]; 2]) -> Value {
        let least = g.number(of.grid.strides.get(1).or(of.grid.strides.first()).map_or(1.0, |stride| *stride as f32));
        let (half, tiny) = (g.number(0.5), g.number(TINY));
        let room = along.map(|[low, high, place]| {
            let (sum, side) = (g.op("Add", [low, high]), g.op("Sub", [high, low]));
            let side = g.op("Max", [side, least]);
            let [middle, reach] = [sum, side].map(|x| g.op("Mul", [x, half]));
            let off = g.op("Sub", [place, middle]);
            let off = g.op("Abs", [off]);
            g.op("Sub", [reach, off])
        });
        let room = g.op("Min", room);
        g.op("Greater", [room, tiny])
    }

    fn assigned(&self, g: &mut Draft, of: &Raw, believed: &Corners, boxes: Value, labels: Value) -> Assigned {
        let (zero, tiny) = (g.number(0.0), g.number(TINY));
        let none = g.constant("none", Tensor::scalar(-1i64));
        let valid = g.op("Greater", [labels, none]);
        let valid = g.unsqueeze(valid, 2);
        // Boxes along axis 1, locations along axis 2.
        let [left, top, right, bottom] = g.four(boxes, 3);
        let [x, y] = of.middles(g);
        let inside = self.within(g, of, [[left, right, x], [top, bottom, y]]);
        let inside = g.op("And", [inside, valid]);
        let known = Corners { left, top, right, bottom };
        let overlap = g.complete_overlap(&known, believed, "weight_of_shapes_of_all");
        let overlap = g.op("Relu", [overlap]);
        let overlap = g.op("Where", [inside, overlap, zero]);
        let probability = g.op("Sigmoid", [of.cls]);
        let first = g.constant("first", Tensor::scalar(0i64));
        let of_class = g.op("Max", [labels, first]);
        let score = g.rows(probability, of_class);
        let (alpha, beta) = (g.number(self.alpha), g.number(6.0));
        let (score, sixth) = (g.op("Pow", [score, alpha]), g.op("Pow", [overlap, beta]));
        let aligned = g.op("Mul", [score, sixth]);
        let aligned = g.op("Where", [inside, aligned, zero]);

        let count = g.whole("locations", &[self.locations.min(of.grid.locations()) as i64]);
        let best = g.node("TopK", [aligned, count]).attr("axis", 2i64).values(2);
        let shape = g.op("Shape", [aligned]);
        let nothing = g.node("ConstantOfShape", [shape]).attr("value", Tensor::new([1], &[0.0f32])).value();
        let shape = g.op("Shape", [best[1]]);
        let ones = g.node("ConstantOfShape", [shape]).attr("value", Tensor::new([1], &[1.0f32])).value();
        let chosen = g.node("ScatterElements", [nothing, best[1], ones]).attr("axis", 2i64).value();
        let chosen = g.op("Greater", [chosen, zero]);
        let wanted = g.op("And", [chosen, inside]);

        let one = g.number(1.0);
        let counted = g.cast(wanted, DataType::Float);
        let rivals = g.sum(counted, 1, true);
        let several = g.op("Greater", [rivals, one]);
        let most = g.node("ArgMax", [overlap]).attr("axis", 1i64).attr("keepdims", 1i64).value();
        let numbers = numbers_of_boxes(g, labels);
        let most = g.op("Equal", [most, numbers]);
        // Where is for numbers before opset 16.
        let most = g.cast(most, DataType::Float);
        let owned = g.op("Where", [several, most, counted]);
        let owns = g.op("Greater", [owned, zero]);

        let aligned = g.op("Mul", [aligned, owned]);
        let overlap = g.op("Mul", [overlap, owned]);
        let [best, overlap] = [aligned, overlap].map(|x| {
            let most = g.largest(x, 2);
            g.unsqueeze(most, 2)
        });
        let scaled = g.op("Mul", [aligned, overlap]);
        let best = g.op("Add", [best, tiny]);
        let scaled = g.op("Div", [scaled, best]);
        Assigned { owns, quality: g.largest(scaled, 1) }
    }
}

impl Raw {
    fn middles(&self, g: &mut Draft) -> [Value; 2] {
        let [x, y] = self.grid.middles();
        [g.constant("x", x), g.constant("y", y)]
    }

    /// `[1, 1, L]`.
    fn stride(&self, g: &mut Draft) -> Value {
        let stride = g.constant("stride", self.grid.stride());
        g.reshape(stride, &[1, 1, -1])
    }

    /// The whole numbers that a distribution is over, `[1, 1, R, 1]`.
    fn numbers(&self, g: &mut Draft) -> Value {
        let numbers: Vec<f32> = (0..self.bins).map(|n| n as f32).collect();
        g.constant("distances", Tensor::new([1, 1, self.bins, 1], &numbers))
    }

    /// The boxes of all locations, `[N, 1, L]` each, in pixels.
    fn believed(&self, g: &mut Draft) -> Corners {
        let numbers = self.numbers(g);
        let likely = g.op_along("Softmax", self.distances, 2);
        let weighted = g.op("Mul", [likely, numbers]);
        let strides = g.sum(weighted, 2, false);
        let stride = self.stride(g);
        let pixels = g.op("Mul", [strides, stride]);
        let [l, t, r, b] = [0, 1, 2, 3].map(|n| g.slice(pixels, 1, n, n + 1));
        let [x, y] = self.middles(g);
        Corners {
            left: g.op("Sub", [x, l]),
            top: g.op("Sub", [y, t]),
            right: g.op("Add", [x, r]),
            bottom: g.op("Add", [y, b]),
        }
    }
}

/// The corners along axis 1 of `[N, 4, L]`, `[N, 1, L]` each.
fn corners(g: &mut Draft, boxes: Value) -> Corners {
    let [left, top, right, bottom] = [0, 1, 2, 3].map(|n| g.slice(boxes, 1, n, n + 1));
    Corners { left, top, right, bottom }
}

/// The numbers of the boxes of an image, `[1, M, 1]`.
fn numbers_of_boxes(g: &mut Draft, labels: Value) -> Value {
    let shape = g.op("Shape", [labels]);
    let most = g.constant("most", Tensor::scalar(1i64));
    let most = g.op("Gather", [shape, most]);
    let [zero, one] = [0i64, 1].map(|n| g.constant("number", Tensor::scalar(n)));
    let numbers = g.op("Range", [zero, most, one]);
    g.reshape(numbers, &[1, -1, 1])
}
