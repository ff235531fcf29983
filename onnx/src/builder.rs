//! Builds a graph by handles, inventing names as it goes.
//!
//! ```
//! use isal_onnx::{Builder, DataType, Model, Tensor, ValueType};
//!
//! let mut b = Builder::new("mlp");
//! let x = b.input("x", ValueType { data_type: DataType::Float, shape: Some(vec!["N".into(), 4.into()]) });
//! let w = b.initializer("fc.weight", Tensor::new([3, 4], &[0.5f32; 12]));
//! let logits = b.node("Gemm", [x, w]).attr("transB", 1).name("fc").value();
//! let y = b.op("Relu", [logits]);
//! b.output("y", y, None);
//! let model = Model::new(17, b.finish().unwrap());
//! assert_eq!(model.graph.nodes.len(), 2);
//! ```

use crate::{Attribute, Error, Graph, Model, Node, Result, Tensor, ValueInfo, ValueType};
use std::collections::{HashMap, HashSet};

/// A value of the graph a [`Builder`] is at; meaningless to another builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(u32);

/// A graph in the making.
#[derive(Debug, Clone)]
pub struct Builder {
    graph: Graph,
    /// Value names by handle.
    names: Vec<String>,
    handles: HashMap<String, Value>,
    /// Every name of a value or node, so that invented ones are new.
    taken: HashSet<String>,
    /// Next number to try for each stem of invented names.
    next: HashMap<String, usize>,
    scope: String,
    /// Values under invented names, which nobody outside knows.
    invented: HashSet<Value>,
}

impl Builder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self::extend(Graph { name: name.to_owned(), ..Graph::default() })
    }

    /// Goes on with a graph that exists; [`Builder::get`] gives its values.
    pub fn extend(graph: Graph) -> Self {
        let mut builder = Builder {
            graph: Graph::default(),
            names: Vec::new(),
            handles: HashMap::new(),
            taken: HashSet::new(),
            next: HashMap::new(),
            scope: String::new(),
            invented: HashSet::new(),
        };
        let sparse = graph.rest.sparse_initializer.iter().map(|s| &s.values.name);
        let given = graph.inputs.iter().map(|v| &v.name).chain(graph.initializers.keys()).chain(sparse);
        for name in given.chain(graph.nodes.iter().flat_map(|n| &n.outputs)).filter(|n| !n.is_empty()) {
            builder.handle(name);
        }
        fn names_within(graph: &Graph, taken: &mut HashSet<String>) {
            taken.extend(graph.inputs.iter().map(|v| v.name.clone()));
            taken.extend(graph.initializers.keys().cloned());
            for node in &graph.nodes {
                taken.insert(node.name.clone());
                taken.extend(node.outputs.iter().cloned());
                node.subgraphs().for_each(|g| names_within(g, taken));
            }
        }
        names_within(&graph, &mut builder.taken);
        builder.graph = graph;
        builder
    }

    /// Names invented from now on start with `scope` and a slash; an empty one ends that.
    pub fn scope(&mut self, scope: &str) -> &mut Self {
        scope.clone_into(&mut self.scope);
        self
    }

    /// A name nobody has: `stem` itself, else `stem_1`, `stem_2`, ... It is taken from then on.
    pub fn fresh(&mut self, stem: &str) -> String {
        let stem = if self.scope.is_empty() { stem.to_owned() } else { format!("{}/{stem}", self.scope) };
        if self.taken.insert(stem.clone()) {
            return stem;
        }
        let next = self.next.entry(stem.clone()).or_insert(1);
        loop {
            let name = format!("{stem}_{next}");
            *next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// The value of this name, when there is one.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.handles.get(name).copied()
    }

    /// Its name.
    ///
    /// # Panics
    /// When `value` comes from another builder that has more values.
    pub fn name(&self, value: Value) -> &str {
        &self.names[value.0 as usize]
    }

    /// Output `i` of the node at `position`; one that the node does not name yet is added to it.
    ///
    /// # Panics
    /// When there is no such node.
    pub(crate) fn output_of(&mut self, position: usize, i: usize) -> Value {
        let node = &mut self.graph.nodes[position];
        if node.outputs.len() <= i {
            node.outputs.resize(i + 1, String::new());
        }
        if let Some(named) = node.outputs.get(i).filter(|name| !name.is_empty()) {
            let named = named.clone();
            return self.handle(&named);
        }
        let stem = format!("{}_output_{i}", node.label(position));
        let name = self.fresh(&stem);
        if let Some(slot) = self.graph.nodes.get_mut(position).and_then(|node| node.outputs.get_mut(i)) {
            slot.clone_from(&name);
        }
        self.handle(&name)
    }

    /// The graph so far; its outputs and the order of its nodes may not be final.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    fn handle(&mut self, name: &str) -> Value {
        if let Some(v) = self.handles.get(name) {
            return *v;
        }
        let value = Value(u32::try_from(self.names.len()).expect("a graph has fewer than 2^32 values"));
        self.names.push(name.to_owned());
        self.handles.insert(name.to_owned(), value);
        self.taken.insert(name.to_owned());
        value
    }

    /// An input of exactly this name.
    pub fn input(&mut self, name: &str, value_type: ValueType) -> Value {
        self.graph.inputs.push(ValueInfo::new(name, value_type));
        self.handle(name)
    }

    /// An initializer of exactly this name, outside of any scope.
    pub fn initializer(&mut self, name: &str, tensor: Tensor) -> Value {
        self.graph.initializers.insert(name.to_owned(), tensor);
        self.handle(name)
    }

    /// An initializer under an invented name.
    pub fn constant(&mut self, stem: &str, tensor: Tensor) -> Value {
        let name = self.fresh(stem);
        self.initializer(&name, tensor)
    }

    /// A node with one output and no attributes.
    pub fn op(&mut self, op_type: &str, inputs: impl IntoIterator<Item = impl Into<Option<Value>>>) -> Value {
        self.node(op_type, inputs).value()
    }

    /// A node in the making; [`NodeBuilder::value`] or [`NodeBuilder::values`] ends it. An input of
    /// `None` is an optional one left out.
    pub fn node(
        &mut self,
        op_type: &str,
        inputs: impl IntoIterator<Item = impl Into<Option<Value>>>,
    ) -> NodeBuilder<'_> {
        let inputs: Vec<String> =
            inputs.into_iter().map(|v| v.into().map_or(String::new(), |v| self.name(v).to_owned())).collect();
        NodeBuilder { node: Node::new(op_type, "", inputs, Vec::<String>::new()), outputs: Vec::new(), builder: self }
    }

    /// Adds a node as it is; its outputs become values.
    pub fn push(&mut self, node: Node) -> Vec<Value> {
        let values = node.outputs.iter().filter(|o| !o.is_empty()).map(|o| self.handle(o)).collect();
        self.taken.insert(node.name.clone());
        self.graph.nodes.push(node);
        values
    }

    /// The graph so far as that of `model`, which it has extended: each of the values `of` that has one among `values` has it
    /// as a further output `PREFIX_of_NAME`, of its own type, and what no output needs is gone.
    ///
    /// # Errors
    /// [`Error::Graph`] for a name that is taken; as [`Builder::finish`].
    pub(crate) fn finish_beside(
        mut self,
        model: &Model,
        prefix: &str,
        of: &[&str],
        values: &HashMap<String, Value>,
    ) -> Result<Model> {
        for name in of {
            let Some(value) = values.get(*name) else { continue };
            let output = format!("{prefix}_of_{name}");
            if self.get(&output).is_some() {
                let reason = format!("it has a value `{output}`");
                return Err(Error::Graph { graph: model.graph.name.clone(), reason });
            }
            self.output(&output, *value, model.graph.value_type(name));
        }
        let mut graph = self.finish()?;
        graph.prune();
        Ok(Model { graph, ..model.clone() })
    }

    /// Declares an output named `name`. A value under an invented name is given this one; any other
    /// goes through an Identity node.
    pub fn output(&mut self, name: &str, value: Value, value_type: Option<ValueType>) {
        if self.name(value) != name {
            let from = self.name(value).to_owned();
            // A subgraph may read the value by its name, and is not searched.
            let renamed =
                self.invented.remove(&value) && self.graph.nodes.iter().all(|n| n.subgraphs().next().is_none());
            if renamed {
                for node in &mut self.graph.nodes {
                    for n in node.inputs.iter_mut().chain(&mut node.outputs).filter(|n| **n == from) {
                        name.clone_into(n);
                    }
                }
                self.handles.remove(&from);
                self.handles.insert(name.to_owned(), value);
                self.taken.insert(name.to_owned());
                name.clone_into(&mut self.names[value.0 as usize]);
            } else {
                let node = self.fresh("Identity");
                self.push(Node::new("Identity", node, [from], [name]));
            }
        }
        self.graph.outputs.push(ValueInfo { name: name.to_owned(), value_type });
    }

    /// The graph, in topological order.
    ///
    /// # Errors
    /// Those of [`Graph::sort`]: a value made twice, or read and made by nobody.
    pub fn finish(self) -> Result<Graph, Error> {
        let mut graph = self.graph;
        graph.sort()?;
        Ok(graph)
    }
}

