//! Local functions (`ModelProto.functions`), put in place of the nodes that call them.
//!
//! PyTorch's newer exporter and onnxscript write them. Nothing after reading knows of functions: a call
//! becomes the function's nodes, named after it. A few short functions that call each other can stand for
//! billions of nodes, so nodes and bytes made are counted against the limits.

use super::node::domain;
use crate::{Error, Limits, Result};
use onnx_protobuf::{AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto};
use std::collections::{HashMap, HashSet};

/// Functions calling functions deeper than this are taken to be recursive.
const MAX_CALLS: usize = 64;

/// Domain, name and overload.
type Key = (String, String, String);

/// Puts the nodes of every local function in the place of its calls, and drops the functions.
///
/// # Errors
/// [`Error::Malformed`] for a function given twice, calling itself, or wanting another version of an
/// operator set than the model; [`Error::Limit`] past [`Limits::nodes`] or [`Limits::decoded_bytes`].
pub(crate) fn inline(model: &mut ModelProto, limits: &Limits) -> Result<()> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let mut functions = HashMap::new();
    for f in std::mem::take(&mut model.functions) {
        let key = (domain(f.domain.clone()), f.name.clone(), f.overload.clone());
        if functions.insert(key, f).is_some_and(|f: FunctionProto| !f.name.is_empty()) {
            return Err(Error::Malformed { reason: "two functions of one domain, name and overload".to_owned() });
        }
    }
    let mut inliner = Inliner {
        functions,
        called: HashSet::new(),
        value_names: HashMap::new(),
        node_names: HashMap::new(),
        limits,
        nodes: 0,
        bytes: 0,
        level: 0,
    };
    if let Some(graph) = model.graph.as_mut() {
        inliner.take_names(graph);
        inliner.graph(graph, 0)?;
    }
    for training in &mut model.training_info {
        for graph in [training.initialization.as_mut(), training.algorithm.as_mut()].into_iter().flatten() {
            inliner.take_names(graph);
            inliner.graph(graph, 0)?;
        }
    }
    imports(model, &inliner)
}

/// Adds what the functions import, and drops the domains that only functions made up.
fn imports(model: &mut ModelProto, inliner: &Inliner) -> Result<()> {
    for key in &inliner.called {
        let Some(f) = inliner.functions.get(key) else { continue };
        for import in &f.opset_import {
            let wanted = domain(import.domain.clone());
            match model.opset_import.iter().find(|own| domain(own.domain.clone()) == wanted) {
                Some(own) if own.version != import.version => {
                    return Err(Error::Malformed {
                        reason: format!(
                            "function `{}` wants version {} of domain `{wanted}`, the model imports {}",
                            f.name, import.version, own.version
                        ),
                    });
                }
                Some(_) => {}
                None => model.opset_import.push(import.clone()),
            }
        }
    }
    let made_up: HashSet<&str> =
        inliner.functions.keys().map(|(domain, ..)| domain.as_str()).filter(|d| !d.is_empty()).collect();
    let mut used = HashSet::new();
    let graphs = model
        .graph
        .iter()
        .chain(model.training_info.iter().flat_map(|t| t.initialization.iter().chain(t.algorithm.iter())));
    graphs.for_each(|g| domains(g, &mut used));
    model.opset_import.retain(|import| {
        let domain = domain(import.domain.clone());
        !made_up.contains(domain.as_str()) || used.contains(&domain)
    });
    Ok(())
}

fn domains(graph: &GraphProto, used: &mut HashSet<String>) {
    for node in &graph.node {
        used.insert(domain(node.domain.clone()));
        for a in &node.attribute {
            a.g.iter().chain(&a.graphs).for_each(|g| domains(g, used));
        }
    }
}

