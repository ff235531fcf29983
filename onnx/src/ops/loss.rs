//! Losses of class scores `[N, C, ...]` against labels `[N, ...]`.

use super::Flow::Only;
use super::{Kind, OpSpec, Site};
use crate::Result;
use crate::shape::Expr;
use Kind::{Int, String};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "NegativeLogLikelihoodLoss",
        since: 12,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[("ignore_index", Int), ("reduction", String)],
        flows: Only(&[0]),
        infer: loss,
    },
    OpSpec {
        name: "SoftmaxCrossEntropyLoss",
        since: 12,
        inputs: 2..=3,
        outputs: 1..=2,
        attributes: &[("ignore_index", Int), ("reduction", String)],
        flows: Only(&[0]),
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
