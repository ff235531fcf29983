//! What both forms share: the model's own outputs, then the influences, and what the file says of itself.

use super::classes::{Classes, stack};
use super::{
    ClassOutputs, Direction, EMBEDDING_FEATURES, EMBEDDING_RESIDUAL, INFLUENCE, INFLUENCE_PER_CLASS, InfluenceMetadata,
    TaskGraphs, features,
};
use crate::tangent::Target;
use crate::{Builder, DataType, Error, Graph, Model, Result, Value, ValueInfo, ValueType};
use std::collections::HashMap;

/// Derivatives by the names of their values.
pub(super) type Derivatives = HashMap<String, Value>;

/// A graph that is being given influences.
pub(super) struct Frame<'a> {
    pub(super) model: &'a Model,
    /// What influences are of.
    pub(super) task: &'a TaskGraphs<'a>,
    /// The model's own outputs; the graph in the making has none until the end.
    own_outputs: Vec<ValueInfo>,
}

impl<'a> Frame<'a> {
    /// Opens the graph.
    pub(super) fn open(model: &'a Model, task: &'a TaskGraphs<'a>) -> (Frame<'a>, Builder) {
        let frame = Frame { model, task, own_outputs: model.graph.outputs.clone() };
        let graph = Graph { outputs: Vec::new(), ..model.graph.clone() };
        (frame, Builder::extend(graph))
    }

    /// Checks that there is a direction, and room for the outputs.
    pub(super) fn check(&self, directions: &[Direction]) -> Result<()> {
        if directions.is_empty() {
            return Err(self.refuse("an influence graph needs at least one direction".to_owned()));
        }
        let ours = [INFLUENCE, INFLUENCE_PER_CLASS, EMBEDDING_FEATURES, EMBEDDING_RESIDUAL];
        if let Some(taken) = self.own_outputs.iter().find(|o| ours.contains(&o.name.as_str())) {
            return Err(self.refuse(format!("it has an output `{}` already", taken.name)));
        }
        Ok(())
    }

    pub(super) fn refuse(&self, reason: String) -> Error {
        Error::Graph { graph: self.model.graph.name.clone(), reason }
    }

    /// The error that nothing moves.
    pub(super) fn unreached(&self) -> Error {
        self.refuse(format!("no parameter in scope reaches `{}`", self.task.values().join("`, `")))
    }

    /// Values that must be there in the end: the model's outputs and what influences are made of.
    pub(super) fn targets(&self) -> Vec<&str> {
        self.own_outputs.iter().map(|o| o.name.as_str()).chain(self.task.values()).collect()
    }

    /// Those of the values that have a derivative among `found`: floats that a parameter in scope reaches.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn moving(&self, found: &HashMap<String, Value>) -> Result<Vec<(&str, Value)>> {
        let float = |name: &str| self.model.graph.value_type(name).is_none_or(|t| t.data_type.is_float());
        let mut moving: Vec<(&str, Value)> = Vec::new();
        for name in self.task.values() {
            if let (Some(value), true) = (found.get(name), float(name))
                && moving.iter().all(|(known, _)| *known != name)
            {
                moving.push((name, *value));
            }
        }
        if moving.is_empty() { Err(self.unreached()) } else { Ok(moving) }
    }

    /// The value of this name.
    pub(super) fn value(&self, b: &Builder, name: &str) -> Result<Value> {
        b.get(name).ok_or_else(|| self.refuse(format!("no value is called `{name}`")))
    }

    /// Makes influences of the values and their derivatives along each direction, declares the outputs, drops what none
    /// needs, and stores `metadata`. A value of `means` stands in for the model's own of that name.
    pub(super) fn close(
        &self,
        mut b: Builder,
        derivatives: &[Derivatives],
        means: HashMap<String, Value>,
        target: Target,
        metadata: InfluenceMetadata,
    ) -> Result<Model> {
        b.scope("isal");
        self.task.add(self, &mut b, derivatives, &means, target)?;
        let means = means.into_iter().map(|(name, mean)| (name, b.name(mean).to_owned())).collect();
        let mut graph = b.finish()?;
        let added = std::mem::take(&mut graph.outputs);
        graph.outputs = self.own_outputs.iter().cloned().chain(added).collect();
        stand_in(&mut graph, &means);
        graph.prune();
        let mut built = Model { graph, ..self.model.clone() };
        metadata.store(&mut built);
        Ok(built)
    }

    /// Declares what a classifier's graph gives besides.
    pub(super) fn add_classes(
        &self,
        b: &mut Builder,
        outputs: &ClassOutputs,
        derivatives: &[Derivatives],
        means: &HashMap<String, Value>,
    ) -> Result<()> {
        b.scope("isal");
        let logits = self.present(b, &outputs.logits, means)?;
        let classes = Classes::new(b, self.model.opset(), logits, outputs.classes);
        if outputs.per_class {
            let mut per_class = Vec::new();
            for along in derivatives {
                let tangent = along.get(&outputs.logits).copied().ok_or_else(|| self.unreached())?;
                per_class.push(classes.influence(b, tangent));
            }
            self.declare(b, INFLUENCE_PER_CLASS, &per_class, Some(outputs.classes));
        }
        if outputs.embedding {
            let (features, width) = features::last_layer(&self.model.graph, &outputs.logits).ok_or_else(|| {
                self.refuse("gradient embeddings need a dense last layer before the logits".to_owned())
            })?;
            let features = self.value(b, &features)?;
            let features = self.as_float32(b, &outputs.logits, features);
            let residual = classes.residual(b);
            self.declare(b, EMBEDDING_RESIDUAL, &[residual], Some(outputs.classes));
            self.declare(b, EMBEDDING_FEATURES, &[features], Some(width));
        }
        Ok(())
    }

    /// The value of this name, or the mean that stands in for it; floats in float32.
    pub(super) fn present(&self, b: &mut Builder, name: &str, means: &HashMap<String, Value>) -> Result<Value> {
        let value = match means.get(name) {
            Some(mean) => *mean,
            None => self.value(b, name)?,
        };
        Ok(self.as_float32(b, name, value))
    }

    /// A value of the type that the model's value `like` has in float32, in which influences are computed; what is no float
    /// stays.
    pub(super) fn as_float32(&self, b: &mut Builder, like: &str, value: Value) -> Value {
        match self.model.graph.value_type(like).map(|t| t.data_type).filter(|t| t.is_float()) {
            None | Some(DataType::Float) => value,
            Some(_) => b.node("Cast", [value]).attr("to", i64::from(DataType::Float.number())).value(),
        }
    }

    /// An output of a row a sample: of one value a direction, side by side where there are several.
    pub(super) fn declare(&self, b: &mut Builder, name: &str, values: &[Value], width: Option<usize>) {
        let stacked = match values {
            [] => return,
            [one] => *one,
            several => stack(b, self.model.opset(), several),
        };
        let first = self.task.values().first().and_then(|name| self.model.graph.value_type(name));
        let batch = first.and_then(|t| t.shape?.first().cloned());
        let mut shape = vec![batch.unwrap_or_else(|| "N".into())];
        shape.extend((values.len() > 1).then(|| values.len().into()));
        shape.extend(width.map(Into::into));
        b.scope("");
        b.output(name, stacked, Some(ValueType { data_type: DataType::Float, shape: Some(shape) }));
        b.scope("isal");
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
