//! Which initializers are parameters: numbers that training moves.
//!
//! A file does not say, so it is read off the graph. A parameter is a float initializer that a derivative
//! reaches from an output ([`Flow`](crate::ops::Flow)), in a place where a layer keeps what it has learnt.
//! Not parameters: running statistics, bounds and pads, scalar factors, the mean and deviation that an
//! image is normalized by before the first layer, masks of an attention, tables of coordinates, values
//! written into a tensor by index. Constant nodes are none either, unless there are no others
//! ([`Graph::lift_constants`]).
//!
//! The parameters are those of the graph as given. An exporter that folds BatchNormalization into a
//! convolution, or a transpose into a weight, leaves the folded tensor as the parameter.

use crate::ops::{self, Flow};
use crate::{Attribute, DataType, Graph, Node, Tensor};
use std::collections::{HashMap, HashSet};

/// An initializer that training moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the initializer.
    pub name: String,
    /// Its dims.
    pub dims: Vec<usize>,
    /// Its element type, a float.
    pub data_type: DataType,
}

impl Graph {
    /// Every parameter, in the order of the initializers.
    pub fn every_parameter(&self) -> Vec<Parameter> {
        let flat = Flat::new(self);
        let learnt = flat.parameters(self);
        let chosen = self.initializers.iter().filter(|(name, _)| learnt.contains(name.as_str()));
        chosen
            .map(|(name, t)| Parameter { name: name.clone(), dims: t.dims().to_vec(), data_type: t.data_type() })
            .collect()
    }
}

/// A node, or the passage into or out of a subgraph.
pub(crate) struct Step<'a> {
    pub(crate) op: &'a str,
    pub(crate) flows: Flow,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) outputs: Vec<&'a str>,
}

/// The nodes of a graph and its subgraphs on one level.
pub(crate) struct Flat<'a> {
    pub(crate) steps: Vec<Step<'a>>,
    /// Step that makes a value.
    pub(crate) producer: HashMap<&'a str, usize>,
    /// Initializer that a value is, seen through nodes that only rearrange or convert it.
    pub(crate) origin: HashMap<&'a str, &'a str>,
}

/// Operators after which a tensor is still the same numbers.
const REARRANGES: [&str; 7] = ["Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"];
/// Operators that multiply by a weight at input 1, and add a bias at input 2 where they have one.
pub(crate) const LINEAR: [&str; 4] = ["Conv", "ConvTranspose", "Gemm", "MatMul"];
const ELEMENTWISE: [&str; 10] = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean", "Sum", "Where"];
const NORMALIZATION: [&str; 5] =
    ["BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization"];

impl<'a> Flat<'a> {
    pub(crate) fn new(graph: &'a Graph) -> Self {
        let mut steps = Vec::new();
        flatten(graph, &mut steps);
        let mut producer = HashMap::new();
        let mut origin: HashMap<&str, &str> = graph.initializers.keys().map(|n| (n.as_str(), n.as_str())).collect();
        for (i, step) in steps.iter().enumerate() {
            for output in &step.outputs {
                producer.insert(*output, i);
            }
            if let (true, Some(first), Some(output)) =
                (REARRANGES.contains(&step.op), step.inputs.first(), step.outputs.first())
                && let Some(from) = origin.get(first).copied()
            {
                origin.insert(output, from);
            }
        }
        Flat { steps, producer, origin }
    }

