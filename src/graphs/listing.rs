//! What a model holds: nodes with their shapes, parameters by scope, and which nodes the chosen parameters reach.

use indexmap::IndexMap;
use isal_onnx::influence::reach;
use isal_onnx::{Error, Graph, Model, Parameter, Result, Scope, ValueInfo};
use std::collections::HashSet;

/// A value with its type as text; `?` where nobody knows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Typed {
    /// Name of the value.
    pub name: String,
    /// Element type and shape, `Float [N, 10]`.
    #[serde(rename = "type")]
    pub value_type: String,
}

/// A node in its place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ListedNode {
    /// 0 in the main graph, one more in each subgraph.
    pub depth: usize,
    /// Operator, with its domain where that is not the standard one.
    pub op: String,
    /// Name; may be empty.
    pub name: String,
    /// What it reads, in order; an input left out is empty.
    pub inputs: Vec<String>,
    /// What it makes.
    pub outputs: Vec<Typed>,
    /// Whether an output of the model depends through it on a parameter in scope. A node of a subgraph is as the node
    /// around it.
    pub reached: bool,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ListedParameter {
    /// Name of the initializer.
    pub name: String,
    /// Element type.
    pub data_type: String,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// Product of the sizes.
    pub elements: usize,
    /// Whether it is in scope.
    pub in_scope: bool,
}

/// Tensors and the numbers in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counted {
    /// Tensors.
    pub tensors: usize,
    /// Numbers in all of them.
    pub elements: usize,
}

/// What a model holds.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Listing {
    /// Name of the graph.
    pub name: String,
    /// Hash of what the model computes.
    pub sha256: String,
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator sets by domain; the standard one is `ai.onnx`.
    pub opsets: IndexMap<String, i64>,
    /// What wrote the file, as it says; may be empty.
    pub producer: String,
    /// Inputs.
    pub inputs: Vec<Typed>,
    /// Outputs.
    pub outputs: Vec<Typed>,
    /// Why shapes could not be inferred; then types are those the file declares.
    pub shape_error: Option<String>,
    /// The scope that `reached` and `in_scope` are about.
    pub scope: String,
    /// Nodes of the main graph.
    pub node_count: usize,
    /// Of these, the nodes that a parameter in scope reaches on the way to an output.
    pub reached_count: usize,
    /// Nodes in order, those of subgraphs behind the one that holds them.
    pub nodes: Vec<ListedNode>,
    /// Parameters in each scope: `weights`, `head`, `all`, and the one asked for.
    pub scopes: IndexMap<String, Counted>,
    /// Every initializer, parameters included.
    pub initializers: Counted,
    /// Every parameter, in the order of the file.
    pub parameters: Vec<ListedParameter>,
    /// Metadata properties.
    pub metadata: IndexMap<String, String>,
}

impl Listing {
    /// Lists `model`. Parameters are counted and followed in `scope`.
    ///
    /// # Errors
    /// [`Error::Scope`] for patterns that match no parameter. A model without any parameter has a listing too.
    pub fn new(model: &Model, scope: &Scope) -> Result<Listing> {
        let mut typed = model.clone();
        // Cloning shares the weights. A model that breaks a shape rule can still be looked at.
        let shape_error = typed.infer_shapes().err().map(|e| e.to_string());
        let graph = &typed.graph;
        let chosen = in_scope(graph, scope)?;
        let names: HashSet<&str> = chosen.iter().map(|p| p.name.as_str()).collect();
        let targets = graph.outputs.iter().map(|o| o.name.as_str());
        let found = reach(graph, names.iter().copied(), targets);
        let reached: HashSet<usize> = found.nodes.into_iter().collect();
        let mut nodes = Vec::with_capacity(graph.node_count());
        for (position, node) in graph.nodes.iter().enumerate() {
            list(graph, node, 0, reached.contains(&position), &mut nodes);
        }
        let mut scopes = IndexMap::new();
        for each in [Scope::Weights, Scope::Head, Scope::All, scope.clone()] {
            scopes.insert(each.to_string(), counted(in_scope(graph, &each)?.iter().map(|p| elements(&p.dims))));
        }
        let parameters = graph.every_parameter().into_iter().map(|p| ListedParameter {
            data_type: format!("{:?}", p.data_type),
            elements: elements(&p.dims),
            in_scope: names.contains(p.name.as_str()),
            shape: p.dims,
            name: p.name,
        });
        let opsets = model.opsets.iter().map(|(domain, version)| (domain_name(domain).to_owned(), *version));
        Ok(Listing {
            name: model.graph.name.clone(),
            sha256: model.sha256(),
            ir_version: model.ir_version,
            opsets: opsets.collect(),
            producer: producer(model),
            inputs: graph.inputs.iter().map(|v| typed_value(graph, v)).collect(),
            outputs: graph.outputs.iter().map(|v| typed_value(graph, v)).collect(),
            shape_error,
            scope: scope.to_string(),
            node_count: graph.nodes.len(),
            reached_count: reached.len(),
            nodes,
            scopes,
            initializers: counted(graph.initializers.values().map(isal_onnx::Tensor::len)),
            parameters: parameters.collect(),
            metadata: model.metadata.clone(),
        })
    }

    /// Share of the nodes that a parameter in scope reaches.
    pub fn reached_share(&self) -> f64 {
        self.reached_count as f64 / self.node_count.max(1) as f64
    }
}

