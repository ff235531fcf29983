//! Element by element on one input: the output has its shape.
//!
//! Meaning changed: Clip takes its bounds as inputs from opset 11, Dropout its ratio from 12; Softmax
//! and its kin flatten to two axes before 13 (same shape either way).

use super::Flow::{All, Nothing, Only};
use super::site::like_first;
use super::{Kind, OpSpec, Site};
use crate::shape::{Element, Expr, Fact};
use crate::{DataType, Result};
use Kind::{Float, Int, String};

macro_rules! like {
    ($name:literal, $flows:expr, $since:literal, $inputs:expr, $attributes:expr) => {
        OpSpec {
            name: $name,
            since: $since,
            inputs: $inputs,
            outputs: 1..=1,
            attributes: $attributes,
            flows: $flows,
            infer: like_first,
        }
    };
}

pub(super) const OPS: &[OpSpec] = &[
    like!("Acos", All, 7, 1..=1, &[]),
    like!("Acosh", All, 9, 1..=1, &[]),
    like!("Asin", All, 7, 1..=1, &[]),
    like!("Asinh", All, 9, 1..=1, &[]),
    like!("Atan", All, 7, 1..=1, &[]),
    like!("Atanh", All, 9, 1..=1, &[]),
    like!("BitwiseNot", Nothing, 18, 1..=1, &[]),
    like!("Celu", All, 12, 1..=1, &[("alpha", Float)]),
    like!("Clip", Only(&[0]), 1, 1..=3, &[("min", Float), ("max", Float)]),
    like!("Cos", All, 7, 1..=1, &[]),
    like!("Cosh", All, 9, 1..=1, &[]),
    like!("CumSum", Only(&[0]), 11, 2..=2, &[("exclusive", Int), ("reverse", Int)]),
    like!("Elu", All, 1, 1..=1, &[("alpha", Float)]),
    like!("Erf", All, 9, 1..=1, &[]),
    like!("Exp", All, 1, 1..=1, &[]),
    like!("Gelu", All, 20, 1..=1, &[("approximate", String)]),
    like!("HardSigmoid", All, 1, 1..=1, &[("alpha", Float), ("beta", Float)]),
    like!("HardSwish", All, 14, 1..=1, &[]),
    like!("Hardmax", Nothing, 1, 1..=1, &[("axis", Int)]),
    like!("LeakyRelu", All, 1, 1..=1, &[("alpha", Float)]),
    like!("Log", All, 1, 1..=1, &[]),
    like!("LogSoftmax", All, 1, 1..=1, &[("axis", Int)]),
    like!("Mish", All, 18, 1..=1, &[]),
    like!("Relu", All, 1, 1..=1, &[]),
    like!("Selu", All, 1, 1..=1, &[("alpha", Float), ("gamma", Float)]),
    like!("Shrink", All, 9, 1..=1, &[("bias", Float), ("lambd", Float)]),
    like!("Sigmoid", All, 1, 1..=1, &[]),
    like!("Sign", Nothing, 9, 1..=1, &[]),
    like!("Sin", All, 7, 1..=1, &[]),
    like!("Sinh", All, 9, 1..=1, &[]),
    like!("Softmax", All, 1, 1..=1, &[("axis", Int)]),
    like!("Softplus", All, 1, 1..=1, &[]),
    like!("Softsign", All, 1, 1..=1, &[]),
    like!("Swish", All, 24, 1..=1, &[("alpha", Float)]),
    like!("Tan", All, 7, 1..=1, &[]),
    like!("Tanh", All, 1, 1..=1, &[]),
    like!("ThresholdedRelu", All, 10, 1..=1, &[("alpha", Float)]),
    OpSpec { name: "Abs", since: 1, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: All, infer: abs },
    OpSpec { name: "Ceil", since: 1, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: Nothing, infer: ceil },
    OpSpec { name: "Floor", since: 1, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: Nothing, infer: floor },
    OpSpec { name: "Identity", since: 1, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: All, infer: identity },
    OpSpec { name: "Neg", since: 1, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: All, infer: neg },
    OpSpec { name: "Not", since: 1, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: Nothing, infer: not },
    OpSpec {
        name: "Reciprocal",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        infer: reciprocal,
    },
    OpSpec { name: "Round", since: 11, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: Nothing, infer: round },
    OpSpec { name: "Sqrt", since: 1, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: All, infer: sqrt },
    OpSpec {
        name: "Cast",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("to", Int), ("saturate", Int), ("round_mode", String)],
        flows: All,
        infer: cast,
    },
    OpSpec {
        name: "CastLike",
        since: 15,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("saturate", Int), ("round_mode", String)],
        flows: Only(&[0]),
        infer: cast_like,
    },
    OpSpec {
        name: "Dropout",
        since: 1,
        inputs: 1..=3,
        outputs: 1..=2,
        attributes: &[("ratio", Float), ("seed", Int)],
        flows: Only(&[0]),
        infer: dropout,
    },
    OpSpec {
        name: "IsInf",
        since: 10,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("detect_negative", Int), ("detect_positive", Int)],
        flows: Nothing,
        infer: to_bool,
    },
    OpSpec { name: "IsNaN", since: 9, inputs: 1..=1, outputs: 1..=1, attributes: &[], flows: Nothing, infer: to_bool },
];

