//! Reductions over axes.
//!
//! Meaning changed: the axes become an input, in ReduceSum with opset 13, in the others with 18.

use super::Flow::{Nothing, Only};
use super::site::product;
use super::{Kind, OpSpec, Site};
use crate::shape::{Element, Expr, Fact};
use crate::{DataType, Result};
use Kind::{Int, Ints};

macro_rules! reduction {
    ($name:literal, $infer:expr) => {
        OpSpec {
            name: $name,
            since: 1,
            inputs: 1..=2,
            outputs: 1..=1,
            attributes: &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)],
            flows: Only(&[0]),
            infer: $infer,
        }
    };
}
macro_rules! position {
    ($name:literal) => {
        OpSpec {
            name: $name,
            since: 1,
            inputs: 1..=1,
            outputs: 1..=1,
            attributes: &[("axis", Int), ("keepdims", Int), ("select_last_index", Int)],
            flows: Nothing,
            infer: position,
        }
    };
}

pub(super) const OPS: &[OpSpec] = &[
    reduction!("ReduceL1", reduce),
    reduction!("ReduceL2", reduce),
    reduction!("ReduceLogSum", reduce),
    reduction!("ReduceLogSumExp", reduce),
    reduction!("ReduceMax", reduce_max),
    reduction!("ReduceMean", reduce),
    reduction!("ReduceMin", reduce_min),
    reduction!("ReduceProd", reduce_prod),
    reduction!("ReduceSum", reduce_sum),
    reduction!("ReduceSumSquare", reduce),
    position!("ArgMax"),
    position!("ArgMin"),
];

fn reduce(site: &mut Site) -> Result<()> {
    fold(site, 18, |_| Element::Unknown)
}

fn reduce_sum(site: &mut Site) -> Result<()> {
    fold(site, 13, |e| Element::Int(e.iter().fold(Expr::Known(0), |a, b| a.plus(b))))
}

fn reduce_prod(site: &mut Site) -> Result<()> {
    fold(site, 18, |e| Element::Int(product(e)))
}

fn reduce_max(site: &mut Site) -> Result<()> {
    fold(site, 18, |e| extreme(e, Iterator::max))
}

fn reduce_min(site: &mut Site) -> Result<()> {
    fold(site, 18, |e| extreme(e, Iterator::min))
}

fn extreme(exprs: &[Expr], pick: fn(std::vec::IntoIter<i64>) -> Option<i64>) -> Element {
    let known: Option<Vec<i64>> = exprs.iter().map(Expr::known).collect();
    known.and_then(|v| pick(v.into_iter())).map_or(Element::Unknown, |n| Element::Int(Expr::Known(n)))
}

/// The reduced shape; `whole` on the integers when all of a vector that is followed is reduced.
fn fold(site: &mut Site, moved: i64, whole: impl Fn(&[Expr]) -> Element) -> Result<()> {
    let keep = site.int("keepdims", 1) != 0;
    let data_type = site.data_type(0);
    let Some(shape) = site.shape(0) else {
        site.set(0, data_type, None);
        return Ok(());
    };
    let rank = shape.len();
    let reduced = match site.ints_by_opset("axes", 1, moved) {
        // Axes nobody knows: how many there are still says how many are left.
        None if keep => Some(vec![Expr::Unknown; rank]),
        None => site.exprs(1).and_then(|axes| rank.checked_sub(axes.len())).map(|left| vec![Expr::Unknown; left]),
        Some(axes) => {
            let axes = site.axes(&axes.unwrap_or_default(), rank)?;
            let nothing = axes.is_empty() && site.int("noop_with_empty_axes", 0) != 0;
            let hit = |axis: usize| !nothing && (axes.is_empty() || axes.contains(&axis));
            let kept = shape.iter().enumerate().filter_map(|(axis, size)| match hit(axis) {
                true => keep.then_some(Expr::Known(1)),
                false => Some(size.clone()),
            });
            Some(kept.collect())
        }
    };
    let mut fact = Fact::new(data_type, reduced);
    let integral = matches!(data_type, Some(DataType::Int64 | DataType::Int32));
    if let (1, true, Some(elements)) = (rank, integral, site.elements(0)) {
        let exprs: Vec<Expr> = elements.iter().map(Element::int).collect();
        fact = fact.with_elements(Some(vec![whole(&exprs)]));
    }
    site.put(0, fact);
    Ok(())
}

/// Positions of the extremes along one axis.
fn position(site: &mut Site) -> Result<()> {
    let keep = site.int("keepdims", 1) != 0;
    let shape = match site.shape(0) {
        Some(shape) => {
            let axis = site.axis(site.int("axis", 0), shape.len())?;
            let mut shape = shape.to_vec();
            if keep {
                shape.splice(axis..=axis, [Expr::Known(1)]);
            } else {
                shape.remove(axis);
            }
            Some(shape)
        }
        None => None,
    };
    site.set(0, Some(DataType::Int64), shape);
    Ok(())
}
