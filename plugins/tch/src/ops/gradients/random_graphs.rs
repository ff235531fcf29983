//! The tangent transform of whole graphs drawn at random, against libtorch's reverse mode.
//!
//! Rules are checked one by one elsewhere; what a graph adds is how they meet: values read twice, sums of tangents where
//! one side is zero, broadcasting, parts that no parameter reaches. Both sides are exact derivatives in float64 and take
//! the same side at a kink.

use super::check::{Checked, dot, leaves, native, scale, text};
use crate::ops::conformance::run::{run, run_from};
use indexmap::IndexMap;
use isal_onnx::tangent::{Target, tangents};
use isal_onnx::testing::uniform;
use isal_onnx::{Builder, Model, Tensor as OnnxTensor, Value};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use tch::{Kind, Tensor};

const GRAPHS: u64 = 200;
const NODES: usize = 14;

/// A graph in the making, every value with its dims.
struct Drawing {
    b: Builder,
    values: Vec<(Value, Vec<usize>)>,
    random: ChaCha8Rng,
}

impl Drawing {
    fn pick(&mut self) -> (Value, Vec<usize>) {
        // Late values are picked more often, so that graphs get deep.
        let n = self.values.len();
        let at = n - 1 - self.random.random_range(0..n).min(self.random.random_range(0..n));
        self.values[at].clone()
    }

    fn put(&mut self, value: Value, dims: Vec<usize>) {
        self.values.push((value, dims));
    }

    fn ints(&mut self, values: &[i64]) -> Value {
        self.b.constant("ints", OnnxTensor::new([values.len()], values))
    }

    /// A value that broadcasts with one of these dims without making it larger.
    fn fitting(&mut self, dims: &[usize]) -> Option<Value> {
        let fits = |own: &[usize]| {
            own.len() <= dims.len() && own.iter().rev().zip(dims.iter().rev()).all(|(a, b)| a == b || *a == 1)
        };
        let found: Vec<Value> = self.values.iter().filter(|(_, own)| fits(own)).map(|(v, _)| *v).collect();
        found.choose(&mut self.random).copied()
    }

