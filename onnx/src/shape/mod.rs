//! Shape inference: the element type and shape of every value, from those of the inputs.
//!
//! Sizes may be symbols and stay symbols ([`Expr`]). Small integer values are followed element by
//! element, symbols included, because exporters compute the targets of Reshape, Expand and Slice from
//! Shape within the graph. The rule of each operator stands in its row (`crate::ops`); what is here walks
//! the graph, and holds the result against what the file declares: two different numbers for one
//! dimension are an error, and where inference knows less than the file the file is believed.

mod expr;
mod fact;

pub use expr::Expr;
pub(crate) use fact::{Element, Fact, MAX_ELEMENTS};

use crate::ops::{self, Site, body_inputs};
use crate::{Attribute, Dim, Error, Graph, Model, Node, Result, ValueInfo, ValueType};
use indexmap::IndexMap;
use std::collections::HashMap;

impl Model {
    /// Names the element type and shape of every value, subgraphs included, in
    /// [`Graph::value_types`] and the types of the outputs.
    ///
    /// A value keeps no entry when nothing is known of it: outputs of operators of other domains
    /// that the file says nothing about, sequences. A size that is known only when the model runs is
    /// [`Dim::Unknown`]; one that follows from a symbol of the inputs is an expression over it, `64*N`.
    ///
    /// # Errors
    /// [`Error::Node`] where a node's inputs break its operator's rule, or what comes out contradicts
    /// what the file declares.
    pub fn infer_shapes(&mut self) -> Result<()> {
        let opsets = self.opsets.clone();
        infer(&mut self.graph, &opsets, None, &[]).map(drop)
    }

    /// The model with its shapes inferred.
    ///
    /// # Errors
    /// As [`Model::infer_shapes`].
    pub(crate) fn inferred(&self) -> Result<Model> {
        let mut inferred = self.clone();
        inferred.infer_shapes()?;
        Ok(inferred)
    }

    /// Puts `size` in place of the symbol `name` in the types of the inputs, and forgets the types of
    /// all other values, which [`Model::infer_shapes`] then gives anew.
    pub fn bind(&mut self, name: &str, size: usize) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        for t in self.graph.inputs.iter_mut().filter_map(|v| v.value_type.as_mut()) {
            for dim in t.shape.iter_mut().flatten() {
                if let Dim::Symbol(s) = dim {
                    let bound = Expr::parse(s).with(name, size);
                    if bound.to_dim() != Dim::Unknown {
                        *dim = bound.to_dim();
                    }
                }
            }
        }
        self.graph.value_types.clear();
        for t in self.graph.outputs.iter_mut().filter_map(|v| v.value_type.as_mut()) {
            t.shape = None;
        }
    }
}

/// Facts of the values that can be seen from a place: a graph's own and those around it.
struct Scope<'a> {
    facts: HashMap<String, Fact>,
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn get(&self, name: &str) -> Option<&Fact> {
        self.facts.get(name).or_else(|| self.outer?.get(name))
    }
}

