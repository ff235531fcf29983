//! Attention as one operator, and rotary positions.

use super::Flow::Only;
use super::{Kind, OpSpec, Site};
use crate::Result;
use crate::shape::Expr;
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
        infer: attention,
    },
    OpSpec {
        name: "RotaryEmbedding",
        since: 23,
        inputs: 3..=4,
        outputs: 1..=1,
        attributes: &[("interleaved", Int), ("num_heads", Int), ("rotary_embedding_dim", Int)],
        flows: Only(&[0]),
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
