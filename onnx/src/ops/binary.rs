//! Element by element on several inputs, which broadcast to one shape (from opset 7; Max, Min, Mean
//! and Sum from 8).

use super::Flow::{All, Nothing, Only};
use super::Tangent::{EachLinear, Kinked, Rule, Zero};
use super::{ANY, Kind, OpSpec, Site};
use crate::shape::{Element, Expr, Fact, MAX_ELEMENTS};
use crate::tangent::{At, Pieces, Tangents, Term, sum};
use crate::{DataType, Result};
use Kind::{Int, String};

macro_rules! two {
    ($name:literal, $flows:expr, $tangent:expr, $since:literal, $attributes:expr, $infer:expr) => {
        OpSpec {
            name: $name,
            since: $since,
            inputs: 2..=2,
            outputs: 1..=1,
            attributes: $attributes,
            flows: $flows,
            tangent: $tangent,
            infer: $infer,
        }
    };
}
macro_rules! many {
    ($name:literal, $tangent:expr, $infer:expr) => {
        OpSpec {
            name: $name,
            since: 1,
            inputs: 1..=ANY,
            outputs: 1..=1,
            attributes: &[],
            flows: All,
            tangent: $tangent,
            infer: $infer,
        }
    };
}

pub(super) const OPS: &[OpSpec] = &[
    two!("Add", All, Rule(add_tangent), 1, &[], add),
    two!("Sub", All, Rule(sub_tangent), 1, &[], sub),
    two!("Mul", All, EachLinear, 1, &[], mul),
    two!("Div", All, Rule(div_tangent), 1, &[], div),
    two!("Mod", Only(&[0]), Rule(modulo_tangent), 10, &[("fmod", Int)], modulo),
    two!("Pow", All, Rule(pow_tangent), 1, &[], pow),
    two!("PRelu", All, Kinked(Pieces::Curved, prelu_tangent), 1, &[], prelu),
    two!("BitShift", Nothing, Zero, 11, &[("direction", String)], arithmetic),
    two!("BitwiseAnd", Nothing, Zero, 18, &[], arithmetic),
    two!("BitwiseOr", Nothing, Zero, 18, &[], arithmetic),
    two!("BitwiseXor", Nothing, Zero, 18, &[], arithmetic),
    two!("And", Nothing, Zero, 1, &[], and),
    two!("Or", Nothing, Zero, 1, &[], or),
    two!("Xor", Nothing, Zero, 1, &[], xor),
    two!("Equal", Nothing, Zero, 1, &[], equal),
    two!("Greater", Nothing, Zero, 1, &[], greater),
    two!("GreaterOrEqual", Nothing, Zero, 12, &[], greater_or_equal),
    two!("Less", Nothing, Zero, 1, &[], less),
    two!("LessOrEqual", Nothing, Zero, 12, &[], less_or_equal),
    many!("Max", Kinked(Pieces::Linear, extreme_tangent), max),
    many!("Min", Kinked(Pieces::Linear, extreme_tangent), min),
    many!("Mean", Rule(mean_tangent), variadic),
    many!("Sum", Rule(sum_tangent), variadic),
    OpSpec {
        name: "Where",
        since: 9,
        inputs: 3..=3,
        outputs: 1..=1,
        attributes: &[],
        flows: Only(&[1, 2]),
        tangent: Rule(choose_tangent),
        infer: choose,
    },
];

/// Elements of input `i` spread over `dims`.
fn spread(site: &Site, i: usize, dims: &[usize]) -> Option<Vec<Element>> {
    let fact = site.fact(i)?;
    let (elements, own) = (fact.elements.as_ref()?, fact.dims()?);
    let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_ELEMENTS)?;
    let offset = dims.len().checked_sub(own.len())?;
    (0..count)
        .map(|flat| {
            let (mut left, mut at, mut stride) = (flat, 0, 1);
            for axis in (0..dims.len()).rev() {
                let size = *dims.get(axis)?;
                let (index, rest) = (left % size, left / size);
                left = rest;
                if let Some(own_size) = axis.checked_sub(offset).and_then(|a| own.get(a)) {
                    at += if *own_size == 1 { 0 } else { index * stride };
                    stride *= own_size;
                }
            }
            elements.get(at).cloned()
        })
        .collect()
}

