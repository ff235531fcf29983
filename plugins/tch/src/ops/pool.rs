//! Pools: a window's, or the whole image's, maximum or mean.

use super::conv::padded_dims;
use super::error::check_size;
use super::window::Windows;
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[
    Op { name: "AveragePool", forward: average_pool },
    Op { name: "GlobalAveragePool", forward: global_average_pool },
    Op { name: "GlobalMaxPool", forward: global_max_pool },
    Op { name: "MaxPool", forward: max_pool },
];

fn windows(site: &Site, x: &Tensor) -> Result<(Vec<i64>, Windows), OpError> {
    let dims = input::rank(x, "X", 3..=5)?;
    let kernel = site.required("kernel_shape", site.ints("kernel_shape")?)?;
    let windows = Windows::new(site, &dims[2..], kernel)?;
    let mut out = dims[..2].to_vec();
    out.extend(&windows.output);
    check_size(&out)?;
    check_size(&padded_dims(&dims, &windows))?;
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
    let axes = wide.input.len();
    let dense = wide.dilation.iter().all(|d| *d == 1);
    let half = (0..axes).all(|i| 2 * wide.begin[i] <= wide.kernel[i]);
    let y = if dense && half && wide.is_symmetric() {
        average(&x, &wide.kernel, &wide.stride, &wide.begin, include, None)?
    } else {
        let padded = x.f_constant_pad_nd(wide.padding())?;
        let sums = if dense {
            average(&padded, &wide.kernel, &wide.stride, &vec![0; axes], true, Some(1))?
        } else {
            dilated_sums(&padded, &wide)?
        };
        let mut counts: Option<Tensor> = None;
        for i in 0..axes {
            let mut shape = vec![1; axes];
            shape[i] = -1;
            let along: Vec<f64> = wide.counts(i, include).into_iter().map(|n| n.max(1) as f64).collect();
            let along = Tensor::f_from_slice(&along)?.f_to_kind(x.f_kind()?)?.f_to_device(x.device())?;
            let along = along.f_reshape(&shape)?;
            counts = Some(match counts {
                None => along,
                Some(counts) => counts.f_mul(&along)?,
            });
        }
        match counts {
            None => sums,
            Some(counts) => sums.f_div(&counts)?,
        }
    };
    let mut out = dims[..2].to_vec();
    out.extend(&windows.output);
    // A window that `reach` left out makes libtorch give one position more than asked; it never does here.
    Ok(vec![y.f_reshape(&out)?])
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

/// [MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html): `ceil_mode` and `dilations` since 10.
fn max_pool(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "X")?;
    let (dims, windows) = windows(site, x)?;
    let (x, wide) = widen(x.shallow_clone(), &windows)?;
    let axes = wide.input.len();
    let half = (0..axes).all(|i| 2 * wide.begin[i] <= wide.kernel[i]);
    let zeros = vec![0; axes];
    let padded;
    let (x, padding) = if half && wide.is_symmetric() {
        (&x, &wide.begin)
    } else {
        padded = x.f_pad(wide.padding(), "constant", f64::NEG_INFINITY)?;
        (&padded, &zeros)
    };
    let (y, _) = if axes == 3 {
        x.f_max_pool3d_with_indices(&wide.kernel, &wide.stride, padding, &wide.dilation, false)?
    } else {
        x.f_max_pool2d_with_indices(&wide.kernel, &wide.stride, padding, &wide.dilation, false)?
    };
    let mut out = dims[..2].to_vec();
    out.extend(&windows.output);
    Ok(vec![y.f_reshape(&out)?])
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
