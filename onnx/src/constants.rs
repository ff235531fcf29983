//! Weights that a file keeps in Constant nodes.

use crate::Graph;
use std::collections::HashSet;

impl Graph {
    /// Makes initializers, under the same names, of the Constant nodes of floats with axes where no initializer is a
    /// parameter: Paddle's exporter keeps its weights there. Whether any was. A Constant that is an output stays.
    ///
    /// In a file that does keep its weights in initializers, as PyTorch's exporters do, a Constant is no parameter.
    pub fn lift_constants(&mut self) -> bool {
        if !self.every_parameter().is_empty() {
            return false;
        }
        let outputs: HashSet<String> = self.outputs.iter().map(|o| o.name.clone()).collect();
        let mut lifted = false;
        for node in std::mem::take(&mut self.nodes) {
            let value = (node.domain.is_empty() && node.op_type == "Constant").then(|| node.tensor("value")).flatten();
            let weight = value.filter(|t| t.data_type().is_float() && !t.dims().is_empty()).cloned();
            match (weight, node.outputs.first()) {
                (Some(tensor), Some(name)) if !outputs.contains(name) => {
                    lifted = true;
                    self.initializers.insert(name.clone(), tensor);
                }
                _ => self.nodes.push(node),
            }
        }
        lifted
    }
}

#[cfg(test)]
mod tests {
    use crate::{Builder, DataType, Graph, Scope, Tensor, ValueType};

    /// `x W`, W a Constant node, and where asked for a Gemm with an initializer after it.
    fn graph(initializer: bool) -> Graph {
        let mut b = Builder::new("paddle");
        let x = b.input("x", ValueType { data_type: DataType::Float, shape: Some(vec!["N".into(), 2.into()]) });
        let w = b.node("Constant", [None]).attr("value", Tensor::new([2, 3], &[0.5f32; 6])).outputs(["w"]).value();
        let mut y = b.op("MatMul", [x, w]);
        if initializer {
            let v = b.initializer("v", Tensor::new([3, 3], &[0.5f32; 9]));
            y = b.op("MatMul", [y, v]);
        }
        b.output("y", y, None);
        b.finish().expect("a graph")
    }

    #[test]
    fn weights_in_constant_nodes_become_parameters_where_there_are_no_others() {
        let mut paddle = graph(false);
        assert!(paddle.every_parameter().is_empty());
        assert!(paddle.lift_constants());
        assert_eq!(paddle.parameters(&Scope::Weights).expect("weights"), ["w"]);
        assert!(paddle.nodes.iter().all(|n| n.op_type != "Constant"));

        let mut pytorch = graph(true);
        assert!(!pytorch.lift_constants(), "its weights are initializers");
        assert_eq!(pytorch.parameters(&Scope::Weights).expect("weights"), ["v"]);
    }
}