struct Inliner<'a> {
    functions: HashMap<Key, FunctionProto>,
    called: HashSet<Key>,
    /// Every name of a value in the model, so that new ones differ, with the number last put to it.
    value_names: HashMap<String, u64>,
    /// The same for nodes.
    node_names: HashMap<String, u64>,
    limits: &'a Limits,
    nodes: u64,
    bytes: u64,
    /// Graphs within graphs at this moment.
    level: u64,
}

impl Inliner<'_> {
    fn take_names(&mut self, graph: &GraphProto) {
        let values = graph.input.iter().map(|v| &v.name).chain(graph.initializer.iter().map(|t| &t.name));
        self.value_names.extend(values.map(|name| (name.clone(), 0)));
        for node in &graph.node {
            self.value_names.extend(node.output.iter().map(|name| (name.clone(), 0)));
            self.node_names.insert(node.name.clone(), 0);
            for a in &node.attribute {
                a.g.iter().chain(&a.graphs).for_each(|g| self.take_names(g));
            }
        }
    }

    fn graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<()> {
        // A graph within a graph is three messages deeper, and calls can nest what no file could.
        self.level += 1;
        let limit = self.limits.depth / 3 + 1;
        if self.level > limit {
            return Err(Error::Limit { what: "nesting of graphs".to_owned(), found: self.level, limit });
        }
        let nodes = std::mem::take(&mut graph.node);
        graph.node = self.expand(nodes, depth)?;
        self.level -= 1;
        Ok(())
    }

    fn expand(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>> {
        let mut expanded = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            for a in &mut node.attribute {
                for graph in a.g.as_mut().into_iter().chain(&mut a.graphs) {
                    self.graph(graph, depth)?;
                }
            }
            let key = (domain(node.domain.clone()), node.op_type.clone(), node.overload.clone());
            if !self.functions.contains_key(&key) {
                expanded.push(node);
                continue;
            }
            if depth >= MAX_CALLS {
                return Err(Error::Malformed { reason: format!("function `{}` ends up calling itself", key.1) });
            }
            let body = self.call(&node, &key)?;
            expanded.extend(self.expand(body, depth + 1)?);
            self.called.insert(key);
        }
        Ok(expanded)
    }

    /// The function's nodes with the call's values and attributes in them.
    fn call(&mut self, call: &NodeProto, key: &Key) -> Result<Vec<NodeProto>> {
        let Some(f) = self.functions.remove(key) else { return Ok(Vec::new()) };
        let outcome = self.instantiate(call, &f);
        self.functions.insert(key.clone(), f);
        outcome
    }

    fn instantiate(&mut self, call: &NodeProto, f: &FunctionProto) -> Result<Vec<NodeProto>> {
        // Runtimes refuse two nodes of one name, so a call without a name is given one.
        let stem = if call.name.is_empty() { fresh(&f.name, &mut self.node_names) } else { call.name.clone() };
        let stem = stem.as_str();
        let mut names: HashMap<String, String> = HashMap::new();
        for (i, formal) in f.input.iter().enumerate() {
            names.insert(formal.clone(), call.input.get(i).cloned().unwrap_or_default());
        }
        let mut nodes = Vec::new();
        for (formal, actual) in f.output.iter().zip(&call.output).filter(|(_, actual)| !actual.is_empty()) {
            // An input handed through, or one value under two outputs.
            if let Some(source) = names.get(formal) {
                let mut identity = NodeProto { op_type: "Identity".to_owned(), ..Default::default() };
                identity.input.push(source.clone());
                identity.output.push(actual.clone());
                nodes.push(identity);
            } else {
                names.insert(formal.clone(), actual.clone());
            }
        }
        for inner in &f.node {
            self.nodes += 1;
            // Names grow by the call's at every level.
            let longer = (inner.input.len() + inner.output.len() + 1) * stem.len();
            self.bytes = self.bytes.saturating_add(inner.compute_size()).saturating_add(longer as u64);
            let limits = [
                ("number of nodes in functions", self.nodes, self.limits.nodes),
                ("bytes of nodes in functions", self.bytes, self.limits.decoded_bytes),
            ];
            if let Some((what, found, limit)) = limits.into_iter().find(|(_, found, limit)| found > limit) {
                return Err(Error::Limit { what: what.to_owned(), found, limit });
            }
            let mut node = inner.clone();
            let own = if inner.name.is_empty() { &inner.op_type } else { &inner.name };
            node.name = fresh(&format!("{stem}/{own}"), &mut self.node_names);
            self.rename_node(&mut node, stem, &mut names);
            set_attributes(&mut node.attribute, call, f);
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// The name of a function's value in this call.
    fn name(&mut self, inner: &str, stem: &str, names: &mut HashMap<String, String>) -> String {
        if inner.is_empty() {
            return String::new();
        }
        if let Some(name) = names.get(inner) {
            return name.clone();
        }
        let name = fresh(&format!("{stem}/{inner}"), &mut self.value_names);
        names.insert(inner.to_owned(), name.clone());
        name
    }

    fn rename_node(&mut self, node: &mut NodeProto, stem: &str, names: &mut HashMap<String, String>) {
        for name in node.input.iter_mut().chain(&mut node.output) {
            *name = self.name(name, stem, names);
        }
        for a in &mut node.attribute {
            for graph in a.g.as_mut().into_iter().chain(&mut a.graphs) {
                self.rename_graph(graph, stem, names);
            }
        }
    }

    fn rename_graph(&mut self, graph: &mut GraphProto, stem: &str, names: &mut HashMap<String, String>) {
        for value in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
            value.name = self.name(&value.name, stem, names);
        }
        for t in &mut graph.initializer {
            t.name = self.name(&t.name, stem, names);
        }
        for sparse in &mut graph.sparse_initializer {
            if let Some(values) = sparse.values.as_mut() {
                values.name = self.name(&values.name, stem, names);
            }
        }
        for node in &mut graph.node {
            self.rename_node(node, stem, names);
        }
    }
}

