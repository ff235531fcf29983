//! A loss or decode graph under construction, at any opset.

use super::{LOSS, LossOptions, OPSETS, OUTPUTS};
use crate::network::model_of;
use crate::{Error, Result};
use isal_onnx::tangent::HELD;
use isal_onnx::{Builder, DataType, Dim, Model, NodeBuilder, Tensor, Value, ValueType};

/// Which of a pair it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Loss,
    Decode,
}

pub(crate) struct Draft {
    task: &'static str,
    pub role: Role,
    opset: i64,
    b: Builder,
    /// The model value.
    pub outputs: Value,
    /// Its shape.
    pub shape: Vec<Dim>,
    /// Values without a derivative.
    held: Vec<String>,
}

impl Draft {
    /// An empty graph with its first input.
    pub fn new(task: &'static str, role: Role, options: &LossOptions) -> Result<Draft> {
        Draft::of(task, role, &[(OUTPUTS, options.outputs.to_vec())], options.opset).map(|(draft, _)| draft)
    }

    /// An empty graph with its inputs that are values of the model, the first of which is [`Draft::outputs`].
    pub fn of(task: &'static str, role: Role, values: &[(&str, Vec<Dim>)], opset: i64) -> Result<(Draft, Vec<Value>)> {
        if !OPSETS.contains(&opset) {
            let expected = format!("{} to {}", OPSETS.start(), OPSETS.end());
            return Err(wrong(task, "opset", opset.to_string(), expected));
        }
        let mut b = Builder::new(&format!("{task} {}", role.name()));
        let mut inputs = Vec::with_capacity(values.len());
        let mut shapes = Vec::with_capacity(values.len());
        let batch = Dim::from("N");
        for (name, shape) in values {
            let mut shape = shape.clone();
            match shape.first() {
                None | Some(Dim::Known(_)) => {
                    return Err(wrong(task, "outputs", show(&shape), "a batch axis of any size first"));
                }
                // Another axis of that name would be said to be as long as the batch.
                Some(first) if *first != batch => {
                    shape.iter_mut().filter(|dim| **dim == batch).for_each(|dim| *dim = Dim::Unknown);
                }
                Some(_) => {}
            }
            shape[0] = batch.clone();
            inputs.push(b.input(name, ValueType { data_type: DataType::Float, shape: Some(shape.clone()) }));
            shapes.push(shape);
        }
        let shape = shapes.swap_remove(0);
        Ok((Draft { task, role, opset, b, outputs: inputs[0], shape, held: Vec::new() }, inputs))
    }

    /// The error that an option does not suit.
    pub fn wrong(&self, option: &'static str, found: impl ToString, expected: impl Into<String>) -> Error {
        wrong(self.task, option, found.to_string(), expected)
    }

    /// The error that the model value has another shape than the loss takes.
    pub fn wrong_shape(&self, expected: &str) -> Error {
        self.wrong("outputs", show(&self.shape), expected)
    }

