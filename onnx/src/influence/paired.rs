//! The paired graph: the network at theta and a small step along `s` away, side by side.
//!
//! Both copies share the input and every node that no parameter in scope reaches. One-sided, the model's own outputs stay
//! as they are, bit for bit, and `o' = (f(theta + eps s) - f(theta)) / eps`; central,
//! `o' = (f(theta + eps s) - f(theta - eps s)) / (2 eps)` and the mean of both stands in for the prediction. Cost: one
//! more pass a direction, or two.
//!
//! The step is relative, `||eps s|| / ||theta||` over the parameters in scope: too long and kinks of Relu and MaxPool
//! are crossed, too short and float32 rounds it away. It is for float32 weights alone.

use super::contraction::{Contraction, stack};
use super::reach::reach;
use super::{Direction, Form, INFLUENCE, INFLUENCE_PER_CLASS, InfluenceMetadata, InfluenceOptions};
use crate::{Builder, DataType, Error, Graph, Model, Node, Result, Tensor, Value, ValueInfo, ValueType};
use std::collections::HashMap;

/// Which difference is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Difference {
    /// Against the model itself, whose outputs stay bit for bit.
    OneSided,
    /// Between a step ahead and a step back; more exact, one more pass.
    Central,
}

/// How the pair is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// `||eps s|| / ||theta||` over the parameters in scope.
    pub relative_step: f64,
    /// Which difference.
    pub difference: Difference,
}

/// Builds the paired influence graph of `model` for each of `directions`.
///
/// Its outputs are the model's own, then [`INFLUENCE`] and, where asked for, [`INFLUENCE_PER_CLASS`].
///
/// # Errors
/// A direction that names no float32 initializer, or whose block has other dims, or that is zero; logits that no
/// parameter reaches; an output already called `influence`.
pub fn paired(model: &Model, directions: &[Direction], options: &InfluenceOptions, how: Paired) -> Result<Model> {
    let graph_error = |reason: String| Error::Graph { graph: model.graph.name.clone(), reason };
    if directions.is_empty() {
        return Err(graph_error("an influence graph needs at least one direction".to_owned()));
    }
    let mut graph = model.graph.clone();
    if let Some(taken) = graph.outputs.iter().find(|o| [INFLUENCE, INFLUENCE_PER_CLASS].contains(&o.name.as_str())) {
        return Err(graph_error(format!("it has an output `{}` already", taken.name)));
    }
    let own_outputs = std::mem::take(&mut graph.outputs);
    let opset = model.opset();
    let mut b = Builder::extend(graph);
    let mut tangents = Vec::new();
    let mut centre = None;
    for (number, direction) in directions.iter().enumerate() {
        let step = Step::new(&model.graph, direction, how.relative_step)?;
        let tail = if number == 0 { String::new() } else { number.to_string() };
        let targets: Vec<&str> = own_outputs.iter().map(|o| o.name.as_str()).chain([options.logits.as_str()]).collect();
        let ahead = copy(&mut b, &model.graph, direction, step.eps, &format!("ahead{tail}"), &targets)?;
        let Some(logits_ahead) = ahead.get(&options.logits).copied() else {
            return Err(graph_error(format!("no parameter in scope reaches `{}`", options.logits)));
        };
        let (other, divisor) = match how.difference {
            Difference::OneSided => (value(&b, &options.logits)?, step.eps),
            Difference::Central => {
                let back = copy(&mut b, &model.graph, direction, -step.eps, &format!("back{tail}"), &targets)?;
                let logits_back = back.get(&options.logits).copied().unwrap_or(logits_ahead);
                centre.get_or_insert((ahead, back));
                (logits_back, 2.0 * step.eps)
            }
        };
        let apart = b.op("Sub", [logits_ahead, other]);
        let factor = b.constant("per_step", Tensor::scalar((1.0 / divisor) as f32));
        tangents.push(b.op("Mul", [apart, factor]));
    }
    let mut means = HashMap::new();
    if let Some((ahead, back)) = &centre {
        b.scope("mean");
        for name in own_outputs.iter().map(|o| &o.name).chain([&options.logits]) {
            if let (Some(ahead), Some(back), false) = (ahead.get(name), back.get(name), means.contains_key(name)) {
                let half = b.constant("half", Tensor::scalar(0.5f32));
                let sum = b.op("Add", [*ahead, *back]);
                means.insert(name.clone(), b.op("Mul", [sum, half]));
            }
        }
    }
    let logits = means.get(&options.logits).copied().map_or_else(|| value(&b, &options.logits), Ok)?;
    b.scope("isal");
    let contraction = Contraction::new(&mut b, opset, logits, options);
    let (mut influences, mut per_class) = (Vec::new(), Vec::new());
    for tangent in tangents {
        let (influence, classes) = contraction.apply(&mut b, tangent);
        influences.push(influence);
        per_class.extend(classes);
    }
    let means = means.into_iter().map(|(name, mean)| (name, b.name(mean).to_owned())).collect();
    finish(model, b, own_outputs, means, (&influences, &per_class), options, how)
}

