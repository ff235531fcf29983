//! Scaled dot-product attention, and the rotation of its positions.

use super::broadcast::{onto, shapes};
use super::error::check_size;
use super::softmax::softmax;
use super::{Op, OpError, Site, gather, input};
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] =
    &[Op { name: "Attention", forward: attention }, Op { name: "RotaryEmbedding", forward: rotary_embedding }];

/// Splits the last axis of `[N, L, heads * size]` into heads: `[N, heads, L, size]`. Four axes are left as they are.
fn heads(x: &Tensor, name: &'static str, count: Option<i64>) -> Result<Tensor, OpError> {
    let dims = input::rank(x, name, 3..=4)?;
    if dims.len() == 4 {
        return Ok(x.shallow_clone());
    }
    match count {
        Some(count) if count > 0 && dims[2] % count == 0 => {
            Ok(x.f_reshape([dims[0], dims[1], count, dims[2] / count])?.f_transpose(1, 2)?)
        }
        count => {
            let expected = format!("a number of heads that divides {}", dims[2]).into();
            Err(OpError::Input { name, expected, found: format!("{count:?}") })
        }
    }
}

/// [Attention](https://onnx.ai/onnx/operators/onnx__Attention.html) (since 23; `nonpad_kv_seqlen` since 24).
///
/// `softmax_precision` changes nothing: a run has one float kind.
fn attention(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let query = input::required(inputs, 0, "Q")?;
    let flat = query.dim() == 3;
    let q = heads(query, "Q", site.int("q_num_heads")?)?;
    let kv_heads = site.int("kv_num_heads")?;
    let mut k = heads(input::required(inputs, 1, "K")?, "K", kv_heads)?;
    let mut v = heads(input::required(inputs, 2, "V")?, "V", kv_heads)?;
    input::check_float(&q, "Q")?;
    let mut past = 0;
    if let Some(key) = input::optional(inputs, 4) {
        past = joined(key, &k, "past_key")?;
        k = Tensor::f_cat(&[key, &k], 2)?;
    }
    if let Some(value) = input::optional(inputs, 5) {
        joined(value, &v, "past_value")?;
        v = Tensor::f_cat(&[value, &v], 2)?;
    }
    let (present_key, present_value) = (k.shallow_clone(), v.shallow_clone());
    let (q_dims, k_dims, v_dims) = (q.size(), k.size(), v.size());
    let groups = q_dims[1].checked_div(k_dims[1]).unwrap_or(0);
    let fits = [q_dims[0], q_dims[3]] == [k_dims[0], k_dims[3]]
        && k_dims[..3] == v_dims[..3]
        && groups * k_dims[1] == q_dims[1]
        && !q_dims.contains(&0)
        && !k_dims.contains(&0);
    if !fits {
        return Err(OpError::Input {
            name: "K",
            expected: format!("keys and values for queries of shape {q_dims:?}, their heads a divisor").into(),
            found: format!("{k_dims:?} and {v_dims:?}"),
        });
    }
    let scores = [q_dims[0], q_dims[1], q_dims[2], k_dims[2]];
    check_size(&scores)?;
    if groups > 1 {
        // Each key serves as many queries in a row.
        k = k.f_repeat_interleave_self_int(groups, 1, None)?;
        v = v.f_repeat_interleave_self_int(groups, 1, None)?;
    }
    let scale = site.float("scale")?.unwrap_or_else(|| 1.0 / (q_dims[3] as f64).sqrt());
    // The root of the scale on both sides, as the definition has it for the sake of narrow floats.
    let root = scale.abs().sqrt();
    let raw = q.f_mul_scalar(root.copysign(scale))?.f_matmul(&k.f_transpose(2, 3)?.f_mul_scalar(root)?)?;
    let mut logits = raw.shallow_clone();
    if let Some(bias) = bias(site, inputs, &scores, past)? {
        logits = logits.f_add(&bias.f_to_kind(raw.f_kind()?)?)?;
    }
    let biased = logits.shallow_clone();
    let cap = site.float("softcap")?.unwrap_or(0.0);
    if cap > 0.0 {
        logits = logits.f_mul_scalar(1.0 / cap)?.f_tanh()?.f_mul_scalar(cap)?;
    }
    let weights = softmax(&logits, 3)?;
    let mut y = weights.f_matmul(&v)?;
    if flat {
        y = y.f_transpose(1, 2)?.f_reshape([q_dims[0], q_dims[2], q_dims[1] * v_dims[3]])?;
    }
    let shown = match site.int("qk_matmul_output_mode")?.unwrap_or(0) {
        0 => raw,
        1 => biased,
        2 => logits,
        3 => weights,
        mode => {
            let name = "qk_matmul_output_mode";
            return Err(OpError::Attribute { name, expected: "0 to 3".into(), found: mode.to_string() });
        }
    };
    Ok(vec![y, present_key, present_value, shown])
}

/// Checks that a cache goes before `x`; its length.
fn joined(cache: &Tensor, x: &Tensor, name: &'static str) -> Result<i64, OpError> {
    let (dims, whole) = (input::rank(cache, name, 4..=4)?, x.size());
    input::same_kind(x, cache, name)?;
    if [dims[0], dims[1], dims[3]] != [whole[0], whole[1], whole[3]] {
        let expected = format!("the shape {whole:?} but for the third axis").into();
        return Err(OpError::Input { name, expected, found: format!("{dims:?}") });
    }
    Ok(dims[2])
}

