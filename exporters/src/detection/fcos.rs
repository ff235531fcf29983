//! The loss of FCOS (Tian et al., arXiv 1904.01355), as torchvision has it, of each image by itself.
//!
//! A box belongs to the locations near its middle, of the level that is for its size; of several boxes the smallest. There the loss is
//! that of the classes (focal, arXiv 1708.02002: `-alpha_t (1 - p_t)^2 log p_t`), that of the box, and the cross-entropy of the
//! centre-ness `sqrt(min(l, r) / max(l, r) min(t, b) / max(t, b))`; elsewhere it is the focal loss of no class. All is added up and
//! divided by the number of locations that have a box, of none by 1.

use super::boxes::{Corners, annotations, held_at};
use super::detections::{Levels, Located};
use super::focal::focal;
use super::heads::Shapes;
use super::{Detections, Grid};
use crate::Result;
use crate::losses::Pair;
use crate::losses::draft::{Draft, Role};
use isal_onnx::{DataType, Dim, Tensor, Value};

pub(super) const NAME: &str = "fcos";
pub(super) const HEADS: &[&str] = &["cls", "reg", "ctr"];

/// What no box is as large as.
const NEVER: f32 = 1e9;

/// What the loss of a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BoxLoss {
    /// `1 - GIoU`, as torchvision has it.
    #[default]
    Giou,
    /// `-log IoU` (UnitBox, arXiv 1608.01471), as in the paper.
    Iou,
}

/// Options of `fcos`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fcos {
    /// How far from the middle of a box its locations may be, in strides; `None`: anywhere in the box.
    pub centre: Option<f32>,
    /// The loss of a box.
    pub box_loss: BoxLoss,
    /// What the decode graph makes of the heads.
    pub detections: Detections,
}

impl Default for Fcos {
    fn default() -> Self {
        Fcos { centre: Some(1.5), box_loss: BoxLoss::Giou, detections: Detections::default() }
    }
}

/// The heads in a graph, and what they are for.
struct Heads {
    cls: Value,
    reg: Value,
    ctr: Value,
    grid: Grid,
    classes: usize,
}

impl Fcos {
    /// The two graphs, for a model that sees images of `[height, width]` and gives `cls`, `reg` and `ctr` of these shapes.
    ///
    /// # Errors
    /// [`Error::LossOption`](crate::Error::LossOption) for other shapes, and an opset before 13.
    pub fn pair(&self, image: [usize; 2], heads: &[Vec<Dim>], opset: i64) -> Result<Pair> {
        let shapes = Shapes::of(NAME, HEADS, heads, opset)?;
        let sizes = (shapes.known(0, 1), shapes.known(0, 2), shapes.known(1, 2), shapes.known(2, 2));
        let (Some(locations), Some(classes @ 1..), Some(4), Some(1)) = sizes else {
            return Err(shapes.wrong_shapes("cls [N, L, C], reg [N, L, 4], ctr [N, L, 1], L and C known"));
        };
        let grid = shapes.grid(image, locations)?;
        shapes.pair(|g, heads| {
            let of = Heads { cls: heads[0], reg: heads[1], ctr: heads[2], grid: grid.clone(), classes };
            match g.role {
                Role::Loss => self.loss(g, &of),
                Role::Decode => self.decode(g, &of),
            }
        })
    }

    fn decode(&self, g: &mut Draft, of: &Heads) {
        let [cls, ctr] = [of.cls, of.ctr].map(|x| g.op("Sigmoid", [x]));
        let scores = g.op("Mul", [cls, ctr]);
        let scores = g.op("Sqrt", [scores]);
        let (reg, place) = (of.pixels(g), of.places(g));
        let Corners { left, top, right, bottom } = around(g, place, reg);
        let boxes = g.concat(vec![left, top, right, bottom], 2);
        self.detections.give(
            g,
            &Levels::of(&of.grid, 1),
            &Located { boxes, scores, logits: of.cls, classes: of.classes },
        );
    }

    fn loss(&self, g: &mut Draft, of: &Heads) {
        let (boxes, labels) = annotations(g);
        let (found, target, label) = self.assigned(g, of, boxes, labels);

        let classes = focal(g, of.cls, of.classes, label);
        let place = of.places(g);
        let here = g.unsqueeze(found, 2);
        let one = g.number(1.0);
        let sides = sides(g, place, target, 3).map(|side| g.op("Where", [here, side, one]));
        let reg = of.pixels(g).into_iter().zip(sides).map(|(x, side)| held_at(g, x, side)).collect::<Vec<_>>();
        let zero = g.number(0.0);
        let [believed, known] = [[reg[0], reg[1], reg[2], reg[3]], sides].map(|sides| around_zero(g, sides));
        let of_box = match self.box_loss {
            BoxLoss::Giou => {
                let overlap = g.generalised_overlap(&believed, &known);
                g.op("Sub", [one, overlap])
            }
            BoxLoss::Iou => {
                let overlap = g.overlap(&believed, &known);
                let overlap = g.clip(overlap, 1e-6, 1.0);
                let log = g.op("Log", [overlap]);
                g.op("Neg", [log])
            }
        };
        let centredness = centredness(g, sides);
        let rest = g.op("Mul", [of.ctr, centredness]);
        let entropy = g.op("Softplus", [of.ctr]);
        let of_centre = g.op("Sub", [entropy, rest]);
        let both = g.op("Add", [of_box, of_centre]);
        let both = g.op("Where", [here, both, zero]);
        // One axis at a time: a float32 sum is the more exact the fewer numbers each part of it has.
        let [classes, both] = [classes, both].map(|x| {
            let x = g.sum(x, 2, false);
            g.sum(x, 1, false)
        });
        let sum = g.op("Add", [classes, both]);
        let counted = g.cast(found, DataType::Float);
        let count = g.sum(counted, 1, false);
        let count = g.op("Max", [count, one]);
        let loss = g.op("Div", [sum, count]);
        g.give_loss(loss);
    }