/// Infers `graph` within `outer`, its inputs known as `given` by position; the facts of its outputs.
fn infer(
    graph: &mut Graph,
    opsets: &IndexMap<String, i64>,
    outer: Option<&Scope<'_>>,
    given: &[Fact],
) -> Result<Vec<Fact>> {
    let mut scope = Scope { facts: HashMap::new(), outer };
    for (i, input) in graph.inputs.iter().enumerate() {
        let declared = input.value_type.as_ref().map(|t| Fact::from_type(t, &input.name));
        let fact = match (given.get(i), declared) {
            // What flows in says more than what a body declares of its input.
            (Some(given), Some(declared)) => complete(given.clone(), &declared),
            (Some(given), None) => given.clone(),
            (None, declared) => declared.unwrap_or_default(),
        };
        scope.facts.insert(input.name.clone(), fact);
    }
    for (name, tensor) in &graph.initializers {
        scope.facts.insert(name.clone(), Fact::from_tensor(tensor));
    }
    for sparse in &graph.rest.sparse_initializer {
        let values = sparse.values.get_or_default();
        let dims = sparse.dims.iter().map(|d| Expr::Known(*d)).collect();
        let fact = Fact::new(crate::DataType::from_number(values.data_type), Some(dims));
        scope.facts.insert(values.name.clone(), fact);
    }

    let mut nodes = std::mem::take(&mut graph.nodes);
    let mut outcome = Ok(());
    for (i, node) in nodes.iter_mut().enumerate() {
        outcome = infer_node(graph, node, i, opsets, &mut scope);
        if outcome.is_err() {
            break;
        }
    }
    graph.nodes = nodes;
    outcome?;

    for node in &graph.nodes {
        for name in node.outputs.iter().filter(|o| !o.is_empty()) {
            if let Some(t) = scope.get(name).and_then(Fact::to_type) {
                graph.value_types.insert(name.clone(), t);
            }
        }
    }
    let mut facts = Vec::with_capacity(graph.outputs.len());
    for output in &mut graph.outputs {
        let fact = scope.get(&output.name).cloned().unwrap_or_default();
        if let Some(t) = fact.to_type() {
            output.value_type = Some(t);
        }
        // Types of outputs stand with the outputs.
        graph.value_types.shift_remove(&output.name);
        facts.push(fact);
    }
    Ok(facts)
}

fn infer_node(
    graph: &Graph,
    node: &mut Node,
    position: usize,
    opsets: &IndexMap<String, i64>,
    scope: &mut Scope<'_>,
) -> Result<()> {
    let label = node.label(position);
    let opset = opsets.get(&node.domain).copied().unwrap_or(0);
    let spec = if node.domain.is_empty() { ops::find(&node.op_type) } else { None };
    let mut bodies = Vec::new();
    if node.subgraphs().next().is_some() {
        bodies = infer_bodies(node, &label, opset, opsets, scope)?;
    }
    let mut site = site(node, label, opset, scope, bodies);
    if let Some(spec) = spec {
        spec.check(node, &site.label, opset)?;
        (spec.infer)(&mut site)?;
    }
    let (label, facts) = (std::mem::take(&mut site.label), std::mem::take(&mut site.outputs));
    for (name, fact) in node.outputs.iter().zip(facts).filter(|(name, _)| !name.is_empty()) {
        let declared = declared(graph, name).map(|t| Fact::from_type(&t, name));
        let fact = match declared {
            Some(declared) => {
                contradiction(&fact, &declared).map_or(Ok(()), |reason| {
                    let reason = format!("output `{name}`: {reason}");
                    Err(Error::Node { node: label.clone(), op: node.op_type.clone(), opset, reason })
                })?;
                complete(fact, &declared)
            }
            None => fact,
        };
        scope.facts.insert(name.clone(), anonymize(fact, name));
    }
    Ok(())
}

fn site<'a>(
    node: &'a Node,
    label: String,
    opset: i64,
    scope: &Scope<'_>,
    bodies: Vec<(String, Vec<Fact>)>,
) -> Site<'a> {
    // Optional inputs left out at the end count as not there.
    let given = node.inputs.iter().rposition(|n| !n.is_empty()).map_or(0, |last| last + 1);
    let inputs = node.inputs.iter().take(given);
    Site {
        node,
        label,
        opset,
        inputs: inputs.map(|n| (!n.is_empty()).then(|| scope.get(n).cloned().unwrap_or_default())).collect(),
        outputs: vec![Fact::default(); node.outputs.len()],
        bodies,
    }
}

