//! Influence by a task's own graphs: what the model believes, and how the loss of that belief moves along `s`.
//!
//! With the values `o` that the loss reads, their derivatives `o'` along `s` and the annotations `a = decode(o)`, held, the
//! influence is `-(d loss(o, a) / d o) . o'`: the decode graph and the tangent of the loss graph become nodes of the model's.

use super::ClassOutputs;
use super::INFLUENCE;
use super::frame::{Derivatives, Frame};
use crate::tangent::{Target, of_inputs};
use crate::{Builder, Graph, Model, Result, Value};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Prefix of the outputs with the pseudo-label: `pseudo_label.NAME` for each annotation.
pub const PSEUDO_LABEL: &str = "pseudo_label";
/// Prefix of the outputs with what the model believes beside: `belief.NAME`, `[N]`, for each output of the decode graph that
/// the loss graph does not take.
pub const BELIEF: &str = "belief";

/// What an output that is called `PREFIX.NAME` has for a name in the decode graph; `None` of every other.
pub fn decoded_as<'a>(output: &'a str, prefix: &str) -> Option<&'a str> {
    output.strip_prefix(prefix)?.strip_prefix('.')
}

/// A task's graphs and the values of the model that they read.
///
/// Both graphs are of the model's opset. An input of the loss graph is bound to a value of the model or is an output of the
/// decode graph; an input of the decode graph is bound. Whatever else is an error that names it.
#[derive(Debug, Clone, Copy)]
pub struct TaskGraphs<'a> {
    /// Values of the model and annotations to one output, the loss `[N]`.
    pub loss: &'a Model,
    /// Values of the model to annotations.
    pub decode: &'a Model,
    /// Inputs of the graphs, each with the name of the model's value that it is.
    pub bindings: &'a [(String, String)],
    /// What a classifier's graph gives besides; `None` for every other.
    pub classes: Option<&'a ClassOutputs>,
}

impl TaskGraphs<'_> {
    /// Adds pseudo-label and influences, and declares them.
    pub(super) fn add(
        &self,
        frame: &Frame<'_>,
        b: &mut Builder,
        derivatives: &[Derivatives],
        means: &HashMap<String, Value>,
        target: Target,
    ) -> Result<()> {
        let (mut values, annotations) = self.decode(frame, b, means)?;
        values.extend(annotations.iter().map(|(name, value)| (name.clone(), *value)));

        let mut influences = Vec::new();
        // Mostly the same values move along every direction.
        let mut tangents: HashMap<Vec<&str>, Model> = HashMap::new();
        for along in derivatives {
            let bound = self.bindings.iter().filter(|(input, _)| self.reads(input));
            let moving: Vec<(&str, Value)> =
                bound.filter_map(|(input, value)| Some((input.as_str(), *along.get(value)?))).collect();
            let names: Vec<&str> = moving.iter().map(|(input, _)| *input).collect();
            let loss = match tangents.entry(names) {
                Entry::Occupied(made) => made.into_mut(),
                Entry::Vacant(place) => {
                    let made = of_inputs(self.loss, place.key(), target)?;
                    place.insert(made)
                }
            };
            let mut given = values.clone();
            given.extend(moving.iter().map(|(input, tangent)| (format!("{input}.tangent"), *tangent)));
            b.scope("isal/loss");
            let made = b.inline(&loss.graph, &read(&loss.graph, &given))?;
            let of_loss = self.loss.graph.outputs.first().and_then(|o| made.get(&format!("{}.tangent", o.name)));
            let of_loss = *of_loss.ok_or_else(|| frame.unreached())?;
            b.scope("isal");
            influences.push(b.op("Neg", [of_loss]));
        }
        b.scope("");
        self.declare_decoded(b, &annotations);
        b.scope("isal");
        frame.declare(b, INFLUENCE, &influences, None);
        match self.classes {
            Some(outputs) => frame.add_classes(b, outputs, derivatives, means),
            None => Ok(()),
        }
    }

    /// Names of the values that influences are made of.
    pub(super) fn values(&self) -> Vec<&str> {
        let classes = self.classes.map(|outputs| outputs.logits.as_str());
        self.bindings.iter().map(|(_, value)| value.as_str()).chain(classes).collect()
    }

    /// Adds the decode graph; gives the values that the task reads, by the names of inputs, and what is decoded of them.
    fn decode(
        &self,
        frame: &Frame<'_>,
        b: &mut Builder,
        means: &HashMap<String, Value>,
    ) -> Result<(HashMap<String, Value>, HashMap<String, Value>)> {
        for graph in [self.loss, self.decode] {
            if graph.opset() != frame.model.opset() {
                let (own, other) = (frame.model.opset(), graph.opset());
                let name = &graph.graph.name;
                return Err(
                    frame.refuse(format!("it is of opset {own} and the task's graph `{name}` of opset {other}"))
                );
            }
        }
        let mut values = HashMap::new();
        for (input, value) in self.bindings {
            values.insert(input.clone(), frame.present(b, value, means)?);
        }
        b.scope("isal/decode");
        let annotations = b.inline(&self.decode.graph, &read(&self.decode.graph, &values))?;
        Ok((values, annotations))
    }

    /// The name that an output of the decode graph has in a graph that is built of it.
    pub fn output_of(&self, decoded: &str) -> String {
        let prefix = if self.reads(decoded) { PSEUDO_LABEL } else { BELIEF };
        format!("{prefix}.{decoded}")
    }

    fn declare_decoded(&self, b: &mut Builder, decoded: &HashMap<String, Value>) {
        for output in &self.decode.graph.outputs {
            if let Some(value) = decoded.get(&output.name) {
                b.output(&self.output_of(&output.name), *value, output.value_type.clone());
            }
        }
    }

    fn reads(&self, input: &str) -> bool {
        self.loss.graph.inputs.iter().any(|known| known.name == input)
    }
}

/// The model with the decode graph behind it, and nothing else: its outputs are the pseudo-label and the beliefs.
///
/// # Errors
/// As [`TaskGraphs`].
pub fn prediction(model: &Model, task: &TaskGraphs<'_>) -> Result<Model> {
    let (frame, mut b) = Frame::open(model, task);
    let decoded = task.decode(&frame, &mut b, &HashMap::new())?.1;
    b.scope("");
    task.declare_decoded(&mut b, &decoded);
    let mut graph = b.finish()?;
    graph.prune();
    Ok(Model { graph, ..model.clone() })
}

/// Those of the values that a graph has inputs for.
fn read(graph: &Graph, values: &HashMap<String, Value>) -> HashMap<String, Value> {
    graph.inputs.iter().filter_map(|input| Some((input.name.clone(), *values.get(&input.name)?))).collect()
}
