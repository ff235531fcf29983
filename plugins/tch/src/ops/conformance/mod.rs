//! Conformance with tests that were written elsewhere: the ONNX project's backend suite, node by node.
//!
//! A case is claimed when the operator table has all its operators and `conformance.txt` does not except it; every
//! claimed case must pass, and an excepted one must not.

mod case;
pub(super) mod run;

use super::find;
use isal_onnx::{Graph, Model};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A line of `conformance.txt`: a pattern with `*`, and why the cases are excepted.
struct Exception {
    pattern: String,
    used: bool,
}

fn exceptions() -> Vec<Exception> {
    let text = include_str!("../../../conformance.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (pattern, reason) = line.split_once(' ').unwrap_or((line, ""));
            assert!(!reason.trim().is_empty(), "`{pattern}` needs a reason");
            Exception { pattern: pattern.to_owned(), used: false }
        })
        .collect()
}

/// Whether `name` fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|i| rest.is_char_boundary(i) && fits(tail, &rest[i..]))),
    }
}

fn missing(graph: &Graph) -> Option<String> {
    graph.nodes.iter().find(|n| find(&n.domain, &n.op_type).is_none()).map(|n| n.op_type.clone())
}

fn attempt(case: &case::Case, model: &Model) -> Result<(), String> {
    for set in case.data(model)? {
        run::check(model, &set)?;
    }
    Ok(())
}

#[test]
fn every_claimed_case_of_the_onnx_backend_suite_passes() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../.toolchain/venv/lib/python3.11/site-packages/onnx/backend/test/data");
    let mut exceptions = exceptions();
    let mut failures: Vec<String> = Vec::new();
    let mut unclaimed: BTreeMap<String, usize> = BTreeMap::new();
    let mut counts: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for case in case::all(Path::new(&root)) {
        let folder = case.name.split('/').next().unwrap_or_default().to_owned();
        let count = counts.entry(folder).or_default();
        count[0] += 1;
        let model = match case.read() {
            Ok(model) => model,
            Err(error) => {
                *unclaimed.entry(error).or_default() += 1;
                continue;
            }
        };
        if let Some(op) = missing(&model.graph) {
            *unclaimed.entry(op).or_default() += 1;
            continue;
        }
        let mut excepted = false;
        for exception in exceptions.iter_mut().filter(|e| fits(&e.pattern, &case.name)) {
            (excepted, exception.used) = (true, true);
        }
        let outcome = attempt(&case, &model);
        match (excepted, outcome) {
            (true, Ok(())) => failures.push(format!("{}: passes, so it needs no exception", case.name)),
            (true, Err(_)) => count[3] += 1,
            (false, Ok(())) => {
                count[1] += 1;
                count[2] += 1;
            }
            (false, Err(error)) => {
                count[1] += 1;
                failures.push(format!("{}: {error}", case.name));
            }
        }
    }
    failures.extend(exceptions.iter().filter(|e| !e.used).map(|e| format!("`{}` excepts nothing", e.pattern)));
    println!("operators without a forward, and the cases that need them: {unclaimed:?}");
    let mut sum = [0; 4];
    for (folder, count) in &counts {
        println!(
            "{folder}: {} passed / {} claimed / {} in the suite ({} excepted)",
            count[2], count[1], count[0], count[3]
        );
        sum.iter_mut().zip(count).for_each(|(s, c)| *s += c);
    }
    println!("all: {} passed / {} claimed / {} in the suite ({} excepted)", sum[2], sum[1], sum[0], sum[3]);
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    // The figures of the pinned suite: fewer would mean that cases are lost silently.
    assert!(sum[0] >= 1700 && counts.len() == 5, "the suite is not whole: {counts:?}");
}
