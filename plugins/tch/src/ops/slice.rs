//! Parts of a tensor, put together, cut out, or extended.

use super::error::{check_listed, check_size};
use super::{Op, OpError, Site, input};
use tch::{Kind, Tensor};

pub(super) const OPS: &[Op] = &[
    Op { name: "CenterCropPad", forward: center_crop_pad },
    Op { name: "Concat", forward: concat },
    Op { name: "Pad", forward: pad },
    Op { name: "ReverseSequence", forward: reverse_sequence },
    Op { name: "Slice", forward: slice },
    Op { name: "Split", forward: split },
    Op { name: "Trilu", forward: trilu },
];

/// [Concat](https://onnx.ai/onnx/operators/onnx__Concat.html); negative axes since 11.
fn concat(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let head = input::required(inputs, 0, "inputs")?;
    let first = head.size();
    let axis = input::axis(site.required("axis", site.int("axis")?)?, first.len())?;
    let mut total = 0i64;
    let mut tensors = Vec::with_capacity(inputs.len());
    for i in 0..inputs.len() {
        let tensor = input::required(inputs, i, "inputs")?;
        input::same_kind(head, tensor, "inputs")?;
        let dims = tensor.size();
        let fits = dims.len() == first.len()
            && dims.iter().zip(&first).enumerate().all(|(d, (a, b))| d == input::at(axis) || a == b);
        if !fits {
            let expected = format!("the shape {first:?} but for axis {axis}").into();
            return Err(OpError::Input { name: "inputs", expected, found: format!("{dims:?} in place {i}") });
        }
        total = total.saturating_add(dims[input::at(axis)]);
        tensors.push(tensor);
    }
    let mut dims = first;
    dims[input::at(axis)] = total;
    check_size(&dims)?;
    Ok(vec![Tensor::f_cat(&tensors, axis)?])
}

