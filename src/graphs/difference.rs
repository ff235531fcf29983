//! In what two models differ: opsets, inputs and outputs, nodes, initializers, metadata.
//!
//! A node is known by the first value it makes, which is unique within a graph; where no node of the other model makes
//! that value, by its own name. The order of nodes, the graph's name, the producer and doc strings decide nothing and are
//! left out.

use super::distance::Distance;
use super::listing::domain_name;
use indexmap::IndexMap;
use isal_onnx::{Attribute, Graph, Model, Node, Tensor, ValueInfo};
use std::collections::HashMap;

/// What became of a thing between two models.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The first model alone has it.
    Removed(String),
    /// The second model alone has it.
    Added(String),
    /// Both have it, unlike.
    Changed {
        /// In the first.
        from: String,
        /// In the second.
        to: String,
    },
}

/// A named thing that changed: an opset, an input, an output, a metadata property.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: Change,
}

/// A node that changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeChange {
    /// The value that tells which node it is, behind those of the nodes around it.
    pub node: String,
    /// Added or removed as a whole (then its operator), or changed from one operator to another.
    pub whole: Option<Change>,
    /// What changed within it: `inputs`, `outputs`, attributes.
    pub parts: Vec<Entry>,
}

/// An initializer that changed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct InitializerChange {
    /// Its name.
    pub name: String,
    /// Added, removed, or of another type or shape.
    pub whole: Option<Change>,
    /// How far its numbers moved, where type and shape stayed.
    pub distance: Option<Distance>,
}

/// All that two models differ in.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ModelDifference {
    /// Version of the file format.
    pub ir_version: Option<Change>,
    /// Operator sets by domain.
    pub opsets: Vec<Entry>,
    /// Inputs, with their types.
    pub inputs: Vec<Entry>,
    /// Outputs, with their types.
    pub outputs: Vec<Entry>,
    /// Nodes, those of subgraphs included.
    pub nodes: Vec<NodeChange>,
    /// Initializers, those of subgraphs included.
    pub initializers: Vec<InitializerChange>,
    /// Of all float initializers that both models have in one type and shape, taken as one vector: how far it moved.
    pub weights: Distance,
    /// Metadata properties.
    pub metadata: Vec<Entry>,
}

impl ModelDifference {
    /// Compares `a`, the first, with `b`, the second.
    pub fn between(a: &Model, b: &Model) -> ModelDifference {
        let mut found = Found::default();
        found.graphs(&a.graph, &b.graph, "");
        let versions = |m: &Model| m.opsets.iter().map(|(d, v)| (domain_name(d).to_owned(), v.to_string())).collect();
        let ir_version = (a.ir_version != b.ir_version)
            .then(|| Change::Changed { from: a.ir_version.to_string(), to: b.ir_version.to_string() });
        ModelDifference {
            ir_version,
            opsets: entries(&versions(a), &versions(b)),
            inputs: entries(&types(&a.graph.inputs), &types(&b.graph.inputs)),
            outputs: entries(&types(&a.graph.outputs), &types(&b.graph.outputs)),
            nodes: found.nodes,
            initializers: found.initializers,
            weights: Distance::joined(found.moved.into_iter()),
            metadata: entries(&a.metadata, &b.metadata),
        }
    }

    /// Whether nothing differs.
    pub fn is_alike(&self) -> bool {
        self.ir_version.is_none()
            && self.nodes.is_empty()
            && self.initializers.is_empty()
            && [&self.opsets, &self.inputs, &self.outputs, &self.metadata].iter().all(|entries| entries.is_empty())
    }
}

/// What two maps of text differ in: the first's order, then what the second adds.
fn entries(a: &IndexMap<String, String>, b: &IndexMap<String, String>) -> Vec<Entry> {
    let of_first = a.iter().filter_map(|(name, from)| {
        let change = match b.get(name) {
            None => Change::Removed(from.clone()),
            Some(to) if to != from => Change::Changed { from: from.clone(), to: to.clone() },
            Some(_) => return None,
        };
        Some(Entry { name: name.clone(), change })
    });
    let added = b.iter().filter(|(name, _)| !a.contains_key(*name));
    let added = added.map(|(name, to)| Entry { name: name.clone(), change: Change::Added(to.clone()) });
    of_first.chain(added).collect()
}

fn types(values: &[ValueInfo]) -> IndexMap<String, String> {
    let text = |v: &ValueInfo| v.value_type.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    values.iter().map(|v| (v.name.clone(), text(v))).collect()
}

#[derive(Default)]
struct Found {
    nodes: Vec<NodeChange>,
    initializers: Vec<InitializerChange>,
    /// Of every pair of float initializers, changed or not.
    moved: Vec<Distance>,
}

