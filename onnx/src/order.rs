//! Topological order of a graph's nodes, and the checks that come with finding it: every value is made
//! once, everything that is read is made somewhere, nothing waits for itself.

use crate::{Attribute, Error, Graph, Node, Result};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

impl Graph {
    /// Puts the nodes, those of subgraphs included, in topological order. Among nodes that may come
    /// next the one that stood first goes first, so a graph in order is left as it is.
    ///
    /// # Errors
    /// [`Error::Graph`] for a value that is made twice, an output that nobody makes, or a cycle, with
    /// its nodes; [`Error::Node`] (with opset 0, which a graph does not know) for an input that nobody
    /// makes.
    pub fn sort(&mut self) -> Result<()> {
        sort(self, &mut Vec::new()).map(drop)
    }

    /// Number of nodes, those of subgraphs included.
    pub fn node_count(&self) -> usize {
        self.nodes.iter().map(|n| 1 + n.subgraphs().map(Graph::node_count).sum::<usize>()).sum()
    }
}

impl Node {
    /// The graphs in its attributes (branches, loop bodies).
    pub fn subgraphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.values().flat_map(|a| match a {
            Attribute::Graph(g) => std::slice::from_ref(&**g),
            Attribute::Graphs(gs) => gs.as_slice(),
            _ => &[],
        })
    }

    /// [`Node::subgraphs`], to change them.
    pub fn subgraphs_mut(&mut self) -> impl Iterator<Item = &mut Graph> {
        self.attributes.values_mut().flat_map(|a| match a {
            Attribute::Graph(g) => std::slice::from_mut(&mut **g),
            Attribute::Graphs(gs) => gs.as_mut_slice(),
            _ => &mut [],
        })
    }

    /// Its name, or `#position` when it has none.
    pub fn label(&self, position: usize) -> String {
        if self.name.is_empty() { format!("#{position}") } else { self.name.clone() }
    }
}

/// Sorts `graph` and gives the names it takes from the graphs around it, whose names are `outer`.
fn sort(graph: &mut Graph, outer: &mut Vec<HashSet<String>>) -> Result<BTreeSet<String>> {
    let wrong = |reason: String| Error::Graph { graph: graph.name.clone(), reason };
    let mut defined: HashSet<String> = HashSet::new();
    let sparse = graph.rest.sparse_initializer.iter().map(|s| s.values.name.as_str());
    let given = graph.inputs.iter().map(|v| v.name.as_str());
    for name in given.chain(graph.initializers.keys().map(String::as_str)).chain(sparse) {
        if !defined.insert(name.to_owned()) {
            return Err(wrong(format!("`{name}` is an input or initializer twice")));
        }
    }
    let mut producer: HashMap<String, usize> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|o| !o.is_empty()) {
            if !defined.insert(output.clone()) {
                let first = producer.get(output).and_then(|p| graph.nodes.get(*p).map(|n| n.label(*p)));
                let first = first.map_or("as an input or initializer".to_owned(), |n| format!("by node `{n}`"));
                return Err(wrong(format!("`{output}` is made {first} and by node `{}`", node.label(i))));
            }
            producer.insert(output.clone(), i);
        }
    }

    // What each node waits for, and what the whole takes from outside.
    let mut free: BTreeSet<String> = BTreeSet::new();
    let mut waits: Vec<HashSet<usize>> = Vec::with_capacity(graph.nodes.len());
    outer.push(defined);
    for (i, node) in graph.nodes.iter_mut().enumerate() {
        let mut names: BTreeSet<String> = node.inputs.iter().filter(|n| !n.is_empty()).cloned().collect();
        for inner in node.subgraphs_mut() {
            names.extend(sort(inner, outer)?);
        }
        let mut before = HashSet::new();
        for name in names {
            let (own, around) = outer.split_last().map_or((None, &[][..]), |(own, around)| (Some(own), around));
            if own.is_some_and(|own| own.contains(&name)) {
                before.extend(producer.get(&name).copied());
            } else if around.iter().any(|names| names.contains(&name)) {
                free.insert(name);
            } else {
                return Err(Error::Node {
                    node: node.label(i),
                    op: node.op_type.clone(),
                    opset: 0,
                    reason: format!("input `{name}` is made by no node and is no input or initializer"),
                });
            }
        }
        waits.push(before);
    }
    let own = outer.pop().unwrap_or_default();
    for output in &graph.outputs {
        if own.contains(&output.name) {
            continue;
        }
        if outer.iter().any(|names| names.contains(&output.name)) {
            free.insert(output.name.clone());
        } else {
            return Err(Error::Graph {
                graph: graph.name.clone(),
                reason: format!("output `{}` is made by no node", output.name),
            });
        }
    }

    let order = order(&waits).map_err(|cycle| {
        let nodes: Vec<String> = cycle
            .iter()
            .filter_map(|i| graph.nodes.get(*i).map(|n| format!("`{}` (`{}`)", n.label(*i), n.op_type)))
            .collect();
        Error::Graph { graph: graph.name.clone(), reason: format!("a cycle: {}", nodes.join(" reads from ")) }
    })?;
    if order.iter().enumerate().any(|(i, o)| i != *o) {
        let mut nodes: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
        graph.nodes = order.iter().filter_map(|i| nodes.get_mut(*i).and_then(Option::take)).collect();
    }
    Ok(free)
}

/// Positions in an order in which everything comes after what it waits for; on failure a cycle, each
/// waiting for the next.
fn order(waits: &[HashSet<usize>]) -> std::result::Result<Vec<usize>, Vec<usize>> {
    let mut left: Vec<usize> = waits.iter().map(HashSet::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); waits.len()];
    for (i, before) in waits.iter().enumerate() {
        for b in before {
            if let Some(r) = readers.get_mut(*b) {
                r.push(i);
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        left.iter().enumerate().filter(|(_, n)| **n == 0).map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for r in readers.get(i).into_iter().flatten() {
            if let Some(n) = left.get_mut(*r) {
                *n -= 1;
                if *n == 0 {
                    ready.push(Reverse(*r));
                }
            }
        }
    }
    if order.len() == waits.len() {
        return Ok(order);
    }
    // Every node left over waits for another left over: walking along ends in a cycle.
    let done: HashSet<usize> = order.into_iter().collect();
    let mut path: Vec<usize> = Vec::new();
    let mut at = (0..waits.len()).find(|i| !done.contains(i));
    while let Some(i) = at {
        if let Some(start) = path.iter().position(|p| *p == i) {
            let mut cycle = path.split_off(start);
            cycle.push(i);
            return Err(cycle);
        }
        path.push(i);
        at = waits.get(i).and_then(|w| w.iter().filter(|b| !done.contains(b)).min().copied());
    }
    Err(path)
}
