//! The same elements under other dims or in another order.
//!
//! Meaning changed: Squeeze and Unsqueeze take their axes as an input from opset 13; Reshape has
//! `allowzero` from 14.

use super::Flow::{All, Only};
use super::Tangent::Linear;
use super::site::product;
use super::{ANY, Kind, OpSpec, Site};
use crate::Result;
use crate::shape::{Element, Expr, Fact, MAX_ELEMENTS};
use Kind::{Int, Ints, String};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Reshape",
        since: 1,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("allowzero", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: reshape,
    },
    OpSpec {
        name: "Flatten",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("axis", Int)],
        flows: All,
        tangent: Linear,
        infer: flatten,
    },
    OpSpec {
        name: "Squeeze",
        since: 1,
        inputs: 1..=2,
        outputs: 1..=1,
        attributes: &[("axes", Ints)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: squeeze,
    },
    OpSpec {
        name: "Unsqueeze",
        since: 1,
        inputs: 1..=2,
        outputs: 1..=1,
        attributes: &[("axes", Ints)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: unsqueeze,
    },
    OpSpec {
        name: "Transpose",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("perm", Ints)],
        flows: All,
        tangent: Linear,
        infer: transpose,
    },
    OpSpec {
        name: "Expand",
        since: 8,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[],
        flows: Only(&[0]),
        tangent: Linear,
        infer: expand,
    },
    OpSpec {
        name: "Tile",
        since: 1,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[],
        flows: Only(&[0]),
        tangent: Linear,
        infer: tile,
    },
    OpSpec {
        name: "Concat",
        since: 1,
        inputs: 1..=ANY,
        outputs: 1..=1,
        attributes: &[("axis", Int)],
        flows: All,
        tangent: Linear,
        infer: concat,
    },
    OpSpec {
        name: "DepthToSpace",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("blocksize", Int), ("mode", String)],
        flows: All,
        tangent: Linear,
        infer: depth_to_space,
    },
    OpSpec {
        name: "SpaceToDepth",
        since: 1,
        inputs: 1..=1,
        outputs: 1..=1,
        attributes: &[("blocksize", Int)],
        flows: All,
        tangent: Linear,
        infer: space_to_depth,
    },
    OpSpec {
        name: "ReverseSequence",
        since: 10,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("batch_axis", Int), ("time_axis", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: super::site::like_first,
    },
];

/// Output 0: the elements of input 0 in the same order under `shape`.
fn same_elements(site: &mut Site, shape: Option<Vec<Expr>>) {
    let data_type = site.data_type(0);
    let elements = site.elements(0).map(<[Element]>::to_vec);
    site.put(0, Fact::new(data_type, shape).with_elements(elements));
}

/// A 0 in the target copies the size of the input (unless `allowzero`); a single -1 takes what is left.
fn reshape(site: &mut Site) -> Result<()> {
    let Some(target) = site.exprs(1) else {
        same_elements(site, None);
        return Ok(());
    };
    let allow_zero = site.int("allowzero", 0) != 0;
    let input = site.shape(0);
    let mut shape: Vec<Expr> = Vec::with_capacity(target.len());
    let mut open = None;
    for (axis, size) in target.into_iter().enumerate() {
        let size = match size.known() {
            Some(0) if !allow_zero => match input {
                Some(input) => input.get(axis).cloned().ok_or_else(|| {
                    site.fail(format!("size 0 on axis {axis} copies from an input of {} axes", input.len()))
                })?,
                None => Expr::Unknown,
            },
            Some(-1) => {
                if open.replace(axis).is_some() {
                    return Err(site.fail("-1 on two axes"));
                }
                Expr::Known(1)
            }
            Some(n) if n < 0 => return Err(site.fail(format!("size {n} on axis {axis}"))),
            _ => size,
        };
        shape.push(size);
    }
    if let Some(input) = input {
        let (have, want) = (product(input), product(&shape));
        let show = |shape: &[Expr]| shape.iter().map(Expr::to_string).collect::<Vec<_>>().join(", ");
        match open {
            None => {
                if have.known().zip(want.known()).is_some_and(|(a, b)| a != b) {
                    return Err(site.fail(format!("[{}] cannot be [{}]", show(input), show(&shape))));
                }
                fill_single_unknown(&mut shape, &have);
            }
            Some(axis) => {
                let uneven = have.known().zip(want.known()).is_some_and(|(a, b)| b == 0 || a % b != 0);
                if uneven {
                    let reason = format!("{have} elements do not divide by the {want} of [{}]", show(&shape));
                    return Err(site.fail(reason));
                }
                let size = have.exactly_over(&want).unwrap_or(Expr::Unknown);
                shape.splice(axis..=axis, [size]);
            }
        }
    } else if let Some(axis) = open {
        shape.splice(axis..=axis, [Expr::Unknown]);
    }
    same_elements(site, Some(shape));
    Ok(())
}

