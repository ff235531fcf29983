//! `GRAPH IMAGES N,C,H,W`: the influences of images, by tract, as little-endian float32 on stdout.

use std::io::Write as _;
use tract_onnx::prelude::*;

fn main() -> TractResult<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let shape: Vec<usize> = arguments[3].split(',').map(str::parse).collect::<Result<_, _>>()?;
    let bytes = std::fs::read(&arguments[2])?;
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    let model = onnx()
        .model_for_path(&arguments[1])?
        .with_output_names(["influence"])?
        .with_input_fact(0, f32::fact(&shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let outputs = model.run(tvec!(Tensor::from_shape(&shape, &values)?.into()))?;
    let influences = outputs[0].cast_to::<f32>()?;
    let bytes: Vec<u8> =
        influences.try_as_plain()?.as_slice::<f32>()?.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::io::stdout().write_all(&bytes)?;
    Ok(())
}