impl Found {
    fn graphs(&mut self, a: &Graph, b: &Graph, within: &str) {
        self.all_nodes(a, b, within);
        for (name, from) in &a.initializers {
            self.initializer(format!("{within}{name}"), from, b.initializers.get(name));
        }
        for (name, tensor) in b.initializers.iter().filter(|(name, _)| !a.initializers.contains_key(*name)) {
            let whole = Some(Change::Added(tensor_type(tensor)));
            self.initializers.push(InitializerChange { name: format!("{within}{name}"), whole, distance: None });
        }
    }

    fn initializer(&mut self, name: String, from: &Tensor, to: Option<&Tensor>) {
        let whole = match to {
            None => Some(Change::Removed(tensor_type(from))),
            Some(to) if (to.data_type(), to.dims()) != (from.data_type(), from.dims()) => {
                Some(Change::Changed { from: tensor_type(from), to: tensor_type(to) })
            }
            Some(_) => None,
        };
        let same = to == Some(from);
        let pair = to.filter(|_| whole.is_none()).and_then(|to| Some((from.to_float64()?, to.to_float64()?)));
        let distance = pair.map(|(from, to)| Distance::between(&from, &to));
        if from.data_type().is_float() {
            self.moved.extend(distance);
        }
        if !same {
            self.initializers.push(InitializerChange { name, whole, distance });
        }
    }

    fn all_nodes(&mut self, a: &Graph, b: &Graph, within: &str) {
        let by_value: HashMap<&str, usize> = b.nodes.iter().enumerate().map(|(i, n)| (made(n), i)).collect();
        let named = b.nodes.iter().enumerate().filter(|(_, n)| !n.name.is_empty());
        let mut by_name: HashMap<&str, Option<usize>> = HashMap::new();
        for (i, node) in named {
            // A name that two nodes bear tells neither.
            by_name.entry(node.name.as_str()).and_modify(|at| *at = None).or_insert(Some(i));
        }
        let mut partners: Vec<Option<usize>> = a.nodes.iter().map(|n| by_value.get(made(n)).copied()).collect();
        let mut taken = vec![false; b.nodes.len()];
        for i in partners.iter().flatten() {
            if let Some(taken) = taken.get_mut(*i) {
                *taken = true;
            }
        }
        for (node, partner) in a.nodes.iter().zip(&mut partners).filter(|(_, partner)| partner.is_none()) {
            let at = by_name.get(node.name.as_str()).copied().flatten();
            if let Some((i, taken)) = at.and_then(|i| Some((i, taken.get_mut(i).filter(|taken| !**taken)?))) {
                *taken = true;
                *partner = Some(i);
            }
        }
        for (node, partner) in a.nodes.iter().zip(partners) {
            let name = format!("{within}{}", made(node));
            match partner.and_then(|i| b.nodes.get(i)) {
                None => self.nodes.push(NodeChange {
                    node: name,
                    whole: Some(Change::Removed(operator(node))),
                    parts: Vec::new(),
                }),
                Some(other) => self.pair(node, other, name),
            }
        }
        for (node, _) in b.nodes.iter().zip(taken).filter(|(_, taken)| !taken) {
            let whole = Some(Change::Added(operator(node)));
            self.nodes.push(NodeChange { node: format!("{within}{}", made(node)), whole, parts: Vec::new() });
        }
    }

    fn pair(&mut self, a: &Node, b: &Node, name: String) {
        let (from, to) = (operator(a), operator(b));
        let whole = (from != to).then_some(Change::Changed { from, to });
        let lists = |n: &Node| {
            IndexMap::from([
                ("inputs".to_owned(), trimmed(&n.inputs).join(", ")),
                ("outputs".to_owned(), trimmed(&n.outputs).join(", ")),
            ])
        };
        let mut parts = entries(&lists(a), &lists(b));
        for (key, from) in &a.attributes {
            let change = match b.attributes.get(key) {
                None => Some(Change::Removed(from.to_string())),
                Some(to) => attribute(from, to),
            };
            parts.extend(change.map(|change| Entry { name: key.clone(), change }));
        }
        for (key, to) in b.attributes.iter().filter(|(key, _)| !a.attributes.contains_key(*key)) {
            parts.push(Entry { name: key.clone(), change: Change::Added(to.to_string()) });
        }
        if whole.is_some() || !parts.is_empty() {
            self.nodes.push(NodeChange { node: name.clone(), whole, parts });
        }
        for (key, from) in &a.attributes {
            let Some(to) = b.attributes.get(key) else { continue };
            for (i, (from, to)) in subgraphs(from).iter().zip(subgraphs(to)).enumerate() {
                let number = if matches!(b.attributes.get(key), Some(Attribute::Graphs(_))) {
                    format!("[{i}]")
                } else {
                    String::new()
                };
                self.graphs(from, to, &format!("{name}/{key}{number}/"));
            }
        }
    }
}

