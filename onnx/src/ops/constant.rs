//! Values that do not come from the data of an input: constants, shapes, ranges, random numbers.

use super::Flow::Nothing;
use super::Tangent::Zero;
use super::site::product;
use super::{Kind, OpSpec, Site};
use crate::shape::{Element, Expr, Fact, MAX_ELEMENTS};
use crate::{Attribute, DataType, Result, Tensor};
use Kind::{Float, Floats, Int, Ints, SparseTensor, String, Strings};

macro_rules! random {
    ($name:literal, $since:literal, $inputs:expr, $attributes:expr, $infer:expr) => {
        OpSpec {
            name: $name,
            since: $since,
            inputs: $inputs,
            outputs: 1..=1,
            attributes: $attributes,
            flows: Nothing,
            tangent: Zero,
            infer: $infer,
        }
    };
}

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Constant",
        since: 1,
        inputs: 0..=0,
        outputs: 1..=1,
        attributes: &[
            ("sparse_value", SparseTensor),
            ("value", Kind::Tensor),
            ("value_float", Float),
            ("value_floats", Floats),
            ("value_int", Int),
            ("value_ints", Ints),
            ("value_string", String),
            ("value_strings", Strings),
        ],
        flows: Nothing,
        tangent: Zero,
        infer: constant,
    },
    OpSpec {
        name: "ConstantOfShape",
        since: 9,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("value", Kind::Tensor)],
        flows: Nothing,
        tangent: Zero,
        infer: constant_of_shape,
    },
    OpSpec {
        name: "Shape",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("end", Int), ("start", Int)],
        flows: Nothing,
        tangent: Zero,
        infer: shape,
    },
    OpSpec {
        name: "Size",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Zero,
        infer: size,
    },
    OpSpec {
        name: "Range",
        since: 11,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Zero,
        infer: range,
    },
    OpSpec {
        name: "EyeLike",
        since: 9,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("dtype", Int), ("k", Int)],
        flows: Nothing,
        tangent: Zero,
        infer: like_with_dtype,
    },
    random!(
        "RandomNormal",
        1,
        0..=0,
        &[("dtype", Int), ("mean", Float), ("scale", Float), ("seed", Float), ("shape", Ints)],
        random
    ),
    random!(
        "RandomUniform",
        1,
        0..=0,
        &[("dtype", Int), ("high", Float), ("low", Float), ("seed", Float), ("shape", Ints)],
        random
    ),
    random!(
        "RandomNormalLike",
        1,
        1..=1,
        &[("dtype", Int), ("mean", Float), ("scale", Float), ("seed", Float)],
        like_with_dtype
    ),
    random!(
        "RandomUniformLike",
        1,
        1..=1,
        &[("dtype", Int), ("high", Float), ("low", Float), ("seed", Float)],
        like_with_dtype
    ),
    random!("Bernoulli", 15, 1..=1, &[("dtype", Int), ("seed", Float)], like_with_dtype),
    random!("Multinomial", 7, 1..=1, &[("dtype", Int), ("sample_size", Int), ("seed", Float)], multinomial),
];

fn constant(site: &mut Site) -> Result<()> {
    let mut values = site.node.attributes.iter().filter(|(name, _)| {
        let spec = OPS.iter().find(|op| op.name == "Constant");
        spec.is_some_and(|op| op.attributes.iter().any(|(known, _)| known == name))
    });
    let (Some((name, value)), None) = (values.next(), values.next()) else {
        return Err(site.fail("it has no value, or several"));
    };
    let vector = |n: usize| Some(vec![Expr::from(n)]);
    let fact = match value {
        Attribute::Tensor(t) => Fact::from_tensor(t),
        Attribute::Float(x) => Fact::from_tensor(&Tensor::scalar(*x)),
        Attribute::Int(n) => Fact::from_tensor(&Tensor::scalar(*n)),
        Attribute::Floats(v) => Fact::from_tensor(&Tensor::new([v.len()], v)),
        Attribute::Ints(v) => Fact::from_tensor(&Tensor::new([v.len()], v)),
        Attribute::String(_) => Fact::new(Some(DataType::String), Some(Vec::new())),
        Attribute::Strings(v) => Fact::new(Some(DataType::String), vector(v.len())),
        Attribute::Other(proto) if name == "sparse_value" => {
            let sparse = proto.sparse_tensor.get_or_default();
            let dims = sparse.dims.iter().map(|d| Expr::Known(*d)).collect();
            Fact::new(DataType::from_number(sparse.values.get_or_default().data_type), Some(dims))
        }
        _ => Fact::default(),
    };
    site.put(0, fact);
    Ok(())
}

