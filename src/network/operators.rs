//! What in a graph stands in the way of a derivative: a runtime's own operators, and quantised arithmetic.

use isal_onnx::{Graph, Node};
use std::collections::{BTreeSet, HashSet};

/// Why a graph that runs cannot be differentiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Weights or activations are integers with a scale.
    Quantised {
        /// The operators that say so.
        operators: Vec<String>,
    },
    /// Operators outside the standard domain.
    Domain {
        /// Their domains.
        domains: Vec<String>,
        /// The operators.
        operators: Vec<String>,
    },
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let listed = |names: &[String]| format!("`{}`", names.join("`, `"));
        match self {
            Obstacle::Quantised { operators } => write!(
                f,
                "is a quantised model ({}): its weights are integers, which have no gradient. Give the float model that it \
                 was quantised from; the strategies that need no influence take this file as it is",
                listed(operators)
            ),
            Obstacle::Domain { domains, operators } => {
                let whose = if domains.iter().all(|domain| is_of_onnx_runtime(domain)) {
                    "as ONNX Runtime writes them when it saves a model that it optimised"
                } else {
                    "which only the runtime that they are made for knows"
                };
                write!(
                    f,
                    "holds operators of the domain {} ({}), {whose}: influence needs standard operators. Export the model \
                     again without that optimisation, or give the file from before it; the strategies that need no \
                     influence take this file as it is",
                    listed(domains),
                    listed(operators)
                )
            }
        }
    }
}

fn is_of_onnx_runtime(domain: &str) -> bool {
    domain.starts_with("com.microsoft") || domain.starts_with("com.ms.")
}

/// What stands in the way of differentiating `value`.
pub(super) fn obstacle(graph: &Graph, value: &str) -> Option<Obstacle> {
    let nodes = needed(graph, value);
    let names = |is: &dyn Fn(&Node) -> bool| -> Vec<String> {
        let found: BTreeSet<&str> = nodes.iter().filter(|n| is(n)).map(|n| n.op_type.as_str()).collect();
        found.into_iter().map(str::to_owned).collect()
    };
    let quantised = names(&|node| is_quantised(&node.op_type));
    if !quantised.is_empty() {
        return Some(Obstacle::Quantised { operators: quantised });
    }
    let operators = names(&|node| !node.domain.is_empty());
    let domains: BTreeSet<&str> = nodes.iter().map(|n| n.domain.as_str()).filter(|d| !d.is_empty()).collect();
    let domains: Vec<String> = domains.into_iter().map(str::to_owned).collect();
    (!operators.is_empty()).then_some(Obstacle::Domain { domains, operators })
}

fn is_quantised(op_type: &str) -> bool {
    // `QLinearConv`, `QGemm`, `QAttention` of ONNX Runtime's domain among them.
    let prefixed = op_type.strip_prefix('Q').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
    prefixed
        || op_type.to_ascii_lowercase().contains("quantize")
        || ["ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "MatMulBnb4"].contains(&op_type)
}

/// The nodes that `value` is computed by.
fn needed<'a>(graph: &'a Graph, value: &str) -> Vec<&'a Node> {
    let mut values: HashSet<&str> = HashSet::new();
    let mut nodes = Vec::new();
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|output| output == value || values.contains(output.as_str())) {
            values.extend(node.inputs.iter().map(String::as_str));
            nodes.push(node);
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantised_operators_are_told_from_others_by_name() {
        for name in
            ["QLinearConv", "QLinearMatMul", "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "QGemm"]
        {
            assert!(is_quantised(name), "{name}");
        }
        for name in ["Conv", "QuickGelu", "Quick", "Gelu", "FusedConv", "Sequence"] {
            assert!(!is_quantised(name), "{name}");
        }
    }

    #[test]
    fn only_what_the_value_is_computed_by_stands_in_its_way() {
        let own = |name: &str, from: &str, to: &str| Node {
            domain: "com.microsoft".into(),
            ..Node::new(name, "", [from], [to])
        };
        let mut graph = Graph::default();
        graph.nodes.push(own("FusedConv", "x", "a"));
        graph.nodes.push(Node::new("Relu", "", ["a"], ["logits"]));
        graph.nodes.push(own("BiasGelu", "logits", "aside"));
        let found = obstacle(&graph, "logits");
        let (domains, operators) = (vec!["com.microsoft".to_owned()], vec!["FusedConv".to_owned()]);
        assert_eq!(found, Some(Obstacle::Domain { domains, operators }));
        graph.nodes.remove(0);
        assert_eq!(obstacle(&graph, "logits"), None);
    }
}