/// Outputs of the graphs in the attributes of `node`, by attribute.
fn infer_bodies(
    node: &mut Node,
    label: &str,
    opset: i64,
    opsets: &IndexMap<String, i64>,
    scope: &Scope<'_>,
) -> Result<Vec<(String, Vec<Fact>)>> {
    // The node without its bodies, which change while its rule looks at it.
    let mut shell = Node { op_type: node.op_type.clone(), inputs: node.inputs.clone(), ..Node::default() };
    shell.outputs.clone_from(&node.outputs);
    let plain =
        node.attributes.iter().filter(|(_, value)| !matches!(value, Attribute::Graph(_) | Attribute::Graphs(_)));
    shell.attributes = plain.map(|(name, value)| (name.clone(), value.clone())).collect();
    let site = site(&shell, label.to_owned(), opset, scope, Vec::new());
    let mut bodies = Vec::new();
    let mut failure = None;
    for (name, value) in &mut node.attributes {
        let Attribute::Graph(body) = value else { continue };
        if ops::never_taken(&site, name) {
            continue;
        }
        match infer_body(body, &site, opsets, scope) {
            Ok(facts) => bodies.push((name.clone(), facts)),
            Err(error) => failure = Some(error),
        }
    }
    // A branch that cannot run is not the one that is taken: the other decides what comes out.
    match failure {
        Some(error) if bodies.is_empty() || shell.op_type != "If" => Err(error),
        _ => Ok(bodies),
    }
}

fn infer_body(body: &mut Graph, site: &Site, opsets: &IndexMap<String, i64>, scope: &Scope<'_>) -> Result<Vec<Fact>> {
    let first = infer(body, opsets, Some(scope), &body_inputs(site, None))?;
    let inputs = body_inputs(site, Some(&first));
    if inputs.is_empty() {
        return Ok(first);
    }
    // A loop's second pass starts from what the first has in common with its start. Were that to
    // change once more, shapes would change from pass to pass, and only the types are certain.
    body.value_types.clear();
    let second = infer(body, opsets, Some(scope), &inputs)?;
    let third = body_inputs(site, Some(&second));
    let settled = inputs.iter().zip(&third).all(|(a, b)| a.to_type() == b.to_type());
    Ok(if settled { second } else { second.into_iter().map(|f| Fact::new(f.data_type, None)).collect() })
}

/// What the file says of `name`.
fn declared(graph: &Graph, name: &str) -> Option<ValueType> {
    let of_output = |v: &&ValueInfo| v.name == name;
    graph
        .value_types
        .get(name)
        .cloned()
        .or_else(|| graph.outputs.iter().find(of_output).and_then(|v| v.value_type.clone()))
}

/// Why both cannot be true of one value.
fn contradiction(fact: &Fact, declared: &Fact) -> Option<String> {
    if let (Some(a), Some(b)) = (fact.data_type, declared.data_type)
        && a != b
    {
        return Some(format!("it is {a:?}, declared {b:?}"));
    }
    let (a, b) = (fact.shape.as_ref()?, declared.shape.as_ref()?);
    let differ = |(x, y): (&Expr, &Expr)| x.known().zip(y.known()).is_some_and(|(x, y)| x != y);
    if a.len() != b.len() || a.iter().zip(b).any(differ) {
        let show = |shape: &[Expr]| shape.iter().map(|e| e.to_dim().to_string()).collect::<Vec<_>>().join(", ");
        return Some(format!("it is [{}], declared [{}]", show(a), show(b)));
    }
    None
}

/// `fact`, and what it does not know taken from `declared`.
fn complete(mut fact: Fact, declared: &Fact) -> Fact {
    fact.data_type = fact.data_type.or(declared.data_type);
    fact.shape = match (fact.shape, &declared.shape) {
        (Some(own), Some(other)) if own.len() == other.len() => Some(
            own.into_iter()
                .zip(other)
                .map(|(own, other)| match own.to_dim() {
                    Dim::Unknown => other.clone(),
                    Dim::Symbol(_) if other.known().is_some() => other.clone(),
                    _ => own,
                })
                .collect(),
        ),
        (own, other) => own.or_else(|| other.clone()),
    };
    fact
}

/// Gives every unknown size a symbol of its own, so that what is computed from it can be followed.
fn anonymize(mut fact: Fact, name: &str) -> Fact {
    for (axis, size) in fact.shape.iter_mut().flatten().enumerate() {
        if matches!(size, Expr::Unknown) {
            *size = Expr::anonymous(name, axis);
        }
    }
    fact
}