/// Output 0 of this type, `f` on the elements of all inputs where they are followed.
fn zip(site: &mut Site, data_type: Option<DataType>, f: impl Fn(&[&Element]) -> Element) -> Result<()> {
    let count = site.inputs.len();
    let shape = site.broadcast_inputs(0..count)?;
    let mut fact = Fact::new(data_type, shape);
    let spread: Option<Vec<Vec<Element>>> =
        fact.dims().and_then(|dims| (0..count).map(|i| spread(site, i, &dims)).collect());
    if let Some(columns) = spread {
        let rows = columns.first().map_or(0, Vec::len);
        let elements = (0..rows)
            .map(|row| {
                let cells: Vec<&Element> = columns.iter().filter_map(|c| c.get(row)).collect();
                f(&cells)
            })
            .collect();
        fact = fact.with_elements(Some(elements));
    }
    site.put(0, fact);
    Ok(())
}

/// [`zip`] on two integers or two floats; inputs of one type.
fn calculate(site: &mut Site, int: fn(&Expr, &Expr) -> Expr, real: fn(f64, f64) -> f64) -> Result<()> {
    let data_type = site.same_type(0..2)?;
    zip(site, data_type, |cells| match cells {
        [Element::Int(a), Element::Int(b)] => Element::Int(int(a, b)),
        [a, b] => match (a.real(), b.real()) {
            (Some(a), Some(b)) => Element::rounded(real(a, b), data_type),
            // A size that was cast to a float, with a whole number.
            _ => match (whole(a), whole(b)) {
                (Some(a), Some(b)) => Element::Int(int(&a, &b)),
                _ => Element::Unknown,
            },
        },
        _ => Element::Unknown,
    })
}

/// An integer, or a float that is one.
fn whole(e: &Element) -> Option<Expr> {
    match e {
        Element::Int(e) => Some(e.clone()),
        Element::Real(x) if x.fract() == 0.0 && x.abs() < 2f64.powi(24) => Some(Expr::Known(*x as i64)),
        _ => None,
    }
}

fn arithmetic(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(0..2)?;
    zip(site, data_type, |_| Element::Unknown)
}

fn add(site: &mut Site) -> Result<()> {
    calculate(site, Expr::plus, |a, b| a + b)
}

fn sub(site: &mut Site) -> Result<()> {
    calculate(site, Expr::minus, |a, b| a - b)
}

fn mul(site: &mut Site) -> Result<()> {
    calculate(site, Expr::times, |a, b| a * b)
}

/// Integers are divided towards zero, which is rounding down where the dividend is not negative. A size
/// that has gone through floats must come out even to stay one.
fn div(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(0..2)?;
    let float = data_type.is_none_or(DataType::is_float);
    zip(site, data_type, |cells| match cells {
        [Element::Int(a), b] if float => {
            whole(b).and_then(|b| a.exactly_over(&b)).map_or(Element::Unknown, Element::Int)
        }
        [Element::Int(a), Element::Int(b)] => Element::Int(match (a.known(), b.known()) {
            (Some(a), Some(b)) => a.checked_div(b).map_or(Expr::Unknown, Expr::Known),
            _ if a.at_least().is_some_and(|n| n >= 0) => a.floor_over(b),
            _ => Expr::Unknown,
        }),
        [a, b] => match (a.real(), b.real()) {
            (Some(a), Some(b)) => Element::rounded(a / b, data_type),
            _ => Element::Unknown,
        },
        _ => Element::Unknown,
    })
}

/// The remainder has the sign of the divisor, or with `fmod` that of the dividend.
fn modulo(site: &mut Site) -> Result<()> {
    let fmod = site.int("fmod", 0) != 0;
    let data_type = site.same_type(0..2)?;
    zip(site, data_type, |cells| match cells {
        [Element::Int(a), Element::Int(b)] => Element::Int(match (a.known(), b.known()) {
            (Some(a), Some(b)) if fmod => a.checked_rem(b).map_or(Expr::Unknown, Expr::Known),
            (Some(a), Some(b)) => match a.checked_rem(b) {
                Some(r) if r != 0 && (r < 0) != (b < 0) => Expr::Known(r + b),
                Some(r) => Expr::Known(r),
                None => Expr::Unknown,
            },
            _ if a.at_least().is_some_and(|n| n >= 0) => a.minus(&a.floor_over(b).times(b)),
            _ => Expr::Unknown,
        }),
        _ => Element::Unknown,
    })
}

/// The exponent may be of another type; the output is of the base's.
fn pow(site: &mut Site) -> Result<()> {
    let base = site.data_type(0);
    zip(site, base, |cells| match cells {
        [Element::Real(a), b] => b.real().map_or(Element::Unknown, |b| Element::rounded(a.powf(b), base)),
        [Element::Int(Expr::Known(a)), Element::Int(Expr::Known(b))] => {
            let power = u32::try_from(*b).ok().and_then(|b| a.checked_pow(b));
            Element::Int(power.map_or(Expr::Unknown, Expr::Known))
        }
        _ => Element::Unknown,
    })
}