/// A node a [`Builder`] is about to add.
#[derive(Debug)]
pub struct NodeBuilder<'a> {
    builder: &'a mut Builder,
    node: Node,
    outputs: Vec<String>,
}

impl NodeBuilder<'_> {
    /// Adds an attribute.
    pub fn attr(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.node.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Names the node; its outputs are named after it unless [`NodeBuilder::outputs`] names them.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.node.name);
        self
    }

    /// Names the outputs exactly.
    pub fn outputs(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.outputs = names.into_iter().map(Into::into).collect();
        self
    }

    /// Of another domain than the standard one.
    pub fn domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.node.domain);
        self
    }

    /// Adds the node; its first output.
    pub fn value(self) -> Value {
        self.values(1)[0]
    }

    /// Adds the node with `count` outputs.
    pub fn values(mut self, count: usize) -> Vec<Value> {
        if self.node.name.is_empty() {
            self.node.name = self.builder.fresh(&self.node.op_type);
        } else {
            self.builder.taken.insert(self.node.name.clone());
        }
        let named = self.outputs.len();
        while self.outputs.len() < count {
            let stem = match self.outputs.len() {
                0 => format!("{}_output", self.node.name),
                n => format!("{}_output_{n}", self.node.name),
            };
            // The node's name has the scope already.
            let scope = std::mem::take(&mut self.builder.scope);
            let name = self.builder.fresh(&stem);
            self.builder.scope = scope;
            self.outputs.push(name);
        }
        self.node.outputs = self.outputs;
        let values = self.builder.push(self.node);
        self.builder.invented.extend(values.iter().skip(named));
        values
    }
}