/// [Slice](https://onnx.ai/onnx/operators/onnx__Slice.html): attributes before opset 10, inputs (and steps) since.
fn slice(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let mut x = input::required(inputs, 0, "data")?.shallow_clone();
    let rank = x.dim();
    let (starts, ends, axes, steps) = if site.opset < 10 {
        let list = |name| site.ints(name).map(|v| v.map(<[i64]>::to_vec));
        let starts = site.required("starts", list("starts")?)?;
        (starts, site.required("ends", list("ends")?)?, list("axes")?, None)
    } else {
        let list = |i, name| input::optional(inputs, i).map(|t| input::ints(t, name)).transpose();
        let needed = |i, name| input::ints(input::required(inputs, i, name)?, name);
        (needed(1, "starts")?, needed(2, "ends")?, list(3, "axes")?, list(4, "steps")?)
    };
    let axes = match axes {
        Some(axes) => input::axes(&axes, rank)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if starts.len() > rank || [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(OpError::Input {
            name: "starts",
            expected: format!("as many starts, ends, axes and steps, at most {rank}").into(),
            found: format!("{}, {}, {} and {}", starts.len(), ends.len(), axes.len(), steps.len()),
        });
    }
    for (i, &axis) in axes.iter().enumerate() {
        let size = x.size()[input::at(axis)];
        x = along(&x, axis, size, starts[i], ends[i], steps[i])?;
    }
    Ok(vec![x])
}

/// numpy's `start:end:step` along one axis.
fn along(x: &Tensor, axis: i64, size: i64, start: i64, end: i64, step: i64) -> Result<Tensor, OpError> {
    if step == 0 {
        return Err(OpError::Input { name: "steps", expected: "steps other than 0".into(), found: "0".to_owned() });
    }
    let place = |v: i64, low, high| if v < 0 { v.saturating_add(size) } else { v }.clamp(low, high);
    if step > 0 {
        let (start, end) = (place(start, 0, size), place(end, 0, size));
        return Ok(x.f_slice(axis, start, end.max(start), step.min(size.max(1)))?);
    }
    // Backwards: the same elements forwards from the last of them, then turned round.
    let step = step.saturating_neg().min(size.max(1));
    let (start, end) = (place(start, -1, size - 1), place(end, -1, size - 1));
    if start <= end {
        return Ok(x.f_slice(axis, 0, 0, 1)?);
    }
    let last = start - (start - end - 1) / step * step;
    Ok(x.f_slice(axis, last, start + 1, step)?.f_flip([axis])?)
}

/// [Split](https://onnx.ai/onnx/operators/onnx__Split.html): sizes are an attribute before opset 13, an input since;
/// `num_outputs` (since 18) or neither makes equal parts, the last one smaller.
fn split(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = x.size();
    let axis = input::axis(site.int("axis")?.unwrap_or(0), dims.len())?;
    let size = dims[input::at(axis)];
    let sizes = if site.opset < 13 {
        site.ints("split")?.map(<[i64]>::to_vec)
    } else {
        input::optional(inputs, 1).map(|t| input::ints(t, "split")).transpose()?
    };
    let parts = site.node.outputs.len() as i64;
    if let Some(stated) = site.int("num_outputs")?
        && stated != parts
    {
        let expected = format!("{parts}, as many as the node has outputs").into();
        return Err(OpError::Attribute { name: "num_outputs", expected, found: stated.to_string() });
    }
    let sizes = sizes.unwrap_or_else(|| {
        let chunk = (size + parts - 1) / parts.max(1);
        (0..parts).map(|i| (size - i * chunk).clamp(0, chunk)).collect()
    });
    let total = sizes.iter().try_fold(0i64, |n, s| if *s < 0 { None } else { n.checked_add(*s) });
    if total != Some(size) || sizes.len() as i64 != parts {
        let expected = format!("{parts} sizes that add up to {size}").into();
        return Err(OpError::Input { name: "split", expected, found: format!("{sizes:?}") });
    }
    Ok(x.f_split_with_sizes(&sizes, axis)?)
}

/// [Pad](https://onnx.ai/onnx/operators/onnx__Pad.html): pads are an attribute before opset 11, an input since; `axes`
/// since 18, `wrap` since 19. A negative pad cuts.
fn pad(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "data")?;
    let rank = x.dim();
    let pads = if site.opset < 11 {
        site.required("pads", site.ints("pads")?)?.to_vec()
    } else {
        input::ints(input::required(inputs, 1, "pads")?, "pads")?
    };
    let axes = match input::optional(inputs, 3) {
        Some(axes) => input::axes(&input::ints(axes, "axes")?, rank)?,
        None => (0..rank as i64).collect(),
    };
    const MOST: i64 = 1 << 40;
    if pads.len() != 2 * axes.len() || pads.iter().any(|p| !(-MOST..=MOST).contains(p)) {
        let expected = format!("{} numbers within {MOST} of 0", 2 * axes.len()).into();
        return Err(OpError::Input { name: "pads", expected, found: format!("{pads:?}") });
    }
    let mut margins = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate() {
        margins[input::at(axis)] = (pads[i], pads[i + axes.len()]);
    }
    let dims: Vec<i64> = x.size().iter().zip(&margins).map(|(d, (a, b))| d + a + b).collect();
    check_size(&dims)?;
    match site.string("mode")?.unwrap_or("constant") {
        "constant" => {
            let value = if site.opset < 11 {
                site.float("value")?.filter(|v| *v != 0.0).map(|v| site.floats_tensor(&[v], &[])).transpose()?
            } else {
                input::optional(inputs, 2).map(Tensor::shallow_clone)
            };
            pad_constant(x, &margins, value.as_ref()).map(|y| vec![y])
        }
        mode @ ("reflect" | "edge" | "wrap") => {
            let mut y = x.shallow_clone();
            for (axis, &(begin, end)) in margins.iter().enumerate().filter(|(_, m)| **m != (0, 0)) {
                let size = x.size()[axis];
                if size == 0 {
                    let expected = format!("elements along axis {axis} to repeat").into();
                    return Err(OpError::Input { name: "data", expected, found: "none".to_owned() });
                }
                check_listed(&[dims[axis]])?;
                let places: Vec<i64> = (-begin..size + end).map(|i| source(mode, i, size)).collect();
                let places = Tensor::f_from_slice(&places)?.f_to_device(x.device())?;
                y = y.f_index_select(axis as i64, &places)?;
            }
            Ok(vec![y])
        }
        found => Err(OpError::Attribute {
            name: "mode",
            expected: "`constant`, `reflect`, `edge` or `wrap`".into(),
            found: format!("`{found}`"),
        }),
    }
}

/// Pads with a constant: margins are one pair an axis, front and back.
fn pad_constant(x: &Tensor, margins: &[(i64, i64)], value: Option<&Tensor>) -> Result<Tensor, OpError> {
    let list: Vec<i64> = margins.iter().rev().flat_map(|(a, b)| [*a, *b]).collect();
    let padded = x.f_constant_pad_nd(&list)?;
    let Some(value) = value else { return Ok(padded) };
    input::same_kind(x, value, "constant_value")?;
    if value.numel() != 1 {
        let found = format!("the shape {:?}", value.size());
        return Err(OpError::Input { name: "constant_value", expected: "one value".into(), found });
    }
    // The value is put in as a tensor, so that a derivative reaches it.
    let inside = Tensor::f_ones(x.size(), (Kind::Bool, x.device()))?.f_constant_pad_nd(&list)?;
    Ok(padded.f_where_self(&inside, &value.f_reshape(&[] as &[i64])?)?)
}

