//! Guards `ops.txt`, the list of operators with and without a forward that the rest of the project reads.

use super::all;
use std::collections::{BTreeMap, BTreeSet};

/// `Name forward` or `Name gap: reason`.
fn listed() -> BTreeMap<String, Option<String>> {
    let text = include_str!("../../ops.txt");
    let mut rows = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        let (name, what) = line.split_once(' ').unwrap_or_else(|| panic!("`{line}`: a name and what there is"));
        let gap = match what.strip_prefix("gap: ") {
            Some(reason) if !reason.trim().is_empty() => Some(reason.to_owned()),
            _ if what == "forward" => None,
            _ => panic!("`{line}`: expected `forward` or `gap: reason`"),
        };
        assert!(last.as_str() < name, "`{name}` stands after `{last}`: the list is sorted and has no name twice");
        last = name.to_owned();
        rows.insert(last.clone(), gap);
    }
    rows
}

/// Rewrites the list when `ISAL_BLESS` is set: reasons of gaps stay, new gaps get a reason to be written by hand.
fn bless() {
    let listed = listed();
    let forwards: BTreeSet<&str> = all().map(|op| op.name).collect();
    let known = isal_onnx::ops::all().map(|op| op.name).chain(forwards.iter().copied()).collect::<BTreeSet<_>>();
    let rows = known.iter().map(|name| match listed.get(*name) {
        _ if forwards.contains(name) => format!("{name} forward\n"),
        Some(Some(reason)) => format!("{name} gap: {reason}\n"),
        _ => format!("{name} gap: \n"),
    });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ops.txt");
    std::fs::write(path, rows.collect::<String>()).expect("the list can be written");
}

#[test]
fn the_list_names_every_forward_and_a_reason_for_every_gap() {
    if std::env::var_os("ISAL_BLESS").is_some() {
        return bless();
    }
    let listed = listed();
    let mut forwards = BTreeSet::new();
    for op in all() {
        assert!(forwards.insert(op.name), "`{}` is in the table twice", op.name);
    }
    let named: BTreeSet<&str> = listed.iter().filter(|(_, gap)| gap.is_none()).map(|(n, _)| n.as_str()).collect();
    assert_eq!(named, forwards, "`ops.txt` is stale: run `make bless`");
}
