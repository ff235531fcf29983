//! Twins: what some initializers reach, once more in the same graph, at other values of them.
//!
//! Everything else is shared. A twin can be held on the original's side of every kink ([`crate::tangent`] knows the operators
//! that have them).

use crate::inline::rename_reads;
use crate::reach::reach_past;
use crate::tangent::{Held, held_values};
use crate::{Builder, Model, Node, Result, Tensor, Value};
use indexmap::IndexMap;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Whether a twin may be on other pieces of Relu, MaxPool and similar operators than the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinks {
    /// It may: every operator again, as it is.
    Free,
    /// It may not, as far as its operators have rules.
    Held,
}

/// `model` with the values `of` once more, as `twin_of_NAME`, at `moved` values of initializers. A value that none of them
/// reaches has no twin.
///
/// # Errors
/// [`Error::Graph`](crate::Error::Graph) for a name that is taken; what shape inference says of a model that is to be held.
pub fn twins(model: &Model, moved: &IndexMap<String, Tensor>, of: &[&str], kinks: Kinks) -> Result<Model> {
    let typed = typed(model, kinks)?;
    let twins = Twins::new(Builder::extend(model.graph.clone()), &typed, kinks);
    let values = twins.add(moved.clone(), "twin", of);
    twins.into_builder().finish_beside(&typed, "twin", of, &values)
}

/// The model, with its shapes inferred where its twins are to be held.
pub(crate) fn typed(model: &Model, kinks: Kinks) -> Result<Cow<'_, Model>> {
    match kinks {
        Kinks::Free => Ok(Cow::Borrowed(model)),
        Kinks::Held => model.inferred().map(Cow::Owned),
    }
}

/// A graph that is given twins.
pub(crate) struct Twins<'a> {
    builder: Held<'a>,
    kinks: Kinks,
    /// Values that have no twin: whoever reads one reads the original's.
    held: HashSet<String>,
}

impl<'a> Twins<'a> {
    /// `builder` has extended the graph of `model`, which is [`typed`] where twins are to be held.
    pub(crate) fn new(builder: Builder, model: &'a Model, kinks: Kinks) -> Twins<'a> {
        let held = held_values(model).into_iter().map(str::to_owned).collect();
        Twins { builder: Held::new(builder, model), kinks, held }
    }

    pub(crate) fn into_builder(self) -> Builder {
        self.builder.into_builder()
    }

    /// Runs `f` on the builder.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Builder) -> R) -> R {
        self.builder.with(f)
    }

    /// Adds twins of what the `moved` initializers reach on the way to `targets`; gives them by the originals' names.
    pub(crate) fn add(
        &self,
        moved: impl IntoIterator<Item = (String, Tensor)>,
        scope: &str,
        targets: &[&str],
    ) -> HashMap<String, Value> {
        let mut twins: HashMap<String, Value> = self.builder.with(|b| {
            b.scope(scope);
            let moved = moved.into_iter().filter(|(name, _)| !self.held.contains(name));
            moved.map(|(name, tensor)| (name.clone(), b.constant(&name, tensor))).collect()
        });
        let graph = self.builder.graph();
        let held = |name: &str| self.held.contains(name);
        let found = reach_past(graph, twins.keys().map(String::as_str), targets.iter().copied(), held);
        for &position in &found.nodes {
            let Some(node) = graph.nodes.get(position) else { continue };
            let held = match self.kinks {
                Kinks::Free => None,
                Kinks::Held => self.builder.outputs(position, &twins, scope),
            };
            let outputs = held.unwrap_or_else(|| self.builder.with(|b| twin(b, node, &twins)));
            let named = node.outputs.iter().zip(outputs).filter(|(name, _)| !name.is_empty());
            let named = named.filter(|(name, _)| !self.held.contains(*name));
            twins.extend(named.filter_map(|(name, value)| Some((name.clone(), value?))));
        }
        self.builder.with(|b| {
            b.scope("");
        });
        twins
    }
}

/// The node again, reading what has a copy from it; gives its outputs by position.
fn twin(b: &mut Builder, node: &Node, twins: &HashMap<String, Value>) -> Vec<Option<Value>> {
    let mut twin = node.clone();
    let mut read = HashSet::new();
    node.reads(&mut read);
    let renamed = read.into_iter().filter_map(|name| {
        let twin = b.name(*twins.get(&name)?).to_owned();
        Some((name, twin))
    });
    rename_reads(&mut twin, &renamed.collect());
    if !node.name.is_empty() {
        twin.name = b.fresh(&node.name);
    }
    for output in twin.outputs.iter_mut().filter(|o| !o.is_empty()) {
        *output = b.fresh(output);
    }
    let mut made = b.push(twin).into_iter();
    node.outputs.iter().map(|name| if name.is_empty() { None } else { made.next() }).collect()
}
