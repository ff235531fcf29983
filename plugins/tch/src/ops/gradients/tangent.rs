//! The tangent transform of every row, run here in float64, against differences and against the reverse mode.
//!
//! With outputs weighed by random c, a direction u over the inputs that a derivative flows through, and J the node's
//! Jacobian: `c . J u` from the transformed graph is held against central differences of `c . y` along u, and against
//! `(J^T c) . u` from libtorch's autograd, which has neither a step nor any code in common.

use super::check::{Checked, Drawn, difference, dot, hold, leaves, native, native_inputs, scale};
use crate::ops::conformance::run::run;
use indexmap::IndexMap;
use isal_onnx::Tensor as OnnxTensor;
use isal_onnx::tangent::{Tangent, Target, tangents};
use isal_onnx::testing::{Case, cases, uniform};
use tch::{Kind, Tensor};

/// Rows whose tangent is refused, with what the error says.
const REFUSED: &[(&str, &str)] = &[
    ("GridSample", "grid"),
    ("BatchNormalization", "training mode"),
    ("LayerNormalization", "outputs too"),
    ("RoiAlign", "picks places"),
    ("Attention", "caps its scores"),
    ("Attention", "cache"),
    ("TopK", "opset 11"),
];

/// What is refused must say why, in one of the ways that are known.
fn refusal(case: &Case, message: &str) -> Checked<()> {
    match REFUSED.iter().any(|(op, why)| case.op == *op && message.contains(why)) {
        true => Ok(()),
        false => Err(message.to_owned()),
    }
}

fn check(case: &Case) -> Checked<bool> {
    let spec = isal_onnx::ops::find(case.op).ok_or("no such operator")?;
    let mut random = case.random();
    let inputs = case.tensors(&mut random);
    let moving: Vec<usize> =
        (0..inputs.len()).filter(|i| spec.flows.passes(*i) && inputs[*i].as_ref().is_some_and(|(_, d)| *d)).collect();
    let dims = |i: usize| inputs[i].as_ref().map(|(t, _)| t.dims().to_vec()).unwrap_or_default();
    let directions: IndexMap<String, OnnxTensor> =
        moving.iter().map(|i| (format!("x{i}"), uniform(&dims(*i), &mut random))).collect();
    let plain: Vec<Option<OnnxTensor>> = inputs.iter().map(|i| i.as_ref().map(|(t, _)| t.clone())).collect();
    let model = case.model(&plain);
    let names: Vec<String> = model.graph.outputs.iter().map(|o| o.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let moved = match tangents(&model, &directions, &names, Target::Any) {
        Ok(moved) => moved,
        Err(error) => return refusal(case, &error.to_string()).map(|()| false),
    };

    let drawn = Drawn { case, inputs: native_inputs(&inputs)? };
    let xs: Vec<Tensor> = drawn.inputs.iter().flatten().filter(|(_, d)| *d).map(|(t, _)| t.shallow_clone()).collect();
    // A direction for each differentiated input, zero where it counts as a setting.
    let marked = inputs.iter().enumerate().filter(|(_, input)| input.as_ref().is_some_and(|(_, d)| *d));
    let us: Vec<Tensor> = marked
        .zip(&xs)
        .map(|((i, _), x)| directions.get(&format!("x{i}")).map_or_else(|| Ok(x.zeros_like()), native))
        .collect::<Checked<_>>()?;
    let ys = drawn.outputs(&xs)?;
    // An output that the node does not name takes no part.
    let named = |i: usize| names.get(i).filter(|name| !name.is_empty());
    let mut weight = |(i, y): &(usize, Tensor)| -> Checked<Tensor> {
        let dims: Vec<usize> = y.size().iter().map(|d| *d as usize).collect();
        let c = native(&uniform(&dims, &mut random))?;
        Ok(if named(*i).is_some() { c } else { c.zeros_like() })
    };
    let cs: Vec<Tensor> = ys.iter().map(&mut weight).collect::<Checked<_>>()?;

    let outputs = run(&moved, &[], Kind::Double)?;
    let found: IndexMap<&str, &Tensor> = moved.graph.outputs.iter().map(|o| o.name.as_str()).zip(&outputs).collect();
    let mut total = 0.0;
    for ((i, y), c) in ys.iter().zip(&cs) {
        let Some(tangent) = named(*i).and_then(|name| found.get(format!("tangent_of_{name}").as_str())) else {
            continue;
        };
        if tangent.kind() != y.kind() || tangent.size() != y.size() {
            return Err(format!("the tangent is {:?} {:?}, the value {:?}", tangent.kind(), tangent.size(), y.size()));
        }
        total += (*tangent * c).sum(Kind::Double).double_value(&[]);
    }
    let recorded = leaves(&xs);
    let gradients = Tensor::f_run_backward(&[drawn.value(&recorded, &cs)?], &recorded, false, false);
    let gradients = gradients.map_err(super::check::text)?;
    let size = scale(&gradients, &us);
    let expected = difference(&xs, &us, |xs| Ok(drawn.value(xs, &cs)?.double_value(&[])))?;
    hold("differences", total, expected, size)?;
    let adjoint = dot(&gradients, &us).double_value(&[]);
    // Both are exact derivatives in float64: only rounding is between them.
    if (total - adjoint).abs() > 1e-9 * size.max(1e-3) {
        return Err(format!("adjoint: {total:e} instead of {adjoint:e} (scale {size:e})"));
    }
    Ok(true)
}

#[test]
fn tangent_rules_match_differences_and_the_adjoint() {
    let (mut failures, mut held) = (Vec::new(), std::collections::BTreeSet::new());
    let rows: Vec<Case> = cases().into_iter().filter(|case| !case.training).collect();
    for case in &rows {
        match check(case) {
            Ok(true) => drop(held.insert(case.op)),
            Ok(false) => {}
            Err(error) => failures.push(format!("{}: {error}", case.label())),
        }
    }
    println!("{} rows, {} operators held", rows.len(), held.len());
    assert!(failures.is_empty(), "{} of {} rows fail:\n{}", failures.len(), rows.len(), failures.join("\n"));
    // Whatever has a rule and a forward here was held in at least one row.
    let unheld: Vec<&str> = isal_onnx::ops::all()
        .filter(|op| !matches!(op.tangent, Tangent::Zero | Tangent::Refused(_)))
        .filter(|op| crate::ops::find("", op.name).is_some() && !held.contains(op.name))
        .map(|op| op.name)
        .collect();
    assert!(unheld.is_empty(), "no row holds {unheld:?}");
}