/// The output is input 0 with `f` on each element that is followed.
fn map(site: &mut Site, data_type: Option<DataType>, f: impl Fn(&Element) -> Element) -> Result<()> {
    let elements = site.elements(0).map(|elements| elements.iter().map(f).collect());
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.put(0, Fact::new(data_type, shape).with_elements(elements));
    Ok(())
}

/// `f` on floats.
fn map_real(site: &mut Site, f: impl Fn(f64) -> f64) -> Result<()> {
    let data_type = site.data_type(0);
    map(site, data_type, |e| match e {
        Element::Real(x) => Element::rounded(f(*x), data_type),
        _ => Element::Unknown,
    })
}

/// `f`, which rounds to an integer and so leaves alone a size that was cast to a float.
fn map_rounding(site: &mut Site, f: impl Fn(f64) -> f64) -> Result<()> {
    map(site, site.data_type(0), |e| match e {
        Element::Real(x) => Element::Real(f(*x)),
        other => other.clone(),
    })
}

fn identity(site: &mut Site) -> Result<()> {
    let fact = site.fact(0).cloned().unwrap_or_default();
    site.put(0, fact);
    Ok(())
}

fn abs(site: &mut Site) -> Result<()> {
    map(site, site.data_type(0), |e| match e {
        Element::Int(e) if e.at_least().is_some_and(|n| n >= 0) => Element::Int(e.clone()),
        Element::Int(Expr::Known(n)) => Element::Int(n.checked_abs().map_or(Expr::Unknown, Expr::Known)),
        Element::Real(x) => Element::Real(x.abs()),
        _ => Element::Unknown,
    })
}

fn neg(site: &mut Site) -> Result<()> {
    map(site, site.data_type(0), |e| match e {
        Element::Int(e) => Element::Int(e.negated()),
        Element::Real(x) => Element::Real(-x),
        Element::Unknown => Element::Unknown,
    })
}

fn not(site: &mut Site) -> Result<()> {
    map(site, Some(DataType::Bool), |e| match e.int().known() {
        Some(n) => Element::Int(Expr::Known(i64::from(n == 0))),
        None => Element::Unknown,
    })
}

fn ceil(site: &mut Site) -> Result<()> {
    map_rounding(site, f64::ceil)
}

fn floor(site: &mut Site) -> Result<()> {
    map_rounding(site, f64::floor)
}

/// Halves go to the even neighbour.
fn round(site: &mut Site) -> Result<()> {
    map_rounding(site, f64::round_ties_even)
}

fn sqrt(site: &mut Site) -> Result<()> {
    map_real(site, f64::sqrt)
}

fn reciprocal(site: &mut Site) -> Result<()> {
    map_real(site, f64::recip)
}

fn cast(site: &mut Site) -> Result<()> {
    let to = site.node.int("to").ok_or_else(|| site.fail("attribute `to` is missing"))?;
    let to = site.type_number(to)?;
    cast_to(site, Some(to))
}

fn cast_like(site: &mut Site) -> Result<()> {
    cast_to(site, site.data_type(1))
}

fn cast_to(site: &mut Site, to: Option<DataType>) -> Result<()> {
    let float = to.is_some_and(DataType::is_float);
    map(site, to, |e| match (to, e) {
        (Some(DataType::Bool), e) => match e.real() {
            Some(x) => Element::Int(Expr::Known(i64::from(x != 0.0))),
            None => Element::Unknown,
        },
        (Some(DataType::Int64), Element::Int(e)) => Element::Int(e.clone()),
        // A symbol is a size, which no model has beyond 2^31; a number is looked at.
        (Some(DataType::Int32), Element::Int(e)) => match e.known() {
            Some(n) if i32::try_from(n).is_err() => Element::Unknown,
            _ => Element::Int(e.clone()),
        },
        (Some(DataType::Int64 | DataType::Int32), Element::Real(x)) if x.abs() < 2f64.powi(31) => {
            Element::Int(Expr::Known(x.trunc() as i64))
        }
        (_, e) if float => match (e.real(), e) {
            (Some(x), _) => Element::Real(x),
            // A size as a float keeps its symbol: exporters go through floats and come back.
            (None, Element::Int(e)) => Element::Int(e.clone()),
            _ => Element::Unknown,
        },
        _ => Element::Unknown,
    })
}

/// The second output, the mask, is boolean from opset 10 on.
fn dropout(site: &mut Site) -> Result<()> {
    let fact = site.fact(0).cloned().unwrap_or_default();
    let mask = if site.opset >= 10 { Some(DataType::Bool) } else { fact.data_type };
    site.set(1, mask, fact.shape.clone());
    site.put(0, fact);
    Ok(())
}

fn to_bool(site: &mut Site) -> Result<()> {
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, Some(DataType::Bool), shape);
    Ok(())
}
