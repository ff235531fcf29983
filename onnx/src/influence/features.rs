//! The layer that makes the logits, whose input holds the features.

use crate::Graph;

/// The value `[N, width]` that goes into the dense layer before `logits`, and its width: through a bias and what changes
/// no number, to the Gemm or MatMul.
pub fn last_layer(graph: &Graph, logits: &str) -> Option<(String, usize)> {
    let mut value = logits.to_owned();
    loop {
        let node = graph.nodes.get(graph.producer(&value)?)?;
        if !node.domain.is_empty() {
            return None;
        }
        match node.op_type.as_str() {
            "Gemm" | "MatMul" => {
                let weight = graph.initializers.get(node.input(1)?)?;
                let by_rows = node.op_type == "Gemm" && node.int("transB").unwrap_or(0) != 0;
                let width = match (weight.dims(), by_rows) {
                    ([_, width], true) | ([width, _], false) => *width,
                    _ => return None,
                };
                return (node.int("transA").unwrap_or(0) == 0).then(|| Some((node.input(0)?.to_owned(), width)))?;
            }
            "Add" => {
                let made = node.inputs.iter().find(|name| !graph.initializers.contains_key(*name))?;
                value.clone_from(made);
            }
            "Identity" | "Cast" | "Dropout" => value = node.input(0)?.to_owned(),
            _ => return None,
        }
    }
}