fn finish(
    model: &Model,
    mut b: Builder,
    own_outputs: Vec<ValueInfo>,
    means: HashMap<String, String>,
    (influences, per_class): (&[Value], &[Value]),
    options: &InfluenceOptions,
    how: Paired,
) -> Result<Model> {
    let opset = model.opset();
    let batch = model.graph.value_type(&options.logits).and_then(|t| t.shape?.first().cloned());
    let batch = batch.unwrap_or_else(|| "N".into());
    let directions = influences.len();
    for (name, values, classes) in
        [(INFLUENCE, influences, None), (INFLUENCE_PER_CLASS, per_class, Some(options.classes))]
    {
        let stacked = match values {
            [] => continue,
            [one] => *one,
            several => stack(&mut b, opset, several),
        };
        let mut shape = vec![batch.clone()];
        shape.extend((directions > 1).then(|| directions.into()));
        shape.extend(classes.map(Into::into));
        b.scope("");
        b.output(name, stacked, Some(ValueType { data_type: DataType::Float, shape: Some(shape) }));
        b.scope("isal");
    }
    let mut graph = b.finish()?;
    let added = std::mem::take(&mut graph.outputs);
    graph.outputs = own_outputs.into_iter().chain(added).collect();
    stand_in(&mut graph, &means);
    graph.prune();
    let mut built = Model { graph, ..model.clone() };
    let difference = match how.difference {
        Difference::OneSided => "one-sided",
        Difference::Central => "central",
    };
    let mut metadata = InfluenceMetadata::default();
    metadata.0.insert("form".into(), Form::Paired.to_string());
    metadata.0.insert("difference".into(), difference.into());
    metadata.0.insert("relative step".into(), format!("{:e}", how.relative_step));
    metadata.store(&mut built);
    Ok(built)
}

fn value(b: &Builder, name: &str) -> Result<Value> {
    b.get(name)
        .ok_or_else(|| Error::Graph { graph: b.graph().name.clone(), reason: format!("no value is called `{name}`") })
}

/// The step along one direction.
struct Step {
    eps: f64,
}

impl Step {
    fn new(graph: &Graph, direction: &Direction, relative: f64) -> Result<Step> {
        let (mut weights, mut along) = (0.0_f64, 0.0_f64);
        for (name, block) in direction {
            let wrong = |reason: String| Error::Tensor { name: name.clone(), reason };
            let weight = graph.initializers.get(name).ok_or_else(|| wrong("no initializer of this name".to_owned()))?;
            if weight.dims() != block.dims() {
                return Err(wrong(format!(
                    "the direction has dims {:?}, the weight {:?}",
                    block.dims(),
                    weight.dims()
                )));
            }
            let theta = weight.to_vec::<f32>().ok_or_else(|| {
                wrong(format!("{:?} weights round a small step away; take the tangent form", weight.data_type()))
            })?;
            let s = block.to_vec::<f32>().ok_or_else(|| wrong("a direction is float32".to_owned()))?;
            weights += theta.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            along += s.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        }
        let eps = relative * (weights / along).sqrt();
        if eps.is_finite() && eps > 0.0 {
            return Ok(Step { eps });
        }
        let reason = format!("a step of {relative:e} along a direction of norm {:e} has no length", along.sqrt());
        Err(Error::Graph { graph: graph.name.clone(), reason })
    }
}

