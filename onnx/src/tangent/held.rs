//! A node again, at other inputs, kept on the piece of its operator that the original is on.
//!
//! Relu, MaxPool and similar operators are made of pieces that meet in kinks. Two copies of a network a small step apart are on
//! different pieces here and there, and what that adds to their difference does not shrink with the step as the difference
//! does. A copy that is held takes every such operator on the original's piece.

use super::emitter::Emitter;
use super::{At, Pieces, Tangent, Target};
use crate::{Builder, Error, Graph, Model, Value, ops};
use std::collections::HashMap;

/// Adds held copies to a graph in the making.
pub(crate) struct Held<'a> {
    emitter: Emitter,
    /// The original with its shapes inferred.
    model: &'a Model,
}

impl<'a> Held<'a> {
    /// `builder` has extended the graph of `model`, which has its shapes inferred.
    pub(crate) fn new(builder: Builder, model: &'a Model) -> Held<'a> {
        // Its steps are drowned in float16, so masks need not fit into it.
        Held { emitter: Emitter::new(builder, model.opset(), Target::Cpu), model }
    }

    /// The original.
    pub(crate) fn graph(&self) -> &'a Graph {
        &self.model.graph
    }

    pub(crate) fn into_builder(self) -> Builder {
        self.emitter.scope("");
        self.emitter.into_builder()
    }

    /// Runs `f` on the builder.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Builder) -> R) -> R {
        self.emitter.with(f)
    }

    /// Outputs of the node at `position` at the `moved` values of its inputs, given by name, on the original's piece. `None` where
    /// the operator has no kinks, or no rule that covers this node: then a copy of the node is all there is.
    pub(crate) fn outputs(
        &self,
        position: usize,
        moved: &HashMap<String, Value>,
        scope: &str,
    ) -> Option<Vec<Option<Value>>> {
        let graph = self.graph();
        let node = graph.nodes.get(position).filter(|node| node.domain.is_empty())?;
        let spec = ops::find(&node.op_type)?;
        let Tangent::Kinked(pieces, rule) = spec.tangent else { return None };
        let inputs: Vec<&String> = node.inputs.iter().filter(|name| !name.is_empty()).collect();
        let stray = |(i, name): (usize, &String)| moved.contains_key(name) && !spec.flows.passes(i);
        if node.inputs.iter().enumerate().any(stray) || !inputs.iter().any(|name| moved.contains_key(*name)) {
            return None;
        }
        self.emitter.scope(&format!("{scope}/{}", node.label(position)));
        let entering = inputs.iter().filter_map(|name| {
            let original = self.with(|b| b.get(name))?;
            let value = match (pieces, moved.get(*name)) {
                (Pieces::Linear, copy) => copy.copied().unwrap_or(original),
                (Pieces::Curved, Some(copy)) => self.with(|b| b.op("Sub", [*copy, original])),
                (Pieces::Curved, None) => return None,
            };
            Some(((*name).clone(), value))
        });
        let entering: HashMap<String, Value> = entering.collect();
        let at = At { emitter: &self.emitter, graph, node, position, tangents: &entering, seeds: &HashMap::new() };
        let leaving: Result<Vec<Option<Value>>, Error> = rule(&at).map(|terms| {
            let leave = |(i, term): (usize, Option<super::Term<'_>>)| {
                let term = term?;
                Some(match pieces {
                    Pieces::Linear => term.value,
                    Pieces::Curved => (at.y(i) + term).value,
                })
            };
            terms.into_iter().enumerate().map(leave).collect()
        });
        self.emitter.scope(scope);
        match (leaving, self.emitter.take_failure()) {
            (Ok(values), None) => Some(values),
            _ => None,
        }
    }
}
