//! Weights out of a seed and a name: a model of any size travels as its structure alone.
//!
//! A *structure-only* model is a valid ONNX file whose weights are graph inputs. Its metadata say how each is
//! made: `isal.seed` is the seed, `isal.seeded.gain` (1 when absent) a factor on the weights, and `isal.seeded`
//! lists the inputs, joined by commas, in the order their initializers had. An entry is one of
//!
//! | entry | the initializer `name` is |
//! |---|---|
//! | `name` | the parameter `name` |
//! | `name\|source` | the parameter `source` |
//! | `name\|source\|transposed` | the parameter `source`, whose axes are the initializer's in reverse |
//! | `name\|source\|relative-bias` | made of the table `source` as Swin transformers do, see `Form` |
//!
//! [`fill`] turns those inputs back into initializers. The same generator written in Python
//! (`tests/fixtures/seeded.py`) fills the PyTorch model that the structure came from, bit for bit alike.
//!
//! Element i of the stream (seed, name) is the output of SplitMix64 (Steele, Lea, Flood 2014) after i + 1 steps from
//! the state `mix(seed) ^ FNV-1a-64(name)`. Its upper 24 bits are `u` in [0, 1); what follows is float64, rounded
//! once to float32, so that no platform changes a bit.

use crate::{Error, Result};
use isal_onnx::{DataType, Model, Tensor};
use std::ops::Range;
use std::str::FromStr;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// How an initializer follows from a parameter.
enum Form {
    /// The same dims.
    Direct,
    /// A matrix, transposed.
    Transposed,
    /// `[1, heads, w * w, w * w]` from a table `[(2w - 1)^2, heads]`: the entry for the tokens at rows and columns
    /// (r, c) and (r', c') of a w x w window is the table's row `(r - r' + w - 1) (2w - 1) + c - c' + w - 1`
    /// (Liu et al., arXiv 2103.14030, section 3.2). Or the same as `[w^4, heads]`, a row for each pair of tokens.
    RelativeBias,
}

/// Turns the inputs that `isal.seeded` lists into initializers; other initializers stay, after those.
///
/// # Errors
/// [`Error::Seeded`] when the metadata are absent, malformed, or do not fit the graph's inputs. The model is then as
/// it was.
pub fn fill(model: &mut Model) -> Result<()> {
    let list = model.metadata.get("isal.seeded").ok_or_else(|| wrong("isal.seeded", "absent"))?;
    let seed = metadata::<u64>(model, "isal.seed")?.ok_or_else(|| wrong("isal.seed", "absent"))?;
    let gain = metadata::<f64>(model, "isal.seeded.gain")?.unwrap_or(1.0);
    let mut filled = indexmap::IndexMap::new();
    for entry in list.split(',') {
        let parts: Vec<&str> = entry.split('|').collect();
        let (name, source, form) = match parts[..] {
            [name] => (name, name, Form::Direct),
            [name, source] => (name, source, Form::Direct),
            [name, source, "transposed"] => (name, source, Form::Transposed),
            [name, source, "relative-bias"] => (name, source, Form::RelativeBias),
            _ => return Err(wrong(entry, "neither `name`, `name|source` nor `name|source|form`")),
        };
        let input = model.graph.inputs.iter().find(|v| v.name == name).ok_or_else(|| wrong(name, "no such input"))?;
        let dims = match &input.value_type {
            Some(t) if t.data_type == DataType::Float => t.dims(),
            _ => return Err(wrong(name, "not a float32 input")),
        };
        let dims = dims.ok_or_else(|| wrong(name, "an input whose dims are not all known"))?;
        // A few bytes of a file can ask for any amount of memory; 2 GiB is what an ONNX file itself can hold.
        if dims.iter().try_fold(4usize, |n, d| n.checked_mul(*d)).is_none_or(|n| n > 1 << 31) {
            return Err(wrong(name, &format!("dims {dims:?} take more than 2 GiB")));
        }
        let tensor = match form {
            Form::Direct => parameter(seed, source, &dims, gain),
            Form::Transposed => transposed(seed, source, &dims, gain)
                .ok_or_else(|| wrong(entry, &format!("a matrix is transposed, not dims {dims:?}")))?,
            Form::RelativeBias => relative_bias(seed, source, &dims, gain).ok_or_else(|| {
                wrong(entry, &format!("dims {dims:?} are neither [1, heads, w * w, w * w] nor [w^4, heads]"))
            })?,
        };
        if filled.insert(name.to_owned(), tensor).is_some() || model.graph.initializers.contains_key(name) {
            return Err(wrong(name, "filled twice"));
        }
    }
    model.graph.inputs.retain(|v| !filled.contains_key(&v.name));
    filled.append(&mut model.graph.initializers);
    model.graph.initializers = filled;
    for key in ["isal.seeded", "isal.seeded.gain"] {
        model.metadata.shift_remove(key);
    }
    Ok(())
}