/// `base`, or `base_1`, `base_2`, ...: the first that nobody has.
fn fresh(base: &str, taken: &mut HashMap<String, u64>) -> String {
    let mut name = base.to_owned();
    while taken.contains_key(&name) {
        let n = taken.entry(base.to_owned()).or_insert(0);
        *n += 1;
        name = format!("{base}_{n}");
    }
    taken.insert(name.clone(), 0);
    name
}

/// Puts the call's attributes, or the function's defaults, in place of references to them; a reference to
/// one that is neither given nor has a default goes away.
fn set_attributes(attributes: &mut Vec<AttributeProto>, call: &NodeProto, f: &FunctionProto) {
    attributes.retain_mut(|a| {
        if a.ref_attr_name.is_empty() {
            for graph in a.g.as_mut().into_iter().chain(&mut a.graphs) {
                for node in &mut graph.node {
                    set_attributes(&mut node.attribute, call, f);
                }
            }
            return true;
        }
        let given = call.attribute.iter().chain(&f.attribute_proto).find(|given| given.name == a.ref_attr_name);
        let Some(given) = given else { return false };
        let name = std::mem::take(&mut a.name);
        *a = given.clone();
        a.name = name;
        true
    });
}

#[cfg(test)]
mod tests {
    use crate::{Error, Limits, Model, ReadOptions};
    use onnx_protobuf::*;

