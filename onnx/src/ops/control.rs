//! Branches and loops. Their bodies have been inferred when a rule here runs
//! ([`Site::bodies`](super::Site)); what goes into a body is decided by [`body_inputs`].

use super::Flow::All;
use super::Tangent::Refused;
use super::{ANY, Kind, OpSpec, Site};
use crate::shape::{Expr, Fact};
use crate::{DataType, Result};
use Kind::{Graph, Int, Ints};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "If",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=ANY,
        attributes: &[("else_branch", Graph), ("then_branch", Graph)],
        flows: All,
        tangent: Refused("control flow: a body is not differentiated"),
        infer: branch,
    },
    OpSpec {
        name: "Loop",
        since: 1,
        inputs: 2..=ANY,
        outputs: 1..=ANY,
        attributes: &[("body", Graph)],
        flows: All,
        tangent: Refused("control flow: a body is not differentiated"),
        infer: repeat,
    },
    OpSpec {
        name: "Scan",
        since: 8,
        inputs: 1..=ANY,
        outputs: 1..=ANY,
        attributes: &[
            ("body", Graph),
            ("directions", Ints),
            ("num_scan_inputs", Int),
            ("scan_input_axes", Ints),
            ("scan_input_directions", Ints),
            ("scan_output_axes", Ints),
            ("scan_output_directions", Ints),
        ],
        flows: All,
        tangent: Refused("control flow: a body is not differentiated"),
        infer: scan,
    },
];

/// What both facts say. Elements are dropped.
fn common(a: &Fact, b: &Fact) -> Fact {
    let data_type = if a.data_type == b.data_type { a.data_type } else { None };
    let shape = match (&a.shape, &b.shape) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            Some(a.iter().zip(b).map(|(x, y)| if x.same(y) { x.clone() } else { Expr::Unknown }).collect())
        }
        _ => None,
    };
    Fact::new(data_type, shape)
}

/// How many leading values a loop carries from one pass to the next, and how many of its inputs and of
/// its body's inputs and outputs come before them.
struct Carried {
    count: usize,
    node_inputs: usize,
    body_inputs: usize,
    body_outputs: usize,
}

fn carried(site: &Site) -> Option<Carried> {
    match site.node.op_type.as_str() {
        "Loop" => {
            let count = site.inputs.len().saturating_sub(2);
            Some(Carried { count, node_inputs: 2, body_inputs: 2, body_outputs: 1 })
        }
        "Scan" if site.opset >= 9 => {
            let scanned = usize::try_from(site.int("num_scan_inputs", 0)).unwrap_or(0);
            let count = site.inputs.len().saturating_sub(scanned);
            Some(Carried { count, node_inputs: 0, body_inputs: 0, body_outputs: 0 })
        }
        _ => None,
    }
}

/// What goes into the body of `site`'s node, by position. `previous` are the body's outputs when it has
/// been inferred before: a carried value whose shape changes from pass to pass is known no better than
/// what all passes share.
pub(crate) fn body_inputs(site: &Site, previous: Option<&[Fact]>) -> Vec<Fact> {
    let Some(Carried { count, node_inputs, body_inputs, body_outputs }) = carried(site) else { return Vec::new() };
    let mut facts = Vec::new();
    if body_inputs == 2 {
        facts.push(Fact::new(Some(DataType::Int64), Some(Vec::new())));
        facts.push(Fact::new(Some(DataType::Bool), Some(Vec::new())));
    }
    for i in 0..count {
        let initial = site.fact(node_inputs + i).cloned().unwrap_or_default();
        facts.push(match previous {
            None => Fact::new(initial.data_type, initial.shape),
            Some(outputs) => outputs.get(body_outputs + i).map_or_else(Fact::default, |after| common(&initial, after)),
        });
    }
    // A scan takes a slice of each further input at every pass.
    for (k, i) in (count..site.inputs.len()).enumerate().filter(|_| body_inputs == 0) {
        let axis = site.node.ints("scan_input_axes").and_then(|axes| axes.get(k).copied()).unwrap_or(0);
        let slice = site.shape(i).and_then(|shape| {
            let axis = site.axis(axis, shape.len()).ok()?;
            let mut shape = shape.to_vec();
            shape.remove(axis);
            Some(shape)
        });
        facts.push(Fact::new(site.data_type(i), slice));
    }
    facts
}

/// Whether the condition of an If takes the branch.
fn condition(site: &Site) -> Option<bool> {
    match site.elements(0) {
        Some([e]) => e.int().known().map(|n| n != 0),
        _ => None,
    }
}

/// Whether `attribute` holds a branch that the condition is known not to take.
pub(crate) fn never_taken(site: &Site, attribute: &str) -> bool {
    match (site.node.op_type.as_str(), attribute) {
        ("If", "then_branch") => condition(site) == Some(false),
        ("If", "else_branch") => condition(site) == Some(true),
        _ => false,
    }
}

/// Outputs of the branch that is taken, or what both branches share.
fn branch(site: &mut Site) -> Result<()> {
    if !["then_branch", "else_branch"].iter().all(|name| site.has_graph(name)) {
        return Err(site.fail("a branch is missing"));
    }
    let bodies = std::mem::take(&mut site.bodies);
    for (name, facts) in &bodies {
        if facts.len() != site.outputs.len() {
            return Err(site.fail(format!("`{name}` has {} outputs, the node {}", facts.len(), site.outputs.len())));
        }
    }
    for i in 0..site.outputs.len() {
        let found = bodies.iter().filter_map(|(_, facts)| facts.get(i).cloned());
        let fact = found.reduce(|a, b| common(&a, &b)).unwrap_or_default();
        site.put(i, fact);
    }
    Ok(())
}

/// The carried values, then one stack of a value a pass for each further output.
fn repeat(site: &mut Site) -> Result<()> {
    stacked(site, Expr::Unknown)
}

fn scan(site: &mut Site) -> Result<()> {
    let Some(Carried { count, .. }) = carried(site) else { return Ok(()) };
    let axis = site.node.ints("scan_input_axes").and_then(|axes| axes.first().copied()).unwrap_or(0);
    let length = match site.shape(count) {
        Some(shape) => shape.get(site.axis(axis, shape.len())?).cloned().unwrap_or(Expr::Unknown),
        None => Expr::Unknown,
    };
    stacked(site, length)
}

fn stacked(site: &mut Site, length: Expr) -> Result<()> {
    let Some(Carried { count, node_inputs, body_outputs, .. }) = carried(site) else { return Ok(()) };
    let Some((_, body)) = site.bodies.first().cloned() else { return Err(site.fail("the body is missing")) };
    if body.len() != site.outputs.len() + body_outputs {
        return Err(site.fail(format!("a body of {} outputs for {} of the node", body.len(), site.outputs.len())));
    }
    for (i, fact) in body.into_iter().skip(body_outputs).enumerate() {
        if i < count {
            // After no pass at all it is what it was.
            let initial = site.fact(node_inputs + i).cloned().unwrap_or_default();
            site.put(i, common(&initial, &fact));
            continue;
        }
        let axis = site.node.ints("scan_output_axes").and_then(|axes| axes.get(i - count).copied()).unwrap_or(0);
        let shape = match fact.shape {
            Some(mut shape) => {
                let axis = site.axis(axis, shape.len() + 1)?;
                shape.insert(axis, length.clone());
                Some(shape)
            }
            None => None,
        };
        site.set(i, fact.data_type, shape);
    }
    Ok(())
}
