//! Attention as one operator, and rotary positions.

use super::Flow::Only;
use super::Tangent::{Linear, Rule};
use super::{Kind, OpSpec, Site};
use crate::shape::Expr;
use crate::tangent::{At, Tangents, Term, sum};
use crate::{Dim, Result};
use Kind::{Float, Int};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Attention",
        since: 23,
        inputs: 3..=7,
        outputs: 1..=4,
        attributes: &[
            ("is_causal", Int),
            ("kv_num_heads", Int),
            ("q_num_heads", Int),
            ("qk_matmul_output_mode", Int),
            ("scale", Float),
            ("softcap", Float),
            ("softmax_precision", Int),
        ],
        flows: Only(&[0, 1, 2, 3, 4, 5]),
        tangent: Rule(attention_tangent),
        infer: attention,
    },
    OpSpec {
        name: "RotaryEmbedding",
        since: 23,
        inputs: 3..=4,
        outputs: 1..=1,
        attributes: &[("interleaved", Int), ("num_heads", Int), ("rotary_embedding_dim", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: super::site::like_first,
    },
];

/// Batch, heads, length and head size of a projection: `[B, H, L, E]`, or `[B, L, H*E]` with the heads
/// as an attribute.
fn projection(site: &Site, i: usize, heads: &str) -> Result<[Expr; 4]> {
    match site.shape(i) {
        Some([batch, heads, length, size]) => Ok([batch.clone(), heads.clone(), length.clone(), size.clone()]),
        Some([batch, length, joined]) => {
            let heads = site.node.int(heads).filter(|n| *n >= 1);
            let heads = Expr::Known(heads.ok_or_else(|| site.fail("3 axes, and the number of heads is not given"))?);
            let size = joined.exactly_over(&heads).unwrap_or(Expr::Unknown);
            Ok([batch.clone(), heads, length.clone(), size])
        }
        Some(other) => Err(site.fail(format!("input {i} has {} axes, expected 3 or 4", other.len()))),
        None => Ok([Expr::Unknown, Expr::Unknown, Expr::Unknown, Expr::Unknown]),
    }
}

fn attention(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let [batch, q_heads, length, q_size] = projection(site, 0, "q_num_heads")?;
    let [_, kv_heads, k_length, k_size] = projection(site, 1, "kv_num_heads")?;
    let [_, _, _, v_size] = projection(site, 2, "kv_num_heads")?;
    site.agree("head size of queries against keys", &q_size, &k_size)?;
    let past = match site.shape(4) {
        Some([_, _, past, _]) => past.clone(),
        _ if site.has(4) => Expr::Unknown,
        _ => Expr::Known(0),
    };
    let total = past.plus(&k_length);
    let shape = match site.rank(0) {
        Some(3) => Some(vec![batch.clone(), length.clone(), q_heads.times(&v_size)]),
        Some(_) => Some(vec![batch.clone(), q_heads.clone(), length.clone(), v_size.clone()]),
        None => None,
    };
    let value_type = site.data_type(2);
    site.set(0, data_type, shape);
    site.set(1, data_type, Some(vec![batch.clone(), kv_heads.clone(), total.clone(), k_size]));
    site.set(2, value_type, Some(vec![batch.clone(), kv_heads, total.clone(), v_size]));
    site.set(3, data_type, Some(vec![batch, q_heads, length, total]));
    Ok(())
}

/// With P the probabilities and scores S = scale Q K^T + mask: dS = scale (dQ K^T + Q dK^T) + dmask,
/// dP = P (dS - sum(P dS)), dY = dP V + P dV. P is the fourth output of the operator itself.
fn attention_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    if at.float("softcap", 0.0) != 0.0 {
        return Err(at.refuse("it caps its scores"));
    }
    if at.has_tangent(4) || at.has_tangent(5) || at.has(6) {
        return Err(at.refuse("it goes on from a cache"));
    }
    let flat = at.rank(0) == Some(3);
    let (q_heads, kv_heads) = match (at.shape(0), at.shape(1), flat) {
        (_, _, true) => (at.int_attribute("q_num_heads", 1), at.int_attribute("kv_num_heads", 1)),
        (Some(q), Some(k), false) => match (q.get(1).and_then(Dim::known), k.get(1).and_then(Dim::known)) {
            (Some(q), Some(k)) => (q as i64, k as i64),
            _ => return Err(at.refuse("the number of its heads is not known")),
        },
        _ => return Err(at.refuse("the number of its axes is not known")),
    };
    let by_head = |t: Term<'a>, heads: i64| match flat {
        true => t.reshaped(&[0, 0, heads, -1]).with("Transpose", &[], vec![("perm", vec![0i64, 2, 1, 3].into())]),
        false => t,
    };
    // Keys and values of one head serve several of the queries, one after the other.
    let shared = |t: Term<'a>| match q_heads / kv_heads {
        1 => t,
        times => {
            let many = t.unsqueezed(&[2]);
            let copies: Vec<Term<'a>> = (1..times).map(|_| many).collect();
            let size = at.head_size(1, kv_heads, flat).unwrap_or(-1);
            many.with("Concat", &copies, vec![("axis", 2i64.into())]).reshaped(&[0, q_heads, -1, size])
        }
    };
    let with_past = |t: Term<'a>, past: usize, moving: bool| match at.input(past) {
        Some(_) if moving => at.zeros(past).with("Concat", &[t], vec![("axis", 2i64.into())]),
        Some(past) => past.with("Concat", &[t], vec![("axis", 2i64.into())]),
        None => t,
    };
    let swapped = |t: Term<'a>| t.with("Transpose", &[], vec![("perm", vec![0i64, 1, 3, 2].into())]);
    let times = |a: Term<'a>, b: Term<'a>| a.with("MatMul", &[b], vec![]);
    let size = at.head_size(0, q_heads, flat).ok_or_else(|| at.refuse("the size of its heads is not known"))?;
    let scale = at.node.float("scale").map_or(1.0 / (size as f64).sqrt(), f64::from);

    let q = by_head(at.x(0), q_heads);
    let moved = |i: usize, past: usize| at.dx(i).map(|t| with_past(by_head(t, kv_heads), past, true));
    let (dk, dv) = (moved(1, 4), moved(2, 5));
    let mut attributes = at.attributes_but("qk_matmul_output_mode");
    attributes.push(("qk_matmul_output_mode", 3i64.into()));
    let twin = at.emit(&at.inputs(), attributes, 4);
    let Some(p) = twin.get(3).copied() else { return Ok(Vec::new()) };

    let keys = || swapped(shared(with_past(by_head(at.x(1), kv_heads), 4, false)));
    let by_query = at.dx(0).map(|dq| times(by_head(dq, q_heads), keys()));
    let by_key = dk.map(|dk| times(q, swapped(shared(dk))));
    let scores = sum(by_query.into_iter().chain(by_key)).map(|t| t * scale);
    let scores = sum(scores.into_iter().chain(at.dx(3)));
    let by_scores = scores.map(|ds| {
        let dp = p * (ds - (p * ds).reduced("ReduceSum", &[3]));
        times(dp, shared(with_past(by_head(at.x(2), kv_heads), 5, false)))
    });
    let by_value = dv.map(|dv| times(p, shared(dv)));
    let dy = sum(by_scores.into_iter().chain(by_value)).map(|t| match flat {
        true => t.with("Transpose", &[], vec![("perm", vec![0i64, 2, 1, 3].into())]).reshaped(&[0, 0, -1]),
        false => t,
    });
    Ok(vec![dy, dk, dv])
}

impl At<'_> {
    /// Size of a head of input `i`.
    fn head_size(&self, i: usize, heads: i64, flat: bool) -> Option<i64> {
        let last = self.shape(i)?.last()?.known()? as i64;
        Some(if flat { last / heads } else { last })
    }
}