/// The slope broadcasts to the input, never the other way round.
fn prelu(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(0..2)?;
    if let (Some(x), Some(slope)) = (site.shape(0), site.shape(1)) {
        // A slope of one axis is also taken to be one a channel (Caffe2's habit, in old exports).
        let per_channel = slope.len() == 1 && x.len() > 1;
        if slope.len() > x.len() || (!per_channel && site.broadcast(x, slope)?.len() != x.len()) {
            return Err(site.fail("the slope has more axes than the input"));
        }
    }
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, data_type, shape);
    Ok(())
}

/// [`zip`] to booleans, by the truth of both where it is known.
fn logic(site: &mut Site, f: fn(Option<bool>, Option<bool>) -> Option<bool>) -> Result<()> {
    let truth = |e: &Element| e.int().known().map(|n| n != 0);
    zip(site, Some(DataType::Bool), |cells| match cells {
        [a, b] => f(truth(a), truth(b)).map_or(Element::Unknown, |v| Element::Int(Expr::Known(v.into()))),
        _ => Element::Unknown,
    })
}

fn and(site: &mut Site) -> Result<()> {
    logic(site, |a, b| match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    })
}

fn or(site: &mut Site) -> Result<()> {
    logic(site, |a, b| match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    })
}

fn xor(site: &mut Site) -> Result<()> {
    logic(site, |a, b| Some(a? != b?))
}

/// [`zip`] to booleans by comparing. Two sizes are compared by the sign of their difference, as far as
/// symbols not being negative decides it.
fn compare(site: &mut Site, f: fn(std::cmp::Ordering) -> bool, on_greater: Option<bool>) -> Result<()> {
    use std::cmp::Ordering;
    site.same_type(0..2)?;
    zip(site, Some(DataType::Bool), |cells| {
        let answer = match cells {
            [Element::Int(a), Element::Int(b)] => match (a.known(), b.known()) {
                (Some(a), Some(b)) => Some(f(a.cmp(&b))),
                _ if a.same(b) => Some(f(Ordering::Equal)),
                _ if a.minus(b).at_least().is_some_and(|n| n > 0) => Some(f(Ordering::Greater)),
                _ if b.minus(a).at_least().is_some_and(|n| n > 0) => Some(f(Ordering::Less)),
                // At least equal: enough where both answers are alike.
                _ if a.minus(b).at_least().is_some_and(|n| n >= 0) => on_greater.filter(|g| *g == f(Ordering::Equal)),
                _ => None,
            },
            [a, b] => a.real().zip(b.real()).and_then(|(a, b)| a.partial_cmp(&b)).map(f),
            _ => None,
        };
        answer.map_or(Element::Unknown, |v| Element::Int(Expr::Known(v.into())))
    })
}

fn equal(site: &mut Site) -> Result<()> {
    compare(site, |o| o.is_eq(), None)
}

fn greater(site: &mut Site) -> Result<()> {
    compare(site, |o| o.is_gt(), Some(true))
}

fn greater_or_equal(site: &mut Site) -> Result<()> {
    compare(site, |o| o.is_ge(), Some(true))
}

fn less(site: &mut Site) -> Result<()> {
    compare(site, |o| o.is_lt(), Some(false))
}

fn less_or_equal(site: &mut Site) -> Result<()> {
    compare(site, |o| o.is_le(), Some(false))
}

fn variadic(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(0..site.inputs.len())?;
    zip(site, data_type, |_| Element::Unknown)
}

fn max(site: &mut Site) -> Result<()> {
    extreme(site, i64::max, f64::max)
}

fn min(site: &mut Site) -> Result<()> {
    extreme(site, i64::min, f64::min)
}

fn extreme(site: &mut Site, int: fn(i64, i64) -> i64, real: fn(f64, f64) -> f64) -> Result<()> {
    let data_type = site.same_type(0..site.inputs.len())?;
    let float = data_type.is_some_and(DataType::is_float);
    zip(site, data_type, |cells| {
        if float {
            let all: Option<Vec<f64>> = cells.iter().map(|e| e.real()).collect();
            return all.and_then(|v| v.into_iter().reduce(real)).map_or(Element::Unknown, Element::Real);
        }
        let all: Option<Vec<i64>> = cells.iter().map(|e| e.int().known()).collect();
        all.and_then(|v| v.into_iter().reduce(int)).map_or(Element::Unknown, |n| Element::Int(Expr::Known(n)))
    })
}

