//! A node with inputs to differentiate it at.

use crate::{Attribute, DataType, Graph, Model, Node, Tensor, ValueInfo};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Where the numbers of an input come from.
#[derive(Debug, Clone)]
enum Source {
    /// Uniform in a range, differentiated.
    Uniform(f64, f64),
    /// A shuffled ladder around 0 with steps of this height, differentiated: no two numbers alike, none near 0.
    Ladder(f64),
    /// As given, not differentiated.
    Floats(Vec<f64>),
    Ints(Vec<i64>),
    Truths(Vec<bool>),
}

/// One row of the gradient table: an operator at one setting.
#[derive(Debug, Clone)]
pub struct Case {
    /// The operator.
    pub op: &'static str,
    /// Version of the operator set.
    pub opset: i64,
    /// Whether it is checked as in training.
    pub training: bool,
    node: Node,
    inputs: Vec<Option<(Vec<i64>, Source)>>,
    /// The outputs that carry a derivative; all of them when none are named.
    pub outputs: Vec<usize>,
}

/// A row for `op` at opset 22.
pub fn case(op: &'static str) -> Case {
    let node = Node::new(op, "", [] as [&str; 0], ["y"]);
    Case { op, opset: 22, training: false, node, inputs: Vec::new(), outputs: Vec::new() }
}

impl Case {
    /// At another opset.
    pub fn opset(mut self, opset: i64) -> Case {
        self.opset = opset;
        self
    }

    /// As in training.
    pub fn training(mut self) -> Case {
        self.training = true;
        self
    }

    /// An attribute.
    pub fn set(mut self, name: &str, value: impl Into<Attribute>) -> Case {
        self.node = self.node.with(name, value);
        self
    }

    /// How many outputs the node names, for operators that go by it.
    pub fn names(mut self, count: usize) -> Case {
        self.node.outputs = (0..count).map(|i| format!("y{i}")).collect();
        self
    }

    /// Weighs these outputs only.
    pub fn outputs(mut self, outputs: &[usize]) -> Case {
        self.outputs = outputs.to_vec();
        self
    }

    fn push(mut self, dims: &[i64], source: Source) -> Case {
        self.inputs.push(Some((dims.to_vec(), source)));
        self
    }

    /// A differentiated input, uniform between -1 and 1.
    pub fn x(self, dims: &[i64]) -> Case {
        self.within(dims, -1.0, 1.0)
    }

    /// A differentiated input, uniform in a range.
    pub fn within(self, dims: &[i64], low: f64, high: f64) -> Case {
        self.push(dims, Source::Uniform(low, high))
    }

    /// A differentiated input whose numbers keep off each other and off 0 by `step`, resp. half of it.
    pub fn apart(self, dims: &[i64], step: f64) -> Case {
        self.push(dims, Source::Ladder(step))
    }

    /// Floats as given, not differentiated.
    pub fn floats(self, dims: &[i64], values: &[f64]) -> Case {
        self.push(dims, Source::Floats(values.to_vec()))
    }

    /// Integers as given.
    pub fn ints(self, dims: &[i64], values: &[i64]) -> Case {
        self.push(dims, Source::Ints(values.to_vec()))
    }

    /// A list of integers, as shapes and axes are given.
    pub fn list(self, values: &[i64]) -> Case {
        self.ints(&[values.len() as i64], values)
    }

    /// Truth values as given.
    pub fn truths(self, dims: &[i64], values: &[bool]) -> Case {
        self.push(dims, Source::Truths(values.to_vec()))
    }

    /// An input left out.
    pub fn skip(mut self) -> Case {
        self.inputs.push(None);
        self
    }

    /// The node, without inputs.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Op, opset, attributes and shapes, for messages.
    pub fn label(&self) -> String {
        let shapes: Vec<String> =
            self.inputs.iter().map(|i| i.as_ref().map_or("-".to_owned(), |(d, _)| format!("{d:?}"))).collect();
        format!("{} {} {:?} {}", self.op, self.opset, self.node.attributes, shapes.join(" "))
    }

    /// A generator of its own for every row, the same at every run.
    pub fn random(&self) -> ChaCha8Rng {
        let seed = self.label().bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// The inputs, floats in float64; those to differentiate by are marked.
    pub fn tensors(&self, random: &mut ChaCha8Rng) -> Vec<Option<(Tensor, bool)>> {
        let make = |dims: &Vec<i64>, source: &Source, random: &mut ChaCha8Rng| -> (Tensor, bool) {
            let dims: Vec<usize> = dims.iter().map(|d| *d as usize).collect();
            let n = dims.iter().product::<usize>();
            match source {
                Source::Uniform(low, high) => {
                    let numbers: Vec<f64> = (0..n).map(|_| random.random_range(*low..*high)).collect();
                    (Tensor::new(dims, &numbers), true)
                }
                Source::Ladder(step) => {
                    let mut rungs: Vec<f64> = (0..n).map(|i| (i as f64 - n as f64 / 2.0 + 0.5) * step).collect();
                    // An odd number of rungs would put the middle one on 0.
                    rungs.iter_mut().for_each(|r| *r += if n % 2 == 1 { step / 2.0 } else { 0.0 });
                    rungs.shuffle(random);
                    (Tensor::new(dims, &rungs), true)
                }
                Source::Floats(values) => (Tensor::new(dims, values), false),
                Source::Ints(values) => (Tensor::new(dims, values), false),
                Source::Truths(values) => (truths(dims, values), false),
            }
        };
        self.inputs.iter().map(|i| i.as_ref().map(|(dims, source)| make(dims, source, random))).collect()
    }

    /// A model of the node alone, the inputs as initializers `x0`, `x1`, ...; every output that is named is one of it.
    pub fn model(&self, inputs: &[Option<Tensor>]) -> Model {
        let mut node = self.node.clone();
        let mut graph = Graph { name: self.op.to_owned(), ..Graph::default() };
        for (i, tensor) in inputs.iter().enumerate() {
            node.inputs.push(if tensor.is_some() { format!("x{i}") } else { String::new() });
            graph.initializers.extend(tensor.clone().map(|tensor| (format!("x{i}"), tensor)));
        }
        graph.outputs = node.outputs.iter().map(|name| ValueInfo { name: name.clone(), value_type: None }).collect();
        graph.nodes.push(node);
        let mut model = Model::new(self.opset, graph);
        // IR 10 came with opset 21, 11 with 23, 12 with 24.
        model.ir_version = if self.opset >= 21 { 10 } else { 8 };
        model
    }
}

fn truths(dims: Vec<usize>, values: &[bool]) -> Tensor {
    let bytes: Vec<u8> = values.iter().map(|b| u8::from(*b)).collect();
    Tensor::from_bytes("truths", dims, DataType::Bool, bytes).expect("a byte a truth value")
}

/// Numbers between -1 and 1, in float64.
pub fn uniform(dims: &[usize], random: &mut ChaCha8Rng) -> Tensor {
    let numbers: Vec<f64> = (0..dims.iter().product()).map(|_| random.random_range(-1.0..1.0)).collect();
    Tensor::new(dims, &numbers)
}
