//! `GRAPH IMAGES N,C,H,W`: the influences of images, by tract, as little-endian float32 on stdout.

use std::io::Write as _;
use tract_onnx::prelude::*;

fn main() -> TractResult<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let shape: Vec<usize> = arguments[3].split(',').map(str::parse).collect::<Result<_, _>>()?;
    let bytes = std::fs::read(&arguments[2])?;
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    // The shapes that a graph declares have a symbol for the batch, which would not be that of the images here.
    let reader = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let mut model = reader.model_for_path(&arguments[1])?;
    let outputs = model.output_outlets()?.to_vec();
    let influence = outputs.into_iter().find(|outlet| model.outlet_label(*outlet) == Some("influence"));
    model.select_output_outlets(&[influence.expect("an output of influences")])?;
    let model = model.with_input_fact(0, f32::fact(&shape).into())?.into_optimized()?.into_runnable()?;
    let outputs = model.run(tvec!(Tensor::from_shape(&shape, &values)?.into()))?;
    let influences = outputs[0].cast_to::<f32>()?;
    let influences = influences.to_plain_array_view::<f32>()?;
    let bytes: Vec<u8> = influences.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::io::stdout().write_all(&bytes)?;
    Ok(())
}
