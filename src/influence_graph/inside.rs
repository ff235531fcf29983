//! An influence graph with its preprocessing inside: 8-bit images `[N, H, W, C]` in, in standard operators of any operator set
//! from 13 on.
//!
//! Resizing is two products with matrices, one an axis, whose entries are the kernel at the distances between input and output
//! samples; the graph computes them from the size of the images. Distances are differences of whole numbers over a whole number,
//! so a float32 gives them to the last digit whatever the size, and every kernel of `data::resample` can be said, not only
//! those of `Resize`. Samples are rounded to 8 bits after either axis, in the order and the way in which Pillow rounds them. What
//! is left of a difference to [`Recipe::pixels`]: weights there are rounded to 22 bits, here to 24, which moves a sample that lies
//! at a tie by one level.

use super::InfluenceGraphError;
use crate::data::{Alpha, Channels, Filling, Filter, Layout, Range, Recipe, Resize, Size};
use isal_onnx::{Builder, DataType, Dim, Model, Tensor, Value, ValueType};

/// Property under `isal.influence.` with the recipe that a graph follows itself, as JSON.
pub const PREPROCESSING_INSIDE: &str = "preprocessing inside";

/// Operator set from which all that is emitted is there.
const LEAST_OPSET: i64 = 13;

/// What a host does to images of any size for a graph that follows `recipe` itself; `None` where it crops, since a host that has
/// resized an image cannot give it the margins back.
pub(super) fn left_to_the_host(recipe: &Recipe) -> Option<Recipe> {
    let channels = match recipe.channels {
        Channels::Bgr => Channels::Rgb,
        channels => channels,
    };
    let (zeros, ones) = (vec![0.0; channels.count()], vec![1.0; channels.count()]);
    let raw = Recipe { channels, layout: Layout::Nhwc, range: Range::Byte, mean: zeros, std: ones, ..recipe.clone() };
    // A host of raw samples cannot write zeros behind mean and standard deviation.
    let zeros = recipe.pad.is_some_and(|pad| pad.value == Filling::Zero);
    (recipe.crop.is_none() && !zeros).then_some(raw)
}

/// The graph with images as they are decoded for its input, uint8 `[N, H, W, C]`: grey ones or RGB, by what `recipe` makes of
/// them.
///
/// # Errors
/// [`InfluenceGraphError::Inside`] with the part of the recipe that cannot be said.
pub fn with_preprocessing(model: &Model, recipe: &Recipe) -> Result<Model, InfluenceGraphError> {
    let refused = |what: String| Err(InfluenceGraphError::Inside { what });
    if let Alpha::Over(ground) = recipe.alpha {
        let channels = recipe.channels.count();
        let what = format!("`alpha = {{ over = {ground:?} }}`: images of {channels} channels have no transparency");
        return refused(what);
    }
    if recipe.pad.is_some() {
        return refused("`pad`: the host has to fill images up".to_owned());
    }
    if matches!(recipe.resize, Resize::Sides { .. } | Resize::Within { .. } | Resize::Letterbox(_)) {
        return refused("a `resize` to several sizes: the host has to resize".to_owned());
    }
    if model.opset() < LEAST_OPSET {
        return refused(format!("anything in opset {}: opset {LEAST_OPSET} is needed", model.opset()));
    }
    let [input] = model.graph.inputs.as_slice() else {
        return refused(format!("images for a graph of {} inputs", model.graph.inputs.len()));
    };
    let Some(value_type) = &input.value_type else { return refused("images for an input without a type".to_owned()) };
    let batch = value_type.shape.as_ref().and_then(|shape| shape.first().cloned()).unwrap_or(Dim::Unknown);
    let mut graph = model.graph.clone();
    graph.inputs.clear();
    let mut built = Steps { b: Builder::extend(graph) };
    let pixels = built.input(batch, recipe);
    let x = built.pixels(pixels, recipe);
    built.normalised(x, recipe, value_type.data_type, &input.name);
    let graph = built.b.finish().map_err(|source| InfluenceGraphError::model(std::path::Path::new(""), source))?;
    Ok(Model { graph, ..model.clone() })
}

