//! A graph made ready to run: operators resolved, values numbered, constants computed once.
//!
//! A value is a number, not a name. Initializers outside the parameter scope, and every node that needs nothing
//! else, are computed when the program is made; what is left depends on the input, on a parameter, or on a running
//! statistic. A [`Plan`] is the part of the program that some outputs need, with what can be freed after each step.

use crate::failure::MissingOp;
use crate::ops::{self, Site};
use crate::{Failure, Numerics};
use indexmap::IndexMap;
use isal_onnx::{Model, Node};
use std::collections::{HashMap, HashSet};
use tch::Tensor;

/// Position of a value.
type Slot = usize;

/// Operators whose result is not a function of their inputs; they run each time.
const RANDOM: [&str; 7] =
    ["Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];

struct Step {
    node: Node,
    /// Position in the graph, for nodes without a name.
    position: usize,
    forward: ops::Forward,
    inputs: Vec<Option<Slot>>,
    outputs: Vec<Option<Slot>>,
    /// Statistics (by index) that outputs 1 and 2 replace in training: those of a BatchNormalization.
    statistics: Option<[usize; 2]>,
}

/// A graph ready to run.
pub struct Program {
    opset: i64,
    steps: Vec<Step>,
    slots: HashMap<String, Slot>,
    constants: Vec<Option<Tensor>>,
    inputs: Vec<Slot>,
    /// Values that have no derivative.
    held: HashSet<Slot>,
    parameters: Vec<Slot>,
    statistics: Vec<Slot>,
    statistic_names: Vec<String>,
}

/// The steps that some values need, and what is not needed any more after each.
pub struct Plan {
    steps: Vec<(usize, Vec<Slot>)>,
    outputs: Vec<Slot>,
}

/// What a run gives.
pub struct Run {
    /// The values the plan was made for.
    pub outputs: Vec<Tensor>,
    /// In training mode, new running statistics: index and value.
    pub statistics: Vec<(usize, Tensor)>,
}

/// Tensors a run reads besides the constants.
pub struct Feed<'a> {
    /// A tensor for each input.
    pub inputs: &'a [Tensor],
    /// A tensor for each parameter in scope.
    pub parameters: &'a [Tensor],
    /// A tensor for each running statistic.
    pub statistics: &'a [Tensor],
    /// Whether batch statistics and dropout are in force.
    pub training: bool,
}

fn node_name(node: &Node, position: usize) -> String {
    if node.name.is_empty() { format!("#{position}") } else { node.name.clone() }
}

fn op_name(node: &Node) -> String {
    match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}::{}", node.op_type),
    }
}

/// Refuses a graph with operators that have no forward, naming all of them.
fn check_ops<'a>(nodes: impl Iterator<Item = (usize, &'a Node)>) -> Result<(), Failure> {
    let mut ops_seen = HashSet::new();
    let mut missing: IndexMap<String, Vec<String>> = IndexMap::new();
    for (position, node) in nodes {
        let op = op_name(node);
        if ops::find(&node.domain, &node.op_type).is_none() {
            missing.entry(op.clone()).or_default().push(node_name(node, position));
        }
        ops_seen.insert(op);
    }
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_keys();
    let missing = missing.into_iter().map(|(op, nodes)| MissingOp { op, nodes }).collect();
    Err(Failure::Unsupported { missing, total: ops_seen.len() })
}

/// Which nodes the values in `wanted` need.
fn needed<'a>(nodes: impl DoubleEndedIterator<Item = &'a Node>, wanted: &[&'a str]) -> Vec<bool> {
    let mut values: HashSet<&str> = wanted.iter().copied().collect();
    let mut keep: Vec<bool> = nodes
        .rev()
        .map(|node| {
            let keep = node.outputs.iter().any(|o| values.contains(o.as_str()));
            if keep {
                values.extend(node.inputs.iter().map(String::as_str).filter(|i| !i.is_empty()));
            }
            keep
        })
        .collect();
    keep.reverse();
    keep
}

