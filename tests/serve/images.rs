//! Encoded images as an input, through the preprocessing that everything else uses.

use super::place::{request, start, write};
use isal::data::{Limits, Preprocess, Recipe, decode};
use isal::serve::Source;
use isal_exporters::{build, zoo};
use isal_onnx::DataType;
use serde_json::json;
use std::io::Cursor;

/// A picture with a gradient, as PNG or JPEG.
fn picture(format: image::ImageFormat, seed: u8) -> Vec<u8> {
    let pixels = image::RgbImage::from_fn(48, 40, |x, y| image::Rgb([(x * 5) as u8, (y * 6) as u8, seed]));
    let mut file = Cursor::new(Vec::new());
    pixels.write_to(&mut file, format).expect("encoded");
    file.into_inner()
}

#[test]
fn encoded_images_give_what_their_pixels_give() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    let lenet = zoo().iter().find(|entry| entry.name == "lenet").expect("it is there");
    let options = isal_exporters::ModelOptions { input: [3, 28, 28], ..lenet.defaults.clone() };
    let model = build("lenet", &options).expect("a network");
    assert_eq!(model.graph.inputs[0].value_type.as_ref().expect("a type").data_type, DataType::Float);
    let name = model.graph.inputs[0].name.clone();
    model.write(&path).expect("written");
    let toml = "[preprocess]\nresize = 30\ncrop = 28\nmean = [0.4, 0.5, 0.6]\nstd = [0.2, 0.25, 0.3]\n";
    write(&path.with_extension("toml"), toml);
    let preprocess = Preprocess::parse(toml, "the test").expect("sound");
    let recipe = Recipe::resolve(&preprocess, &[None, Some(3), Some(28), Some(28)], None).expect("a recipe");
    let files = [picture(image::ImageFormat::Png, 7), picture(image::ImageFormat::Jpeg, 200)];
    let mut pixels = Vec::new();
    for file in &files {
        let mut floats = vec![0.0; recipe.len()];
        recipe.apply(&decode(file, &Limits::default()).expect("an image"), &mut floats).expect("it fits");
        pixels.extend(floats);
    }
    let server = start(Source::Files([("m".to_owned(), path)].into()), |_| {});
    let address = server.http().expect("it listens");
    let body = json!({"inputs": [{"name": name, "shape": [2, 3, 28, 28], "datatype": "FP32", "data": pixels}]});
    let of_pixels = request(address, "POST", "/v2/models/m/infer", &[], body.to_string().as_bytes()).json();
    assert!(of_pixels["outputs"][0]["data"].is_array(), "{of_pixels}");
    let ask = |files: &[Vec<u8>], shape: &str| {
        let mut behind = Vec::new();
        for file in files {
            behind.extend((file.len() as u32).to_le_bytes());
            behind.extend(file);
        }
        let json = format!(
            r#"{{"inputs":[{{"name":"{name}","shape":{shape},"datatype":"BYTES","parameters":{{"binary_data_size":{}}}}}]}}"#,
            behind.len()
        );
        let length = json.len().to_string();
        let headers = [("Inference-Header-Content-Length", length.as_str())];
        request(address, "POST", "/v2/models/m/infer", &headers, &[json.as_bytes(), &behind].concat())
    };
    let of_files = ask(&files, "[2]");
    assert_eq!(of_files.json()["outputs"], of_pixels["outputs"]);
    // A file as the whole body.
    let headers = [("Inference-Header-Content-Length", "0")];
    let lone = request(address, "POST", "/v2/models/m/infer", &headers, &files[0]);
    let length: usize = lone.headers["inference-header-content-length"].parse().expect("binary outputs");
    let one_row: Vec<f32> = serde_json::from_value(of_pixels["outputs"][0]["data"].clone()).expect("numbers");
    let found = super::place::floats(&lone.body[length..]);
    let expected = &one_row[..found.len()];
    // One row alone and two rows may be summed in another order.
    assert!(
        found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0)),
        "{found:?} {expected:?}"
    );

    let broken = ask(&[files[0].clone(), files[1][..200].to_vec()], "[2]");
    assert_eq!((broken.status, broken.error().contains("image 1")), (400, true), "{}", broken.error());
    let text = ask(&[b"hello".to_vec()], "[1]");
    assert_eq!((text.status, text.error().contains("no known image format")), (400, true), "{}", text.error());
    let shape = ask(&files, "[2,1]");
    assert_eq!((shape.status, shape.error().contains("encoded image each")), (400, true), "{}", shape.error());
    assert_eq!(ask(&vec![files[0].clone(); 33], "[33]").status, 400);
    server.stop();
}
