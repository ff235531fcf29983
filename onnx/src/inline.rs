//! One graph within another: its nodes again, under names of their own.

use crate::{Builder, Error, Graph, Node, Result, Value};
use std::collections::HashMap;

impl Builder {
    /// Adds what `graph` computes from `inputs`, values for all of its inputs by their names, and gives its outputs by theirs.
    /// Names are invented in the builder's scope.
    ///
    /// # Errors
    /// [`Error::Graph`] for an input without a value, and for what [`Graph::sort`] refuses.
    pub fn inline(&mut self, graph: &Graph, inputs: &HashMap<String, Value>) -> Result<HashMap<String, Value>> {
        let refuse = |reason: String| Error::Graph { graph: graph.name.clone(), reason };
        let mut sorted = graph.clone();
        sorted.sort()?;
        if !sorted.rest.sparse_initializer.is_empty() {
            return Err(refuse("sparse initializers cannot be put into another graph".to_owned()));
        }
        let mut names: HashMap<String, String> = HashMap::new();
        for (name, tensor) in sorted.initializers {
            let value = self.constant(&name, tensor);
            names.insert(name, self.name(value).to_owned());
        }
        for input in &sorted.inputs {
            match inputs.get(&input.name) {
                Some(value) => drop(names.insert(input.name.clone(), self.name(*value).to_owned())),
                None if names.contains_key(&input.name) => {}
                None => return Err(refuse(format!("its input `{}` is given nothing", input.name))),
            }
        }
        for mut node in sorted.nodes {
            rename_reads(&mut node, &names);
            if !node.name.is_empty() {
                node.name = self.fresh(&node.name);
            }
            for output in node.outputs.iter_mut().filter(|output| !output.is_empty()) {
                let new = self.fresh(output);
                names.insert(std::mem::replace(output, new.clone()), new);
            }
            self.push(node);
        }
        let value = |name: &String| {
            let value = names.get(name).and_then(|name| self.get(name));
            value.ok_or_else(|| refuse(format!("nothing makes its output `{name}`")))
        };
        graph.outputs.iter().map(|output| Ok((output.name.clone(), value(&output.name)?))).collect()
    }
}

/// Renames what a node and its subgraphs read.
pub(crate) fn rename_reads(node: &mut Node, names: &HashMap<String, String>) {
    for input in &mut node.inputs {
        if let Some(new) = names.get(input) {
            input.clone_from(new);
        }
    }
    for graph in node.subgraphs_mut() {
        // A name the subgraph makes itself hides the outer one.
        let mut visible = names.clone();
        graph.inputs.iter().for_each(|i| drop(visible.remove(&i.name)));
        graph.initializers.keys().for_each(|i| drop(visible.remove(i)));
        graph.nodes.iter().flat_map(|n| &n.outputs).for_each(|o| drop(visible.remove(o)));
        graph.nodes.iter_mut().for_each(|inner| rename_reads(inner, &visible));
        for output in &mut graph.outputs {
            if let Some(new) = visible.get(&output.name) {
                output.name.clone_from(new);
            }
        }
    }
}