/// Zeros in float32 unless `value`, a tensor of one element, says otherwise.
fn constant_of_shape(site: &mut Site) -> Result<()> {
    let value = match site.tensor("value") {
        Some(t) if t.len() != 1 => return Err(site.fail(format!("`value` has {} elements", t.len()))),
        Some(t) => Fact::from_tensor(t),
        None => Fact::from_tensor(&Tensor::scalar(0f32)),
    };
    let sizes = site.exprs(0);
    if let Some(n) = sizes.iter().flatten().filter_map(Expr::known).find(|n| *n < 0) {
        return Err(site.fail(format!("size {n}")));
    }
    let mut fact = Fact::new(value.data_type, sizes);
    let count = fact.dims().and_then(|d| d.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
    if let (Some([element]), Some(count)) = (value.elements.as_deref(), count.filter(|n| *n <= MAX_ELEMENTS)) {
        fact = fact.with_elements(Some(vec![element.clone(); count]));
    }
    site.put(0, fact);
    Ok(())
}

/// The sizes from `start` to `end` (from opset 15), both clamped.
fn shape(site: &mut Site) -> Result<()> {
    let Some(shape) = site.shape(0) else {
        site.set(0, Some(DataType::Int64), Some(vec![Expr::Unknown]));
        return Ok(());
    };
    let rank = shape.len() as i64;
    let clamp = |i: i64| (if i < 0 { i.saturating_add(rank) } else { i }).clamp(0, rank) as usize;
    let (start, end) = (clamp(site.int("start", 0)), clamp(site.int("end", rank)));
    let sizes: Vec<Element> =
        shape.get(start..end.max(start)).unwrap_or_default().iter().cloned().map(Element::Int).collect();
    let fact = Fact::new(Some(DataType::Int64), Some(vec![Expr::from(sizes.len())])).with_elements(Some(sizes));
    site.put(0, fact);
    Ok(())
}

fn size(site: &mut Site) -> Result<()> {
    let count = site.shape(0).map_or(Expr::Unknown, product);
    let fact = Fact::new(Some(DataType::Int64), Some(Vec::new())).with_elements(Some(vec![Element::Int(count)]));
    site.put(0, fact);
    Ok(())
}

fn range(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(0..3)?;
    let one = |i: usize| match site.elements(i) {
        Some([e]) => e.clone(),
        _ => Element::Unknown,
    };
    let (start, limit, step) = (one(0), one(1), one(2));
    if step.real() == Some(0.0) {
        return Err(site.fail("a step of 0"));
    }
    let length = match (&start, &limit, &step) {
        (Element::Int(start), Element::Int(limit), Element::Int(step)) => {
            let span = limit.minus(start);
            match (span.known(), step.known()) {
                (Some(span), Some(step)) => {
                    // ceil(span / step), and never negative.
                    let count =
                        if (span < 0) == (step < 0) { span.unsigned_abs().div_ceil(step.unsigned_abs()) } else { 0 };
                    i64::try_from(count).map_or(Expr::Unknown, Expr::Known)
                }
                (None, Some(step)) if step > 0 && span.at_least().is_some_and(|n| n >= 0) => {
                    span.ceil_over(&Expr::Known(step))
                }
                _ => Expr::Unknown,
            }
        }
        _ => match (start.real(), limit.real(), step.real()) {
            (Some(start), Some(limit), Some(step)) => {
                let count = ((limit - start) / step).ceil().max(0.0);
                if count < 2f64.powi(31) { Expr::Known(count as i64) } else { Expr::Unknown }
            }
            _ => Expr::Unknown,
        },
    };
    let elements = match (&start, &step, length.known().and_then(|n| usize::try_from(n).ok())) {
        (Element::Int(start), Element::Int(step), Some(n)) if n <= MAX_ELEMENTS => {
            Some((0..n).map(|i| Element::Int(start.plus(&step.times(&Expr::from(i))))).collect())
        }
        _ => None,
    };
    site.put(0, Fact::new(data_type, Some(vec![length])).with_elements(elements));
    Ok(())
}

/// The shape of input 0, in the type `dtype` names, else its own.
fn like_with_dtype(site: &mut Site) -> Result<()> {
    let data_type = match site.node.int("dtype") {
        Some(number) => Some(site.type_number(number)?),
        None => site.data_type(0),
    };
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, data_type, shape);
    Ok(())
}

fn random(site: &mut Site) -> Result<()> {
    let data_type = site.type_number(site.int("dtype", 1))?;
    let sizes = site.node.ints("shape").ok_or_else(|| site.fail("attribute `shape` is missing"))?;
    if let Some(n) = sizes.iter().find(|n| **n < 0) {
        return Err(site.fail(format!("size {n}")));
    }
    let shape = sizes.iter().map(|n| Expr::Known(*n)).collect();
    site.set(0, Some(data_type), Some(shape));
    Ok(())
}

fn multinomial(site: &mut Site) -> Result<()> {
    let data_type = site.type_number(site.int("dtype", 6))?;
    let batch = site.shape_of_rank(0, 2)?.and_then(|s| s.first().cloned()).unwrap_or(Expr::Unknown);
    let samples = site.int("sample_size", 1);
    site.set(0, Some(data_type), Some(vec![batch, Expr::Known(samples)]));
    Ok(())
}