    fn step(&mut self) {
        let (x, dims) = self.pick();
        let last = dims.len() - 1;
        match self.random.random_range(0..16) {
            0 => {
                let op = *["Tanh", "Sigmoid", "Erf", "Softplus", "Sin", "Relu", "Abs", "Gelu", "Identity", "Neg"]
                    .choose(&mut self.random)
                    .expect("some");
                let y = self.b.op(op, [x]);
                self.put(y, dims);
            }
            1..=3 => {
                let op = *["Add", "Sub", "Mul", "Max"].choose(&mut self.random).expect("some");
                if let Some(other) = self.fitting(&dims) {
                    let swap = self.random.random_bool(0.5);
                    let y = self.b.op(op, if swap { [other, x] } else { [x, other] });
                    self.put(y, dims);
                }
            }
            4 => {
                if let Some(other) = self.fitting(&dims) {
                    let one = self.b.constant("one", OnnxTensor::scalar(1.0f64));
                    let square = self.b.op("Mul", [other, other]);
                    let divisor = self.b.op("Add", [square, one]);
                    let y = self.b.op("Div", [x, divisor]);
                    self.put(y, dims);
                }
            }
            5 if dims.len() >= 2 => {
                let perm: Vec<i64> = (0..dims.len() as i64).rev().collect();
                let y = self.b.node("Transpose", [x]).attr("perm", perm).value();
                self.put(y, dims.into_iter().rev().collect());
            }
            6 if dims.len() >= 2 => {
                // A matrix product with its own transpose: the tangent reaches it from both sides.
                let mut perm: Vec<i64> = (0..dims.len() as i64).collect();
                perm.swap(last - 1, last);
                let t = self.b.node("Transpose", [x]).attr("perm", perm).value();
                let y = self.b.op("MatMul", [x, t]);
                let mut to = dims.clone();
                to[last] = dims[last - 1];
                self.put(y, to);
            }
            7 => {
                let op = *["ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "ReduceLogSumExp"]
                    .choose(&mut self.random)
                    .expect("some");
                let axis = self.random.random_range(0..dims.len());
                let axes = self.ints(&[axis as i64]);
                let y = self.b.op(op, [x, axes]);
                let mut to = dims;
                to[axis] = 1;
                self.put(y, to);
            }
            8 => {
                let op = *["Softmax", "LogSoftmax"].choose(&mut self.random).expect("some");
                let y = self.b.node(op, [x]).attr("axis", -1).value();
                self.put(y, dims);
            }
            9 if dims[last] > 1 => {
                let scale = self.b.constant("scale", uniform(&[dims[last]], &mut self.random));
                let y = self.b.op("LayerNormalization", [x, scale]);
                self.put(y, dims);
            }
            10 => {
                if let Some((other, _)) = self.values.iter().rev().find(|(_, own)| *own == dims).cloned() {
                    let y = self.b.node("Concat", [x, other]).attr("axis", -1).value();
                    let mut to = dims;
                    to[last] *= 2;
                    self.put(y, to);
                }
            }
            11 if dims[last] > 2 => {
                let (from, to, axis) = (self.ints(&[1]), self.ints(&[-1]), self.ints(&[-1]));
                let y = self.b.op("Slice", [x, from, to, axis]);
                let mut dims = dims;
                dims[last] -= 2;
                self.put(y, dims);
            }
            12 => {
                let flat = self.ints(&[-1, dims[last] as i64]);
                let y = self.b.op("Reshape", [x, flat]);
                self.put(y, vec![dims[..last].iter().product(), dims[last]]);
            }
            13 => {
                if let Some(other) = self.fitting(&dims) {
                    let zero = self.b.constant("zero", OnnxTensor::scalar(0.0f64));
                    let mask = self.b.op("Greater", [x, zero]);
                    let y = self.b.op("Where", [mask, x, other]);
                    self.put(y, dims);
                }
            }
            14 => {
                let places = self.ints(&[0, -1, 0]);
                let y = self.b.node("Gather", [x, places]).attr("axis", -1).value();
                let mut to = dims;
                to[last] = 3;
                self.put(y, to);
            }
            15 if dims.len() == 3 => {
                let y =
                    self.b.node("MaxPool", [x]).attr("kernel_shape", vec![2i64]).attr("pads", vec![1i64, 0]).value();
                self.put(y, dims);
            }
            _ => {}
        }
    }
}

/// A graph, the names of what moves in it, and its outputs.
fn draw(seed: u64) -> (Model, Vec<String>, Vec<String>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut b = Builder::new("random");
    let mut values = Vec::new();
    let shapes: [(&str, &[usize]); 5] =
        [("k0", &[2, 3, 4]), ("k1", &[3, 1]), ("p0", &[2, 3, 4]), ("p1", &[3, 4]), ("p2", &[4])];
    for (name, dims) in shapes {
        let tensor = uniform(dims, &mut random);
        values.push((b.initializer(name, tensor), dims.to_vec()));
    }
    let mut drawing = Drawing { b, values, random };
    for _ in 0..NODES {
        drawing.step();
    }
    let Drawing { mut b, values, .. } = drawing;
    let mut outputs = Vec::new();
    for (i, (value, _)) in values.iter().rev().take(3).enumerate() {
        outputs.push(format!("y{i}"));
        b.output(&format!("y{i}"), *value, None);
    }
    (Model::new(22, b.finish().expect("a graph")), vec!["p0".into(), "p1".into(), "p2".into()], outputs)
}

/// Whether anything moved; an error when it did not move as it should.
fn check(seed: u64) -> Checked<bool> {
    let (model, moving, outputs) = draw(seed);
    let mut random = ChaCha8Rng::seed_from_u64(seed + 1_000_000);
    let directions: IndexMap<String, OnnxTensor> = moving
        .iter()
        .map(|name| (name.clone(), uniform(model.graph.initializers[name.as_str()].dims(), &mut random)))
        .collect();
    let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let moved = tangents(&model, &directions, &names, Target::Any).map_err(text)?;
    let found = run(&moved, &[], Kind::Double)?;
    let found: HashMap<&str, &Tensor> = moved.graph.outputs.iter().map(|o| o.name.as_str()).zip(&found).collect();

    let at = moving.iter().map(|name| native(&model.graph.initializers[name.as_str()])).collect::<Checked<Vec<_>>>()?;
    let at = leaves(&at);
    let given = moving.iter().map(String::as_str).zip(at.iter().map(Tensor::shallow_clone)).collect();
    let ys = run_from(&model, given, Kind::Double)?;
    let (mut total, mut f) = (0.0, Tensor::from(0.0));
    for (name, y) in names.iter().zip(&ys) {
        let dims: Vec<usize> = y.size().iter().map(|d| *d as usize).collect();
        let c = native(&uniform(&dims, &mut random))?;
        if let Some(tangent) = found.get(format!("tangent_of_{name}").as_str()) {
            total += (*tangent * &c).sum(Kind::Double).double_value(&[]);
        }
        f += (y * c).sum(Kind::Double);
    }
    if !f.requires_grad() {
        return if total == 0.0 { Ok(false) } else { Err(format!("{total:e} where nothing moves")) };
    }
    let gradients = Tensor::f_run_backward(&[f], &at, false, false).map_err(text)?;
    let us = directions.values().map(native).collect::<Checked<Vec<_>>>()?;
    let (adjoint, size) = (dot(&gradients, &us).double_value(&[]), scale(&gradients, &us));
    // Fourteen nodes of float64 rounding, some of which divide.
    if (total - adjoint).abs() <= 1e-8 * size.max(1e-3) {
        return Ok(adjoint != 0.0);
    }
    Err(format!("{total:e} instead of {adjoint:e} (scale {size:e})\n{}", model.graph))
}

#[test]
fn tangents_of_random_graphs_match_the_reverse_mode() {
    let (mut failures, mut moved) = (Vec::new(), 0);
    for seed in 0..GRAPHS {
        match check(seed) {
            Ok(moves) => moved += u64::from(moves),
            Err(error) => failures.push(format!("graph {seed}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{} of {GRAPHS}:\n{}", failures.len(), failures.join("\n"));
    assert!(moved * 10 >= GRAPHS * 9, "only {moved} of {GRAPHS} graphs move at all");
}