    /// Whether a location has a box, `[N, L]`; its box, `[N, L, 4]`; the label of that, -1 of none, `[N, L]`.
    fn assigned(&self, g: &mut Draft, of: &Heads, boxes: Value, labels: Value) -> (Value, Value, Value) {
        let place = of.places(g);
        // Boxes along the last axis: [N, 1, M].
        let [left, top, right, bottom] = g.four(boxes, 3).map(|side| g.reshape(side, &[0, 1, -1]));
        let sides =
            [[place[0], left], [place[1], top], [right, place[0]], [bottom, place[1]]].map(|pair| g.op("Sub", pair));
        let (least, largest) = (g.op("Min", sides), g.op("Max", sides));
        let zero = g.number(0.0);
        let mut fits = g.op("Greater", [least, zero]);
        if let Some(radius) = self.centre {
            let half = g.number(0.5);
            let off = [[left, right, place[0]], [top, bottom, place[1]]].map(|[a, b, place]| {
                let sum = g.op("Add", [a, b]);
                let middle = g.op("Mul", [sum, half]);
                let off = g.op("Sub", [place, middle]);
                g.op("Abs", [off])
            });
            let off = g.op("Max", off);
            let (radius, stride) = (g.number(radius), of.stride(g));
            let reach = g.op("Mul", [radius, stride]);
            let near = g.op("Less", [off, reach]);
            fits = g.op("And", [fits, near]);
        }
        let [low, high] = of.grid.ranges().map(|range| g.constant("range", range));
        let row = g.unsqueeze(labels, 1);
        let none = g.constant("none", Tensor::scalar(-1i64));
        for pair in [[largest, low], [high, largest], [row, none]] {
            let above = g.op("Greater", pair);
            fits = g.op("And", [fits, above]);
        }
        let area = g.area(&Corners { left, top, right, bottom });
        let never = g.number(NEVER);
        let cost = g.op("Where", [fits, area, never]);
        let best = g.node("ArgMin", [cost]).attr("axis", 2i64).attr("keepdims", 0i64).value();
        let fitting = g.cast(fits, DataType::Float);
        let any = g.largest(fitting, 2);
        let found = g.op("Greater", [any, zero]);
        let (target, label) = (g.rows(boxes, best), g.rows(labels, best));
        (found, target, g.op("Where", [found, label, none]))
    }
}

impl Heads {
    /// Where the locations are: x and y, `[1, L, 1]`.
    fn places(&self, g: &mut Draft) -> [Value; 2] {
        [g.constant("x", self.grid.x()), g.constant("y", self.grid.y())]
    }

    fn stride(&self, g: &mut Draft) -> Value {
        g.constant("stride", self.grid.stride())
    }

    /// The distances to the four sides in pixels, `[N, L, 1]` each.
    fn pixels(&self, g: &mut Draft) -> [Value; 4] {
        let stride = self.stride(g);
        let pixels = g.op("Mul", [self.reg, stride]);
        g.four(pixels, 3)
    }
}

/// Left, top, right and bottom distance of the places from the sides of boxes of `rank`.
fn sides(g: &mut Draft, place: [Value; 2], boxes: Value, rank: usize) -> [Value; 4] {
    let [left, top, right, bottom] = g.four(boxes, rank);
    [[place[0], left], [place[1], top], [right, place[0]], [bottom, place[1]]].map(|pair| g.op("Sub", pair))
}

/// The boxes whose sides are so far from the places.
fn around(g: &mut Draft, place: [Value; 2], [l, t, r, b]: [Value; 4]) -> Corners {
    Corners {
        left: g.op("Sub", [place[0], l]),
        top: g.op("Sub", [place[1], t]),
        right: g.op("Add", [place[0], r]),
        bottom: g.op("Add", [place[1], b]),
    }
}

/// The boxes whose sides are so far from 0.
fn around_zero(g: &mut Draft, [l, t, r, b]: [Value; 4]) -> Corners {
    Corners { left: g.op("Neg", [l]), top: g.op("Neg", [t]), right: r, bottom: b }
}

/// How near the middle of a box a location is, from its distances to the sides.
fn centredness(g: &mut Draft, [l, t, r, b]: [Value; 4]) -> Value {
    let shares = [[l, r], [t, b]].map(|pair| {
        let (least, most) = (g.op("Min", pair), g.op("Max", pair));
        g.op("Div", [least, most])
    });
    let product = g.op("Mul", shares);
    g.op("Sqrt", [product])
}
