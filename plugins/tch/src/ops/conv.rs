//! Convolutions over one, two or three spatial axes, and their transposes.

use super::error::check_size;
use super::window::{AutoPad, MAX_EXTENT, Windows, auto_pad, extents, pads, split_padding};
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] =
    &[Op { name: "Conv", forward: conv }, Op { name: "ConvTranspose", forward: conv_transpose }];

/// The number of groups.
fn groups(site: &Site) -> Result<i64, OpError> {
    match site.int("group")?.unwrap_or(1) {
        group if group >= 1 => Ok(group),
        group => Err(OpError::Attribute { name: "group", expected: "1 or more".into(), found: group.to_string() }),
    }
}

/// Checks that a bias has one entry a channel.
fn check_bias(bias: Option<&Tensor>, channels: i64) -> Result<(), OpError> {
    match bias.map(Tensor::size) {
        Some(dims) if dims != [channels] => {
            let expected = format!("the shape [{channels}]").into();
            Err(OpError::Input { name: "B", expected, found: format!("{dims:?}") })
        }
        _ => Ok(()),
    }
}

/// Checks that a stated `kernel_shape` is that of the weight.
fn check_kernel(site: &Site, kernel: &[i64]) -> Result<(), OpError> {
    match site.ints("kernel_shape")? {
        Some(stated) if stated != kernel => {
            let expected = format!("{kernel:?}, as the weight has").into();
            Err(OpError::Attribute { name: "kernel_shape", expected, found: format!("{stated:?}") })
        }
        _ => Ok(()),
    }
}

/// [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html).
fn conv(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let w = input::required(inputs, 1, "W")?;
    let bias = input::optional(inputs, 2);
    let x_dims = input::rank(x, "X", 3..=5)?;
    let w_dims = input::rank(w, "W", x_dims.len()..=x_dims.len())?;
    let group = groups(site)?;
    if w_dims[1].checked_mul(group) != Some(x_dims[1]) || w_dims[0] % group != 0 || w_dims[0] == 0 {
        return Err(OpError::Input {
            name: "W",
            expected: format!("{} input channels over {group} groups, output channels by as many", x_dims[1]).into(),
            found: format!("the shape {w_dims:?}"),
        });
    }
    check_kernel(site, &w_dims[2..])?;
    check_bias(bias, w_dims[0])?;
    let windows = Windows::new(site, &x_dims[2..], &w_dims[2..])?;
    let mut dims = vec![x_dims[0], w_dims[0]];
    dims.extend(&windows.output);
    check_size(&dims)?;

    let zeros = vec![0; windows.kernel.len()];
    let padded;
    let (x, padding) = if windows.is_symmetric() {
        (x, &windows.begin)
    } else {
        check_size(&padded_dims(&x_dims, &windows))?;
        padded = x.f_constant_pad_nd(windows.padding())?;
        (&padded, &zeros)
    };
    Ok(vec![x.f_convolution(w, bias, &windows.stride, padding, &windows.dilation, false, &zeros, group)?])
}

/// Dims of an input with the explicit padding of its windows.
pub(super) fn padded_dims(dims: &[i64], windows: &Windows) -> Vec<i64> {
    let spatial =
        (0..windows.input.len()).map(|i| windows.input[i] + windows.begin[i] + windows.end[i].max(windows.reach(i)));
    dims.iter().take(2).copied().chain(spatial).collect()
}

/// [ConvTranspose](https://onnx.ai/onnx/operators/onnx__ConvTranspose.html).
///
/// `output_shape`, where given, decides the padding: the larger half of an odd one stands at the beginning, unless
/// `auto_pad` is `SAME_UPPER`.
fn conv_transpose(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let w = input::required(inputs, 1, "W")?;
    let bias = input::optional(inputs, 2);
    let x_dims = input::rank(x, "X", 3..=5)?;
    let w_dims = input::rank(w, "W", x_dims.len()..=x_dims.len())?;
    let group = groups(site)?;
    let channels = w_dims[1].checked_mul(group).unwrap_or(i64::MAX);
    if w_dims[0] != x_dims[1] || x_dims[1] % group != 0 || channels == 0 || w_dims[2..].contains(&0) {
        return Err(OpError::Input {
            name: "W",
            expected: format!("{} input channels in {group} groups, and no size of 0", x_dims[1]).into(),
            found: format!("the shape {w_dims:?}"),
        });
    }
    check_kernel(site, &w_dims[2..])?;
    check_bias(bias, channels)?;
    let axes = x_dims.len() - 2;
    let stride = extents(site, "strides", axes)?;
    let dilation = extents(site, "dilations", axes)?;
    let rule = auto_pad(site)?;
    let list = |name| -> Result<Option<Vec<i64>>, OpError> {
        match site.ints(name)? {
            Some(v) if v.len() != axes || v.iter().any(|v| !(0..=MAX_EXTENT).contains(v)) => {
                let expected = format!("{axes} integers from 0 to {MAX_EXTENT}").into();
                Err(OpError::Attribute { name, expected, found: format!("{v:?}") })
            }
            v => Ok(v.map(<[i64]>::to_vec)),
        }
    };
    let extra = list("output_padding")?.unwrap_or_else(|| vec![0; axes]);
    let wanted = list("output_shape")?;
    let (mut begin, end) = if rule == AutoPad::NotSet { pads(site, axes)? } else { (vec![0; axes], vec![0; axes]) };
    let mut full = Vec::with_capacity(axes);
    let mut output = Vec::with_capacity(axes);
    for i in 0..axes {
        let size = x_dims[i + 2];
        let reach = (size - 1).max(0) * stride[i] + (w_dims[i + 2] - 1) * dilation[i] + 1;
        full.push(reach);
        let same = matches!(rule, AutoPad::SameUpper | AutoPad::SameLower);
        let target = match &wanted {
            Some(wanted) => Some(wanted[i]),
            None if same => Some(size * stride[i]),
            None => None,
        };
        output.push(match target {
            Some(target) => {
                let total = reach + extra[i] - target;
                let upper = rule == AutoPad::SameUpper;
                begin[i] = split_padding(total.max(0), if upper { rule } else { AutoPad::SameLower }).0;
                target
            }
            None => reach + extra[i] - begin[i] - end[i],
        });
    }
    let mut dims = vec![x_dims[0], channels];
    dims.extend(&output);
    check_size(&dims)?;
    check_size(&[&[x_dims[0], channels], full.as_slice()].concat())?;
    // libtorch pads both ends alike and adds less than a stride at the end; what does not fit is cut or filled up here.
    let rest: Vec<i64> = (0..axes).map(|i| output[i] - (full[i] - 2 * begin[i])).collect();
    let native = (0..axes).all(|i| (0..stride[i].max(dilation[i])).contains(&rest[i])) && !x_dims.contains(&0);
    if native {
        let y = x.f_convolution(w, bias, &stride, &begin, &dilation, true, &rest, group)?;
        return Ok(vec![y]);
    }
    let zeros = vec![0; axes];
    let y = x.f_convolution(w, None::<Tensor>, &stride, &zeros, &dilation, true, &zeros, group)?;
    let margins: Vec<i64> = (0..axes).rev().flat_map(|i| [-begin[i], output[i] + begin[i] - full[i]]).collect();
    let y = y.f_constant_pad_nd(&margins)?;
    Ok(vec![match bias {
        Some(bias) => {
            let mut shape = vec![1; x_dims.len()];
            shape[1] = channels;
            y.f_add(&bias.f_reshape(&shape)?)?
        }
        None => y,
    }])
}