impl Program {
    /// Makes the graph of `model` ready: `inputs` are what a run is fed, `parameters` the initializers that vary, `wanted`
    /// the values that will be asked for, `held` those that no derivative passes.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] with every operator that has no forward; [`Failure::Graph`] for a value without a
    /// producer; [`Failure::Node`] when a constant part cannot be computed.
    pub fn new(
        model: &Model,
        inputs: &[&str],
        parameters: &[String],
        wanted: &[&str],
        held: &[&str],
        numerics: Numerics,
    ) -> Result<Program, Failure> {
        let graph = &model.graph;
        let missing = |reason: String| Failure::Graph { graph: graph.name.clone(), reason };
        let keep = needed(graph.nodes.iter(), wanted);
        let kept = || graph.nodes.iter().enumerate().zip(&keep).filter(|(_, keep)| **keep).map(|(n, _)| n);
        check_ops(kept())?;

        let mut program = Program {
            opset: model.opset(),
            steps: Vec::new(),
            slots: HashMap::new(),
            constants: Vec::new(),
            inputs: Vec::new(),
            held: HashSet::new(),
            parameters: Vec::new(),
            statistics: Vec::new(),
            statistic_names: Vec::new(),
        };
        program.inputs = inputs.iter().map(|input| program.slot(input)).collect();
        program.parameters = parameters.iter().map(|p| program.slot(p)).collect();
        for (_, node) in kept().filter(|(_, n)| n.op_type == "BatchNormalization") {
            for name in [node.input(3), node.input(4)].into_iter().flatten() {
                if graph.initializers.contains_key(name) && !program.slots.contains_key(name) {
                    let slot = program.slot(name);
                    program.statistics.push(slot);
                    program.statistic_names.push(name.to_owned());
                }
            }
        }
        // What is known from here on does not change from run to run.
        let varying = program.slots.len();

        for (position, node) in kept() {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for name in &node.inputs {
                if name.is_empty() {
                    inputs.push(None);
                    continue;
                }
                if !program.slots.contains_key(name) {
                    let tensor = graph.initializers.get(name).ok_or_else(|| {
                        missing(format!("node `{}` reads `{name}`, which nothing makes", node_name(node, position)))
                    })?;
                    let value = ops::constant(tensor, numerics.kind, numerics.device)
                        .map_err(|e| missing(format!("initializer `{name}`: {e}")))?;
                    let slot = program.slot(name);
                    program.constants[slot] = Some(value);
                }
                inputs.push(program.slots.get(name).copied());
            }
            let forward =
                ops::find(&node.domain, &node.op_type).map(|op| op.forward).ok_or_else(|| Failure::Unsupported {
                    missing: vec![MissingOp { op: op_name(node), nodes: vec![node_name(node, position)] }],
                    total: 1,
                })?;
            let outputs: Vec<_> = node.outputs.iter().map(|o| (!o.is_empty()).then(|| program.slot(o))).collect();
            let step = Step {
                statistics: program.statistics_of(node),
                node: node.clone(),
                position,
                forward,
                inputs,
                outputs,
            };
            let constant = step.inputs.iter().flatten().all(|s| *s >= varying && program.constants[*s].is_some())
                && !RANDOM.contains(&step.node.op_type.as_str());
            if !constant {
                program.steps.push(step);
                continue;
            }
            let values: Vec<_> = step
                .inputs
                .iter()
                .map(|s| s.and_then(|s| program.constants[s].as_ref().map(Tensor::shallow_clone)))
                .collect();
            let results = program.evaluate(&step, &values, numerics, false)?;
            for (slot, value) in step.outputs.iter().zip(results) {
                if let Some(slot) = slot {
                    program.constants[*slot] = Some(value);
                }
            }
        }
        // An output may be an initializer itself.
        for name in wanted {
            if program.slots.contains_key(*name) {
                continue;
            }
            let tensor = graph.initializers.get(*name).ok_or_else(|| missing(format!("nothing makes `{name}`")))?;
            let value = ops::constant(tensor, numerics.kind, numerics.device)
                .map_err(|e| missing(format!("initializer `{name}`: {e}")))?;
            let slot = program.slot(name);
            program.constants[slot] = Some(value);
        }
        program.drop_unread_constants(wanted);
        program.held = held.iter().filter_map(|name| program.slots.get(*name).copied()).collect();
        Ok(program)
    }

