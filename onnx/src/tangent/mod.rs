//! The tangent transform: forward-mode differentiation of a graph, as more nodes of the same graph.
//!
//! Some initializers ([`tangents`]) or inputs ([`of_inputs`]) are given a tangent, a direction they move along; every value
//! they reach gets the derivative along it, of its own type and shape. How a node passes tangents on stands in its operator's row ([`Tangent`]). An absent
//! tangent is a zero and costs no node. Rules emit operators of the standard domain at the model's own opset; the masks
//! of piecewise operators come from their outputs where those tell, so that a runtime still fuses the operator with the
//! convolution before it.

mod at;
mod emitter;
mod held;
mod inputs;
mod seed;
mod target;
mod term;
pub(crate) mod winograd;

pub(crate) use at::sum;
pub use at::{At, Tangents};
pub(crate) use held::Held;
pub use inputs::{HELD, held_values, of_inputs};
pub use seed::Seed;
pub use target::Target;
pub use term::Term;

use crate::ops;
use crate::reach::reach_past;
use crate::{Builder, Error, Graph, Model, Result, Tensor, Value};
use emitter::Emitter;
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};

/// How an operator passes tangents on, from the inputs its row says a derivative flows through.
#[derive(Clone, Copy)]
pub enum Tangent {
    /// It has none: integers, comparisons, steps, values from nowhere.
    Zero,
    /// Linear in those inputs together: the operator itself on their tangents, zeros where one has none.
    Linear,
    /// Linear in each: a term for every input with a tangent, that input replaced by it.
    EachLinear,
    /// Element by element in its first input: this factor times the tangent.
    Slope(for<'a> fn(&At<'a>) -> Term<'a>),
    /// A formula, of an operator whose pieces meet in kinks.
    Kinked(Pieces, for<'a> fn(&At<'a>) -> Result<Tangents<'a>>),
    /// A formula.
    Rule(for<'a> fn(&At<'a>) -> Result<Tangents<'a>>),
    /// No rule, and why.
    Refused(&'static str),
}

/// What an operator with kinks is between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    /// Linear in its inputs, on each piece: what the formula gives for the inputs themselves is the output.
    Linear,
    /// Anything smooth.
    Curved,
}

impl Tangent {
    /// One word for listings.
    pub fn kind(self) -> &'static str {
        match self {
            Tangent::Zero => "zero",
            Tangent::Linear => "linear",
            Tangent::EachLinear => "linear in each",
            Tangent::Slope(_) => "slope",
            Tangent::Kinked(..) | Tangent::Rule(_) => "rule",
            Tangent::Refused(_) => "refused",
        }
    }
}

impl std::fmt::Debug for Tangent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

/// `model` with the derivatives of the values `of` as further outputs, `tangent_of_NAME` each: along `directions`, a tensor
/// for each initializer that moves, of its own type and dims. A value that does not move has none.
///
/// # Errors
/// [`Error::Node`] for a node on the way whose operator has no rule, or whose rule does not cover its attributes, opset or
/// types; [`Error::Graph`] for a name that is taken.
pub fn tangents(model: &Model, directions: &IndexMap<String, Tensor>, of: &[&str], target: Target) -> Result<Model> {
    let typed = model.inferred()?;
    let mut builder = Builder::extend(model.graph.clone());
    builder.scope("s");
    let seeds: HashMap<String, Seed> = directions
        .iter()
        .map(|(name, direction)| (name.clone(), Seed::Dense(builder.constant(name, direction.clone()))))
        .collect();
    builder.scope("");
    let held = held_values(model);
    let way = Way { targets: of, held: &held };
    let (builder, found) = differentiate(builder, &typed, &[seeds], way, target)?;
    builder.finish_beside(&typed, "tangent", of, found.first().unwrap_or(&HashMap::new()))
}

/// Where derivatives are wanted, and where they stop.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    /// Values whose derivatives are wanted.
    pub(crate) targets: &'a [&'a str],
    /// Values whose derivative counts as zero, whatever they depend on.
    pub(crate) held: &'a HashSet<&'a str>,
}

/// Adds to `builder`, which has extended the graph of `model`, the derivatives of the targets along each of `directions`, and
/// gives them by name; a target that no seed reaches has none. `model` has its shapes inferred.
///
/// # Errors
/// [`Error::Node`] for a node on the way whose operator has no rule, or whose rule does not cover its attributes, opset or
/// types.
pub(crate) fn differentiate(
    builder: Builder,
    model: &Model,
    directions: &[HashMap<String, Seed>],
    way: Way<'_>,
    target: Target,
) -> Result<(Builder, Vec<HashMap<String, Value>>)> {
    let emitter = Emitter::new(builder, model.opset(), target);
    let mut tangents = Vec::with_capacity(directions.len());
    for seeds in directions {
        // A held initializer does not move either.
        let moving = seeds.iter().filter(|(name, _)| !way.held.contains(name.as_str()));
        let seeds = moving.map(|(name, seed)| (name.clone(), *seed)).collect();
        tangents.push(along(&emitter, &model.graph, &seeds, way)?);
    }
    let builder = emitter.into_builder();
    check(&builder, model, &tangents)?;
    let wanted = |tangents: HashMap<String, Value>| {
        way.targets.iter().filter_map(|name| Some(((*name).to_owned(), *tangents.get(*name)?))).collect()
    };
    Ok((builder, tangents.into_iter().map(wanted).collect()))
}