/// The steps of a recipe as nodes. Images are float32 `[N, C, H, W]` between them, and sizes `[]` of int64.
struct Steps {
    b: Builder,
}

/// An axis of the images.
#[derive(Clone, Copy)]
enum Axis {
    Rows,
    Columns,
}

impl Steps {
    fn whole(&mut self, number: usize) -> Value {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.b.constant("number", Tensor::scalar(number))
    }

    fn whole_numbers(&mut self, numbers: &[i64]) -> Value {
        self.b.constant("numbers", Tensor::new([numbers.len()], numbers))
    }

    fn float(&mut self, number: f32) -> Value {
        self.b.constant("number", Tensor::scalar(number))
    }

    /// The 8-bit input, under a name of its own.
    fn input(&mut self, batch: Dim, recipe: &Recipe) -> Value {
        let name = self.b.fresh("pixels");
        let sized = recipe.resize == Resize::NONE && recipe.crop.is_none();
        let (height, width) = match sized {
            true => (Dim::from(recipe.size.height), Dim::from(recipe.size.width)),
            false => (Dim::Symbol(self.b.fresh("height")), Dim::Symbol(self.b.fresh("width"))),
        };
        let shape = vec![batch, height, width, recipe.channels.count().into()];
        self.b.scope("preprocessing").input(&name, ValueType { data_type: DataType::Uint8, shape: Some(shape) })
    }

    /// [`Recipe::pixels`] of 8-bit images `[N, H, W, C]`.
    fn pixels(&mut self, pixels: Value, recipe: &Recipe) -> Value {
        let float = self.cast(pixels, DataType::Float);
        let mut x = self.b.node("Transpose", [float]).attr("perm", vec![0, 3, 1, 2]).value();
        let found = [self.length(x, Axis::Rows), self.length(x, Axis::Columns)];
        let size = match recipe.resize {
            Resize::None(_) => found,
            Resize::Exact(Size { height, width }) => [self.whole(height), self.whole(width)],
            Resize::ShorterSide { shorter_side } => self.shorter(found, shorter_side),
            // Refused before.
            Resize::Sides { .. } | Resize::Within { .. } | Resize::Letterbox(_) => found,
        };
        if recipe.resize != Resize::NONE {
            x = match recipe.filter {
                Filter::Nearest => {
                    let across = self.nearest(x, Axis::Columns, found[1], size[1]);
                    self.nearest(across, Axis::Rows, found[0], size[0])
                }
                filter => self.resized(x, filter, found, size),
            };
        }
        if let Some(crop) = recipe.crop {
            x = self.cropped(x, size, crop);
        }
        let Size { height, width } = recipe.size;
        let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        // For the network, the shape is known again.
        let shape = self.whole_numbers(&[0, whole(recipe.channels.count()), whole(height), whole(width)]);
        self.b.op("Reshape", [x, shape])
    }

    /// The length of an axis.
    fn length(&mut self, x: Value, axis: Axis) -> Value {
        let shape = self.b.op("Shape", [x]);
        let at = self.whole(match axis {
            Axis::Rows => 2,
            Axis::Columns => 3,
        });
        self.b.op("Gather", [shape, at])
    }

    /// Sizes whose shorter one is `side`, the aspect kept to rounding down.
    fn shorter(&mut self, [height, width]: [Value; 2], side: usize) -> [Value; 2] {
        let side = self.whole(side);
        let upright = self.b.op("LessOrEqual", [width, height]);
        [(height, width, false), (width, height, true)].map(|(own, other, is_width)| {
            let times = self.b.op("Mul", [side, own]);
            let longer = self.b.op("Div", [times, other]);
            let (if_upright, otherwise) = if is_width { (side, longer) } else { (longer, side) };
            self.b.op("Where", [upright, if_upright, otherwise])
        })
    }