/// The one size nobody knows follows from the number of elements.
fn fill_single_unknown(shape: &mut [Expr], elements: &Expr) {
    let mut unknown = shape.iter_mut().filter(|e| matches!(e, Expr::Unknown));
    if let (Some(_), None) = (unknown.next(), unknown.next()) {
        let others = product(shape.iter().filter(|e| !matches!(e, Expr::Unknown)));
        let size = elements.exactly_over(&others).unwrap_or(Expr::Unknown);
        if let Some(slot) = shape.iter_mut().find(|e| matches!(e, Expr::Unknown)) {
            *slot = size;
        }
    }
}

/// Axes before `axis` to one, the others to another. `axis` may be the rank; negative from opset 11.
fn flatten(site: &mut Site) -> Result<()> {
    let shape = match site.shape(0) {
        Some(shape) => {
            let axis = site.int("axis", 1);
            let counted = if axis < 0 { axis.saturating_add(shape.len() as i64) } else { axis };
            let at = usize::try_from(counted)
                .ok()
                .filter(|a| *a <= shape.len())
                .ok_or_else(|| site.fail(format!("axis {axis} of {} axes", shape.len())))?;
            let (outer, inner) = shape.split_at(at);
            Some(vec![product(outer), product(inner)])
        }
        None => Some(vec![Expr::Unknown; 2]),
    };
    same_elements(site, shape);
    Ok(())
}

fn squeeze(site: &mut Site) -> Result<()> {
    let shape = match (site.shape(0), site.ints_by_opset("axes", 1, 13)) {
        (Some(shape), Some(Some(axes))) => {
            let axes = site.axes(&axes, shape.len())?;
            for axis in &axes {
                if let Some(n) = shape.get(*axis).and_then(Expr::known).filter(|n| *n != 1) {
                    return Err(site.fail(format!("axis {axis} has size {n}, expected 1")));
                }
            }
            Some(shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| d.clone()).collect())
        }
        // Every axis of size 1 goes; a size that is not known may or may not be.
        (Some(shape), Some(None)) if shape.iter().all(|d| d.known().is_some()) => {
            Some(shape.iter().filter(|d| d.known() != Some(1)).cloned().collect())
        }
        (Some(shape), None) => {
            site.exprs(1).and_then(|axes| shape.len().checked_sub(axes.len())).map(|left| vec![Expr::Unknown; left])
        }
        _ => None,
    };
    same_elements(site, shape);
    Ok(())
}

fn unsqueeze(site: &mut Site) -> Result<()> {
    let shape = match (site.shape(0), site.ints_by_opset("axes", 1, 13)) {
        (_, Some(None)) => return Err(site.fail("`axes` are missing")),
        (Some(shape), Some(Some(axes))) => {
            let rank = shape.len() + axes.len();
            let axes = site.axes(&axes, rank)?;
            let mut sizes = shape.iter();
            Some(
                (0..rank)
                    .map(|axis| match axes.contains(&axis) {
                        true => Expr::Known(1),
                        false => sizes.next().cloned().unwrap_or(Expr::Unknown),
                    })
                    .collect(),
            )
        }
        (Some(shape), None) => site.exprs(1).map(|axes| vec![Expr::Unknown; shape.len() + axes.len()]),
        _ => None,
    };
    same_elements(site, shape);
    Ok(())
}

fn transpose(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let Some(shape) = site.shape(0) else {
        site.set(0, data_type, None);
        return Ok(());
    };
    let perm = match site.node.ints("perm") {
        Some(perm) if perm.len() != shape.len() => {
            return Err(site.fail(format!("`perm` {perm:?} for {} axes", shape.len())));
        }
        // Not counted from the end here.
        Some(perm) if perm.iter().any(|p| *p < 0) => return Err(site.fail(format!("`perm` {perm:?}"))),
        Some(perm) => site.axes(perm, shape.len())?,
        None => (0..shape.len()).rev().collect(),
    };
    let moved: Vec<Expr> = perm.iter().filter_map(|p| shape.get(*p).cloned()).collect();
    let fact = Fact::new(data_type, Some(moved));
    let elements = site.elements(0).and_then(|elements| {
        let from = site.fact(0)?.dims()?;
        let to = fact.dims()?;
        let strides = strides(&from);
        (0..elements.len())
            .map(|flat| {
                let at = unravel(flat, &to);
                let source: usize = perm.iter().zip(&at).filter_map(|(p, i)| Some(strides.get(*p)? * i)).sum();
                elements.get(source).cloned()
            })
            .collect()
    });
    site.put(0, fact.with_elements(elements));
    Ok(())
}

/// Steps in memory along each axis of a row-major array.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut step = 1usize;
    let mut strides: Vec<usize> = dims
        .iter()
        .rev()
        .map(|d| {
            let stride = step;
            step = step.saturating_mul(*d);
            stride
        })
        .collect();
    strides.reverse();
    strides
}

/// Position on each axis of element `flat`.
pub(super) fn unravel(flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut left = flat;
    let mut at: Vec<usize> = dims
        .iter()
        .rev()
        .map(|d| {
            let size = (*d).max(1);
            let index = left % size;
            left /= size;
            index
        })
        .collect();
    at.reverse();
    at
}

