//! Checks of nodes against the operator table and the model's imports.

use crate::{Error, Graph, Model, Result, ops};

/// The table describes operators as they are from this operator set on.
const TABLE_FROM: i64 = 7;

impl Model {
    /// Checks every node, those of subgraphs included: its domain is imported, and an operator of the
    /// standard domain has inputs, outputs and attributes of the number and kind it takes.
    ///
    /// [`Model::read`] checks what it reads; this is for models built or changed here, together with
    /// [`Graph::sort`].
    ///
    /// # Errors
    /// [`Error::Node`] for the first node that is wrong.
    pub fn check(&self) -> Result<()> {
        self.check_graph(&self.graph)
    }

    fn check_graph(&self, graph: &Graph) -> Result<()> {
        for (i, node) in graph.nodes.iter().enumerate() {
            let label = node.label(i);
            let wrong = |reason: String, opset: i64| {
                let op = match node.domain.as_str() {
                    "" => node.op_type.clone(),
                    domain => format!("{domain}.{}", node.op_type),
                };
                Error::Node { node: label.clone(), op, opset, reason }
            };
            let Some(opset) = self.opsets.get(&node.domain).copied() else {
                return Err(wrong(format!("the model imports no operator set of domain `{}`", node.domain), 0));
            };
            if node.op_type.is_empty() {
                return Err(wrong("it has no operator".to_owned(), opset));
            }
            if let Some(spec) = ops::find(&node.op_type).filter(|_| node.domain.is_empty() && opset >= TABLE_FROM) {
                spec.check(node, &label, opset)?;
            }
            node.subgraphs().try_for_each(|inner| self.check_graph(inner))?;
        }
        Ok(())
    }
}
