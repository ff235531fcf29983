//! Convolutions over one, two or three spatial axes.

use super::error::check_size;
use super::window::Windows;
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[Op { name: "Conv", forward: conv }];

/// The number of groups.
pub(super) fn groups(site: &Site) -> Result<i64, OpError> {
    match site.int("group")?.unwrap_or(1) {
        group if group >= 1 => Ok(group),
        group => Err(OpError::Attribute { name: "group", expected: "1 or more".into(), found: group.to_string() }),
    }
}

/// Checks that a bias has one entry a channel.
pub(super) fn check_bias(bias: Option<&Tensor>, channels: i64) -> Result<(), OpError> {
    match bias.map(Tensor::size) {
        Some(dims) if dims != [channels] => {
            let expected = format!("the shape [{channels}]").into();
            Err(OpError::Input { name: "B", expected, found: format!("{dims:?}") })
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
    if site.ints("kernel_shape")?.is_some_and(|k| k != &w_dims[2..]) {
        let found = format!("{:?}", site.ints("kernel_shape")?);
        return Err(OpError::Attribute { name: "kernel_shape", expected: format!("{:?}", &w_dims[2..]).into(), found });
    }
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
        let pad = windows.padding();
        check_size(&padded_dims(&x_dims, &windows))?;
        padded = x.f_constant_pad_nd(&pad)?;
        (&padded, &zeros)
    };
    let y = x.f_convolution(w, bias, &windows.stride, padding, &windows.dilation, false, &zeros, group)?;
    Ok(vec![y])
}

/// Dims of an input with the explicit padding of its windows.
pub(super) fn padded_dims(dims: &[i64], windows: &Windows) -> Vec<i64> {
    let spatial =
        (0..windows.input.len()).map(|i| windows.input[i] + windows.begin[i] + windows.end[i].max(windows.reach(i)));
    dims.iter().take(2).copied().chain(spatial).collect()
}
