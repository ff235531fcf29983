//! Pools: the maximum, mean or norm of a window, or of the whole image.

use super::conv::padded_dims;
use super::error::{check_listed, check_size};
use super::window::Windows;
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "AveragePool", forward: average_pool },
    Op { name: "GlobalAveragePool", forward: global_average_pool },
    Op { name: "GlobalLpPool", forward: global_lp_pool },
    Op { name: "GlobalMaxPool", forward: global_max_pool },
    Op { name: "LpPool", forward: lp_pool },
    Op { name: "MaxPool", forward: max_pool },
    Op { name: "MaxUnpool", forward: max_unpool },
];

fn windows(site: &Site, x: &Tensor) -> Result<(Vec<i64>, Windows), OpError> {
    let dims = input::rank(x, "X", 3..=5)?;
    let kernel = site.required("kernel_shape", site.ints("kernel_shape")?)?;
    let windows = Windows::new(site, &dims[2..], kernel)?;
    let mut out = dims[..2].to_vec();
    out.extend(&windows.output);
    check_size(&out)?;
    check_size(&padded_dims(&dims, &windows))?;
    for length in &windows.output {
        check_listed(&[*length])?;
    }
    Ok((dims, windows))
}

/// One-axis windows as two-axis ones: libtorch's pools over one axis go through two as well.
fn widen(x: Tensor, windows: &Windows) -> Result<(Tensor, Windows), OpError> {
    if windows.input.len() != 1 {
        return Ok((x, windows.clone()));
    }
    let front = |value: i64, rest: &[i64]| std::iter::once(value).chain(rest.iter().copied()).collect::<Vec<_>>();
    let wide = Windows {
        kernel: front(1, &windows.kernel),
        stride: front(1, &windows.stride),
        dilation: front(1, &windows.dilation),
        begin: front(0, &windows.begin),
        end: front(0, &windows.end),
        input: front(1, &windows.input),
        output: front(1, &windows.output),
    };
    Ok((x.f_unsqueeze(2)?, wide))
}

/// [AveragePool](https://onnx.ai/onnx/operators/onnx__AveragePool.html): `ceil_mode` since 10, `dilations` since 19.
fn average_pool(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let (dims, windows) = windows(site, x)?;
    let include = site.flag("count_include_pad", false)?;
    let (x, wide) = widen(x.shallow_clone(), &windows)?;
    let dense = wide.dilation.iter().all(|d| *d == 1);
    let y = if dense && wide.is_symmetric() && within_half(&wide) {
        average(&x, &wide.kernel, &wide.stride, &wide.begin, include, None)?
    } else {
        let mut y = sums(&x, &wide)?;
        for i in 0..wide.input.len() {
            let along: Vec<f64> = wide.counts(i, include).into_iter().map(|n| n.max(1) as f64).collect();
            let mut shape = vec![1; wide.input.len()];
            shape[i] = -1;
            let along = Tensor::f_from_slice(&along)?.f_to_kind(x.f_kind()?)?.f_to_device(x.device())?;
            y = y.f_div(&along.f_reshape(&shape)?)?;
        }
        y
    };
    Ok(vec![y.f_reshape(pooled(&dims, &windows))?])
}

/// Dims of a pool's result.
fn pooled(dims: &[i64], windows: &Windows) -> Vec<i64> {
    dims.iter().take(2).chain(&windows.output).copied().collect()
}

/// libtorch's pools take no padding beyond half a window.
fn within_half(windows: &Windows) -> bool {
    windows.begin.iter().zip(&windows.kernel).all(|(pad, kernel)| 2 * pad <= *kernel)
}

/// Sum of each window, the padding counting as zeros.
fn sums(x: &Tensor, windows: &Windows) -> Result<Tensor, OpError> {
    let padded = x.f_constant_pad_nd(windows.padding())?;
    if windows.dilation.iter().all(|d| *d == 1) {
        average(&padded, &windows.kernel, &windows.stride, &vec![0; windows.input.len()], true, Some(1))
    } else {
        dilated_sums(&padded, windows)
    }
}