/// What is added to the scores `[N, heads, queries, keys]`: the mask that is given, and those that keep a query from keys
/// after it or past the end of the sequence.
fn bias(site: &Site, inputs: &[Option<Tensor>], scores: &[i64; 4], past: i64) -> Result<Option<Tensor>, OpError> {
    let [batch, _, queries, keys] = *scores;
    let (kind, device) = (input::required(inputs, 0, "Q")?.f_kind()?, site.device);
    // Where a key may be seen, as 0 and minus infinity.
    let open = |seen: &Tensor| -> Result<Tensor, OpError> {
        Ok(Tensor::f_zeros(seen.size(), (kind, device))?.f_masked_fill(&seen.f_logical_not()?, f64::NEG_INFINITY)?)
    };
    let mut sum: Option<Tensor> = None;
    let mut add = |term: Tensor| -> Result<(), OpError> {
        sum = Some(match &sum {
            Some(sum) => {
                shapes(&sum.size(), &term.size())?;
                sum.f_add(&term)?
            }
            None => term,
        });
        Ok(())
    };
    if let Some(mask) = input::optional(inputs, 3) {
        let dims = input::rank(mask, "attn_mask", 2..=4)?;
        let mask = if mask.f_kind()? == Kind::Bool { open(mask)? } else { mask.shallow_clone() };
        input::check_float(&mask, "attn_mask")?;
        // Keys that the mask does not reach are hidden.
        let short = keys - dims[dims.len() - 1];
        let mask = if short > 0 { mask.f_pad([0, short], "constant", f64::NEG_INFINITY)? } else { mask };
        onto(scores, &mask.size(), "attn_mask")?;
        add(mask)?;
    }
    let places = |n| -> Result<Tensor, OpError> { Ok(Tensor::f_arange(n, (Kind::Int64, device))?) };
    if site.flag("is_causal", false)? {
        let seen = places(queries)?.f_add_scalar(past)?.f_reshape([-1, 1])?.f_ge_tensor(&places(keys)?)?;
        add(open(&seen)?)?;
    }
    if let Some(lengths) = input::optional(inputs, 6) {
        if lengths.size() != [batch] {
            let expected = format!("the shape [{batch}]").into();
            return Err(OpError::Input { name: "nonpad_kv_seqlen", expected, found: format!("{:?}", lengths.size()) });
        }
        add(open(&places(keys)?.f_lt_tensor(&lengths.f_reshape([batch, 1, 1, 1])?)?)?)?;
    }
    Ok(sum)
}

/// [RotaryEmbedding](https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html) (since 23): pairs of features turned by an
/// angle that grows with the position.
fn rotary_embedding(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let dims = x.size();
    let by_head = heads(x, "X", site.int("num_heads")?)?;
    let (batch, length, size) = (by_head.size()[0], by_head.size()[2], by_head.size()[3]);
    let turned = match site.int("rotary_embedding_dim")?.unwrap_or(0) {
        0 => size,
        turned => turned,
    };
    if turned % 2 != 0 || !(0..=size).contains(&turned) {
        let name = "rotary_embedding_dim";
        let expected = format!("an even number up to {size}").into();
        return Err(OpError::Attribute { name, expected, found: turned.to_string() });
    }
    let cache = |index, name| -> Result<Tensor, OpError> {
        let cache = input::required(inputs, index, name)?;
        let angles = match input::optional(inputs, 3) {
            Some(places) => {
                let rows = input::rank(cache, name, 2..=2)?;
                let mut out = places.size();
                out.push(rows[1]);
                check_size(&out)?;
                let places = gather::indices(places, rows[0])?.f_reshape([-1])?;
                cache.f_index_select(0, &places)?.f_reshape(&out)?
            }
            None => cache.shallow_clone(),
        };
        if angles.size() != [batch, length, turned / 2] {
            let expected = format!("the shape {:?}", [batch, length, turned / 2]).into();
            return Err(OpError::Input { name, expected, found: format!("{:?}", angles.size()) });
        }
        Ok(angles.f_unsqueeze(1)?)
    };
    let (cos, sin) = (cache(1, "cos_cache")?, cache(2, "sin_cache")?);
    let moving = by_head.f_narrow(3, 0, turned)?;
    let interleaved = site.flag("interleaved", false)?;
    let (first, second) = if interleaved {
        (moving.f_slice(3, 0, turned, 2)?, moving.f_slice(3, 1, turned.max(1), 2)?)
    } else {
        (moving.f_narrow(3, 0, turned / 2)?, moving.f_narrow(3, turned / 2, turned / 2)?)
    };
    let real = cos.f_mul(&first)?.f_sub(&sin.f_mul(&second)?)?;
    let imaginary = sin.f_mul(&first)?.f_add(&cos.f_mul(&second)?)?;
    let moved = if interleaved {
        Tensor::f_stack(&[real, imaginary], -1)?.f_flatten(3, 4)?
    } else {
        Tensor::f_cat(&[real, imaginary], 3)?
    };
    let y = Tensor::f_cat(&[moved, by_head.f_narrow(3, turned, size - turned)?], 3)?;
    Ok(vec![if dims.len() == 3 { y.f_transpose(1, 2)?.f_reshape(&dims)? } else { y }])
}
