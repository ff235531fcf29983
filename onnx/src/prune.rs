//! Dropping what no output needs.

use crate::{Graph, Node};
use std::collections::HashSet;

impl Graph {
    /// Removes nodes that no output needs, and the initializers and inner types nobody reads then. Inputs stay.
    pub fn prune(&mut self) {
        let mut needed: HashSet<String> = self.outputs.iter().map(|o| o.name.clone()).collect();
        let mut keep = vec![false; self.nodes.len()];
        // Topological order, so every reader of a value is seen before its producer.
        for (node, keep) in self.nodes.iter().zip(&mut keep).rev() {
            if node.outputs.iter().any(|o| needed.contains(o)) {
                *keep = true;
                node.reads(&mut needed);
            }
        }
        let mut keep = keep.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(true));
        self.initializers.retain(|name, _| needed.contains(name));
        let made: HashSet<&String> = self.nodes.iter().flat_map(|n| &n.outputs).collect();
        self.value_types.retain(|name, _| made.contains(name));
    }

    /// Adds the names that this subgraph reads from the graphs around it.
    fn captured(&self, names: &mut HashSet<String>) {
        let mut own: HashSet<&str> = self.inputs.iter().map(|i| i.name.as_str()).collect();
        own.extend(self.initializers.keys().map(String::as_str));
        own.extend(self.nodes.iter().flat_map(|n| n.outputs.iter().map(String::as_str)));
        let mut read: HashSet<String> = self.outputs.iter().map(|o| o.name.clone()).collect();
        for node in &self.nodes {
            node.reads(&mut read);
        }
        names.extend(read.into_iter().filter(|name| !own.contains(name.as_str())));
    }
}

impl Node {
    /// Adds the name of every value this node reads, those its subgraphs take from outside included.
    pub(crate) fn reads(&self, names: &mut HashSet<String>) {
        names.extend(self.inputs.iter().filter(|name| !name.is_empty()).cloned());
        self.subgraphs().for_each(|g| g.captured(names));
    }
}
