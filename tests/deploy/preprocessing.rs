//! Influence graphs that prepare images themselves, against the same graphs on images that were prepared for them.

use crate::bundle::{assert_same, by_isal, digits};
use crate::place::Place;
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal_onnx::influence::{INFLUENCE, InfluenceMetadata};
use ndarray::Array4;
use std::path::PathBuf;

/// `influence.onnx` once more, with the preprocessing inside.
fn inside(place: &Place) -> serde_json::Value {
    place.export(&[
        "--vector",
        "s",
        "--form",
        "tangent",
        "--sample",
        "pool",
        "--with-preprocessing",
        "-o",
        "inside.onnx",
    ])
}

#[test]
fn images_of_the_models_size_get_the_very_influences_of_a_sweep() {
    let (place, images) = digits("[preprocess]\nmean = [0.1307]\nstd = [0.3081]\nresize = \"none\"\n");
    let told = inside(&place);
    assert_eq!(told["proof"]["bit_for_bit"], true, "{told}");
    let graph = place.model("inside.onnx");
    let input = graph.graph.inputs[0].value_type.as_ref().expect("a type").to_string();
    assert_eq!(input, "Uint8 [N, 28, 28, 1]");
    let expected = by_isal(&place, "influence.onnx", &images);
    assert_eq!(by_isal(&place, "inside.onnx", &images), expected, "by a sweep");

    // As any program with ONNX Runtime gives it the bytes of a decoder.
    let bytes: Vec<f32> = images.iter().flat_map(bytes).map(f32::from).collect();
    let bytes = Array4::from_shape_vec((images.len(), 28, 28, 1), bytes).expect("images of 28x28");
    assert_same(&run(&place, &bytes), &expected);
}

#[test]
fn images_of_any_size_are_resized_inside() {
    let (place, _) = digits("[preprocess]\nfilter = \"bicubic\"\nmean = [0.1307]\n");
    inside(&place);
    let input = place.model("inside.onnx").graph.inputs[0].value_type.as_ref().expect("a type").to_string();
    assert_eq!(input, "Uint8 [N, height, width, 1]");
    // A smooth picture: no sample of it lies at a tie of rounding.
    let (height, width) = (41usize, 67usize);
    let sample = |y: usize, x: usize| (((y * 5 + x * 3) % 256) as u8, y, x);
    let pixels: Vec<u8> = (0..height * width).map(|at| sample(at / width, at % width).0).collect();
    let path = place.path("large.png");
    image::GrayImage::from_raw(width as u32, height as u32, pixels.clone()).expect("fits").save(&path).expect("saved");
    let list = place.path("pool/large.png");
    std::fs::rename(&path, &list).expect("moved");
    let images = vec![list];
    let expected = by_isal(&place, "influence.onnx", &images);
    let raw =
        Array4::from_shape_vec((1, height, width, 1), pixels.iter().map(|p| f32::from(*p)).collect()).expect("fits");
    let found = run(&place, &raw);
    // Unit tests hold every sample within a level; a level is 1/255 of the range, and the network is smooth.
    assert!((found[0] - expected[0]).abs() <= 0.02 * expected[0].abs(), "{found:?} against {expected:?}");
}