/// As ONNX spells the standard domain where it is named.
pub(super) fn domain_name(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

/// The parameters in scope; none where the model has none of that kind.
fn in_scope(graph: &Graph, scope: &Scope) -> Result<Vec<Parameter>> {
    match scope.select(graph) {
        Err(Error::Scope { .. }) if !matches!(scope, Scope::Patterns(_)) => Ok(Vec::new()),
        other => other,
    }
}

fn producer(model: &Model) -> String {
    format!("{} {}", model.rest.producer_name, model.rest.producer_version).trim().to_owned()
}

fn elements(dims: &[usize]) -> usize {
    dims.iter().product()
}

fn counted(elements: impl Iterator<Item = usize>) -> Counted {
    elements.fold(Counted::default(), |sum, n| Counted { tensors: sum.tensors + 1, elements: sum.elements + n })
}

fn typed_value(graph: &Graph, value: &ValueInfo) -> Typed {
    let known = value.value_type.clone().or_else(|| graph.value_type(&value.name));
    Typed { name: value.name.clone(), value_type: known.map_or_else(|| "?".to_owned(), |t| t.to_string()) }
}

fn list(graph: &Graph, node: &isal_onnx::Node, depth: usize, reached: bool, nodes: &mut Vec<ListedNode>) {
    let made = node.outputs.iter().filter(|o| !o.is_empty());
    let domain = if node.domain.is_empty() { String::new() } else { format!("{}.", node.domain) };
    nodes.push(ListedNode {
        depth,
        op: format!("{domain}{}", node.op_type),
        name: node.name.clone(),
        inputs: node.inputs.clone(),
        outputs: made.map(|o| typed_value(graph, &ValueInfo { name: o.clone(), value_type: None })).collect(),
        reached,
    });
    for inner in node.subgraphs() {
        for node in &inner.nodes {
            list(inner, node, depth + 1, reached, nodes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use isal_onnx::{Builder, DataType, Dim, Tensor, ValueType};

    fn two_layers() -> Model {
        let mut b = Builder::new("two layers");
        let x = b.input("x", ValueType::new(DataType::Float, [Dim::from("N"), 4.into()]));
        let w1 = b.initializer("w1", Tensor::new([4, 3], &[1.0f32; 12]));
        let w2 = b.initializer("w2", Tensor::new([3, 2], &[1.0f32; 6]));
        let bias = b.initializer("b2", Tensor::new([2], &[1.0f32; 2]));
        let h = b.node("MatMul", [x, w1]).outputs(["h"]).value();
        let r = b.node("Relu", [h]).outputs(["r"]).value();
        let y = b.node("Gemm", [r, w2, bias]).outputs(["y"]).value();
        b.output("y", y, None);
        let mut model = Model::new(17, b.finish().unwrap());
        model.metadata.insert("isal.influence.form".to_owned(), "paired".to_owned());
        model
    }

    #[test]
    fn nodes_have_inferred_shapes_and_the_share_that_the_scope_reaches() {
        let all = Listing::new(&two_layers(), &Scope::Weights).unwrap();
        assert_eq!(all.nodes.iter().map(|n| n.op.as_str()).collect::<Vec<_>>(), ["MatMul", "Relu", "Gemm"]);
        let shapes: Vec<&str> = all.nodes.iter().map(|n| n.outputs[0].value_type.as_str()).collect();
        assert_eq!(shapes, ["Float [N, 3]", "Float [N, 3]", "Float [N, 2]"]);
        assert_eq!((all.reached_count, all.node_count), (3, 3));
        assert_eq!(all.outputs[0].value_type, "Float [N, 2]");
        let head = Listing::new(&two_layers(), &Scope::Head).unwrap();
        assert_eq!(head.nodes.iter().map(|n| n.reached).collect::<Vec<_>>(), [false, false, true]);
        assert!((head.reached_share() - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn parameters_are_counted_by_scope() {
        let listing = Listing::new(&two_layers(), &"w2".parse().unwrap()).unwrap();
        let count = |scope: &str| (listing.scopes[scope].tensors, listing.scopes[scope].elements);
        assert_eq!([count("weights"), count("head"), count("all"), count("w2")], [(2, 18), (2, 8), (3, 20), (1, 6)]);
        assert_eq!((listing.initializers.tensors, listing.initializers.elements), (3, 20));
        let chosen: Vec<&str> = listing.parameters.iter().filter(|p| p.in_scope).map(|p| p.name.as_str()).collect();
        assert_eq!(chosen, ["w2"]);
        assert_eq!(listing.metadata["isal.influence.form"], "paired");
    }

    #[test]
    fn a_model_without_parameters_and_one_with_a_broken_shape_are_listed_too() {
        let mut b = Builder::new("bare");
        let x = b.input("x", ValueType::new(DataType::Float, [2, 3]));
        let y = b.node("Relu", [x]).outputs(["y"]).value();
        b.output("y", y, None);
        let bare = Listing::new(&Model::new(17, b.finish().unwrap()), &Scope::Weights).unwrap();
        assert_eq!((bare.reached_count, bare.parameters.len()), (0, 0));

        let mut broken = two_layers();
        broken.graph.initializers.insert("w2".to_owned(), Tensor::new([5, 2], &[0.0f32; 10]));
        let listing = Listing::new(&broken, &Scope::Weights).unwrap();
        assert!(listing.shape_error.is_some_and(|e| e.contains("Gemm")));
        let nothing = Listing::new(&two_layers(), &"w3*".parse().unwrap());
        assert!(matches!(nothing, Err(Error::Scope { .. })));
    }
}
