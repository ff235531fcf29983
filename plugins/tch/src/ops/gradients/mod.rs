//! Gradient checks: every operator of the table has rows here, or a reason why it carries no derivative.

mod check;
mod random_graphs;
mod tangent;

use super::all;
use isal_onnx::testing::cases;

/// Operators without a derivative.
const NOT_DIFFERENTIABLE: &[(&str, &str)] = &[
    ("And", "truth values"),
    ("ArgMax", "places"),
    ("ArgMin", "places"),
    ("BitShift", "integers"),
    ("BitwiseAnd", "integers"),
    ("BitwiseNot", "integers"),
    ("BitwiseOr", "integers"),
    ("BitwiseXor", "integers"),
    ("Ceil", "steps"),
    ("Constant", "takes nothing"),
    ("ConstantOfShape", "takes a shape"),
    ("Equal", "truth values"),
    ("EyeLike", "takes a shape"),
    ("Floor", "steps"),
    ("Greater", "truth values"),
    ("GreaterOrEqual", "truth values"),
    ("Hardmax", "steps"),
    ("IsInf", "truth values"),
    ("IsNaN", "truth values"),
    ("Less", "truth values"),
    ("LessOrEqual", "truth values"),
    ("NonMaxSuppression", "places"),
    ("NonZero", "places"),
    ("Not", "truth values"),
    ("Or", "truth values"),
    ("Range", "its length depends on its inputs"),
    ("Round", "steps"),
    ("Shape", "shapes"),
    ("Sign", "steps"),
    ("Size", "shapes"),
    ("Xor", "truth values"),
];

#[test]
fn every_operator_has_gradient_rows_or_a_reason_to_have_none() {
    let rows = cases();
    let mut wrong = Vec::new();
    for op in all() {
        let checked = rows.iter().any(|row| row.op == op.name);
        let listed = NOT_DIFFERENTIABLE.iter().any(|(name, _)| *name == op.name);
        if checked == listed {
            wrong.push(format!("{} ({})", op.name, if checked { "both" } else { "neither" }));
        }
    }
    wrong
        .extend(NOT_DIFFERENTIABLE.iter().filter(|(n, _)| all().all(|op| op.name != *n)).map(|(n, _)| (*n).to_owned()));
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn all_derivatives_match_central_differences() {
    let rows = cases();
    let mut failures = Vec::new();
    for row in &rows {
        if let Err(error) = check::check(row) {
            failures.push(format!("{}: {error}", row.label()));
        }
    }
    println!("{} rows, {} operators", rows.len(), all().count());
    assert!(failures.is_empty(), "{} of {} rows fail:\n{}", failures.len(), rows.len(), failures.join("\n"));
}
