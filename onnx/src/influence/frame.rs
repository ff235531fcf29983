//! What both forms share: the model's own outputs, then the influences, and what the file says of itself.

use super::contraction::{Contraction, stack};
use super::{
    Direction, EMBEDDING_FEATURES, EMBEDDING_RESIDUAL, INFLUENCE, INFLUENCE_PER_CLASS, InfluenceMetadata,
    InfluenceOptions, features,
};
use crate::{Builder, DataType, Error, Graph, Model, Result, Value, ValueInfo, ValueType};
use std::collections::HashMap;

/// A graph that is being given influences.
pub(super) struct Frame<'a> {
    pub(super) model: &'a Model,
    pub(super) options: &'a InfluenceOptions,
    /// The model's own outputs; the graph in the making has none until the end.
    own_outputs: Vec<ValueInfo>,
}

impl<'a> Frame<'a> {
    /// Checks that there is room for the outputs, and opens the graph.
    pub(super) fn open(
        model: &'a Model,
        directions: &[Direction],
        options: &'a InfluenceOptions,
    ) -> Result<(Frame<'a>, Builder)> {
        let frame = Frame { model, options, own_outputs: model.graph.outputs.clone() };
        if directions.is_empty() {
            return Err(frame.refuse("an influence graph needs at least one direction".to_owned()));
        }
        let ours = [INFLUENCE, INFLUENCE_PER_CLASS, EMBEDDING_FEATURES, EMBEDDING_RESIDUAL];
        if let Some(taken) = frame.own_outputs.iter().find(|o| ours.contains(&o.name.as_str())) {
            return Err(frame.refuse(format!("it has an output `{}` already", taken.name)));
        }
        let graph = Graph { outputs: Vec::new(), ..model.graph.clone() };
        Ok((frame, Builder::extend(graph)))
    }

    pub(super) fn refuse(&self, reason: String) -> Error {
        Error::Graph { graph: self.model.graph.name.clone(), reason }
    }

    /// The error that nothing moves.
    pub(super) fn unreached(&self) -> Error {
        self.refuse(format!("no parameter in scope reaches `{}`", self.options.logits))
    }

    /// Values that must be there in the end: the model's outputs and the logits.
    pub(super) fn targets(&self) -> Vec<&str> {
        self.own_outputs.iter().map(|o| o.name.as_str()).chain([self.options.logits.as_str()]).collect()
    }

    /// The value of this name.
    pub(super) fn value(&self, b: &Builder, name: &str) -> Result<Value> {
        b.get(name).ok_or_else(|| self.refuse(format!("no value is called `{name}`")))
    }

    /// Contracts the logits with their derivatives along each direction, declares the outputs, drops what none needs,
    /// and stores `metadata`. A value of `means` stands in for the model's own of that name.
    pub(super) fn close(
        &self,
        mut b: Builder,
        tangents: &[Value],
        means: HashMap<String, Value>,
        metadata: InfluenceMetadata,
    ) -> Result<Model> {
        let opset = self.model.opset();
        let logits = match means.get(&self.options.logits) {
            Some(mean) => *mean,
            None => self.value(&b, &self.options.logits)?,
        };
        b.scope("isal");
        let logits = self.as_float32(&mut b, logits);
        let contraction = Contraction::new(&mut b, opset, logits, self.options);
        let (mut influences, mut per_class) = (Vec::new(), Vec::new());
        for tangent in tangents {
            let (influence, classes) = contraction.apply(&mut b, *tangent);
            influences.push(influence);
            per_class.extend(classes);
        }
        let classes = self.options.classes;
        self.declare(&mut b, INFLUENCE, &influences, None);
        self.declare(&mut b, INFLUENCE_PER_CLASS, &per_class, Some(classes));
        if self.options.embedding {
            let (features, width) = features::last_layer(&self.model.graph, &self.options.logits).ok_or_else(|| {
                self.refuse("gradient embeddings need a dense last layer before the logits".to_owned())
            })?;
            let features = self.value(&b, &features)?;
            let features = self.as_float32(&mut b, features);
            let residual = contraction.residual(&mut b);
            self.declare(&mut b, EMBEDDING_RESIDUAL, &[residual], Some(classes));
            self.declare(&mut b, EMBEDDING_FEATURES, &[features], Some(width));
        }
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

    /// A value of the logits' type in float32, in which influences are computed.
    pub(super) fn as_float32(&self, b: &mut Builder, value: Value) -> Value {
        match self.model.graph.value_type(&self.options.logits).map(|t| t.data_type) {
            None | Some(DataType::Float) => value,
            Some(_) => b.node("Cast", [value]).attr("to", i64::from(DataType::Float.number())).value(),
        }
    }

    /// An output of a row a sample: of one value a direction, side by side where there are several.
    fn declare(&self, b: &mut Builder, name: &str, values: &[Value], width: Option<usize>) {
        let stacked = match values {
            [] => return,
            [one] => *one,
            several => stack(b, self.model.opset(), several),
        };
        let batch = self.model.graph.value_type(&self.options.logits).and_then(|t| t.shape?.first().cloned());
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