/// The value that a node is known by.
fn made(node: &Node) -> &str {
    node.outputs.iter().find(|o| !o.is_empty()).map_or(node.name.as_str(), String::as_str)
}

fn operator(node: &Node) -> String {
    if node.domain.is_empty() { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) }
}

/// Names without the empty ones at the end, which say the same as none.
fn trimmed(names: &[String]) -> &[String] {
    let length = names.iter().rposition(|n| !n.is_empty()).map_or(0, |last| last + 1);
    names.get(..length).unwrap_or(names)
}

fn subgraphs(value: &Attribute) -> &[Graph] {
    match value {
        Attribute::Graph(g) => std::slice::from_ref(&**g),
        Attribute::Graphs(gs) => gs,
        _ => &[],
    }
}

fn tensor_type(tensor: &Tensor) -> String {
    format!("{:?} {:?}", tensor.data_type(), tensor.dims())
}

/// In what two values of an attribute differ. Subgraphs are compared node by node, elsewhere; here only their number and
/// what flows through them.
fn attribute(a: &Attribute, b: &Attribute) -> Option<Change> {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let same = match (a, b) {
        // A NaN is like itself.
        (Attribute::Float(a), Attribute::Float(b)) => a.to_bits() == b.to_bits(),
        (Attribute::Floats(a), Attribute::Floats(b)) => bits(a) == bits(b),
        (Attribute::Graph(_) | Attribute::Graphs(_), Attribute::Graph(_) | Attribute::Graphs(_)) => {
            let (a, b) = (subgraphs(a), subgraphs(b));
            let ends = |g: &Graph| (types(&g.inputs), types(&g.outputs));
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| ends(a) == ends(b))
        }
        _ => a == b,
    };
    if same {
        return None;
    }
    let (from, mut to) = (a.to_string(), b.to_string());
    if from == to {
        let moved = match (a, b) {
            (Attribute::Tensor(a), Attribute::Tensor(b)) => a.to_float64().zip(b.to_float64()),
            _ => None,
        };
        to.push_str(&moved.map_or_else(
            || " with other contents".to_owned(),
            |(a, b)| format!(" with other numbers, at most {:.3e} apart", Distance::between(&a, &b).max_abs),
        ));
    }
    Some(Change::Changed { from, to })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use isal_onnx::{Builder, DataType, Dim, ValueType};

    fn model() -> Model {
        let mut b = Builder::new("m");
        let x = b.input("x", ValueType::new(DataType::Float, [Dim::from("N"), 2.into()]));
        let w = b.initializer("w", Tensor::new([2, 2], &[3.0f32, 0.0, 0.0, 4.0]));
        let c = b.initializer("c", Tensor::new([2], &[1.0f32, 1.0]));
        let h = b.node("Gemm", [x, w, c]).name("fc").attr("alpha", 1.0f32).outputs(["h"]).value();
        let y = b.node("LeakyRelu", [h]).name("act").attr("alpha", f32::NAN).outputs(["y"]).value();
        b.output("y", y, Some(ValueType::new(DataType::Float, [Dim::from("N"), 2.into()])));
        let mut model = Model::new(17, b.finish().unwrap());
        model.metadata.insert("by".to_owned(), "hand".to_owned());
        model
    }

    #[test]
    fn a_model_is_like_itself_even_with_a_nan_in_it() {
        let mut other = model();
        other.graph.name = "another name".to_owned();
        let found = ModelDifference::between(&model(), &other);
        assert!(found.is_alike(), "{found:?}");
        assert_eq!((found.weights.max_abs, found.weights.relative), (0.0, 0.0));
    }

    #[test]
    fn weights_that_moved_are_measured_one_by_one_and_together() {
        let mut b = model();
        b.graph.initializers.insert("w".to_owned(), Tensor::new([2, 2], &[3.0f32, 0.0, 0.25, 3.0]));
        let found = ModelDifference::between(&model(), &b);
        let [only] = found.initializers.as_slice() else { panic!("{found:?}") };
        let distance = only.distance.unwrap();
        assert_eq!((only.name.as_str(), distance.max_abs), ("w", 1.0));
        // sqrt(1 + 1/16) over the norm 5 of (3, 4); with (1, 1) beside it over sqrt(27).
        assert!((distance.relative - (17.0f64 / 16.0).sqrt() / 5.0).abs() < 1e-15);
        assert!((found.weights.relative - (17.0f64 / 16.0 / 27.0).sqrt()).abs() < 1e-15);
        assert!(found.nodes.is_empty() && !found.is_alike());
    }

    #[test]
    fn initializers_come_go_and_change_shape() {
        let mut b = model();
        b.graph.initializers.shift_remove("c");
        b.graph.initializers.insert("w".to_owned(), Tensor::new([4], &[0.0f32; 4]));
        b.graph.initializers.insert("k".to_owned(), Tensor::new([1], &[1i64]));
        let found = ModelDifference::between(&model(), &b).initializers;
        let changes: Vec<(&str, Option<Change>)> = found.iter().map(|c| (c.name.as_str(), c.whole.clone())).collect();
        let changed = Change::Changed { from: "Float [2, 2]".to_owned(), to: "Float [4]".to_owned() };
        assert_eq!(
            changes,
            [
                ("w", Some(changed)),
                ("c", Some(Change::Removed("Float [2]".to_owned()))),
                ("k", Some(Change::Added("Int64 [1]".to_owned()))),
            ]
        );
    }

    #[test]
    fn nodes_are_known_by_what_they_make_and_then_by_name() {
        let mut b = model();
        // `act` now makes `z`; behind it stands a node that is new.
        b.graph.nodes[1].outputs = vec!["z".to_owned()];
        b.graph.nodes[1].attributes.insert("alpha".to_owned(), Attribute::Float(0.5));
        b.graph.nodes.push(Node::new("Neg", "", ["z"], ["y2"]));
        b.graph.nodes[0].attributes.shift_remove("alpha");
        b.graph.nodes[0].inputs.swap(1, 2);
        let found = ModelDifference::between(&model(), &b).nodes;
        let changed = |from: &str, to: &str| Change::Changed { from: from.to_owned(), to: to.to_owned() };
        let entry = |name: &str, change: Change| Entry { name: name.to_owned(), change };
        assert_eq!(
            found,
            [
                NodeChange {
                    node: "h".to_owned(),
                    whole: None,
                    parts: vec![
                        entry("inputs", changed("x, w, c", "x, c, w")),
                        entry("alpha", Change::Removed("1.0".to_owned())),
                    ],
                },
                NodeChange {
                    node: "y".to_owned(),
                    whole: None,
                    parts: vec![entry("outputs", changed("y", "z")), entry("alpha", changed("NaN", "0.5"))],
                },
                NodeChange { node: "y2".to_owned(), whole: Some(Change::Added("Neg".to_owned())), parts: vec![] },
            ]
        );
    }

    #[test]
    fn ends_versions_and_metadata_are_compared_by_name() {
        let mut b = model();
        b.opsets = IndexMap::from([(String::new(), 18), ("com.example".to_owned(), 1)]);
        b.ir_version = 9;
        b.graph.inputs[0].value_type = Some(ValueType::new(DataType::Float, [1, 2]));
        b.graph.outputs[0].name = "z".to_owned();
        b.metadata.clear();
        let found = ModelDifference::between(&model(), &b);
        let text = serde_json::to_value(&found).unwrap();
        assert_eq!(text["ir_version"], serde_json::json!({"changed": {"from": "8", "to": "9"}}));
        assert_eq!(
            text["opsets"],
            serde_json::json!([
                {"name": "ai.onnx", "change": {"changed": {"from": "17", "to": "18"}}},
                {"name": "com.example", "change": {"added": "1"}},
            ])
        );
        let changed = serde_json::json!({"changed": {"from": "Float [N, 2]", "to": "Float [1, 2]"}});
        assert_eq!(text["inputs"][0]["change"], changed);
        assert_eq!((found.outputs.len(), found.metadata.len()), (2, 1));
        assert_eq!(found.metadata[0].change, Change::Removed("hand".to_owned()));
    }

    #[test]
    fn a_change_within_a_branch_is_found_with_the_way_to_it() {
        let with_branch = |value: f32| {
            let mut outer = Graph { name: "outer".to_owned(), ..Graph::default() };
            let mut inner = Graph { name: "then".to_owned(), ..Graph::default() };
            inner.initializers.insert("k".to_owned(), Tensor::scalar(value));
            inner.nodes.push(Node::new("Identity", "", ["k"], ["t"]));
            let mut node = Node::new("If", "", ["c"], ["y"]);
            node.attributes.insert("then_branch".to_owned(), Attribute::Graph(Box::new(inner)));
            outer.nodes.push(node);
            Model::new(17, outer)
        };
        let found = ModelDifference::between(&with_branch(1.0), &with_branch(1.5));
        assert!(found.nodes.is_empty());
        assert_eq!(found.initializers[0].name, "y/then_branch/k");
        assert_eq!(found.initializers[0].distance.unwrap().max_abs, 0.5);
    }
}
