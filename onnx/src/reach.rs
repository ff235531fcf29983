//! Which part of a graph the parameters in scope reach. The rest is computed once and has no derivative.

use crate::{Graph, Node};
use std::collections::HashSet;

/// The values that depend on the chosen parameters, and the nodes that make those of them an output needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Values that depend on a chosen parameter's numbers, the parameters themselves included.
    pub values: HashSet<String>,
    /// Positions of the nodes that make such values on the way to a target, in topological order.
    pub nodes: Vec<usize>,
}

/// Follows `parameters` through `graph` as far as `targets` need it.
pub fn reach<'a>(
    graph: &Graph,
    parameters: impl IntoIterator<Item = &'a str>,
    targets: impl IntoIterator<Item = &'a str>,
) -> Reach {
    reach_past(graph, parameters, targets, |_| false)
}

/// The same past values that are held: these count as reached by nothing, and what only they need is on no way.
pub(crate) fn reach_past<'a>(
    graph: &Graph,
    parameters: impl IntoIterator<Item = &'a str>,
    targets: impl IntoIterator<Item = &'a str>,
    held: impl Fn(&str) -> bool,
) -> Reach {
    let mut values: HashSet<String> = parameters.into_iter().map(str::to_owned).collect();
    let mut makers = Vec::new();
    for (position, node) in graph.nodes.iter().enumerate() {
        let mut read = HashSet::new();
        node.reads(&mut read);
        if !cuts(node) && !read.is_disjoint(&values) {
            values.extend(node.outputs.iter().filter(|o| !o.is_empty() && !held(o)).cloned());
            makers.push(position);
        }
    }
    let mut needed: HashSet<String> = targets.into_iter().map(str::to_owned).collect();
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|o| needed.contains(o) && !held(o)) {
            node.reads(&mut needed);
        }
    }
    let wanted = |position: &usize| {
        let on_the_way = |o: &String| needed.contains(o) && !held(o);
        graph.nodes.get(*position).is_some_and(|node| node.outputs.iter().any(on_the_way))
    };
    Reach { values, nodes: makers.into_iter().filter(wanted).collect() }
}

/// Operators whose result depends on a tensor's shape alone.
fn cuts(node: &Node) -> bool {
    node.domain.is_empty() && matches!(node.op_type.as_str(), "Shape" | "Size")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, DataType, Tensor, ValueType};

    fn two_layers() -> Graph {
        let mut b = Builder::new("two layers");
        let x = b.input("x", ValueType { data_type: DataType::Float, shape: Some(vec!["N".into(), 2.into()]) });
        let w1 = b.initializer("w1", Tensor::new([2, 2], &[1.0f32; 4]));
        let w2 = b.initializer("w2", Tensor::new([2, 2], &[1.0f32; 4]));
        let h = b.node("MatMul", [x, w1]).outputs(["h"]).value();
        let r = b.node("Relu", [h]).outputs(["r"]).value();
        let y = b.node("MatMul", [r, w2]).outputs(["y"]).value();
        b.node("Shape", [r]).outputs(["shape"]).value();
        b.node("Neg", [r]).outputs(["unused"]).value();
        b.output("y", y, None);
        b.finish().expect("a graph")
    }

    #[test]
    fn the_last_layer_reaches_its_own_node_alone() {
        let graph = two_layers();
        let found = reach(&graph, ["w2"], ["y"]);
        assert_eq!(found.nodes.iter().map(|i| graph.nodes[*i].outputs[0].as_str()).collect::<Vec<_>>(), ["y"]);
        assert!(!found.values.contains("r"));
    }

    #[test]
    fn nothing_leads_to_a_value_that_is_held() {
        let graph = two_layers();
        let found = reach_past(&graph, ["w1"], ["r", "h"], |name| name == "r");
        assert_eq!(found.nodes.iter().map(|i| graph.nodes[*i].outputs[0].as_str()).collect::<Vec<_>>(), ["h"]);
        assert!(reach_past(&graph, ["w1"], ["y"], |name| name == "r").nodes.is_empty());
    }

    #[test]
    fn the_first_layer_reaches_what_follows_but_no_shape_and_nothing_unneeded() {
        let graph = two_layers();
        let found = reach(&graph, ["w1"], ["y"]);
        assert_eq!(
            found.nodes.iter().map(|i| graph.nodes[*i].outputs[0].as_str()).collect::<Vec<_>>(),
            ["h", "r", "y"]
        );
        assert!(!found.values.contains("shape"));
        assert!(found.values.contains("unused"), "reached, though no target needs it");
    }
}
