//! Recurrent layers: input `[sequence, batch, features]`, or with `layout` 1 `[batch, sequence, features]`
//! (from opset 14).

use super::Flow::Only;
use super::Tangent::Refused;
use super::{Kind, OpSpec, Site};
use crate::Result;
use crate::shape::Expr;
use Kind::{Float, Floats, Int, String, Strings};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "GRU",
        since: 1,
        inputs: 3..=6,
        outputs: 0..=2,
        attributes: &[
            ("activation_alpha", Floats),
            ("activation_beta", Floats),
            ("activations", Strings),
            ("clip", Float),
            ("direction", String),
            ("hidden_size", Int),
            ("layout", Int),
            ("linear_before_reset", Int),
        ],
        flows: Only(&[0, 1, 2, 3, 5]),
        tangent: Refused("recurrent, and written for vision models only"),
        infer: recurrent,
    },
    OpSpec {
        name: "LSTM",
        since: 1,
        inputs: 3..=8,
        outputs: 0..=3,
        attributes: &[
            ("activation_alpha", Floats),
            ("activation_beta", Floats),
            ("activations", Strings),
            ("clip", Float),
            ("direction", String),
            ("hidden_size", Int),
            ("input_forget", Int),
            ("layout", Int),
        ],
        flows: Only(&[0, 1, 2, 3, 5, 6, 7]),
        tangent: Refused("recurrent, and written for vision models only"),
        infer: recurrent,
    },
    OpSpec {
        name: "RNN",
        since: 1,
        inputs: 3..=6,
        outputs: 0..=2,
        attributes: &[
            ("activation_alpha", Floats),
            ("activation_beta", Floats),
            ("activations", Strings),
            ("clip", Float),
            ("direction", String),
            ("hidden_size", Int),
            ("layout", Int),
        ],
        flows: Only(&[0, 1, 2, 3, 5]),
        tangent: Refused("recurrent, and written for vision models only"),
        infer: recurrent,
    },
];

fn recurrent(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let directions = match site.node.string("direction").unwrap_or("forward") {
        "forward" | "reverse" => Expr::Known(1),
        "bidirectional" => Expr::Known(2),
        other => return Err(site.fail(format!("`direction` is `{other}`"))),
    };
    // Without the attribute, the recurrence weight `[directions, gates * hidden, hidden]` says it.
    let hidden = match site.node.int("hidden_size") {
        Some(n) => Expr::Known(n),
        None => site.shape_of_rank(2, 3)?.and_then(|r| r.get(2).cloned()).unwrap_or(Expr::Unknown),
    };
    let batch_first = site.int("layout", 0) != 0;
    let (first, second) = match site.shape_of_rank(0, 3)? {
        Some([first, second, _]) => (first.clone(), second.clone()),
        _ => (Expr::Unknown, Expr::Unknown),
    };
    let (sequence, batch) = if batch_first { (second, first) } else { (first, second) };
    let (all, last) = if batch_first {
        (vec![batch.clone(), sequence, directions.clone(), hidden.clone()], vec![batch, directions, hidden])
    } else {
        (vec![sequence, directions.clone(), batch.clone(), hidden.clone()], vec![directions, batch, hidden])
    };
    site.set(0, data_type, Some(all));
    site.set(1, data_type, Some(last.clone()));
    site.set(2, data_type, Some(last));
    Ok(())
}
