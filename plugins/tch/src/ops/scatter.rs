//! Elements put in place by index.

use super::gather::{check_elementwise, flat_places, host, indices};
use super::{Op, OpError, Site, input};
use std::collections::HashMap;
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] = &[
    Op { name: "Scatter", forward: scatter_elements },
    Op { name: "ScatterElements", forward: scatter_elements },
    Op { name: "ScatterND", forward: scatter_nd },
];

/// What happens to the element that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reduction {
    None,
    Add,
    Mul,
    Max,
    Min,
}

fn reduction(site: &Site) -> Result<Reduction, OpError> {
    match site.string("reduction")?.unwrap_or("none") {
        "none" => Ok(Reduction::None),
        "add" => Ok(Reduction::Add),
        "mul" => Ok(Reduction::Mul),
        "max" => Ok(Reduction::Max),
        "min" => Ok(Reduction::Min),
        found => Err(OpError::Attribute {
            name: "reduction",
            expected: "`none`, `add`, `mul`, `max` or `min`".into(),
            found: format!("`{found}`"),
        }),
    }
}

/// [ScatterElements](https://onnx.ai/onnx/operators/onnx__ScatterElements.html): `reduction` since 16, its `max` and
/// `min` since 18. `Scatter` is its older name.
fn scatter_elements(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let places = input::required(inputs, 1, "indices")?;
    let updates = input::required(inputs, 2, "updates")?;
    input::same_kind(x, updates, "updates")?;
    let dims = input::rank(x, "data", 1..=usize::MAX)?;
    let axis = input::axis(site.int("axis")?.unwrap_or(0), dims.len())?;
    check_elementwise(&dims, &places.size(), axis)?;
    if updates.size() != places.size() {
        let expected = format!("the shape {:?} of `indices`", places.size()).into();
        return Err(OpError::Input { name: "updates", expected, found: format!("{:?}", updates.size()) });
    }
    let places = indices(places, dims[input::at(axis)])?;
    let reduction = reduction(site)?;
    match reduction {
        Reduction::None => Ok(vec![x.f_scatter(axis, &places, updates)?]),
        Reduction::Add => Ok(vec![x.f_scatter_add(axis, &places, updates)?]),
        _ => {
            let flat = Tensor::f_arange(x.numel() as i64, (Kind::Int64, x.device()))?.f_reshape(&dims)?;
            // The part of the places that the indices cover along the other axes.
            let mut within = flat;
            for (i, size) in places.size().into_iter().enumerate().filter(|(i, _)| *i != input::at(axis)) {
                within = within.f_narrow(i as i64, 0, size)?;
            }
            let targets = within.f_gather(axis, &places, false)?.f_reshape([-1])?;
            let rows = merge(&x.f_reshape([-1, 1])?, &targets, &updates.f_reshape([-1, 1])?, reduction)?;
            Ok(vec![rows.f_reshape(&dims)?])
        }
    }
}

/// [ScatterND](https://onnx.ai/onnx/operators/onnx__ScatterND.html): `reduction` since 16, its `max` and `min` since 18.
fn scatter_nd(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let tuples = input::required(inputs, 1, "indices")?;
    let updates = input::required(inputs, 2, "updates")?;
    input::same_kind(x, updates, "updates")?;
    let dims = input::rank(x, "data", 1..=usize::MAX)?;
    let (places, picked) = flat_places(tuples, &dims, 0)?;
    let mut expected = tuples.size();
    expected.pop();
    expected.extend(&picked);
    if updates.size() != expected {
        let expected = format!("the shape {expected:?}").into();
        return Err(OpError::Input { name: "updates", expected, found: format!("{:?}", updates.size()) });
    }
    if x.numel() == 0 || updates.numel() == 0 {
        return Ok(vec![x.shallow_clone()]);
    }
    let row: i64 = picked.iter().product();
    let rows = merge(&x.f_reshape([-1, row])?, &places, &updates.f_reshape([-1, row])?, reduction(site)?)?;
    Ok(vec![rows.f_reshape(&dims)?])
}

/// Rows `[n, r]` with updates `[m, r]` put at `places` `[m]`.
fn merge(rows: &Tensor, places: &Tensor, updates: &Tensor, reduction: Reduction) -> Result<Tensor, OpError> {
    let join = match reduction {
        Reduction::None => return Ok(rows.f_index_copy(0, places, updates)?),
        Reduction::Add => return Ok(rows.f_index_add(0, places, updates)?),
        Reduction::Mul => Tensor::f_mul,
        Reduction::Max => Tensor::f_maximum,
        Reduction::Min => Tensor::f_minimum,
    };
    // libtorch's reductions of this kind cannot be differentiated twice. In rounds in which no place comes up twice,
    // a gather, the plain function and a copy back do the same.
    let mut seen: HashMap<i64, usize> = HashMap::new();
    let mut rounds: Vec<(Vec<i64>, Vec<i64>)> = Vec::new();
    for (update, place) in host(places)?.into_iter().enumerate() {
        let round = seen.entry(place).or_insert(0);
        if *round == rounds.len() {
            rounds.push((Vec::new(), Vec::new()));
        }
        rounds[*round].0.push(place);
        rounds[*round].1.push(update as i64);
        *round += 1;
    }
    let mut out = rows.shallow_clone();
    for (places, which) in rounds {
        let places = Tensor::f_from_slice(&places)?.f_to_device(rows.device())?;
        let which = Tensor::f_from_slice(&which)?.f_to_device(rows.device())?;
        let joined = join(&out.f_index_select(0, &places)?, &updates.f_index_select(0, &which)?)?;
        out = out.f_index_copy(0, &places, &joined)?;
    }
    Ok(out)
}
