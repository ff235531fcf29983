//! Reductions over axes.
//!
//! Meaning changed: the axes become an input, in ReduceSum with opset 13, in the others with 18.

use super::Flow::{Nothing, Only};
use super::Tangent::{Kinked, Linear, Rule, Zero};
use super::site::product;
use super::{Kind, OpSpec, Site};
use crate::shape::{Element, Expr, Fact};
use crate::tangent::{At, Pieces, Tangents, Term};
use crate::{DataType, Result};
use Kind::{Int, Ints};

macro_rules! reduction {
    ($name:literal, $tangent:expr, $infer:expr) => {
        OpSpec {
            name: $name,
            since: 1,
            inputs: 1..=2,
            outputs: 1..=1,
            attributes: &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)],
            flows: Only(&[0]),
            tangent: $tangent,
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
            tangent: Zero,
            infer: position,
        }
    };
}

pub(super) const OPS: &[OpSpec] = &[
    reduction!("ReduceL1", Rule(l1_tangent), reduce),
    reduction!("ReduceL2", Rule(l2_tangent), reduce),
    reduction!("ReduceLogSum", Rule(log_sum_tangent), reduce),
    reduction!("ReduceLogSumExp", Rule(log_sum_exp_tangent), reduce),
    reduction!("ReduceMax", Kinked(Pieces::Linear, extreme_tangent), reduce_max),
    reduction!("ReduceMean", Linear, reduce),
    reduction!("ReduceMin", Kinked(Pieces::Linear, extreme_tangent), reduce_min),
    reduction!("ReduceProd", Rule(prod_tangent), reduce_prod),
    reduction!("ReduceSum", Linear, reduce_sum),
    reduction!("ReduceSumSquare", Rule(sum_square_tangent), reduce),
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

/// What a reduction goes over.
struct Over {
    /// Counted from the front, in order; `None`: nothing is reduced.
    axes: Option<Vec<i64>>,
    keep: bool,
}

impl Over {
    fn of(at: &At) -> Result<Over> {
        let rank = at.first_rank()?;
        let given = match at.has(1) {
            true => Some(at.ints(1).ok_or_else(|| at.refuse("its axes are not constant"))?),
            false => at.node.ints("axes").map(<[i64]>::to_vec),
        };
        let given = given.filter(|axes| !axes.is_empty());
        let nothing = given.is_none() && at.int_attribute("noop_with_empty_axes", 0) != 0;
        let axes = given.unwrap_or_else(|| (0..rank).collect());
        let mut axes: Vec<i64> = axes.into_iter().map(|axis| if axis < 0 { axis + rank } else { axis }).collect();
        axes.sort_unstable();
        Ok(Over { axes: (!nothing).then_some(axes), keep: at.int_attribute("keepdims", 1) != 0 })
    }

    /// The sum, in the shape of the output.
    fn sum<'a>(&self, term: Term<'a>) -> Term<'a> {
        match &self.axes {
            Some(axes) => term.reduce("ReduceSum", axes, self.keep),
            None => term,
        }
    }

    /// The output, in a shape that broadcasts with the input.
    fn spread<'a>(&self, y: Term<'a>) -> Term<'a> {
        match &self.axes {
            Some(axes) if !self.keep => y.unsqueezed(axes),
            _ => y,
        }
    }
}

fn l1_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let over = Over::of(at)?;
    Ok(vec![at.dx(0).map(|dx| over.sum(at.x(0).op("Sign") * dx))])
}

/// sum(x dx) / y, and 0 where y is 0.
fn l2_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (over, y) = (Over::of(at)?, at.y(0));
    Ok(vec![at.dx(0).map(|dx| y.above(0.0).choose(over.sum(at.x(0) * dx) / y, y.scalar(0.0)))])
}

/// sum(dx) / sum(x).
fn log_sum_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let over = Over::of(at)?;
    Ok(vec![at.dx(0).map(|dx| over.sum(dx) / over.sum(at.x(0)))])
}

/// sum(exp(x - y) dx).
fn log_sum_exp_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let over = Over::of(at)?;
    Ok(vec![at.dx(0).map(|dx| over.sum((at.x(0) - over.spread(at.y(0))).op("Exp") * dx))])
}

/// The mean of the tangents at the extremes.
fn extreme_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let over = Over::of(at)?;
    Ok(vec![at.dx(0).map(|dx| {
        let hit = at.x(0).equal(over.spread(at.y(0))).cast(dx.data_type());
        over.sum(hit * dx) / over.sum(hit)
    })])
}

/// Without a zero among the factors y sum(dx / x); with one, the product of the others times its dx; with more, 0.
fn prod_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (over, x) = (Over::of(at)?, at.x(0));
    let Some(dx) = at.dx(0) else { return Ok(Vec::new()) };
    let Some(axes) = &over.axes else { return Ok(vec![Some(dx)]) };
    let zero = x.equal(x.scalar(0.0));
    let one = x.scalar(1.0);
    let factors = zero.choose(one, x);
    let others = factors.reduce("ReduceProd", axes, over.keep);
    let zeros = over.sum(zero.cast(x.data_type()));
    let without = others * over.sum(zero.choose(x.scalar(0.0), dx / factors));
    let with_one = others * over.sum(zero.choose(dx, x.scalar(0.0)));
    let nothing = x.scalar(0.0);
    Ok(vec![Some(zeros.below(0.5).choose(without, zeros.below(1.5).choose(with_one, nothing)))])
}

fn sum_square_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let over = Over::of(at)?;
    Ok(vec![at.dx(0).map(|dx| over.sum(at.x(0) * dx * 2.0))])
}