    /// The slot of a value, a new one for a new name.
    fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let slot = self.constants.len();
        self.constants.push(None);
        self.slots.insert(name.to_owned(), slot);
        slot
    }

    /// The statistics a BatchNormalization moves.
    fn statistics_of(&self, node: &Node) -> Option<[usize; 2]> {
        if node.op_type != "BatchNormalization" {
            return None;
        }
        let index = |i| {
            let slot = self.slots.get(node.input(i)?)?;
            self.statistics.iter().position(|s| s == slot)
        };
        Some([index(3)?, index(4)?])
    }

    /// Frees the constants that only other constants were made of.
    fn drop_unread_constants(&mut self, wanted: &[&str]) {
        let mut read: HashSet<Slot> = self.steps.iter().flat_map(|s| s.inputs.iter().flatten().copied()).collect();
        read.extend(wanted.iter().filter_map(|w| self.slots.get(*w)));
        for (slot, constant) in self.constants.iter_mut().enumerate() {
            if !read.contains(&slot) {
                *constant = None;
            }
        }
    }

    /// Names of the initializers that are running statistics of a BatchNormalization.
    pub fn statistic_names(&self) -> &[String] {
        &self.statistic_names
    }

    /// The steps that the values in `wanted` need; all of them must be among those the program was made for.
    ///
    /// # Errors
    /// [`Failure::Argument`] for a value the program does not know.
    pub fn plan(&self, wanted: &[&str]) -> Result<Plan, Failure> {
        let mut outputs = Vec::with_capacity(wanted.len());
        for name in wanted {
            outputs.push(*self.slots.get(*name).ok_or_else(|| Failure::Argument {
                what: "output",
                reason: format!("the graph has no value `{name}`"),
            })?);
        }
        // Backwards: the first step that reads a value, seen from behind, is its last reader.
        let mut live: HashSet<Slot> = outputs.iter().copied().collect();
        let mut steps = Vec::new();
        for (i, step) in self.steps.iter().enumerate().rev() {
            if !step.outputs.iter().flatten().any(|o| live.contains(o)) {
                continue;
            }
            let mut free: Vec<Slot> = step.outputs.iter().flatten().copied().filter(|o| !live.contains(o)).collect();
            for slot in step.inputs.iter().flatten() {
                if live.insert(*slot) {
                    free.push(*slot);
                }
            }
            steps.push((i, free));
        }
        steps.reverse();
        Ok(Plan { steps, outputs })
    }

    /// Whether any of the parameters reaches what the plan computes.
    pub fn reached(&self, plan: &Plan) -> bool {
        self.reached_from(self.parameters.iter().copied().collect(), plan)
    }

    /// Whether any of these values reaches what the plan computes.
    pub fn reaches(&self, values: &[&str], plan: &Plan) -> bool {
        self.reached_from(values.iter().filter_map(|value| self.slots.get(*value).copied()).collect(), plan)
    }

    fn reached_from(&self, mut reached: HashSet<Slot>, plan: &Plan) -> bool {
        reached.retain(|slot| !self.held.contains(slot));
        for step in plan.steps.iter().filter_map(|(i, _)| self.steps.get(*i)) {
            if step.inputs.iter().flatten().any(|s| reached.contains(s)) {
                reached.extend(step.outputs.iter().flatten().filter(|slot| !self.held.contains(slot)));
            }
        }
        plan.outputs.iter().any(|o| reached.contains(o))
    }

    /// Node name, operator and opset of whatever makes the value `name`.
    pub fn producer(&self, name: &str) -> Option<&Node> {
        let slot = self.slots.get(name)?;
        self.steps.iter().find(|s| s.outputs.contains(&Some(*slot))).map(|s| &s.node)
    }

    fn evaluate(
        &self,
        step: &Step,
        inputs: &[Option<Tensor>],
        numerics: Numerics,
        training: bool,
    ) -> Result<Vec<Tensor>, Failure> {
        let site = Site { node: &step.node, opset: self.opset, training, kind: numerics.kind, device: numerics.device };
        (step.forward)(&site, inputs).map_err(|error| Failure::Node {
            node: node_name(&step.node, step.position),
            op: op_name(&step.node),
            opset: self.opset,
            error: Box::new(error),
        })
    }

    /// A value as its readers see it: neither a recorded gradient nor a tangent gets past one that is held.
    fn passed_on(&self, slot: Slot, value: Tensor) -> Result<Tensor, Failure> {
        Ok(if self.held.contains(&slot) { value.f_detach()? } else { value })
    }

    /// Runs a plan. Whether libtorch records for a backward pass follows from the parameters in `feed` and the
    /// caller's gradient mode: what no parameter reaches is never recorded.
    ///
    /// # Errors
    /// [`Failure::Node`] when an operator refuses its inputs.
    pub fn run(&self, plan: &Plan, feed: &Feed, numerics: Numerics) -> Result<Run, Failure> {
        let mut values: Vec<Option<Tensor>> = Vec::new();
        values.resize_with(self.constants.len(), || None);
        let fed = self
            .inputs
            .iter()
            .zip(feed.inputs)
            .chain(self.parameters.iter().zip(feed.parameters))
            .chain(self.statistics.iter().zip(feed.statistics));
        for (slot, tensor) in fed {
            values[*slot] = Some(self.passed_on(*slot, tensor.shallow_clone())?);
        }
        let value = |values: &[Option<Tensor>], slot: Slot| {
            values[slot].as_ref().or(self.constants[slot].as_ref()).map(Tensor::shallow_clone)
        };
        let mut statistics = Vec::new();
        for (index, free) in &plan.steps {
            let step = &self.steps[*index];
            let inputs: Vec<_> = step.inputs.iter().map(|s| s.and_then(|s| value(&values, s))).collect();
            let results = self.evaluate(step, &inputs, numerics, feed.training)?;
            drop(inputs);
            let mut results = results.into_iter();
            let mut outputs = Vec::with_capacity(step.outputs.len());
            if let (true, Some(of)) = (feed.training, step.statistics) {
                outputs.extend(results.next());
                for index in of {
                    let Some(new) = results.next() else { break };
                    outputs.push(new.shallow_clone());
                    statistics.push((index, new));
                }
            }
            outputs.extend(results);
            for (slot, tensor) in step.outputs.iter().zip(outputs) {
                if let Some(slot) = slot {
                    values[*slot] = Some(self.passed_on(*slot, tensor)?);
                }
            }
            for slot in free {
                values[*slot] = None;
            }
        }
        let outputs = plan
            .outputs
            .iter()
            .map(|slot| {
                value(&values, *slot).ok_or_else(|| Failure::Graph {
                    graph: String::new(),
                    reason: "an operator gave fewer outputs than its node names".to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Run { outputs, statistics })
    }
}