    /// Checks that there is a finite number above zero, or zero with `zero`, for every class.
    pub fn per_class(&self, option: &'static str, values: &[f32], classes: usize) -> Result<()> {
        if values.len() != classes {
            return Err(self.wrong(option, format!("{} numbers", values.len()), format!("one a class, {classes}")));
        }
        match values.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
            Some(bad) => Err(self.wrong(option, bad, "finite numbers that are not negative")),
            None => Ok(()),
        }
    }

    /// The annotation, which a loss graph takes.
    pub fn annotation(&mut self, name: &str, data_type: DataType, shape: Vec<Dim>) -> Value {
        self.b.input(name, ValueType { data_type, shape: Some(shape) })
    }

    /// A value of no name yet.
    pub fn constant(&mut self, stem: &str, tensor: Tensor) -> Value {
        self.b.constant(stem, tensor)
    }

    /// Says that these values have no derivative.
    pub fn hold(&mut self, values: &[&str]) {
        self.held.extend(values.iter().map(|value| (*value).to_owned()));
    }

    /// A node in the making.
    pub fn node<const K: usize>(&mut self, op: &str, inputs: [Value; K]) -> NodeBuilder<'_> {
        self.b.node(op, inputs)
    }

    /// Says that `value` is the loss of each image.
    pub fn give_loss(&mut self, value: Value) {
        self.b.output(LOSS, value, Some(ValueType::new(DataType::Float, ["N"])));
    }

    /// Says that `value` is the annotation of this name.
    pub fn give_annotation(&mut self, name: &str, value: Value, data_type: DataType, shape: Vec<Dim>) {
        self.b.output(name, value, Some(ValueType { data_type, shape: Some(shape) }));
    }

    /// Says that `value`, `[N]`, is what the model believes beside the annotation.
    pub fn give_belief(&mut self, name: &str, value: Value, data_type: DataType) {
        self.b.output(name, value, Some(ValueType::new(data_type, ["N"])));
    }

    /// A node without attributes.
    pub fn op<const K: usize>(&mut self, op: &str, inputs: [Value; K]) -> Value {
        self.b.op(op, inputs)
    }

    /// A node with one attribute.
    pub fn op_along(&mut self, op: &str, x: Value, axis: usize) -> Value {
        self.b.node(op, [x]).attr("axis", axis as i64).value()
    }

    /// A number.
    pub fn number(&mut self, x: f32) -> Value {
        self.b.constant("number", Tensor::scalar(x))
    }

    /// A number a class, along axis 1 of `rank`.
    pub fn classes(&mut self, stem: &str, values: &[f32], rank: usize) -> Value {
        let mut dims = vec![1; rank];
        dims[1] = values.len();
        self.b.constant(stem, Tensor::new(dims, values))
    }

    /// The numbers of the classes, of these dims.
    pub fn class_numbers(&mut self, stem: &str, classes: usize, dims: &[usize]) -> Value {
        let numbers: Vec<i64> = (0..classes as i64).collect();
        self.b.constant(stem, Tensor::new(dims, &numbers))
    }

    pub fn cast(&mut self, x: Value, to: DataType) -> Value {
        self.b.node("Cast", [x]).attr("to", i64::from(to.number())).value()
    }

    /// The sum over one axis. The axes are an attribute before opset 13.
    pub fn sum(&mut self, x: Value, axis: usize, keep: bool) -> Value {
        self.reduce("ReduceSum", 13, x, axis, keep)
    }

    /// The mean over all axes but the first of `rank`. One at a time, the last first: a float32 sum is the more exact the
    /// fewer numbers each part of it has. The axes are an attribute before opset 18.
    pub fn mean(&mut self, x: Value, rank: usize) -> Value {
        (1..rank).rev().fold(x, |x, axis| self.reduce("ReduceMean", 18, x, axis, false))
    }

    /// The smallest along axis 1, which goes. The axes are an attribute before opset 18.
    pub fn smallest(&mut self, x: Value) -> Value {
        self.reduce("ReduceMin", 18, x, 1, false)
    }

    /// The largest along an axis, which goes. The axes are an attribute before opset 18.
    pub fn largest(&mut self, x: Value, axis: usize) -> Value {
        self.reduce("ReduceMax", 18, x, axis, false)
    }

    /// The entries `from..to` along an axis.
    pub fn slice(&mut self, x: Value, axis: usize, from: usize, to: usize) -> Value {
        let [from, to, axis] =
            [("from", from), ("to", to), ("axis", axis)].map(|(stem, n)| self.whole(stem, &[n as i64]));
        self.b.op("Slice", [x, from, to, axis])
    }

    /// Whole numbers along one axis, as operators take sizes and places.
    pub fn whole(&mut self, stem: &str, numbers: &[i64]) -> Value {
        self.b.constant(stem, Tensor::new([numbers.len()], numbers))
    }

    /// Values behind each other along an axis.
    pub fn concat(&mut self, values: Vec<Value>, axis: i64) -> Value {
        self.b.node("Concat", values).attr("axis", axis).value()
    }

    /// With other axes; 0 keeps one, -1 takes what is left.
    pub fn reshape(&mut self, x: Value, dims: &[i64]) -> Value {
        let dims = self.whole("dims", dims);
        self.b.op("Reshape", [x, dims])
    }

    fn reduce(&mut self, op: &str, moved: i64, x: Value, axis: usize, keep: bool) -> Value {
        let axes = vec![axis as i64];
        if self.opset >= moved {
            let axes = self.b.constant("axes", Tensor::new([1], &axes));
            return self.b.node(op, [x, axes]).attr("keepdims", i64::from(keep)).value();
        }
        self.b.node(op, [x]).attr("axes", axes).attr("keepdims", i64::from(keep)).value()
    }

    /// With an axis of size 1 more. The axes are an attribute before opset 13.
    pub fn unsqueeze(&mut self, x: Value, axis: usize) -> Value {
        let axes = vec![axis as i64];
        if self.opset >= 13 {
            let axes = self.b.constant("axes", Tensor::new([1], &axes));
            return self.b.op("Unsqueeze", [x, axes]);
        }
        self.b.node("Unsqueeze", [x]).attr("axes", axes).value()
    }

    /// Each number held between the two. The bounds are attributes before opset 11.
    pub fn clip(&mut self, x: Value, low: f32, high: f32) -> Value {
        if self.opset >= 11 {
            let (low, high) = (self.number(low), self.number(high));
            return self.b.op("Clip", [x, low, high]);
        }
        self.b.node("Clip", [x]).attr("min", low).attr("max", high).value()
    }

    /// Number of the largest along an axis, which goes; of equals the first.
    pub fn arg_max(&mut self, x: Value, axis: usize) -> Value {
        self.b.node("ArgMax", [x]).attr("axis", axis as i64).attr("keepdims", 0i64).value()
    }

    /// The `k` largest along axis 1, and their numbers; of equals the first. `k` is an attribute before opset 10.
    pub fn top(&mut self, x: Value, k: usize) -> [Value; 2] {
        let node = if self.opset >= 10 {
            let k = self.b.constant("k", Tensor::new([1], &[k as i64]));
            self.b.node("TopK", [x, k])
        } else {
            self.b.node("TopK", [x]).attr("k", k as i64)
        };
        let values = node.attr("axis", 1i64).values(2);
        [values[0], values[1]]
    }

    /// 1 at the class, 0 elsewhere, along a new axis: the last one, or from opset 9 on any.
    pub fn one_hot(&mut self, numbers: Value, classes: usize, axis: i64) -> Value {
        if self.opset < 9 {
            // OneHot came with opset 9; before, rows of the identity do the same.
            let mut identity = vec![0.0f32; classes * classes];
            identity.iter_mut().step_by(classes + 1).for_each(|x| *x = 1.0);
            let identity = self.b.constant("identity", Tensor::new([classes, classes], &identity));
            return self.b.node("Gather", [identity, numbers]).attr("axis", 0i64).value();
        }
        let depth = self.b.constant("depth", Tensor::new([1], &[classes as i64]));
        let values = self.b.constant("off_on", Tensor::new([2], &[0.0f32, 1.0]));
        self.b.node("OneHot", [numbers, depth, values]).attr("axis", axis).value()
    }

    /// Logarithm of the softmax of the model value along the classes, axis 1.
    ///
    /// LogSoftmax means all axes from its own on before opset 13, so that the classes are the last axis there.
    pub fn log_softmax(&mut self, classes: usize) -> Value {
        let rank = self.shape.len();
        if self.opset >= 13 || rank == 2 {
            return self.log_softmax_along(self.outputs, classes, 1);
        }
        let last: Vec<i64> = std::iter::once(0).chain(2..rank as i64).chain([1]).collect();
        let back: Vec<i64> = [0, rank as i64 - 1].into_iter().chain(1..rank as i64 - 1).collect();
        let scores = self.b.node("Transpose", [self.outputs]).attr("perm", last).value();
        let logarithms = self.log_softmax_along(scores, classes, rank - 1);
        self.b.node("Transpose", [logarithms]).attr("perm", back).value()
    }

    /// Logarithm of the softmax along an axis of so many classes; before opset 13 the last one.
    ///
    /// The score of the likeliest class is taken off first. That changes nothing on paper, but where a model is sure the
    /// derivative of the loss is a sum of small numbers then, not a difference of two large ones: exact to float32's rounding of
    /// itself, not of the scores' derivatives.
    pub fn log_softmax_along(&mut self, scores: Value, classes: usize, axis: usize) -> Value {
        let best = self.arg_max(scores, axis);
        let best = self.one_hot(best, classes, axis as i64);
        let top = self.op("Mul", [best, scores]);
        let top = self.sum(top, axis, true);
        let scores = self.op("Sub", [scores, top]);
        self.op_along("LogSoftmax", scores, axis)
    }

    /// The model.
    pub fn finish(self) -> Model {
        let graph = self.b.finish().expect("each value is made before it is read");
        let metadata = [("isal.graph", self.role.name()), ("isal.task", self.task)];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut model = model_of(graph, self.opset, metadata.into());
        if !self.held.is_empty() {
            model.metadata.insert(HELD.to_owned(), self.held.join(","));
        }
        model.infer_shapes().expect("shapes follow from the options, which are checked");
        model
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Loss => "loss",
            Role::Decode => "decode",
        }
    }
}

fn wrong(task: &'static str, option: &'static str, found: String, expected: impl Into<String>) -> Error {
    Error::LossOption { task, option, found, expected: expected.into() }
}

fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}