    /// Values that a derivative reaches from `outputs`.
    fn reached(&self, outputs: impl Iterator<Item = &'a str>) -> HashSet<&'a str> {
        let mut reached: HashSet<&str> = HashSet::new();
        let mut open: Vec<&str> = outputs.collect();
        while let Some(value) = open.pop() {
            if !reached.insert(value) {
                continue;
            }
            if let Some(step) = self.producer.get(value).and_then(|i| self.steps.get(*i)) {
                let smooth = step.inputs.iter().enumerate().filter(|(i, _)| step.flows.passes(*i));
                open.extend(smooth.map(|(_, name)| *name).filter(|name| !name.is_empty()));
            }
        }
        reached
    }

    /// Values that come from `sources`, themselves included.
    fn following(&self, sources: impl Iterator<Item = &'a str>) -> HashSet<&'a str> {
        let mut found: HashSet<&str> = sources.collect();
        for step in &self.steps {
            if step.inputs.iter().any(|i| found.contains(i)) {
                found.extend(step.outputs.iter().copied());
            }
        }
        found
    }

    fn parameters(&self, graph: &'a Graph) -> HashSet<&'a str> {
        let reached = self.reached(graph.outputs.iter().map(|o| o.name.as_str()));
        let tensor = |value: &str| {
            let name = self.origin.get(value)?;
            let tensor = graph.initializers.get(*name)?;
            (tensor.data_type().is_float() && !tensor.dims().is_empty()).then_some((*name, tensor))
        };
        let live = |step: &Step| step.outputs.iter().any(|o| reached.contains(o));
        let mut certain: HashSet<&str> = HashSet::new();
        let mut doubtful: Vec<(usize, &Step, &str)> = Vec::new();
        for step in self.steps.iter().filter(|s| live(s)) {
            // A rearranged weight is judged where it is used.
            if REARRANGES.contains(&step.op) && step.inputs.first().is_some_and(|i| self.origin.contains_key(i)) {
                continue;
            }
            for (i, value) in step.inputs.iter().enumerate().filter(|(i, _)| step.flows.passes(*i)) {
                let Some((name, tensor)) = tensor(value) else { continue };
                match self.place(step, i, tensor) {
                    Place::Learnt => {
                        certain.insert(name);
                    }
                    Place::Doubtful => doubtful.push((i, step, name)),
                    Place::Setting => {}
                }
            }
        }
        // What is applied to the input before any layer prepares an image; it is not learnt.
        let from_inputs = self.following(graph.inputs.iter().map(|v| v.name.as_str()));
        let layered = self.following(certain.iter().copied());
        for (i, step, name) in doubtful {
            let mut others = step.inputs.iter().enumerate().filter(|(k, _)| *k != i && step.flows.passes(*k));
            if !others.any(|(_, value)| from_inputs.contains(value) && !layered.contains(value)) {
                certain.insert(name);
            }
        }
        certain
    }

    /// What a tensor is for at input `i` of `step`.
    fn place(&self, step: &Step, i: usize, tensor: &Tensor) -> Place {
        let other_is_constant = step.inputs.get(1).is_some_and(|value| self.origin.contains_key(value));
        match (step.op, i) {
            // A table that a weight is applied to: coordinates, positions.
            (op, 0) if LINEAR.contains(&op) && other_is_constant => Place::Setting,
            (op, _) if LINEAR.contains(&op) || (NORMALIZATION.contains(&op) && i > 0) => Place::Learnt,
            ("Einsum" | "PRelu" | "GRU" | "LSTM" | "RNN", 0..=3 | 7) => Place::Learnt,
            ("GRU" | "LSTM" | "RNN", _) | ("GridSample", 1) => Place::Setting,
            ("ScatterND" | "ScatterElements" | "Scatter", 2) | ("Pow", 1) => Place::Setting,
            (op, _) if ELEMENTWISE.contains(&op) => {
                if is_mask(tensor) {
                    Place::Setting
                } else if tensor.len() > 1 || self.is_bias(step, i) {
                    Place::Doubtful
                } else {
                    Place::Setting
                }
            }
            _ => Place::Doubtful,
        }
    }

    /// Whether input `i` of an addition is added to the output of a layer.
    fn is_bias(&self, step: &Step, i: usize) -> bool {
        let made_by = |value: &str| self.producer.get(value).and_then(|p| self.steps.get(*p)).map(|s| s.op);
        step.op == "Add"
            && step
                .inputs
                .iter()
                .enumerate()
                .any(|(k, value)| k != i && made_by(value).is_some_and(|op| LINEAR.contains(&op)))
    }
}

enum Place {
    Learnt,
    /// Learnt, unless it prepares the input.
    Doubtful,
    Setting,
}

fn flatten<'a>(graph: &'a Graph, steps: &mut Vec<Step<'a>>) {
    for node in &graph.nodes {
        let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
        let outputs = node.outputs.iter().map(String::as_str).filter(|o| !o.is_empty()).collect();
        let mut through = inputs.clone();
        for inner in node.subgraphs() {
            // Whatever goes into the node may go into the body's inputs; the order differs by operator.
            let entries = inner.inputs.iter().map(|v| v.name.as_str()).collect();
            steps.push(Step { op: "", flows: Flow::All, inputs: inputs.clone(), outputs: entries });
            flatten(inner, steps);
            through.extend(inner.outputs.iter().map(|v| v.name.as_str()));
        }
        let (op, inputs) = if through.len() > inputs.len() { ("", through) } else { (node.op_type.as_str(), inputs) };
        steps.push(Step { op, flows: flows(node), inputs, outputs });
    }
}

fn flows(node: &Node) -> Flow {
    let to = node.int("to").and_then(|n| i32::try_from(n).ok()).and_then(DataType::from_number);
    match ops::find(&node.op_type).filter(|_| node.domain.is_empty()) {
        _ if node.op_type == "Cast" && to.is_some_and(|t| !t.is_float()) => Flow::Nothing,
        _ if node.attributes.values().any(|a| matches!(a, Attribute::Graph(_) | Attribute::Graphs(_))) => Flow::All,
        Some(spec) => spec.flows,
        // An operator of another domain may be anything.
        None => Flow::All,
    }
}

/// Whether a tensor lets through (0) and shuts out (one number, very negative): the mask of an attention.
fn is_mask(tensor: &Tensor) -> bool {
    let Some(values) = tensor.to_vec::<f32>() else { return false };
    let Some(shut) = values.iter().copied().find(|v| *v != 0.0) else { return false };
    shut <= -50.0 && values.contains(&0.0) && values.iter().all(|v| *v == 0.0 || *v == shut)
}