    fn node(op: &str, domain: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: op.to_owned(),
            domain: domain.to_owned(),
            input: inputs.iter().map(|s| (*s).to_owned()).collect(),
            output: outputs.iter().map(|s| (*s).to_owned()).collect(),
            ..Default::default()
        }
    }

    fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
        FunctionProto {
            name: name.to_owned(),
            domain: "mine".to_owned(),
            input: inputs.iter().map(|s| (*s).to_owned()).collect(),
            output: outputs.iter().map(|s| (*s).to_owned()).collect(),
            node: nodes,
            opset_import: vec![import("", 17)],
            ..Default::default()
        }
    }

    fn import(domain: &str, version: i64) -> OperatorSetIdProto {
        OperatorSetIdProto { domain: domain.to_owned(), version, ..Default::default() }
    }

    fn value(name: &str) -> ValueInfoProto {
        ValueInfoProto { name: name.to_owned(), ..Default::default() }
    }

    fn model(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> Vec<u8> {
        let graph = GraphProto {
            name: "main".to_owned(),
            input: vec![value("x")],
            output: vec![value("y")],
            node: nodes,
            ..Default::default()
        };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![import("", 17), import("mine", 1)],
            graph: Some(graph).into(),
            functions,
            ..Default::default()
        };
        model.write_to_bytes().expect("writes")
    }

    fn attribute(name: &str, reference: &str, value: i64) -> AttributeProto {
        AttributeProto {
            name: name.to_owned(),
            ref_attr_name: reference.to_owned(),
            type_: attribute_proto::AttributeType::INT.into(),
            i: value,
            ..Default::default()
        }
    }

    #[test]
    fn calls_become_the_nodes_of_the_function_with_attributes_and_defaults() {
        let mut flatten = node("Flatten", "", &["a"], &["flat"]);
        flatten.attribute.push(attribute("axis", "from", 0));
        let mut softmax = node("Softmax", "", &["flat"], &["p"]);
        softmax.attribute.push(attribute("axis", "over", 0));
        softmax.attribute.push(attribute("unset", "nobody", 0));
        let mut head = function("head", &["a"], &["p", "a"], vec![flatten, softmax]);
        head.attribute.push("from".to_owned());
        head.attribute_proto.push(attribute("over", "", 1));
        let twice = function(
            "twice",
            &["v"],
            &["out"],
            vec![node("Relu", "", &["v"], &["flat"]), node("head", "mine", &["flat"], &["out"])],
        );
        let mut call = node("head", "mine", &["x"], &["h", "same"]);
        call.name = "first".to_owned();
        call.attribute.push(attribute("from", "", 2));
        let nodes = vec![call, node("twice", "mine", &["h"], &["t"]), node("Add", "", &["t", "same"], &["y"])];
        let model = Model::from_bytes(&model(nodes, vec![head, twice]), None).expect("reads");
        insta::assert_snapshot!(model.graph, @r"
        graph main
          input x: ?
          same: ? = Identity(x)
          first/flat: ? = Flatten(x) axis=2
          h: ? = Softmax(first/flat) axis=1
          twice/flat: ? = Relu(h)
          twice/head/flat: ? = Flatten(twice/flat)
          t: ? = Softmax(twice/head/flat) axis=1
          y: ? = Add(t, same)
          output y: ?
        ");
        assert_eq!(model.opsets.keys().collect::<Vec<_>>(), [""], "the functions' own domain is gone");
        assert!(model.rest.functions.is_empty());
    }

    #[test]
    fn values_inside_a_branch_of_a_function_are_renamed_too() {
        let branch = |name: &str| AttributeProto {
            name: name.to_owned(),
            type_: attribute_proto::AttributeType::GRAPH.into(),
            g: Some(GraphProto {
                node: vec![node("Neg", "", &["a"], &["z"])],
                output: vec![value("z")],
                ..Default::default()
            })
            .into(),
            ..Default::default()
        };
        let mut choose = node("If", "", &["c"], &["r"]);
        choose.attribute = vec![branch("then_branch"), branch("else_branch")];
        let f = function("f", &["a"], &["r"], vec![node("IsNaN", "", &["a"], &["c"]), choose]);
        let model = Model::from_bytes(&model(vec![node("f", "mine", &["x"], &["y"])], vec![f]), None).expect("reads");
        insta::assert_snapshot!(model.graph, @r"
        graph main
          input x: ?
          f/c: ? = IsNaN(x)
          y: ? = If(f/c) then_branch=graph else_branch=graph
            graph _
              f/z: ? = Neg(x)
              output f/z: ?
            graph _
              f/z: ? = Neg(x)
              output f/z: ?
          output y: ?
        ");
    }

    #[test]
    fn functions_can_be_kept() {
        let f = function("f", &["a"], &["r"], vec![node("Neg", "", &["a"], &["r"])]);
        let bytes = model(vec![node("f", "mine", &["x"], &["y"])], vec![f]);
        let options = ReadOptions { inline_functions: false, ..ReadOptions::default() };
        let model = Model::from_bytes_with(&bytes, None, &options).expect("reads");
        assert_eq!((model.graph.nodes[0].op_type.as_str(), model.rest.functions.len()), ("f", 1));
        let again = Model::from_bytes_with(&model.to_bytes().expect("writes"), None, &options).expect("reads");
        assert_eq!(again, model);
    }

    #[test]
    fn a_function_that_calls_itself_is_refused() {
        let f = function("f", &["a"], &["r"], vec![node("f", "mine", &["a"], &["r"])]);
        let error = Model::from_bytes(&model(vec![node("f", "mine", &["x"], &["y"])], vec![f]), None);
        let reason = error.expect_err("recursion").to_string();
        assert_eq!(reason, "not an ONNX model: function `f` ends up calling itself");
    }

    #[test]
    fn functions_that_double_at_every_level_stop_at_the_limit() {
        let mut functions = vec![function("f0", &["a"], &["r"], vec![node("Neg", "", &["a"], &["r"])])];
        for level in 1..50 {
            let inner = format!("f{}", level - 1);
            let twice = vec![node(&inner, "mine", &["a"], &["m"]), node(&inner, "mine", &["m"], &["r"])];
            functions.push(function(&format!("f{level}"), &["a"], &["r"], twice));
        }
        let bytes = model(vec![node("f49", "mine", &["x"], &["y"])], functions);
        let limits = Limits { nodes: 10_000, ..Limits::default() };
        let options = ReadOptions { limits, ..ReadOptions::default() };
        let error = Model::from_bytes_with(&bytes, None, &options).expect_err("2^49 nodes");
        assert!(matches!(error, Error::Limit { limit: 10_000, .. }), "{error}");
    }

    #[test]
    fn branches_that_nest_by_calls_stop_at_the_limit() {
        let mut functions = vec![function("f0", &["a"], &["r"], vec![node("Neg", "", &["a"], &["r"])])];
        for level in 1..60 {
            let mut choose = node("If", "", &["a"], &["r"]);
            choose.attribute.push(AttributeProto {
                name: "then_branch".to_owned(),
                type_: attribute_proto::AttributeType::GRAPH.into(),
                g: Some(GraphProto {
                    node: vec![node(&format!("f{}", level - 1), "mine", &["a"], &["z"])],
                    output: vec![value("z")],
                    ..Default::default()
                })
                .into(),
                ..Default::default()
            });
            functions.push(function(&format!("f{level}"), &["a"], &["r"], vec![choose]));
        }
        let error = Model::from_bytes(&model(vec![node("f59", "mine", &["x"], &["y"])], functions), None);
        assert!(matches!(error, Err(Error::Limit { ref what, .. }) if what == "nesting of graphs"), "{error:?}");
    }

    #[test]
    fn a_function_of_another_opset_is_refused() {
        let mut f = function("f", &["a"], &["r"], vec![node("Neg", "", &["a"], &["r"])]);
        f.opset_import[0].version = 12;
        let error = Model::from_bytes(&model(vec![node("f", "mine", &["x"], &["y"])], vec![f]), None);
        let reason = error.expect_err("two opsets").to_string();
        assert_eq!(reason, "not an ONNX model: function `f` wants version 12 of domain ``, the model imports 17");
    }
}
