//! Lists of operators, held against the tables that they stand for. Needs no libtorch.

#[allow(dead_code, reason = "shared with tests that run the networks")]
#[path = "fixtures/networks.rs"]
mod networks;

use isal_onnx::Node;
use std::collections::BTreeSet;

#[test]
fn the_plugins_list_has_the_operators_of_the_onnx_table_and_no_other() {
    let text = include_str!("../plugins/tch/ops.txt");
    let mut listed = BTreeSet::new();
    for line in text.lines() {
        let (name, what) = line.split_once(' ').unwrap_or_else(|| panic!("`{line}`: a name and what there is"));
        assert!(listed.insert(name), "`{name}` is listed twice");
        let reasoned = what.strip_prefix("gap: ").is_some_and(|reason| !reason.trim().is_empty());
        assert!(what == "forward" || reasoned, "`{line}`: expected `forward` or `gap: reason`");
    }
    let known: BTreeSet<&str> = isal_onnx::ops::all().map(|op| op.name).collect();
    assert_eq!(listed, known, "`plugins/tch/ops.txt` against the table of isal-onnx: run `make bless`");
}

/// The operator of a node, with the names of its attributes and how many inputs and outputs it has; a list of inputs of any
/// length is a list.
fn form(node: &Node) -> (String, Vec<String>, usize, usize) {
    let mut attributes: Vec<String> = node.attributes.keys().cloned().collect();
    attributes.sort();
    let variadic = node.op_type == "Concat";
    (node.op_type.clone(), attributes, if variadic { 0 } else { node.inputs.len() }, node.outputs.len())
}

#[test]
fn the_chosen_networks_have_every_form_of_every_operator_that_all_exported_networks_have() {
    let forms = |network: &networks::Exported| -> Vec<_> { network.structure().graph.nodes.iter().map(form).collect() };
    let (chosen, others): (Vec<_>, Vec<_>) =
        networks::all().into_iter().partition(|network| networks::CHOSEN.contains(&network.name.as_str()));
    assert_eq!(chosen.len(), networks::CHOSEN.len(), "a chosen network is not among the fixtures");
    let held: BTreeSet<_> = chosen.iter().flat_map(forms).collect();
    let operators: BTreeSet<&str> = held.iter().map(|(op, ..)| op.as_str()).collect();
    println!("{} forms of {} operators in {} networks", held.len(), operators.len(), chosen.len());
    let missing: BTreeSet<_> = others.iter().flat_map(forms).filter(|form| !held.contains(form)).collect();
    assert!(missing.is_empty(), "no chosen network has {missing:?}");
}
