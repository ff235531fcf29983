//! Blocks laid back into an image, summed where they overlap.

use super::error::{check_listed, check_size};
use super::window::{Windows, positions};
use super::{Op, OpError, Site, input};
use tch::Tensor;

pub(super) const OPS: &[Op] = &[Op { name: "Col2Im", forward: col2im }];

/// [Col2Im](https://onnx.ai/onnx/operators/onnx__Col2Im.html) (since 18), over any number of axes.
fn col2im(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let x = input::required(inputs, 0, "input")?;
    let dims = input::rank(x, "input", 3..=3)?;
    let image = input::ints(input::required(inputs, 1, "image_shape")?, "image_shape")?;
    let block = input::ints(input::required(inputs, 2, "block_shape")?, "block_shape")?;
    check_size(&image)?;
    let windows = Windows::new(site, &image, &block)?;
    let (inside, count): (i64, i64) = (block.iter().product(), windows.output.iter().product());
    if inside == 0 || dims[1] % inside != 0 || dims[2] != count {
        return Err(OpError::Input {
            name: "input",
            expected: format!("{count} blocks of {inside} elements a channel").into(),
            found: format!("the shape {dims:?}"),
        });
    }
    let channels = dims[1] / inside;
    check_listed(&[inside, count])?;
    let padded: Vec<i64> = (0..image.len()).map(|i| image[i] + windows.begin[i] + windows.end[i]).collect();
    check_size(&[&[dims[0], channels], padded.as_slice()].concat())?;
    let places = Tensor::f_from_slice(&positions(&windows, &padded))?.f_to_device(x.device())?;
    let zeros = Tensor::f_zeros([dims[0], channels, padded.iter().product()], (x.f_kind()?, x.device()))?;
    let mut y = zeros.f_index_add(2, &places, &x.f_reshape([dims[0], channels, inside * count])?)?;
    y = y.f_reshape([&[dims[0], channels], padded.as_slice()].concat())?;
    for (i, &size) in image.iter().enumerate() {
        y = y.f_narrow(i as i64 + 2, windows.begin[i], size)?;
    }
    Ok(vec![y])
}