fn average(
    x: &Tensor,
    kernel: &[i64],
    stride: &[i64],
    padding: &[i64],
    include: bool,
    divisor: Option<i64>,
) -> Result<Tensor, OpError> {
    Ok(if kernel.len() == 3 {
        x.f_avg_pool3d(kernel, stride, padding, false, include, divisor)?
    } else {
        x.f_avg_pool2d(kernel, stride, padding, false, include, divisor)?
    })
}

/// Sum of each dilated window, channel by channel: a convolution with ones.
fn dilated_sums(padded: &Tensor, windows: &Windows) -> Result<Tensor, OpError> {
    let axes = windows.kernel.len();
    let dims = padded.size();
    let mut single = vec![dims[0] * dims[1], 1];
    single.extend(&dims[2..]);
    let mut kernel = vec![1, 1];
    kernel.extend(&windows.kernel);
    check_size(&kernel)?;
    let ones = Tensor::f_ones(&kernel, (padded.f_kind()?, padded.device()))?;
    let zeros = vec![0; axes];
    let sums = padded.f_reshape(&single)?.f_convolution(
        &ones,
        None::<Tensor>,
        &windows.stride,
        &zeros,
        &windows.dilation,
        false,
        &zeros,
        1,
    )?;
    let mut out = dims[..2].to_vec();
    out.extend(&sums.size()[2..]);
    Ok(sums.f_reshape(&out)?)
}

/// [MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html): `ceil_mode` and `dilations` since 10. The second result
/// is where each maximum was, counted through the whole input.
fn max_pool(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let (dims, windows) = windows(site, x)?;
    let (x, wide) = widen(x.shallow_clone(), &windows)?;
    let axes = wide.input.len();
    let zeros = vec![0; axes];
    let padded;
    let native = wide.is_symmetric() && within_half(&wide);
    let (x, padding) = if native {
        (&x, &wide.begin)
    } else {
        // Below every element: a window never lies in the padding altogether.
        let lowest = if input::is_float(&x)? { f64::NEG_INFINITY } else { x.f_min()?.f_double_value(&[])? };
        padded = x.f_pad(wide.padding(), "constant", lowest)?;
        (&padded, &zeros)
    };
    let (y, places) = if axes == 3 {
        x.f_max_pool3d_with_indices(&wide.kernel, &wide.stride, padding, &wide.dilation, false)?
    } else {
        x.f_max_pool2d_with_indices(&wide.kernel, &wide.stride, padding, &wide.dilation, false)?
    };
    let out = pooled(&dims, &windows);
    let y = y.f_reshape(&out)?;
    if site.node.outputs.get(1).is_none_or(String::is_empty) {
        return Ok(vec![y]);
    }
    let shift = if native { zeros } else { wide.begin.clone() };
    let sizes = x.size()[2..].to_vec();
    let column_major = site.flag("storage_order", false)?;
    let places = whole_places(&places, &dims, &wide, &sizes, &shift, column_major)?;
    Ok(vec![y, places.f_reshape(&out)?])
}

/// Places in one channel of an input of the given spatial sizes, shifted by its padding, as places in the whole input.
fn whole_places(
    places: &Tensor,
    dims: &[i64],
    wide: &Windows,
    sizes: &[i64],
    shift: &[i64],
    column_major: bool,
) -> Result<Tensor, OpError> {
    let mut rest = places.shallow_clone();
    let mut along = Vec::with_capacity(sizes.len());
    for (size, shift) in sizes.iter().zip(shift).rev() {
        along.push(rest.f_remainder(*size)?.f_sub_scalar(*shift)?);
        rest = rest.f_divide_scalar_mode(*size, "floor")?;
    }
    along.reverse();
    let channels = Tensor::f_arange(dims[0] * dims[1], (tch::Kind::Int64, places.device()))?;
    let mut shape = vec![1; sizes.len() + 2];
    (shape[0], shape[1]) = (dims[0], dims[1]);
    let channel = channels.f_reshape(&shape)?.f_mul_scalar(wide.input.iter().product::<i64>())?;
    let mut flat = channel;
    let mut stride = 1;
    let order: Vec<usize> = if column_major { (0..sizes.len()).collect() } else { (0..sizes.len()).rev().collect() };
    for i in order {
        flat = flat.f_add(&along[i].f_mul_scalar(stride)?)?;
        stride *= wide.input[i];
    }
    Ok(flat)
}