#[test]
fn a_recipe_that_a_graph_cannot_follow_is_refused_by_its_part() {
    let (place, _) = digits("");
    let with = |setting: &str| {
        let arguments =
            ["--vector", "s", "--form", "tangent", "--with-preprocessing", "--set", setting, "-o", "no.onnx"];
        let output = place.command(&arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = with("alpha={over=[255,0,0]}");
    assert!(code == Some(2) && said.contains("`alpha = { over = [255, 0, 0] }`"), "{said}");
    let shadow = place.command(&[
        "--vector",
        "s",
        "--form",
        "shadow",
        "--step",
        "1e-4",
        "--with-preprocessing",
        "-o",
        "no.onnx",
    ]);
    let output = { shadow }.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && said.contains("`--form shadow` does not go with `--with-preprocessing`"),
        "{said}"
    );
    assert!(!place.path("no.onnx").exists());
}

#[test]
fn a_graph_that_crops_says_why_it_cannot_score_a_pool() {
    let (place, images) = digits("[preprocess]\nresize = 32\n");
    let told = inside(&place);
    assert_eq!(told["proof"]["bit_for_bit"], true, "{told}");
    let metadata = InfluenceMetadata::of(&place.model("inside.onnx")).expect("properties");
    assert!(metadata.get("preprocessing").is_none() && metadata.get("preprocessing inside").is_some());
    let pool = images[0].parent().and_then(|p| p.to_str()).expect("a folder");
    let output = place
        .isal(&["score", "pool", "--influence", "inside.onnx", "--pool", pool, "--budget", "1", "-o", "scored"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("`--with-preprocessing`"), "{said}");
}

/// The samples of a grey image.
fn bytes(path: &PathBuf) -> Vec<u8> {
    image::open(path).expect("an image").into_luma8().into_raw()
}

/// Influences by plain ONNX Runtime.
fn run(place: &Place, bytes: &Array4<f32>) -> Vec<f64> {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
    let mut session = Session::open(&library, &place.path("inside.onnx"), options).expect("ONNX Runtime takes it");
    session.run(bytes.view(), &[INFLUENCE]).expect("it runs")[0].iter().map(|x| f64::from(*x)).collect()
}

/// A model that gives its input.
fn unchanged(channels: usize, opset: i64) -> isal_onnx::Model {
    use isal_onnx::{Builder, DataType, Dim, Model, ValueType};
    let mut b = Builder::new("unchanged");
    let shape = vec!["N".into(), channels.into(), Dim::Unknown, Dim::Unknown];
    let value_type = ValueType { data_type: DataType::Float, shape: Some(shape) };
    let images = b.input("images", value_type.clone());
    let same = b.op("Identity", [images]);
    b.output("prepared", same, Some(value_type));
    Model::new(opset, b.finish().expect("a graph"))
}

/// A picture of waves and noise.
fn picture(height: usize, width: usize, channels: usize) -> isal::data::Image {
    let noise = crate::place::numbers((height * 1000 + width) as u64, height * width * channels);
    let wave = |at: usize| {
        let (y, x, c) = (at / channels / width, at / channels % width, at % channels);
        127.0 + 90.0 * (0.13 * y as f32 + 0.21 * x as f32 + c as f32).sin()
    };
    let pixels = noise.iter().enumerate().map(|(at, noise)| (wave(at) + 60.0 * noise).clamp(0.0, 255.0) as u8);
    isal::data::Image::new(height, width, channels, pixels.collect()).expect("fits")
}

/// What the graph makes of a picture and what the recipe does.
fn both(setting: &[&str], image: &isal::data::Image, opset: i64) -> (Vec<f32>, Vec<f32>) {
    let mut table = isal::data::Preprocess::default();
    setting.iter().for_each(|setting| table.set(setting).expect("a setting"));
    let (height, width, channels) = (image.height(), image.width(), image.channels());
    let sample = isal::data::Size { height, width };
    let dims = [None, Some(channels), None, None];
    let recipe = isal::data::Recipe::resolve(&table, &dims, Some(sample)).expect("a recipe");
    let mut expected = vec![0.0; recipe.len()];
    recipe.apply(image, &mut expected).expect("prepared");
    let graph = isal::influence_graph::with_preprocessing(&unchanged(channels, opset), &recipe).expect("a graph");
    let folder = tempfile::tempdir().expect("a temporary folder");
    graph.write(folder.path().join("inside.onnx")).expect("written");
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
    let mut session = Session::open(&library, &folder.path().join("inside.onnx"), options).expect("it is taken");
    let bytes: Vec<f32> = image.pixels().iter().map(|sample| f32::from(*sample)).collect();
    let bytes = Array4::from_shape_vec((1, height, width, channels), bytes).expect("fits");
    let found = session.run(bytes.view(), &["prepared"]).expect("it runs")[0].iter().copied().collect();
    (found, expected)
}

#[test]
fn without_a_resize_every_number_is_the_recipes_own() {
    for (setting, channels) in [
        (&["resize=none"][..], 3),
        (&["resize=none", "channels=bgr", "mean=[0.485,0.456,0.406]", "std=[0.229,0.224,0.225]"], 3),
        (&["resize=none", "range=byte", "mean=[103.53,116.28,123.675]", "channels=bgr"], 3),
        (&["resize=none", "mean=[0.1307]", "std=[0.3081]"], 1),
        (&["resize=none", "crop=[20,17]"], 3),
        // Larger than the picture on one side, on both, by odd numbers: black margins.
        (&["resize=none", "crop=[40,18]", "mean=[0.5]"], 3),
        (&["resize=none", "crop=[36,44]"], 1),
        (&["resize=[23,31]", "filter=nearest"], 3),
        (&["resize=[50,90]", "filter=nearest"], 1),
        (&["resize=20", "filter=nearest", "crop=[15,20]"], 3),
    ] {
        for opset in [13, 17, 22] {
            let (found, expected) = both(setting, &picture(33, 41, channels), opset);
            assert!(found == expected, "{setting:?}, opset {opset}");
        }
    }
}

#[test]
fn a_resized_sample_is_within_a_level_of_the_recipes_and_nearly_always_the_same() {
    let sizes = [(33, 41), (41, 33), (28, 28), (64, 200), (200, 64), (7, 5), (101, 100)];
    let (mut all, mut other) = (0, 0);
    for filter in ["bilinear", "box", "bicubic", "lanczos"] {
        for resize in ["resize=[28,28]", "resize=[40,19]", "resize=[1,90]", "resize=24"] {
            let filter = format!("filter={filter}");
            for (height, width) in sizes {
                let setting = [resize, &filter, "range=byte"];
                let setting =
                    if resize == "resize=24" { [&setting[..], &["crop=24"]].concat() } else { setting.to_vec() };
                let (found, expected) = both(&setting, &picture(height, width, 3), 17);
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    // Within a level: the header of `influence_graph/inside.rs` says why.
                    let apart = (found - expected).abs();
                    assert!(apart <= 1.0 && found.fract() == 0.0, "{setting:?} {height}x{width}: {found}, {expected}");
                    all += 1;
                    other += usize::from(apart > 0.0);
                }
            }
        }
    }
    println!("{other} of {all} samples differ, by one level");
    // Only sums at a tie, to the last digits of a float32, are rounded otherwise: of weights such as 1/4 there are some.
    assert!(other * 100 < all, "{other} of {all}");
}
