//! Element by element on one input: the output has its shape.
//!
//! Meaning changed: Dropout takes its ratio as an input from opset 12.

use super::Flow::{All, Nothing, Only};
use super::Tangent::{Kinked, Linear, Rule, Slope, Zero};
use super::{Kind, OpSpec, Site};
use crate::shape::{Element, Expr, Fact};
use crate::tangent::{At, Pieces, Tangents, Term};
use crate::{DataType, Result};
use Kind::{Float, Int, String};
use std::f64::consts::PI;

pub(super) const OPS: &[OpSpec] = &[
    like!("Acos", All, Slope(acos), 7, 1..=1, &[]),
    like!("Acosh", All, Slope(acosh), 9, 1..=1, &[]),
    like!("Asin", All, Slope(asin), 7, 1..=1, &[]),
    like!("Asinh", All, Slope(asinh), 9, 1..=1, &[]),
    like!("Atan", All, Slope(atan), 7, 1..=1, &[]),
    like!("Atanh", All, Slope(atanh), 9, 1..=1, &[]),
    like!("BitwiseNot", Nothing, Zero, 18, 1..=1, &[]),
    like!("Cos", All, Slope(cos), 7, 1..=1, &[]),
    like!("Cosh", All, Slope(cosh), 9, 1..=1, &[]),
    like!("CumSum", Only(&[0]), Linear, 11, 2..=2, &[("exclusive", Int), ("reverse", Int)]),
    like!("Erf", All, Slope(erf), 9, 1..=1, &[]),
    like!("Exp", All, Slope(exp), 1, 1..=1, &[]),
    like!("Log", All, Rule(log), 1, 1..=1, &[]),
    like!("Sign", Nothing, Zero, 9, 1..=1, &[]),
    like!("Sin", All, Slope(sin), 7, 1..=1, &[]),
    like!("Sinh", All, Slope(sinh), 9, 1..=1, &[]),
    like!("Tan", All, Slope(tan), 7, 1..=1, &[]),
    like!("Tanh", All, Slope(tanh), 1, 1..=1, &[]),
    OpSpec {
        name: "Abs",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Kinked(Pieces::Linear, abs_tangent),
        infer: abs,
    },
    OpSpec {
        name: "Ceil",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Zero,
        infer: ceil,
    },
    OpSpec {
        name: "Floor",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Zero,
        infer: floor,
    },
    OpSpec {
        name: "Identity",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Linear,
        infer: identity,
    },
    OpSpec {
        name: "Neg",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Linear,
        infer: neg,
    },
    OpSpec {
        name: "Not",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Zero,
        infer: not,
    },
    OpSpec {
        name: "Reciprocal",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Slope(reciprocal_slope),
        infer: reciprocal,
    },
    OpSpec {
        name: "Round",
        since: 11,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Zero,
        infer: round,
    },
    OpSpec {
        name: "Sqrt",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: All,
        tangent: Slope(sqrt_slope),
        infer: sqrt,
    },
    OpSpec {
        name: "Cast",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("to", Int), ("saturate", Int), ("round_mode", String)],
        flows: All,
        tangent: Rule(cast_tangent),
        infer: cast,
    },
    OpSpec {
        name: "CastLike",
        since: 15,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("saturate", Int), ("round_mode", String)],
        flows: Only(&[0]),
        tangent: Rule(cast_tangent),
        infer: cast_like,
    },
    OpSpec {
        name: "Dropout",
        since: 1,
        inputs: 1..=3,
        outputs: 1..=2,
        attributes: &[("ratio", Float), ("seed", Int)],
        flows: Only(&[0]),
        tangent: Rule(dropout_tangent),
        infer: dropout,
    },
    OpSpec {
        name: "IsInf",
        since: 10,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("detect_negative", Int), ("detect_positive", Int)],
        flows: Nothing,
        tangent: Zero,
        infer: to_bool,
    },
    OpSpec {
        name: "IsNaN",
        since: 9,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Zero,
        infer: to_bool,
    },
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

fn acos<'a>(at: &At<'a>) -> Term<'a> {
    -asin(at)
}

fn acosh<'a>(at: &At<'a>) -> Term<'a> {
    1.0 / (at.x(0).squared() - 1.0).op("Sqrt")
}

fn asin<'a>(at: &At<'a>) -> Term<'a> {
    1.0 / (1.0 - at.x(0).squared()).op("Sqrt")
}

fn asinh<'a>(at: &At<'a>) -> Term<'a> {
    1.0 / (at.x(0).squared() + 1.0).op("Sqrt")
}

fn atan<'a>(at: &At<'a>) -> Term<'a> {
    1.0 / (at.x(0).squared() + 1.0)
}

fn atanh<'a>(at: &At<'a>) -> Term<'a> {
    1.0 / (1.0 - at.x(0).squared())
}

fn cos<'a>(at: &At<'a>) -> Term<'a> {
    -at.x(0).op("Sin")
}

fn cosh<'a>(at: &At<'a>) -> Term<'a> {
    at.x(0).op("Sinh")
}

fn erf<'a>(at: &At<'a>) -> Term<'a> {
    (2.0 / PI.sqrt()) * (-at.x(0).squared()).op("Exp")
}

fn exp<'a>(at: &At<'a>) -> Term<'a> {
    at.y(0)
}

fn sin<'a>(at: &At<'a>) -> Term<'a> {
    at.x(0).op("Cos")
}

fn sinh<'a>(at: &At<'a>) -> Term<'a> {
    at.x(0).op("Cosh")
}

fn tan<'a>(at: &At<'a>) -> Term<'a> {
    at.y(0).squared() + 1.0
}

fn tanh<'a>(at: &At<'a>) -> Term<'a> {
    1.0 - at.y(0).squared()
}

fn abs_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    Ok(vec![at.dx(0).map(|dx| at.x(0).op("Sign") * dx)])
}

fn reciprocal_slope<'a>(at: &At<'a>) -> Term<'a> {
    -at.y(0).squared()
}

fn sqrt_slope<'a>(at: &At<'a>) -> Term<'a> {
    0.5 / at.y(0)
}

/// y = ln x, so dy = dx / x.
fn log<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    Ok(vec![at.dx(0).map(|dx| dx / at.x(0))])
}

/// A cast from one floating type to another; any other has steps.
fn cast_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let y = at.y(0);
    Ok(vec![at.dx(0).filter(|_| y.data_type().is_float()).map(|dx| dx.cast(y.data_type()))])
}

/// A Dropout in evaluation mode lets everything through.
fn dropout_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    match at.node.input(2) {
        Some(mode) if at.truth(2) != Some(false) => {
            Err(at.refuse(&format!("its training mode, `{mode}`, is not known to be off")))
        }
        _ => Ok(vec![at.dx(0)]),
    }
}