/// [MaxUnpool](https://onnx.ai/onnx/operators/onnx__MaxUnpool.html): elements put back where the places say, zeros
/// elsewhere. The places count through a result without padding; `output_shape` adds zeros at the end of each axis.
fn max_unpool(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let places = input::required(inputs, 1, "I")?;
    let dims = input::rank(x, "X", 3..=5)?;
    let axes = dims.len() - 2;
    if places.size() != dims {
        let expected = format!("the shape {dims:?}").into();
        return Err(OpError::Input { name: "I", expected, found: format!("{:?}", places.size()) });
    }
    site.required("kernel_shape", site.ints("kernel_shape")?)?;
    let kernel = super::window::extents(site, "kernel_shape", axes)?;
    let stride = super::window::extents(site, "strides", axes)?;
    let (begin, end) = super::window::pads(site, axes)?;
    let mut out = dims[..2].to_vec();
    out.extend((0..axes).map(|i| (dims[i + 2] - 1) * stride[i] + kernel[i] - begin[i] - end[i]));
    check_size(&out)?;
    let places = super::gather::indices(places, out.iter().product())?.f_reshape([-1])?;
    let zeros = Tensor::f_zeros([out.iter().product::<i64>()], (x.f_kind()?, x.device()))?;
    let y = zeros.f_scatter(0, &places, &x.f_reshape([-1])?)?.f_reshape(&out)?;
    let Some(target) = input::optional(inputs, 2).map(|t| input::ints(t, "output_shape")).transpose()? else {
        return Ok(vec![y]);
    };
    check_size(&target)?;
    if target.len() != out.len() || target.iter().zip(&out).any(|(t, o)| t < o) {
        let expected = format!("sizes of at least {out:?}").into();
        return Err(OpError::Input { name: "output_shape", expected, found: format!("{target:?}") });
    }
    let margins: Vec<i64> = out.iter().zip(&target).rev().flat_map(|(o, t)| [0, t - o]).collect();
    Ok(vec![y.f_constant_pad_nd(&margins)?])
}

fn spatial_axes(x: &Tensor) -> Result<Vec<i64>, OpError> {
    let dims = input::rank(x, "X", 3..=usize::MAX)?;
    Ok((2..dims.len() as i64).collect())
}

/// [GlobalAveragePool](https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html).
fn global_average_pool(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    Ok(vec![x.f_mean_dim(spatial_axes(x)?, true, None)?])
}

/// [GlobalMaxPool](https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html).
fn global_max_pool(_: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    Ok(vec![x.f_amax(spatial_axes(x)?, true)?])
}

/// The attribute `p` of a norm.
fn power(site: &Site) -> Result<f64, OpError> {
    match site.int("p")?.unwrap_or(2) {
        p if p >= 1 => Ok(p as f64),
        p => Err(OpError::Attribute { name: "p", expected: "1 or more".into(), found: p.to_string() }),
    }
}

/// [LpPool](https://onnx.ai/onnx/operators/onnx__LpPool.html): `ceil_mode` and `dilations` since 18.
fn lp_pool(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let (dims, windows) = windows(site, x)?;
    let p = power(site)?;
    let (powers, wide) = widen(x.f_abs()?.f_pow_tensor_scalar(p)?, &windows)?;
    let y = sums(&powers, &wide)?.f_pow_tensor_scalar(1.0 / p)?;
    Ok(vec![y.f_reshape(pooled(&dims, &windows))?])
}

/// [GlobalLpPool](https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html).
fn global_lp_pool(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let p = power(site)?;
    let sums = x.f_abs()?.f_pow_tensor_scalar(p)?.f_sum_dim_intlist(spatial_axes(x)?, true, None)?;
    Ok(vec![sums.f_pow_tensor_scalar(1.0 / p)?])
}
