//! Scores images with `influence.onnx`: `score FOLDER IMAGE...`, FOLDER being where this bundle lies.
//!
//! One JSON line an image, in the order given. The more negative its influence, the more labelling the image is expected to
//! lower the loss on the reference set. Images have the size that `influence.toml` ends with: bring others to it first, by a
//! resize that averages over what it drops (Pillow's `Image.resize`). ONNX Runtime is found through `ORT_DYLIB_PATH`.

use ndarray::Array4;
use ort::session::Session;
use ort::value::Tensor;
use serde::Deserialize;
use std::error::Error;
use std::path::Path;

#[derive(Deserialize)]
struct File {
    preprocess: Recipe,
    size: [usize; 2],
}

#[derive(Deserialize)]
struct Recipe {
    channels: String,
    layout: String,
    range: String,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// What the graph takes for an image, `[1, C, H, W]` or `[1, H, W, C]`.
fn prepared(path: &str, file: &File) -> Result<Array4<f32>, Box<dyn Error>> {
    let (recipe, [height, width]) = (&file.preprocess, file.size);
    let image = image::open(path)?;
    if (image.height() as usize, image.width() as usize) != (height, width) {
        return Err(format!("`{path}` is {}x{}, expected {height}x{width}", image.height(), image.width()).into());
    }
    let channels = recipe.mean.len();
    let pixels = match channels {
        1 => image.into_luma8().into_raw(),
        _ => image.into_rgb8().into_raw(),
    };
    let value = |y: usize, x: usize, c: usize| {
        let sample = pixels[(y * width + x) * channels + if recipe.channels == "bgr" { channels - 1 - c } else { c }];
        let value = if recipe.range == "unit" { f32::from(sample) / 255.0 } else { f32::from(sample) };
        (value - recipe.mean[c]) / recipe.std[c]
    };
    Ok(match recipe.layout.as_str() {
        "nchw" => Array4::from_shape_fn((1, channels, height, width), |(_, c, y, x)| value(y, x, c)),
        _ => Array4::from_shape_fn((1, height, width, channels), |(_, y, x, c)| value(y, x, c)),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, images) = arguments.split_first().ok_or("usage: score FOLDER IMAGE...")?;
    let folder = Path::new(folder);
    let file: File = toml::from_str(&std::fs::read_to_string(folder.join("influence.toml"))?)?;
    let environment = ort::init().build()?;
    let mut session = Session::builder(&environment)?.commit_from_file(folder.join("influence.onnx"))?;
    let bytes = session.inputs()[0].dtype().tensor_type() == Some(ort::value::TensorElementType::Uint8);
    let scores = session.outputs()[0].name().to_owned();
    let names = std::fs::read_to_string(folder.join("labels.txt")).ok();
    for path in images {
        let batch = prepared(path, &file)?;
        let outputs = if bytes {
            session.run(ort::inputs![Tensor::from_array(batch.mapv(|value| value as u8))?])?
        } else {
            session.run(ort::inputs![Tensor::from_array(batch)?])?
        };
        let influence = outputs["influence"].try_extract_array::<f32>()?;
        let influence: Vec<f32> = influence.iter().copied().collect();
        let influence = if let [one] = influence[..] { serde_json::json!(one) } else { serde_json::json!(influence) };
        let mut row = serde_json::json!({ "image": path, "influence": influence });
        if let Some(names) = &names {
            let scores = outputs[scores.as_str()].try_extract_array::<f32>()?;
            let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
            row["guess"] = names.lines().nth(best).into();
        }
        println!("{row}");
    }
    Ok(())
}
