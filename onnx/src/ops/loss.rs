//! Losses of class scores `[N, C, ...]` against labels `[N, ...]`.

use super::Flow::Only;
use super::Tangent::{Linear, Rule};
use super::{Kind, OpSpec, Site};
use crate::Result;
use crate::shape::Expr;
use crate::tangent::{At, Tangents, Term};
use Kind::{Int, String};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "NegativeLogLikelihoodLoss",
        since: 12,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[("ignore_index", Int), ("reduction", String)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: loss,
    },
    OpSpec {
        name: "SoftmaxCrossEntropyLoss",
        since: 12,
        inputs: 2..=3,
        outputs: 1..=2,
        attributes: &[("ignore_index", Int), ("reduction", String)],
        flows: Only(&[0]),
        tangent: Rule(softmax_cross_entropy_tangent),
        infer: loss,
    },
];

/// A number, or with `reduction` `none` one a label; output 1 has the logarithms of the probabilities.
fn loss(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match site.node.string("reduction").unwrap_or("mean") {
        "mean" | "sum" => Some(Vec::new()),
        "none" => match site.shape(0) {
            Some([batch, _, places @ ..]) => Some([std::slice::from_ref(batch), places].concat()),
            Some(_) => return Err(site.fail("fewer than 2 axes")),
            None => site.shape(1).map(<[Expr]>::to_vec),
        },
        other => return Err(site.fail(format!("`reduction` is `{other}`"))),
    };
    let scores = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, data_type, shape);
    site.set(1, data_type, scores);
    Ok(())
}

/// The log-probabilities move by dx - sum(p dx) along the classes, and the loss is linear in them.
fn softmax_cross_entropy_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let Some(dx) = at.dx(0) else { return Ok(Vec::new()) };
    let softmax = at.x(0).with("Softmax", &[], vec![("axis", 1i64.into())]);
    if at.opset() < 13 && at.rank(0) != Some(2) {
        return Err(at.refuse("along one of several axes Softmax came with opset 13"));
    }
    let moved = dx - (softmax * dx).reduced("ReduceSum", &[1]);
    let rest: Vec<Term<'a>> = (1..at.node.inputs.len()).filter_map(|i| at.input(i)).collect();
    Ok(vec![Some(moved.with("NegativeLogLikelihoodLoss", &rest, at.attributes_but(""))), Some(moved)])
}
