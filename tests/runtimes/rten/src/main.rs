//! `GRAPH IMAGES N,C,H,W`: the influences of images, by rten, as little-endian float32 on stdout.

use rten::Model;
use rten_tensor::{AsView as _, Layout as _, Tensor};
use std::error::Error;
use std::io::Write as _;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let shape: Vec<usize> = arguments[3].split(',').map(str::parse).collect::<Result<_, _>>()?;
    let bytes = std::fs::read(&arguments[2])?;
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    let model = Model::load_file(&arguments[1])?;
    let (input, output) = (model.input_ids()[0], model.node_id("influence")?);
    let images = Tensor::from_data(&shape[..], values);
    let mut outputs = model.run(vec![(input, images.into())], &[output], None)?;
    let influences: Tensor<f32> = outputs.remove(0).try_into()?;
    assert_eq!(influences.len(), shape[0], "an influence an image");
    let bytes: Vec<u8> = influences.to_vec().iter().flat_map(|value| value.to_le_bytes()).collect();
    std::io::stdout().write_all(&bytes)?;
    Ok(())
}