fn choose(site: &mut Site) -> Result<()> {
    let data_type = site.same_type(1..3)?;
    zip(site, data_type, |cells| match cells {
        [c, a, b] => match (c.int().known(), a, b) {
            (Some(0), _, b) => (*b).clone(),
            (Some(_), a, _) => (*a).clone(),
            (None, Element::Int(a), Element::Int(b)) if a.same(b) => Element::Int(a.clone()),
            _ => Element::Unknown,
        },
        _ => Element::Unknown,
    })
}

/// The terms that are there, each spread over the output's shape unless it is added to one that has it.
fn added<'a>(at: &At<'a>, terms: Vec<(usize, Term<'a>)>) -> Option<Term<'a>> {
    let inputs: Vec<usize> = terms.iter().map(|(i, _)| *i).collect();
    let broadcast = sum(terms.into_iter().map(|(_, term)| term))?;
    Some(at.spread(broadcast, &inputs))
}

fn add_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    Ok(vec![added(at, (0..2).filter_map(|i| Some((i, at.dx(i)?))).collect())])
}

fn sub_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    Ok(vec![match (at.dx(0), at.dx(1)) {
        (Some(a), Some(b)) => Some(at.spread(a - b, &[0, 1])),
        (Some(a), None) => Some(at.spread(a, &[0])),
        (None, Some(b)) => Some(at.spread(-b, &[1])),
        (None, None) => None,
    }])
}

/// (da - y db) / b.
fn div_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let b = at.x(1);
    Ok(vec![match (at.dx(0), at.dx(1)) {
        (Some(da), Some(db)) => Some((da - at.y(0) * db) / b),
        (Some(da), None) => Some(da / b),
        (None, Some(db)) => Some(-(at.y(0) * db) / b),
        (None, None) => None,
    }])
}

/// y = a - b trunc(a/b), b a setting: it moves with a.
fn modulo_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    Ok(vec![at.dx(0).map(|dx| at.spread(dx, &[0]))])
}

/// p x^(p-1) dx + y ln(x) dp.
fn pow_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (x, y) = (at.x(0), at.y(0));
    let by_base = at.dx(0).map(|dx| match at.number(1) {
        // The usual exponents without a Pow, which is slow.
        Some(2.0) => at.spread(x * dx * 2.0, &[0]),
        Some(0.5) => at.spread(dx * 0.5 / y, &[0, 1]),
        _ => {
            let p = at.x(1).cast(x.data_type());
            p * x.with("Pow", &[p - 1.0], vec![]) * dx
        }
    });
    let by_exponent = at.dx(1).map(|dp| y * x.op("Log") * dp);
    Ok(vec![sum(by_base.into_iter().chain(by_exponent))])
}

/// The slope s holds on the negative side: dx there times s, and ds times x.
fn prelu_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (x, s) = (at.x(0), at.x(1));
    let zero = x.scalar(0.0);
    let by_x = at.dx(0).map(|dx| x.above(0.0).choose(dx, dx * s));
    let by_slope = at.dx(1).map(|ds| x.above(0.0).choose(zero, x * ds));
    Ok(vec![sum(by_x.into_iter().chain(by_slope))])
}

fn sum_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    Ok(vec![added(at, (0..at.node.inputs.len()).filter_map(|i| Some((i, at.dx(i)?))).collect())])
}

fn mean_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let count = at.node.inputs.len() as f64;
    let sum = sum_tangent(at)?;
    Ok(sum.into_iter().map(|term| term.map(|term| term * (1.0 / count))).collect())
}

/// The tangent of the input that is the extreme; of several that tie, the mean.
fn extreme_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let y = at.y(0);
    let count = at.node.inputs.len();
    if count == 1 {
        return Ok(vec![at.dx(0)]);
    }
    let hits: Vec<Term> = (0..count).map(|i| at.x(i).equal(y).cast(y.data_type())).collect();
    let moved = sum((0..count).filter_map(|i| Some(*hits.get(i)? * at.dx(i)?)));
    Ok(vec![moved.zip(sum(hits)).map(|(moved, ties)| moved / ties)])
}

fn choose_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let (a, b) = (at.dx(1), at.dx(2));
    let Some(some) = a.or(b) else { return Ok(Vec::new()) };
    let zero = some.scalar(0.0);
    let term = at.x(0).choose(a.unwrap_or(zero), b.unwrap_or(zero));
    let mut of = vec![0];
    of.extend(a.map(|_| 1).into_iter().chain(b.map(|_| 2)));
    Ok(vec![Some(at.spread(term, &of))])
}