/// Where padding takes place `i` from, out of `size` places.
fn source(mode: &str, i: i64, size: i64) -> i64 {
    match mode {
        "edge" => i.clamp(0, size - 1),
        "wrap" => i.rem_euclid(size),
        _ if size == 1 => 0,
        _ => {
            // Back and forth without the ends doubled: a period of 2 size - 2.
            let folded = i.rem_euclid(2 * size - 2);
            folded.min(2 * size - 2 - folded)
        }
    }
}

/// [CenterCropPad](https://onnx.ai/onnx/operators/onnx__CenterCropPad.html): an odd rest falls to the end.
fn center_crop_pad(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input_data")?;
    let target = input::ints(input::required(inputs, 1, "shape")?, "shape")?;
    let dims = x.size();
    let axes = match site.ints("axes")? {
        Some(axes) => input::axes(axes, dims.len())?,
        None => (0..dims.len() as i64).collect(),
    };
    if axes.len() != target.len() {
        let expected = format!("{} sizes", axes.len()).into();
        return Err(OpError::Input { name: "shape", expected, found: format!("{target:?}") });
    }
    let mut out = dims.clone();
    for (&axis, &size) in axes.iter().zip(&target) {
        out[input::at(axis)] = size;
    }
    check_size(&out)?;
    let mut y = x.shallow_clone();
    let mut margins = vec![(0, 0); dims.len()];
    for (axis, (&have, &want)) in dims.iter().zip(&out).enumerate() {
        if want < have {
            y = y.f_narrow(axis as i64, (have - want) / 2, want)?;
        } else {
            margins[axis] = ((want - have) / 2, want - have - (want - have) / 2);
        }
    }
    pad_constant(&y, &margins, None).map(|y| vec![y])
}

/// [ReverseSequence](https://onnx.ai/onnx/operators/onnx__ReverseSequence.html): the first `sequence_lens` entries of
/// each batch entry, turned round.
fn reverse_sequence(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let lengths = input::ints(input::required(inputs, 1, "sequence_lens")?, "sequence_lens")?;
    let dims = input::rank(x, "input", 2..=usize::MAX)?;
    let batch = input::axis(site.int("batch_axis")?.unwrap_or(1), dims.len())?;
    let time = input::axis(site.int("time_axis")?.unwrap_or(0), dims.len())?;
    let (entries, steps) = (dims[input::at(batch)], dims[input::at(time)]);
    if batch == time || lengths.len() as i64 != entries || lengths.iter().any(|l| !(0..=steps).contains(l)) {
        return Err(OpError::Input {
            name: "sequence_lens",
            expected: format!("{entries} lengths up to {steps}, over different axes").into(),
            found: format!("{lengths:?} over axes {batch} and {time}"),
        });
    }
    let places: Vec<i64> =
        lengths.iter().flat_map(|&l| (0..steps).map(move |t| if t < l { l - 1 - t } else { t })).collect();
    let places = Tensor::f_from_slice(&places)?.f_to_device(x.device())?.f_reshape([entries, steps])?;
    let places = if batch < time { places } else { places.f_transpose(0, 1)? };
    let mut shape = vec![1; dims.len()];
    shape[input::at(batch)] = entries;
    shape[input::at(time)] = steps;
    let places = places.f_reshape(&shape)?.f_expand(&dims, false)?;
    Ok(vec![x.f_gather(time, &places, false)?])
}

/// [Trilu](https://onnx.ai/onnx/operators/onnx__Trilu.html): the upper or lower triangle of each matrix.
fn trilu(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = input::rank(x, "input", 2..=usize::MAX)?;
    let (rows, columns) = (dims[dims.len() - 2], dims[dims.len() - 1]);
    let k = input::optional(inputs, 1).map(|k| input::int(k, "k")).transpose()?.unwrap_or(0);
    // Past either corner the triangle is all or nothing; a far larger `k` would overflow inside libtorch.
    let k = k.clamp(-rows - 1, columns + 1);
    Ok(vec![if site.flag("upper", true)? { x.f_triu(k)? } else { x.f_tril(k)? }])
}