    /// 0, 1, 2, ... up to a length, along the first or the second of two axes.
    fn counted(&mut self, length: Value, axis: i64) -> Value {
        let (zero, one) = (self.whole(0), self.whole(1));
        let range = self.b.op("Range", [zero, length, one]);
        let axes = self.whole_numbers(&[axis]);
        self.b.op("Unsqueeze", [range, axes])
    }

    /// `2 n + 1`.
    fn odd(&mut self, n: Value) -> Value {
        let (two, one) = (self.whole(2), self.whole(1));
        let twice = self.b.op("Mul", [n, two]);
        self.b.op("Add", [twice, one])
    }

    /// Both axes resampled, in Pillow's order: columns first, but rows where that drops more than twice as many of them. Both
    /// orders are computed and one is taken, since what is rounded and clipped in between differs; `If` would cost less, and not
    /// every runtime takes one whose branches read values from outside.
    fn resized(&mut self, x: Value, filter: Filter, from: [Value; 2], to: [Value; 2]) -> Value {
        let [rows, columns] = [0, 1].map(|axis| match filter {
            Filter::Box => self.box_weights(from[axis], to[axis]),
            _ => self.weights(filter, from[axis], to[axis]),
        });
        let across = self.summed(x, Axis::Columns, columns);
        let columns_first = self.summed(across, Axis::Rows, rows);
        let down = self.summed(x, Axis::Rows, rows);
        let rows_first = self.summed(down, Axis::Columns, columns);
        let [less_rows, less_columns] = [0, 1].map(|axis| self.b.op("Sub", [from[axis], to[axis]]));
        let (zero, two) = (self.whole(0), self.whole(2));
        let twice = self.b.op("Mul", [less_columns, two]);
        let (fewer, many) = (self.b.op("Greater", [less_rows, zero]), self.b.op("Greater", [less_rows, twice]));
        let down_first = self.b.op("And", [fewer, many]);
        self.b.op("Where", [down_first, rows_first, columns_first])
    }

    /// One axis weighted, and rounded to 8 bits.
    fn summed(&mut self, x: Value, axis: Axis, weights: Value) -> Value {
        let summed = match axis {
            Axis::Rows => self.b.op("MatMul", [weights, x]),
            Axis::Columns => {
                let across = self.b.node("Transpose", [weights]).attr("perm", vec![1, 0]).value();
                self.b.op("MatMul", [x, across])
            }
        };
        let (half, black, white) = (self.float(0.5), self.float(0.0), self.float(255.0));
        let moved = self.b.op("Add", [summed, half]);
        let rounded = self.b.op("Floor", [moved]);
        self.b.op("Clip", [rounded, black, white])
    }

    /// The sample under the centre of each output sample: `(2 o + 1) from / (2 to)`, rounded down.
    fn nearest(&mut self, x: Value, axis: Axis, from: Value, to: Value) -> Value {
        let (zero, one, two) = (self.whole(0), self.whole(1), self.whole(2));
        let range = self.b.op("Range", [zero, to, one]);
        let odd = self.odd(range);
        let over = self.b.op("Mul", [odd, from]);
        let under = self.b.op("Mul", [to, two]);
        let index = self.b.op("Div", [over, under]);
        let axis = match axis {
            Axis::Rows => 2,
            Axis::Columns => 3,
        };
        self.b.node("Gather", [x, index]).attr("axis", axis).value()
    }

    /// The weights `[to, from]` of input samples in output samples: the kernel at `((2 i + 1) to - (2 o + 1) from) / (2 max(from,
    /// to))`, each row divided by its sum.
    fn weights(&mut self, filter: Filter, from: Value, to: Value) -> Value {
        let (inputs, outputs) = (self.counted(from, 0), self.counted(to, 1));
        let (inputs, outputs) = (self.odd(inputs), self.odd(outputs));
        let (at, centre) = (self.b.op("Mul", [inputs, to]), self.b.op("Mul", [outputs, from]));
        let apart = self.b.op("Sub", [at, centre]);
        let longer = self.b.op("Max", [from, to]);
        let two = self.whole(2);
        let under = self.b.op("Mul", [longer, two]);
        let [apart, under] = [apart, under].map(|n| self.cast(n, DataType::Float));
        let distance = self.b.op("Div", [apart, under]);
        let distance = self.b.op("Abs", [distance]);
        let raw = self.kernel(filter, distance);
        self.over_their_sum(raw)
    }

