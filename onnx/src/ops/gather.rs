//! Reading and writing by index.

use super::Flow::Only;
use super::Tangent::{Linear, Refused, Rule};
use super::{Kind, OpSpec, Site};
use crate::Result;
use crate::shape::{Element, Expr, Fact, MAX_ELEMENTS};
use crate::tangent::{At, Tangents, Term};
use Kind::{Int, String};

macro_rules! scatter {
    ($name:literal, $since:literal, $attributes:expr) => {
        OpSpec {
            name: $name,
            since: $since,
            inputs: 3..=3,
            outputs: 1..=1,
            attributes: $attributes,
            flows: Only(&[0, 2]),
            tangent: Rule(scatter_tangent),
            infer: scatter,
        }
    };
}

pub(super) const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Gather",
        since: 1,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("axis", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: gather,
    },
    OpSpec {
        name: "GatherElements",
        since: 11,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("axis", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: gather_elements,
    },
    OpSpec {
        name: "GatherND",
        since: 11,
        inputs: 2..=2,
        outputs: 1..=1,
        attributes: &[("batch_dims", Int)],
        flows: Only(&[0]),
        tangent: Linear,
        infer: gather_nd,
    },
    scatter!("Scatter", 9, &[("axis", Int)]),
    scatter!("ScatterElements", 11, &[("axis", Int), ("reduction", String)]),
    scatter!("ScatterND", 11, &[("reduction", String)]),
    OpSpec {
        name: "TensorScatter",
        since: 24,
        inputs: 2..=3,
        outputs: 1..=1,
        attributes: &[("axis", Int), ("mode", String)],
        flows: Only(&[0, 1]),
        tangent: Refused("updates a cache of generated tokens, which no vision model has"),
        infer: super::site::like_first,
    },
];

/// The indexed axis is replaced by the axes of the indices.
fn gather(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let Some(shape) = site.shape(0) else {
        site.set(0, data_type, None);
        return Ok(());
    };
    let axis = site.axis(site.int("axis", 0), shape.len())?;
    let (outer, inner) = (shape.get(..axis).unwrap_or_default(), shape.get(axis + 1..).unwrap_or_default());
    let gathered = site.shape(1).map(|indices| [outer, indices, inner].concat());
    let mut fact = Fact::new(data_type, gathered);
    let size = shape.get(axis).and_then(Expr::known);
    if let (Some(indices), Some(size)) = (site.ints(1), size) {
        if let Some(i) = indices.iter().find(|i| **i < -size || **i >= size) {
            return Err(site.fail(format!("index {i} of an axis of {size}")));
        }
        let whole = site.elements(0).zip(site.fact(0).and_then(Fact::dims));
        if let Some((elements, dims)) = whole {
            let count = |dims: &[usize]| dims.iter().fold(1usize, |n, d| n.saturating_mul(*d));
            let (inner, outer) =
                (count(dims.get(axis + 1..).unwrap_or_default()), count(dims.get(..axis).unwrap_or_default()));
            let block = usize::try_from(size).unwrap_or(0).saturating_mul(inner);
            let rows = outer.saturating_mul(indices.len());
            let fits = rows <= MAX_ELEMENTS && rows.saturating_mul(inner) <= MAX_ELEMENTS;
            let picked = fits.then(|| {
                let mut picked: Vec<Element> = Vec::new();
                for o in 0..outer {
                    for i in &indices {
                        let i = usize::try_from(if *i < 0 { i + size } else { *i }).ok()?;
                        let from = o.checked_mul(block)?.checked_add(i.checked_mul(inner)?)?;
                        picked.extend_from_slice(elements.get(from..from.checked_add(inner)?)?);
                    }
                }
                Some(picked)
            });
            fact = fact.with_elements(picked.flatten());
        }
    }
    site.put(0, fact);
    Ok(())
}

/// The shape of the indices.
fn gather_elements(site: &mut Site) -> Result<()> {
    if let (Some(data), Some(indices)) = (site.rank(0), site.rank(1)) {
        if data != indices {
            return Err(site.fail(format!("{data} axes, {indices} of the indices")));
        }
        site.axis(site.int("axis", 0), data)?;
    }
    let (data_type, shape) = (site.data_type(0), site.shape(1).map(<[Expr]>::to_vec));
    site.set(0, data_type, shape);
    Ok(())
}

/// The last axis of the indices holds positions on the axes after the batch ones.
fn gather_nd(site: &mut Site) -> Result<()> {
    let data_type = site.data_type(0);
    let batch = usize::try_from(site.int("batch_dims", 0)).map_err(|_| site.fail("`batch_dims` is negative"))?;
    let shape = match (site.shape(0), site.shape(1)) {
        (Some(data), Some([outer @ .., depth])) => match depth.known() {
            Some(depth) => {
                let taken = usize::try_from(depth).ok().and_then(|d| d.checked_add(batch));
                let inner = taken.and_then(|t| data.get(t..)).filter(|_| depth >= 1 && batch <= outer.len());
                let Some(inner) = inner else {
                    return Err(site.fail(format!("indices of {depth} axes after {batch} of {}", data.len())));
                };
                Some([outer, inner].concat())
            }
            None => None,
        },
        (_, Some([])) => return Err(site.fail("the indices are a scalar")),
        _ => None,
    };
    site.set(0, data_type, shape);
    Ok(())
}

/// The shape of the data, some of whose elements are overwritten.
fn scatter(site: &mut Site) -> Result<()> {
    if let (Some(data), "Scatter" | "ScatterElements") = (site.rank(0), site.node.op_type.as_str()) {
        site.axis(site.int("axis", 0), data)?;
        for i in 1..3 {
            site.shape_of_rank(i, data)?;
        }
    }
    let data_type = site.same_type([0, 2])?;
    let shape = site.shape(0).map(<[Expr]>::to_vec);
    site.set(0, data_type, shape);
    Ok(())
}

/// Writing and adding are linear in both together. Of a product every factor moves in turn; an extreme moves with what
/// it is, the mean of those that tie.
fn scatter_tangent<'a>(at: &At<'a>) -> Result<Tangents<'a>> {
    let reduction = at.node.string("reduction").unwrap_or("none");
    if matches!(reduction, "none" | "add") {
        return Ok(at.linear(&[0, 2]));
    }
    let (data, places, updates, y) = (at.x(0), at.x(1), at.x(2), at.y(0));
    let moved = [at.dx(0), at.dx(2)];
    if moved.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let [d_data, d_updates] = [moved[0].unwrap_or_else(|| at.zeros(0)), moved[1].unwrap_or_else(|| at.zeros(2))];
    let attributes = at.attributes_but("reduction");
    let add = |data: Term<'a>, updates: Term<'a>| {
        let attributes = attributes.iter().cloned().chain([("reduction", "add".into())]).collect();
        at.emit(&[Some(data), Some(places), Some(updates)], attributes, 1).first().copied()
    };
    if reduction == "mul" {
        return Ok(vec![add(d_data / data, d_updates / updates).map(|relative| y * relative)]);
    }
    let reached = match at.node.op_type.as_str() {
        "ScatterND" => y.with("GatherND", &[places], vec![]),
        _ => y.with("GatherElements", &[places], attributes.clone()),
    };
    let hit = data.equal(y).cast(y.data_type());
    let hit_by = updates.equal(reached).cast(y.data_type());
    let total = add(hit * d_data, hit_by * d_updates);
    Ok(vec![total.zip(add(hit, hit_by)).map(|(total, ties)| total / ties)])
}