/// Replaces every float32 initializer of a model by the [`parameter`] of its name.
pub fn overwrite(model: &mut Model, seed: u64, gain: f64) {
    for (name, tensor) in &mut model.graph.initializers {
        if tensor.data_type() == DataType::Float {
            *tensor = parameter(seed, name, tensor.dims(), gain);
        }
    }
    model.metadata.insert("isal.seed".to_owned(), seed.to_string());
}

/// A parameter or buffer by its name and dims, float32.
///
/// Two axes and more: uniform with the variance of He initialisation over the inputs, `2 / fan_in`, times `gain`
/// squared, where `fan_in` is the product of all dims but the first. Fewer axes: `running_var` in [0.5, 1.5), other
/// names that end in `weight` (the scales of a normalisation) in [0.75, 1.25), the rest (biases, running means) in
/// [-0.1, 0.1).
pub fn parameter(seed: u64, name: &str, dims: &[usize], gain: f64) -> Tensor {
    let range = match dims {
        [_, inputs @ ..] if !inputs.is_empty() => {
            let fan_in = inputs.iter().product::<usize>().max(1);
            let bound = gain * (6.0 / fan_in as f64).sqrt();
            -bound..bound
        }
        _ if name.ends_with("running_var") => 0.5..1.5,
        _ if name.ends_with("weight") => 0.75..1.25,
        _ => -0.1..0.1,
    };
    Tensor::new(dims, &uniform(seed, name, dims.iter().product(), range))
}

/// The first `count` elements of a stream, uniform over `range`.
pub fn uniform(seed: u64, name: &str, count: usize, range: Range<f64>) -> Vec<f32> {
    let start = mix(seed) ^ fnv1a(name.as_bytes());
    let width = range.end - range.start;
    (1..=count as u64)
        .map(|step| {
            let bits = mix(start.wrapping_add(step.wrapping_mul(GAMMA))) >> 40;
            (range.start + bits as f64 * 2f64.powi(-24) * width) as f32
        })
        .collect()
}

/// Images `[N, C, H, W]` uniform in [-1, 1): the stream called `images`.
pub fn images(seed: u64, dims: [usize; 4]) -> Tensor {
    Tensor::new(dims, &uniform(seed, "images", dims.iter().product(), -1.0..1.0))
}

fn transposed(seed: u64, source: &str, dims: &[usize], gain: f64) -> Option<Tensor> {
    let [rows, columns] = *dims else { return None };
    let values = parameter(seed, source, &[columns, rows], gain).to_vec::<f32>()?;
    let column = |r: usize| values.iter().skip(r).step_by(rows).copied();
    Some(Tensor::new(dims, &(0..rows).flat_map(column).collect::<Vec<f32>>()))
}

fn relative_bias(seed: u64, source: &str, dims: &[usize], gain: f64) -> Option<Tensor> {
    let (heads, tokens, by_head) = match *dims {
        [1, heads, tokens, same] if tokens == same => (heads, tokens, true),
        [pairs, heads] if pairs.isqrt().pow(2) == pairs => (heads, pairs.isqrt(), false),
        _ => return None,
    };
    let w = tokens.isqrt();
    // Windows are 7 or 8 wide; the list of rows below must not grow with what a file claims.
    if w * w != tokens || !(1..=64).contains(&w) || heads == 0 {
        return None;
    }
    let span = 2 * w - 1;
    let table = parameter(seed, source, &[span * span, heads], gain).to_vec::<f32>()?;
    let rows: Vec<&[f32]> = (0..tokens * tokens)
        .map(|pair| {
            let (i, j) = (pair / tokens, pair % tokens);
            let row = (i / w + w - 1 - j / w) * span + (i % w + w - 1 - j % w);
            table.get(row * heads..(row + 1) * heads)
        })
        .collect::<Option<_>>()?;
    let bias: Vec<f32> = if by_head {
        (0..heads).flat_map(|head| rows.iter().filter_map(move |row| row.get(head)).copied()).collect()
    } else {
        rows.concat()
    };
    Some(Tensor::new(dims, &bias))
}

/// The output function of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

fn metadata<T: FromStr>(model: &Model, key: &str) -> Result<Option<T>> {
    let parse = |text: &String| {
        text.parse().map_err(|_| wrong(key, &format!("`{text}` is not a number of the kind that stands there")))
    };
    model.metadata.get(key).map(parse).transpose()
}

fn wrong(what: &str, reason: &str) -> Error {
    Error::Seeded { what: what.to_owned(), reason: reason.to_owned() }
}
