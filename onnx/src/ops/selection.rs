//! Picking by value: how many there are is seen only when the model runs.

use super::Flow::{Nothing, Only};
use super::Tangent::{Linear, Rule, Zero};
use super::{Kind, OpSpec, Site};
use crate::shape::{Element, Expr, Fact};
use crate::tangent::{At, Tangents};
use crate::{DataType, Result};
use Kind::Int;

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "OneHot",
        since: 9,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[("axis", Int)],
        flows: Only(&[2]),
        tangent: Linear,
        infer: one_hot,
    },
    OpSpec {
        name: "TopK",
        since: 1,
        inputs: 1..=2,
        outputs: 2..=2,
        attributes: &[("axis", Int), ("k", Int), ("largest", Int), ("sorted", Int)],
        flows: Only(&[0]),
        tangent: Rule(top_k_tangent),
        infer: top_k,
    },
    OpSpec {
        name: "Compress",
        since: 9,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("axis", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: compress,
    },
    OpSpec {
        name: "NonZero",
        since: 9,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[],
        flows: Nothing,
        tangent: Zero,
        infer: non_zero,
    },
    OpSpec {
        name: "Unique",
        since: 11,
        inputs: 1..=1,
        outputs: 1..=4,
        attributes: &[("axis", Int), ("sorted", Int)],
        flows: Nothing,
        tangent: Zero,
        infer: unique,
    },
    OpSpec {
        name: "NonMaxSuppression",
        since: 10,
        inputs: 2..=5,
        outputs: 1..=1,
        attributes: &[("center_point_box", Int)],
        flows: Nothing,
        tangent: Zero,
        infer: non_max_suppression,
    },
];

/// A new axis of size `depth`, by default the last; the values are those of input 2.
fn one_hot(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(2);
    let shape = match site.shape(0) {
        Some(indices) => {
            let axis = site.axis(site.int("axis", -1), indices.len() + 1)?;
            let depth = match site.elements(1) {
                Some([Element::Real(x)]) if x.fract() == 0.0 => Expr::Known(*x as i64),
                Some([e]) => e.int(),
                _ => Expr::Unknown,
            };
            let mut shape = indices.to_vec();
            shape.insert(axis, depth);
            Some(shape)
        }
        None => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// Values and their positions; k is an attribute before opset 10.
fn top_k(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match site.shape(0) {
        Some(shape) => {
            let axis = site.axis(site.int("axis", -1), shape.len())?;
            let k = if site.opset < 10 {
                site.node.int("k").map_or(Expr::Unknown, Expr::Known)
            } else {
                site.exprs(1).and_then(|k| k.first().cloned()).unwrap_or(Expr::Unknown)
            };
            let size = shape.get(axis).and_then(Expr::known);
            if k.known().is_some_and(|k| k < 0 || size.is_some_and(|n| k > n)) {
                return Err(site.fail(format!("the {k} best of {}", size.map_or("?".to_owned(), |n| n.to_string()))));
            }
            let mut shape = shape.to_vec();
            shape.splice(axis..=axis, [k]);
            Some(shape)
        }
        None => None,
    };
    site.set(0, data_type, shape.clone());
    site.set(1, Some(DataType::Int64), shape);
    Ok(())
}

fn compress(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match (site.node.int("axis"), site.shape(0)) {
        (None, _) => Some(vec![Expr::Unknown]),
        (Some(axis), Some(shape)) => {
            let axis = site.axis(axis, shape.len())?;
            let mut shape = shape.to_vec();
            shape.splice(axis..=axis, [Expr::Unknown]);
            Some(shape)
        }
        _ => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// One row of positions an axis. Of a vector that is followed they are known.
fn non_zero(site: &mut Site) -> Result<()> {
    let rank = site.rank(0).map_or(Expr::Unknown, Expr::from);
    let mut fact = Fact::new(Some(DataType::Int64), Some(vec![rank, Expr::Unknown]));
    if let (Some(1), Some(values)) = (site.rank(0), site.reals(0)) {
        let positions = (0i64..).zip(&values).filter(|(_, v)| **v != 0.0);
        let positions: Vec<Element> = positions.map(|(i, _)| Element::Int(Expr::Known(i))).collect();
        let shape = vec![Expr::Known(1), Expr::from(positions.len())];
        fact = Fact::new(Some(DataType::Int64), Some(shape)).with_elements(Some(positions));
    }
    site.put(0, fact);
    Ok(())
}

fn unique(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match (site.node.int("axis"), site.shape(0)) {
        (None, _) => Some(vec![Expr::Unknown]),
        (Some(axis), Some(shape)) => {
            let axis = site.axis(axis, shape.len())?;
            let mut shape = shape.to_vec();
            shape.splice(axis..=axis, [Expr::Unknown]);
            Some(shape)
        }
        _ => None,
    };
    site.set(0, data_type, shape);
    for i in 1..4 {
        site.set(i, Some(DataType::Int64), Some(vec![Expr::Unknown]));
    }
    Ok(())
}

/// Rows of (batch, class, box).
fn non_max_suppression(site: &mut Site) -> Result<()> {
    site.set(0, Some(DataType::Int64), Some(vec![Expr::Unknown, Expr::Known(3)]));
    Ok(())
}

/// The tangent at the places of the largest.
fn top_k_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let axis = at.int_attribute("axis", -1);
    Ok(vec![at.dx(0).map(|dx| dx.with("GatherElements", &[at.y(1)], vec![("axis", axis.into())]))])
}