/// Tangents of all that one direction's seeds reach on the way to the targets.
fn along(
    emitter: &Emitter,
    graph: &Graph,
    seeds: &HashMap<String, Seed>,
    way: Way<'_>,
) -> Result<HashMap<String, Value>> {
    let held = |name: &str| way.held.contains(name);
    let found = reach_past(graph, seeds.keys().map(String::as_str), way.targets.iter().copied(), held);
    let mut tangents: HashMap<String, Value> = HashMap::new();
    for &position in &found.nodes {
        let Some(node) = graph.nodes.get(position) else { continue };
        let moved: Vec<Option<Value>> = {
            let at = At { emitter, graph, node, position, tangents: &tangents, seeds };
            if !at.moves() {
                continue;
            }
            emitter.scope(&format!("{}/d", node.label(position)));
            step(&at)?.into_iter().map(|tangent| tangent.map(|tangent| tangent.value)).collect()
        };
        for (name, tangent) in node.outputs.iter().zip(moved) {
            if let (Some(tangent), false) = (tangent, name.is_empty() || way.held.contains(name.as_str())) {
                tangents.insert(name.clone(), tangent);
            }
        }
    }
    emitter.scope("");
    Ok(tangents)
}

/// Tangents of one node's outputs.
fn step<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let spec = if at.node.domain.is_empty() { ops::find(&at.node.op_type) } else { None };
    let Some(spec) = spec else {
        return Err(at.refuse("this operator is not of the standard domain and has no tangent rule"));
    };
    if let Some(stray) = (0..at.node.inputs.len()).find(|i| !spec.flows.passes(*i) && at.has_tangent(*i))
        && !matches!(spec.tangent, Tangent::Zero)
    {
        return Err(at.refuse(&format!("its input {stray} depends on the parameters, and counts as a setting here")));
    }
    let flowing: Vec<usize> = (0..at.node.inputs.len()).filter(|i| spec.flows.passes(*i)).collect();
    let tangents = match spec.tangent {
        Tangent::Zero => Vec::new(),
        Tangent::Linear => at.linear(&flowing),
        Tangent::EachLinear => vec![at.each_linear(&flowing)],
        Tangent::Slope(slope) => vec![at.dx(0).map(|dx| slope(at) * dx)],
        Tangent::Kinked(_, rule) | Tangent::Rule(rule) => rule(at)?,
        Tangent::Refused(why) => return Err(at.refuse(why)),
    };
    match at.emitter.take_failure() {
        Some(reason) => Err(at.refuse(&reason)),
        None => Ok(tangents),
    }
}

/// Every tangent has the type and shape of its value, as far as both are known.
fn check(builder: &Builder, model: &Model, tangents: &[HashMap<String, Value>]) -> Result<()> {
    let mut whole = Model { graph: builder.graph().clone(), ..model.clone() };
    whole.graph.sort()?;
    whole.infer_shapes()?;
    let mut named: Vec<(&String, &Value)> = tangents.iter().flatten().collect();
    named.sort_by_key(|(name, _)| *name);
    for (name, value) in named {
        let tangent = builder.name(*value);
        let (Some(of), Some(found)) = (whole.graph.value_type(name), whole.graph.value_type(tangent)) else { continue };
        let apart = |(a, b): (&crate::Dim, &crate::Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
        let shapes_differ = match (&of.shape, &found.shape) {
            (Some(a), Some(b)) => a.len() != b.len() || a.iter().zip(b).any(apart),
            _ => false,
        };
        if of.data_type != found.data_type || shapes_differ {
            return Err(refused(&model.graph, name, &format!("the tangent of `{name}` {of} came out as {found}")));
        }
    }
    Ok(())
}

/// The error that the node which makes `value` could not be differentiated.
fn refused(graph: &Graph, value: &str, reason: &str) -> Error {
    let position = graph.producer(value).unwrap_or_default();
    let node = graph.nodes.get(position);
    Error::Node {
        node: node.map_or_else(String::new, |n| n.label(position)),
        op: node.map_or_else(String::new, |n| n.op_type.clone()),
        opset: 0,
        reason: reason.to_owned(),
    }
}
