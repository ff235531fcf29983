//! A graph as text: one line a value, stable across runs, for people and for snapshot tests.
//!
//! ```text
//! graph mlp
//!   input x: Float [N, 4]
//!   initializer w: Float [3, 4]
//!   h: Float [N, 3] = Gemm(x, w) transB=1
//!   y: Float [N, 3] = Relu(h)
//!   output y: Float [N, 3]
//! ```
//!
//! An input left out is `_`; a type nobody knows is `?`. Integers of a small tensor are written out, the
//! numbers of other tensors are not. Names of nodes are left out: values name everything.

use crate::{Attribute, Graph, Node, Tensor};
use std::fmt;

/// Most elements of a tensor, and characters of a text, that are written out.
const SHOWN_ELEMENTS: usize = 8;
const SHOWN_CHARS: usize = 60;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_graph(self, f, 0)
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_attribute(self, f)
    }
}

fn write_graph(graph: &Graph, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    writeln!(f, "{indent}graph {}", name(&graph.name))?;
    for input in &graph.inputs {
        writeln!(f, "{indent}  input {}: {}", name(&input.name), type_of(graph, &input.name))?;
    }
    for (initializer, tensor) in &graph.initializers {
        writeln!(f, "{indent}  initializer {}: {}", name(initializer), Shown(tensor))?;
    }
    for node in &graph.nodes {
        write_node(graph, node, f, depth + 1)?;
    }
    for output in &graph.outputs {
        writeln!(f, "{indent}  output {}: {}", name(&output.name), type_of(graph, &output.name))?;
    }
    Ok(())
}

fn write_node(graph: &Graph, node: &Node, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    f.write_str(&"  ".repeat(depth))?;
    for (i, output) in node.outputs.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        match output.as_str() {
            "" => write!(f, "{comma}_")?,
            output => write!(f, "{comma}{}: {}", name(output), type_of(graph, output))?,
        }
    }
    let inputs: Vec<&str> = node.inputs.iter().map(|n| name(n)).collect();
    let domain = if node.domain.is_empty() { String::new() } else { format!("{}.", node.domain) };
    write!(f, " = {domain}{}({})", node.op_type, inputs.join(", "))?;
    for (key, value) in &node.attributes {
        write!(f, " {key}=")?;
        write_attribute(value, f)?;
    }
    writeln!(f)?;
    node.subgraphs().try_for_each(|inner| write_graph(inner, f, depth + 1))
}

fn name(name: &str) -> &str {
    if name.is_empty() { "_" } else { name }
}

fn type_of(graph: &Graph, value: &str) -> String {
    graph.value_type(value).map_or("?".to_owned(), |t| t.to_string())
}

fn write_attribute(value: &Attribute, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Attribute::Float(v) => write!(f, "{v:?}"),
        Attribute::Int(v) => write!(f, "{v}"),
        Attribute::String(v) => write!(f, "{}", text(v)),
        Attribute::Floats(v) => write!(f, "{v:?}"),
        Attribute::Ints(v) => write!(f, "{v:?}"),
        Attribute::Strings(v) => write!(f, "[{}]", v.iter().map(|s| text(s)).collect::<Vec<_>>().join(", ")),
        Attribute::Tensor(t) => write!(f, "{}", Shown(t)),
        Attribute::Tensors(ts) => write!(f, "{} tensors", ts.len()),
        Attribute::Graph(_) => f.write_str("graph"),
        Attribute::Graphs(gs) => write!(f, "{} graphs", gs.len()),
        Attribute::Other(proto) if !proto.ref_attr_name.is_empty() => write!(f, "@{}", proto.ref_attr_name),
        Attribute::Other(_) => f.write_str("(other)"),
    }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() { format!("{shown:?}...") } else { format!("{shown:?}") }
}

/// A tensor's type, and its numbers when they are few integers or a single float.
struct Shown<'a>(&'a Tensor);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensor = self.0;
        write!(f, "{:?} {:?}", tensor.data_type(), tensor.dims())?;
        if tensor.len() > SHOWN_ELEMENTS {
            return Ok(());
        }
        if let Some(ints) = tensor.to_ints() {
            return write!(f, " {ints:?}");
        }
        match tensor.to_vec::<f32>().as_deref() {
            Some([single]) => write!(f, " [{single:?}]"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Attribute, Builder, DataType, Dim, Graph, Model, Node, Tensor, ValueType};

    #[test]
    fn a_graph_is_written_with_types_and_attributes() {
        let mut b = Builder::new("mlp");
        let x = b.input("x", ValueType::new(DataType::Float, [Dim::from("N"), 4.into()]));
        let w = b.initializer("w", Tensor::new([3, 4], &[0.5f32; 12]));
        let h = b.node("Gemm", [Some(x), Some(w), None]).attr("transB", 1).outputs(["h"]).value();
        let r = b.node("Relu", [h]).outputs(["r"]).value();
        let shape = b.initializer("shape", Tensor::new([2], &[-1i64, 1]));
        let y = b.op("Reshape", [r, shape]);
        b.output("y", y, None);
        let mut model = Model::new(17, b.finish().expect("a graph"));
        model.infer_shapes().expect("shapes");
        insta::assert_snapshot!(model.graph, @r"
        graph mlp
          input x: Float [N, 4]
          initializer w: Float [3, 4]
          initializer shape: Int64 [2] [-1, 1]
          h: Float [N, 3] = Gemm(x, w, _) transB=1
          r: Float [N, 3] = Relu(h)
          y: Float [3*N, 1] = Reshape(r, shape)
          output y: Float [3*N, 1]
        ");
    }

    #[test]
    fn branches_stand_below_their_node() {
        let mut graph = Graph { name: "outer".to_owned(), ..Graph::default() };
        let mut inner = Graph { name: "then".to_owned(), ..Graph::default() };
        inner.nodes.push(Node::new("Identity", "", ["x"], ["t"]));
        inner.outputs.push(crate::ValueInfo { name: "t".to_owned(), value_type: None });
        let mut node = Node::new("If", "", ["c"], ["y"]);
        node.attributes.insert("then_branch".to_owned(), Attribute::Graph(Box::new(inner)));
        graph.nodes.push(node);
        insta::assert_snapshot!(graph, @r"
        graph outer
          y: ? = If(c) then_branch=graph
            graph then
              t: ? = Identity(x)
              output t: ?
        ");
    }
}
