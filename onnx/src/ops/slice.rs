//! Parts of a tensor, and a tensor with a border.
//!
//! Meaning changed: Slice takes its bounds as inputs from opset 10, Pad from 11 (with axes from 18);
//! Split its sizes from 13, or `num_outputs` from 18.

use super::Flow::Only;
use super::Tangent::{Linear, Rule};
use super::movement::{strides, unravel};
use super::{ANY, Kind, OpSpec, Site};
use crate::Result;
use crate::shape::{Element, Expr, Fact};
use crate::tangent::{At, Tangents};
use Kind::{Float, Int, Ints, String};

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Slice",
        since: 1,
        inputs: 1..=5,
        outputs: 1..=1,
        attributes: &[("axes", Ints), ("ends", Ints), ("starts", Ints)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: slice,
    },
    OpSpec {
        name: "Split",
        since: 1,
        inputs: 1..=2,
        outputs: 1..=ANY,
        attributes: &[("axis", Int), ("num_outputs", Int), ("split", Ints)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: split,
    },
    OpSpec {
        name: "Pad",
        since: 1,
        inputs: 1..=4,
        outputs: 1..=1,
        attributes: &[("mode", String), ("pads", Ints), ("value", Float)],
        flows: Only(&[0]),
        tangent: Rule(pad_tangent),
        infer: pad,
    },
    OpSpec {
        name: "CenterCropPad",
        since: 18,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("axes", Ints)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: center_crop_pad,
    },
    OpSpec {
        name: "Trilu",
        since: 14,
        inputs: 1..=2,
        outputs: 1..=1,
        attributes: &[("upper", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: super::site::like_first,
    },
];

/// Bounds of a slice as expressions; `None` when how many there are is not known.
struct Bounds {
    starts: Vec<Expr>,
    ends: Vec<Expr>,
    axes: Option<Vec<i64>>,
    steps: Vec<Expr>,
}

fn bounds(site: &Site) -> Result<Option<Bounds>> {
    if site.opset < 10 {
        let list = |name: &str| site.node.ints(name).map(|v| v.iter().map(|n| Expr::Known(*n)).collect::<Vec<_>>());
        let missing = |name: &str| site.fail(format!("attribute `{name}` is missing"));
        let starts = list("starts").ok_or_else(|| missing("starts"))?;
        let ends = list("ends").ok_or_else(|| missing("ends"))?;
        let axes = Some(site.node.ints("axes").map_or_else(|| (0..starts.len() as i64).collect(), <[i64]>::to_vec));
        let steps = vec![Expr::Known(1); starts.len()];
        return Ok(Some(Bounds { starts, ends, axes, steps }));
    }
    let (Some(starts), Some(ends)) = (site.exprs(1), site.exprs(2)) else { return Ok(None) };
    let axes = if site.has(3) { site.ints(3) } else { Some((0..starts.len() as i64).collect()) };
    let steps = if site.has(4) {
        site.exprs(4).unwrap_or_else(|| vec![Expr::Unknown; starts.len()])
    } else {
        vec![Expr::Known(1); starts.len()]
    };
    Ok(Some(Bounds { starts, ends, axes, steps }))
}

fn slice(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let Some(shape) = site.shape(0).map(<[Expr]>::to_vec) else {
        site.set(0, data_type, None);
        return Ok(());
    };
    let rank = shape.len();
    let bounds = bounds(site)?;
    let Some(Bounds { starts, ends, axes: Some(axes), steps }) = bounds else {
        site.set(0, data_type, Some(vec![Expr::Unknown; rank]));
        return Ok(());
    };
    if starts.len() != ends.len() || starts.len() != axes.len() || starts.len() != steps.len() {
        let counts = [starts.len(), ends.len(), axes.len(), steps.len()];
        return Err(site.fail(format!("starts, ends, axes and steps number {counts:?}")));
    }
    let axes = site.axes(&axes, rank)?;
    let mut sliced = shape.clone();
    for (((axis, start), end), step) in axes.iter().zip(&starts).zip(&ends).zip(&steps) {
        if step.known() == Some(0) {
            return Err(site.fail("a step of 0"));
        }
        if let Some(slot) = sliced.get_mut(*axis) {
            *slot = length(slot, start, end, step);
        }
    }
    let fact = Fact::new(data_type, Some(sliced));
    let elements = pick(site, &fact, &axes, [&starts, &steps]);
    site.put(0, fact.with_elements(elements));
    Ok(())
}

/// The elements of input 0 that make up `output`, for starts and steps that are known.
fn pick(site: &Site, output: &Fact, axes: &[usize], [starts, steps]: [&[Expr]; 2]) -> Option<Vec<Element>> {
    let elements = site.elements(0)?;
    let (from, to) = (site.fact(0)?.dims()?, output.dims()?);
    let mut lines: Vec<(i64, i64)> = vec![(0, 1); from.len()];
    for ((axis, start), step) in axes.iter().zip(starts).zip(steps) {
        let size = i64::try_from(*from.get(*axis)?).ok()?;
        let step = step.known()?;
        *lines.get_mut(*axis)? = (clamp(start.known()?, 0, size, step).0, step);
    }
    let strides = strides(&from);
    let count = to.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= elements.len())?;
    (0..count)
        .map(|flat| {
            let mut source = 0usize;
            for ((i, (start, step)), stride) in unravel(flat, &to).into_iter().zip(&lines).zip(&strides) {
                let at = i64::try_from(i).ok()?.checked_mul(*step)?.checked_add(*start)?;
                source = source.checked_add(usize::try_from(at).ok()?.checked_mul(*stride)?)?;
            }
            elements.get(source).cloned()
        })
        .collect()
}

/// Start and end within a size, as ONNX clamps them, for a step of this sign.
fn clamp(start: i64, end: i64, size: i64, step: i64) -> (i64, i64) {
    let counted = |i: i64| if i < 0 { i.saturating_add(size) } else { i };
    let (start, end) = (counted(start), counted(end));
    if step > 0 {
        (start.clamp(0, size), end.clamp(0, size))
    } else {
        (start.clamp(-1, size - 1), end.clamp(-1, size - 1))
    }
}

/// Number of positions that a slice of an axis takes.
fn length(size: &Expr, start: &Expr, end: &Expr, step: &Expr) -> Expr {
    let (Some(start_n), Some(step_n)) = (start.known(), step.known()) else {
        // A window between two sizes, such as `[i, i + 7)`, has a length all the same when both stay
        // within the axis, which cannot be seen here.
        return Expr::Unknown;
    };
    if let (Some(size), Some(end)) = (size.known(), end.known()) {
        let (start, end) = clamp(start_n, end, size, step_n);
        let span = if step_n > 0 { end - start } else { start - end };
        let step = step_n.unsigned_abs();
        let count = u64::try_from(span).unwrap_or(0).div_ceil(step);
        return i64::try_from(count).map_or(Expr::Unknown, Expr::Known);
    }
    // From here on a size or an end that is symbolic; what holds for every value of the symbols.
    if step_n < 0 {
        let all = start_n == -1 && end.known().is_some_and(|e| e <= -i64::from(i32::MAX));
        return if all { size.ceil_over(&Expr::Known(step_n.saturating_neg())) } else { Expr::Unknown };
    }
    let low = size.at_least();
    // An end that large stands for the end of the axis, whatever its size.
    let to_end =
        end.known().is_some_and(|e| e >= i64::from(i32::MAX)) || end.minus(size).at_least().is_some_and(|n| n >= 0);
    let stop = if to_end {
        size.clone()
    } else if let Some(e) = end.known() {
        match low {
            Some(low) if e >= 0 && e <= low => Expr::Known(e),
            Some(low) if e < 0 && e.saturating_add(low) >= 0 => size.plus(&Expr::Known(e)),
            _ => return Expr::Unknown,
        }
    } else if size.minus(end).at_least().is_some_and(|n| n >= 0) && end.at_least().is_some_and(|n| n >= 0) {
        end.clone()
    } else {
        return Expr::Unknown;
    };
    let begin = if start_n == 0 {
        Expr::Known(0)
    } else if start_n < 0 {
        match low {
            Some(low) if start_n.saturating_add(low) >= 0 => size.plus(&Expr::Known(start_n)),
            _ => return Expr::Unknown,
        }
    } else {
        match low {
            Some(low) if start_n <= low => Expr::Known(start_n),
            _ => return Expr::Unknown,
        }
    };
    let span = stop.minus(&begin);
    match span.at_least() {
        Some(n) if n >= 0 => span.ceil_over(&Expr::Known(step_n)),
        _ => Expr::Unknown,
    }
}

/// Sizes from the input or attribute; else equal parts, the last one smaller where `num_outputs` asks
/// for it.
fn split(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let count = site.outputs.len();
    let Some(shape) = site.shape(0).map(<[Expr]>::to_vec) else {
        (0..count).for_each(|i| site.set(i, data_type, None));
        return Ok(());
    };
    let axis = site.axis(site.int("axis", 0), shape.len())?;
    let whole = shape.get(axis).cloned().unwrap_or(Expr::Unknown);
    let sizes = match site.ints_by_opset("split", 1, 13) {
        Some(Some(sizes)) => {
            if sizes.len() != count {
                return Err(site.fail(format!("{} sizes for {count} outputs", sizes.len())));
            }
            let sum = sizes.iter().try_fold(0i64, |n, s| n.checked_add(*s)).filter(|_| sizes.iter().all(|s| *s >= 0));
            if sum.is_none() || whole.known().is_some_and(|n| Some(n) != sum) {
                return Err(site.fail(format!("sizes {sizes:?} of an axis of {whole}")));
            }
            sizes.into_iter().map(Expr::Known).collect()
        }
        Some(None) => {
            if let Some(n) = site.node.int("num_outputs").filter(|n| *n != count as i64) {
                return Err(site.fail(format!("`num_outputs` is {n}, there are {count}")));
            }
            parts(site, &whole, count)?
        }
        None => vec![Expr::Unknown; count],
    };
    let elements = (shape.len() == 1).then(|| site.elements(0).map(<[Element]>::to_vec)).flatten();
    let mut from = Some(0usize);
    for (i, size) in sizes.into_iter().enumerate() {
        let mut part = shape.clone();
        let length = size.known().and_then(|n| usize::try_from(n).ok());
        part.splice(axis..=axis, [size]);
        let to = from.zip(length).and_then(|(f, l)| f.checked_add(l));
        let own = from.zip(to).and_then(|(f, t)| elements.as_ref()?.get(f..t).map(<[Element]>::to_vec));
        site.put(i, Fact::new(data_type, Some(part)).with_elements(own));
        from = to;
    }
    Ok(())
}

fn parts(site: &Site, whole: &Expr, count: usize) -> Result<Vec<Expr>> {
    let uneven = site.opset >= 18 && site.node.int("num_outputs").is_some();
    let count_expr = Expr::from(count);
    if let Some(n) = whole.known().filter(|n| count_expr.known().is_none_or(|c| n % c != 0))
        && !uneven
    {
        return Err(site.fail(format!("an axis of {n} in {count} equal parts")));
    }
    if let Some(even) = whole.exactly_over(&count_expr) {
        return Ok(vec![even; count]);
    }
    if !uneven {
        return Ok(vec![whole.floor_over(&count_expr); count]);
    }
    let part = whole.ceil_over(&count_expr);
    let last = whole.minus(&part.times(&Expr::from(count.saturating_sub(1))));
    if last.known().is_some_and(|n| n < 0) {
        return Err(site.fail(format!("an axis of {whole} in {count} parts")));
    }
    let mut sizes = vec![part; count.saturating_sub(1)];
    sizes.push(last);
    Ok(sizes)
}

fn pad(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let Some(shape) = site.shape(0).map(<[Expr]>::to_vec) else {
        site.set(0, data_type, None);
        return Ok(());
    };
    let pads = if site.opset < 11 {
        site.node.ints("pads").map(|v| v.iter().map(|n| Expr::Known(*n)).collect())
    } else {
        site.exprs(1)
    };
    let axes = if site.has(3) { site.ints(3) } else { Some((0..shape.len() as i64).collect()) };
    let (Some(pads), Some(axes)) = (pads, axes) else {
        site.set(0, data_type, Some(vec![Expr::Unknown; shape.len()]));
        return Ok(());
    };
    let axes = site.axes(&axes, shape.len())?;
    if pads.len() != 2 * axes.len() {
        return Err(site.fail(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let (before, after) = pads.split_at(axes.len());
    let mut padded = shape;
    for ((axis, b), a) in axes.iter().zip(before).zip(after) {
        if let Some(size) = padded.get_mut(*axis) {
            *size = size.plus(b).plus(a);
            if let Some(n) = size.known().filter(|n| *n < 0) {
                return Err(site.fail(format!("axis {axis} comes out at {n}")));
            }
        }
    }
    site.set(0, data_type, Some(padded));
    Ok(())
}

fn center_crop_pad(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let shape = match (site.shape(0), site.exprs(1)) {
        (Some(shape), Some(target)) => {
            let axes = match site.node.ints("axes") {
                Some(axes) => site.axes(axes, shape.len())?,
                None => (0..shape.len()).collect(),
            };
            if axes.len() != target.len() {
                return Err(site.fail(format!("{} sizes for {} axes", target.len(), axes.len())));
            }
            let mut shape = shape.to_vec();
            for (axis, size) in axes.into_iter().zip(target) {
                shape.splice(axis..=axis, [size]);
            }
            Some(shape)
        }
        (Some(shape), None) => Some(vec![Expr::Unknown; shape.len()]),
        _ => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// The tangent padded alike, with zeros where a constant fills in.
fn pad_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let Some(dx) = at.dx(0) else { return Ok(Vec::new()) };
    let mut inputs = at.inputs();
    if let Some(first) = inputs.first_mut() {
        *first = Some(dx);
    }
    if let Some(fill) = inputs.get_mut(2) {
        *fill = None;
    }
    Ok(vec![at.emit(&inputs, at.attributes_but("value"), 1).first().copied()])
}