    /// The same of the box. Whether a sample on its edge is in it is a matter of rounding, with a whole sample at stake: the steps
    /// are those of `data::resample`, in float64.
    fn box_weights(&mut self, from: Value, to: Value) -> Value {
        let (inputs, outputs) = (self.counted(from, 0), self.counted(to, 1));
        let [from, to, i, o] = [from, to, inputs, outputs].map(|n| self.cast(n, DataType::Double));
        let (half, one) =
            (self.b.constant("half", Tensor::scalar(0.5f64)), self.b.constant("one", Tensor::scalar(1.0f64)));
        let minus = self.b.op("Neg", [half]);
        let ratio = self.b.op("Div", [from, to]);
        let spread = self.b.op("Max", [ratio, one]);
        let reach = self.b.op("Mul", [half, spread]);
        let middle = self.b.op("Add", [o, half]);
        let centre = self.b.op("Mul", [middle, ratio]);
        let shrink = self.b.op("Div", [one, spread]);
        let apart = self.b.op("Sub", [i, centre]);
        let apart = self.b.op("Add", [apart, half]);
        let x = self.b.op("Mul", [apart, shrink]);
        let [first, end] = ["Sub", "Add"].map(|op| {
            let edge = self.b.op(op, [centre, reach]);
            let edge = self.b.op("Add", [edge, half]);
            self.b.op("Floor", [edge])
        });
        let conditions =
            [("Greater", x, minus), ("LessOrEqual", x, half), ("GreaterOrEqual", i, first), ("Less", i, end)];
        let mut all = conditions.map(|(op, a, b)| self.b.op(op, [a, b])).into_iter();
        let mut within = all.next().unwrap_or(x);
        for condition in all {
            within = self.b.op("And", [within, condition]);
        }
        let raw = self.cast(within, DataType::Float);
        self.over_their_sum(raw)
    }

    fn cast(&mut self, x: Value, to: DataType) -> Value {
        self.b.node("Cast", [x]).attr("to", to as i64).value()
    }

    /// Each row divided by its sum.
    fn over_their_sum(&mut self, raw: Value) -> Value {
        let last = self.whole_numbers(&[1]);
        let sum = self.b.op("ReduceSum", [raw, last]);
        self.b.op("Div", [raw, sum])
    }

    /// The kernel at distances of zero and above.
    fn kernel(&mut self, filter: Filter, x: Value) -> Value {
        let (zero, one, two, three) = (self.float(0.0), self.float(1.0), self.float(2.0), self.float(3.0));
        match filter {
            Filter::Bicubic => {
                // Keys' cubic of a = -0.5, by Horner's rule on either piece.
                let near = self.polynomial(x, &[1.5, -2.5, 0.0, 1.0]);
                let far = self.polynomial(x, &[-0.5, 2.5, -4.0, 2.0]);
                let (is_near, is_far) = (self.b.op("Less", [x, one]), self.b.op("Less", [x, two]));
                let far = self.b.op("Where", [is_far, far, zero]);
                self.b.op("Where", [is_near, near, far])
            }
            Filter::Lanczos => {
                let third = self.b.op("Div", [x, three]);
                let (wave, window) = (self.sinc(x), self.sinc(third));
                let product = self.b.op("Mul", [wave, window]);
                let within = self.b.op("Less", [x, three]);
                self.b.op("Where", [within, product, zero])
            }
            Filter::Bilinear | Filter::Nearest | Filter::Box => {
                let rest = self.b.op("Sub", [one, x]);
                self.b.op("Relu", [rest])
            }
        }
    }

    fn polynomial(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let mut sum = self.float(0.0);
        for coefficient in coefficients {
            let coefficient = self.float(*coefficient);
            let times = self.b.op("Mul", [sum, x]);
            sum = self.b.op("Add", [times, coefficient]);
        }
        sum
    }