/// The target broadcasts with the input, so a 1 in it leaves the input's size.
fn expand(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match (site.shape(0), site.exprs(1)) {
        (Some(shape), Some(target)) => {
            if let Some(n) = target.iter().filter_map(Expr::known).find(|n| *n < 0) {
                return Err(site.fail(format!("target size {n}")));
            }
            Some(site.broadcast(shape, &target)?)
        }
        _ => None,
    };
    let mut fact = Fact::new(data_type, shape);
    if let (Some([single]), Some(dims)) = (site.elements(0), fact.dims()) {
        let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_ELEMENTS);
        let elements = count.map(|n| vec![single.clone(); n]);
        fact = fact.with_elements(elements);
    }
    site.put(0, fact);
    Ok(())
}

fn tile(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match (site.shape(0), site.exprs(1)) {
        (Some(shape), Some(repeats)) => {
            if repeats.len() != shape.len() {
                return Err(site.fail(format!("{} repeats for {} axes", repeats.len(), shape.len())));
            }
            if let Some(n) = repeats.iter().filter_map(Expr::known).find(|n| *n < 0) {
                return Err(site.fail(format!("{n} repeats")));
            }
            Some(shape.iter().zip(&repeats).map(|(d, r)| d.times(r)).collect())
        }
        (Some(shape), None) => Some(vec![Expr::Unknown; shape.len()]),
        _ => None,
    };
    let mut fact = Fact::new(data_type, shape);
    if let (Some(elements), Some([count])) = (site.elements(0), fact.dims().as_deref()) {
        let repeated = elements.iter().cycle().take((*count).min(MAX_ELEMENTS + 1)).cloned().collect();
        fact = fact.with_elements(Some(repeated));
    }
    site.put(0, fact);
    Ok(())
}

fn concat(site: &mut Site) -> Result<()> {
    let count = site.inputs.len();
    let data_type = site.same_type(0..count)?;
    let Some(rank) = (0..count).find_map(|i| site.rank(i)) else {
        site.set(0, data_type, None);
        return Ok(());
    };
    let axis = site.node.int("axis").ok_or_else(|| site.fail("attribute `axis` is missing"))?;
    let axis = site.axis(axis, rank)?;
    let mut shape = vec![Expr::Unknown; rank];
    let mut length = Expr::Known(0);
    for i in 0..count {
        let Some(next) = site.shape_of_rank(i, rank)? else {
            length = Expr::Unknown;
            continue;
        };
        for (at, (size, own)) in next.iter().zip(&mut shape).enumerate() {
            if at == axis {
                length = length.plus(size);
                continue;
            }
            site.agree(&format!("axis {at} of the inputs"), own, size)?;
            // A number says more than a symbol, a symbol more than nothing.
            if own.known().is_none() && !matches!(size, Expr::Unknown) {
                *own = size.clone();
            }
        }
    }
    shape.splice(axis..=axis, [length]);
    let mut fact = Fact::new(data_type, Some(shape));
    if rank == 1 {
        let joined: Option<Vec<Vec<Element>>> = (0..count).map(|i| followed(site, i)).collect();
        fact = fact.with_elements(joined.map(|parts| parts.concat()));
    }
    site.put(0, fact);
    Ok(())
}

/// The elements of a vector; a short one of known length whose elements nobody followed has unknown ones.
fn followed(site: &Site, i: usize) -> Option<Vec<Element>> {
    if let Some(elements) = site.elements(i) {
        return Some(elements.to_vec());
    }
    let unknown = site.exprs(i)?.len();
    Some(vec![Element::Unknown; unknown])
}

fn block(site: &Site) -> Result<Expr> {
    match site.node.int("blocksize") {
        Some(n) if n >= 1 => Ok(Expr::Known(n)),
        other => Err(site.fail(format!("`blocksize` is {other:?}"))),
    }
}

fn depth_to_space(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let block = block(site)?;
    let shape = match site.shape_of_rank(0, 4)? {
        Some([n, c, h, w]) => {
            let square = block.times(&block);
            if c.known().zip(square.known()).is_some_and(|(c, s)| c % s != 0) {
                return Err(site.fail(format!("{c} channels in blocks of {square}")));
            }
            let channels = c.exactly_over(&square).unwrap_or(Expr::Unknown);
            vec![n.clone(), channels, h.times(&block), w.times(&block)]
        }
        _ => vec![Expr::Unknown; 4],
    };
    site.set(0, data_type, Some(shape));
    Ok(())
}

fn space_to_depth(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let block = block(site)?;
    let shape = match site.shape_of_rank(0, 4)? {
        Some([n, c, h, w]) => {
            let over = |size: &Expr| match size.known().zip(block.known()) {
                Some((n, b)) if n % b != 0 => Err(site.fail(format!("size {n} in blocks of {b}"))),
                _ => Ok(size.exactly_over(&block).unwrap_or(Expr::Unknown)),
            };
            vec![n.clone(), c.times(&block).times(&block), over(h)?, over(w)?]
        }
        _ => vec![Expr::Unknown; 4],
    };
    site.set(0, data_type, Some(shape));
    Ok(())
}