/// Adds a copy of what the direction's parameters reach, at `theta + eps s`; gives the copies by original name.
fn copy(
    b: &mut Builder,
    graph: &Graph,
    direction: &Direction,
    eps: f64,
    scope: &str,
    targets: &[&str],
) -> Result<HashMap<String, Value>> {
    let found = reach(graph, direction.keys().map(String::as_str), targets.iter().copied());
    b.scope(scope);
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut copies = HashMap::new();
    for (name, block) in direction {
        let (Some(weight), Some(s)) = (graph.initializers.get(name), block.to_vec::<f32>()) else { continue };
        let moved: Vec<f32> = weight
            .to_vec::<f32>()
            .unwrap_or_default()
            .iter()
            .zip(&s)
            .map(|(theta, s)| (f64::from(*theta) + eps * f64::from(*s)) as f32)
            .collect();
        let value = b.constant(name, Tensor::new(weight.dims(), &moved));
        renamed.insert(name.clone(), b.name(value).to_owned());
    }
    for node in found.nodes.iter().filter_map(|position| graph.nodes.get(*position)) {
        let mut twin = node.clone();
        rename_reads(&mut twin, &renamed);
        if !node.name.is_empty() {
            twin.name = b.fresh(&node.name);
        }
        for output in twin.outputs.iter_mut().filter(|o| !o.is_empty()) {
            let fresh = b.fresh(output);
            renamed.insert(std::mem::replace(output, fresh.clone()), fresh);
        }
        let made = b.push(twin);
        copies.extend(node.outputs.iter().filter(|o| !o.is_empty()).cloned().zip(made));
    }
    b.scope("");
    Ok(copies)
}

/// Renames what a node and its subgraphs read.
fn rename_reads(node: &mut Node, names: &HashMap<String, String>) {
    for input in &mut node.inputs {
        if let Some(new) = names.get(input) {
            input.clone_from(new);
        }
    }
    for graph in node.subgraphs_mut() {
        // A name the subgraph makes itself hides the outer one.
        let mut visible = names.clone();
        graph.inputs.iter().for_each(|i| drop(visible.remove(&i.name)));
        graph.initializers.keys().for_each(|i| drop(visible.remove(i)));
        graph.nodes.iter().flat_map(|n| &n.outputs).for_each(|o| drop(visible.remove(o)));
        graph.nodes.iter_mut().for_each(|inner| rename_reads(inner, &visible));
        for output in &mut graph.outputs {
            if let Some(new) = visible.get(&output.name) {
                output.name.clone_from(new);
            }
        }
    }
}

/// Lets each mean take the name and place of the output it stands for. The nodes that made those outputs, and all that
/// only led to them, go: every output that a parameter reaches has a mean.
fn stand_in(graph: &mut Graph, means: &HashMap<String, String>) {
    if means.is_empty() {
        return;
    }
    for output in &mut graph.outputs {
        if let Some(mean) = means.get(&output.name) {
            output.name.clone_from(mean);
        }
    }
    graph.prune();
    let names: HashMap<&String, &String> = means.iter().map(|(name, mean)| (mean, name)).collect();
    let outputs = graph.outputs.iter_mut().map(|o| &mut o.name);
    for name in graph.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().chain(&mut n.outputs)).chain(outputs) {
        if let Some(original) = names.get(&*name) {
            name.clone_from(original);
        }
    }
}