    /// `sin(pi x) / (pi x)`, and 1 at 0.
    fn sinc(&mut self, x: Value) -> Value {
        let (zero, one, pi) = (self.float(0.0), self.float(1.0), self.float(std::f32::consts::PI));
        let angle = self.b.op("Mul", [x, pi]);
        let sine = self.b.op("Sin", [angle]);
        let at_zero = self.b.op("Equal", [x, zero]);
        // Nothing is divided by zero, not even where the result is thrown away.
        let angle = self.b.op("Where", [at_zero, one, angle]);
        let quotient = self.b.op("Div", [sine, angle]);
        self.b.op("Where", [at_zero, one, quotient])
    }

    /// The centre of images of this size; black where they are smaller.
    fn cropped(&mut self, x: Value, size: [Value; 2], crop: Size) -> Value {
        let (zero, two) = (self.whole(0), self.whole(2));
        let mut ends = [[zero; 2]; 3];
        for (n, (have, want)) in size.into_iter().zip([crop.height, crop.width]).enumerate() {
            let want = self.whole(want);
            let lacking = self.b.op("Sub", [want, have]);
            let lacking = self.b.op("Max", [lacking, zero]);
            let before = self.b.op("Div", [lacking, two]);
            let behind = self.b.op("Sub", [lacking, before]);
            let left = self.b.op("Sub", [have, want]);
            let left = self.b.op("Max", [left, zero]);
            // Half of it, to the even neighbour.
            let half = self.b.op("Div", [left, two]);
            let (odd, odd_half) = (self.b.op("Mod", [left, two]), self.b.op("Mod", [half, two]));
            let up = self.b.op("Mul", [odd, odd_half]);
            let skip = self.b.op("Add", [half, up]);
            for (ends, end) in ends.iter_mut().zip([before, behind, skip]) {
                ends[n] = end;
            }
        }
        let axes = self.whole_numbers(&[0]);
        let list = |b: &mut Builder, ends: [Value; 2]| {
            let ends = ends.map(|end| b.op("Unsqueeze", [end, axes]));
            b.node("Concat", ends).attr("axis", 0).value()
        };
        let [before, behind, skip] = ends.map(|ends| list(&mut self.b, ends));
        let none = self.whole_numbers(&[0, 0]);
        let pads = self.b.node("Concat", [none, before, none, behind]).attr("axis", 0).value();
        let padded = self.b.op("Pad", [x, pads]);
        let wanted = [crop.height, crop.width].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let wanted = self.whole_numbers(&wanted);
        let to = self.b.op("Add", [skip, wanted]);
        let both = self.whole_numbers(&[2, 3]);
        self.b.op("Slice", [padded, skip, to, both])
    }

    /// [`Recipe::normalise`], into the value `name`.
    fn normalised(&mut self, mut x: Value, recipe: &Recipe, data_type: DataType, name: &str) {
        if recipe.channels == Channels::Bgr {
            let order = self.whole_numbers(&[2, 1, 0]);
            x = self.b.node("Gather", [x, order]).attr("axis", 1).value();
        }
        if recipe.range == Range::Unit {
            let white = self.float(255.0);
            x = self.b.op("Div", [x, white]);
        }
        for (op, values, neutral) in [("Sub", &recipe.mean, 0.0), ("Div", &recipe.std, 1.0)] {
            if values.iter().any(|value| *value != neutral) {
                let each = self.b.constant("each", Tensor::new([values.len(), 1, 1], values));
                x = self.b.op(op, [x, each]);
            }
        }
        if data_type != DataType::Float {
            x = self.cast(x, data_type);
        }
        match recipe.layout {
            Layout::Nchw => self.b.node("Identity", [x]).outputs([name]).value(),
            Layout::Nhwc => self.b.node("Transpose", [x]).attr("perm", vec![0, 2, 3, 1]).outputs([name]).value(),
        };
    }
}
