//! The operators the plugin computes, held against the table of all operators. Needs no libtorch.

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
