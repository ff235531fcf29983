//! Bundles, and the program in Rust that lies in them. The one in Python: `python.rs`.

use crate::place::Place;
use crate::triton::run;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A LeNet with its influence graph in tangent form, and the pool's images by id.
pub fn digits(recipe: &str) -> (Place, Vec<PathBuf>) {
    let place = Place::digits();
    fs::write(place.path("model.toml"), recipe).expect("a recipe");
    place.vector("s", "weights", 5);
    place.export(&["--vector", "s", "--form", "tangent", "--sample", "pool", "-o", "influence.onnx"]);
    let output = run(
        &place,
        &["export", "bundle", "--json", "--model", "model.onnx", "--influence", "influence.onnx", "-o", "bundle"],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut images = Vec::new();
    for class in fs::read_dir(place.path("pool")).expect("listed") {
        let class = class.expect("a folder").path();
        images.extend(fs::read_dir(class).expect("listed").map(|image| image.expect("an image").path()).take(3));
    }
    images.sort();
    (place, images)
}

/// The influence of each image by `isal score pool`, an image a batch.
pub fn by_isal(place: &Place, graph: &str, images: &[PathBuf]) -> Vec<f64> {
    let list: Vec<String> = images.iter().map(|image| image.display().to_string()).collect();
    fs::write(place.path("list.csv"), "path\n".to_owned() + &list.join("\n")).expect("written");
    let _ = fs::remove_dir_all(place.path("scored"));
    let arguments = ["score", "pool", "--influence", graph, "--pool", "list.csv", "--budget", "1", "--keep-duplicates"];
    let more = ["--batch-size", "1", "--threads", "1", "--scores", "scores.csv", "-o", "scored"];
    place.isal(&[&arguments[..], &more].concat()).assert().success();
    let mut reader = csv::Reader::from_path(place.path("scores.csv")).expect("scores");
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let of = |image: &PathBuf| {
        let parent = image.parent().and_then(|p| p.file_name()).expect("a class").to_string_lossy().into_owned();
        let ending = format!("{parent}/{}", name(image));
        let row = rows.iter().find(|row| row[0].ends_with(&ending)).unwrap_or_else(|| panic!("{ending} in {rows:?}"));
        row[1].parse().expect("an influence")
    };
    images.iter().map(of).collect()
}

/// What the program in Rust prints of these images.
fn program(place: &Place, images: &[PathBuf]) -> std::process::Output {
    let program = assert_cmd::cargo::cargo_bin!("isal").with_file_name("examples").join("bundle_score");
    let library = isal::runtime::Library::load(None).expect("ONNX Runtime: run `make setup`");
    let mut command = Command::new(&program);
    command.env("ORT_DYLIB_PATH", library.path()).arg(place.path("bundle")).args(images);
    command.output().unwrap_or_else(|e| panic!("{}: {e}: run `cargo build --release --examples`", program.display()))
}

/// The lines of JSON that a program of a bundle prints.
pub fn influences(output: &std::process::Output) -> Vec<f64> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    text.lines().map(|line| row(line)["influence"].as_f64().expect("a number")).collect()
}

/// The same numbers: the same kernels of the same library over the same images, which may divide their sums among another
/// number of threads; float32 keeps seven digits.
pub fn assert_same(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    assert!(scale > 0.0, "influences that are all zero prove nothing");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-5 * scale, "{found} against {expected}, scale {scale}");
    }
}

#[test]
fn the_program_in_rust_gives_the_influences_of_a_sweep() {
    let (place, images) = digits("[preprocess]\nmean = [0.1307]\nstd = [0.3081]\n");
    let output = program(&place, &images);
    assert_same(&influences(&output), &by_isal(&place, "influence.onnx", &images));
}

#[test]
fn the_program_in_rust_refuses_images_of_another_size() {
    let (place, _) = digits("");
    let other = place.path("wide.png");
    image::GrayImage::new(30, 28).save(&other).expect("saved");
    let output = program(&place, &[other]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("28x30, expected 28x28"));
}

#[test]
fn the_recipes_in_a_bundle_are_those_that_isal_reads() {
    let (place, images) = digits("[preprocess]\nmean = [0.1307]\nfilter = \"bicubic\"\n");
    let recipe = isal::data::Preprocess::beside(&place.path("bundle/model.onnx")).expect("a recipe");
    assert_eq!((recipe.mean, recipe.filter), (Some(vec![0.1307]), Some(isal::data::Filter::Bicubic)));
    // The model in the bundle is the model.
    assert_eq!(place.model("bundle/model.onnx").sha256(), place.model("model.onnx").sha256());
    assert_same(&by_isal(&place, "bundle/influence.onnx", &images), &by_isal(&place, "influence.onnx", &images));
    let said = run(&place, &["export", "bundle", "--influence", "influence.onnx", "-o", "bundle"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("`bundle` exists already"));
}

#[test]
fn the_manifest_of_the_program_in_rust_asks_for_the_versions_it_was_tested_with() {
    let read = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::read_to_string(path).expect("a manifest").parse::<toml::Table>().expect("TOML")
    };
    let version = |value: &toml::Value| match value {
        toml::Value::String(version) => version.clone(),
        other => other["version"].as_str().expect("a version").to_owned(),
    };
    let (bundle, own) = (read("docs/examples/bundle/Cargo.toml.in"), read("Cargo.toml"));
    for (name, wanted) in bundle["dependencies"].as_table().expect("a table") {
        let (wanted, tested) = (version(wanted), version(&own["workspace"]["dependencies"][name]));
        assert!(tested.starts_with(&wanted), "{name}: {wanted}, tested with {tested}");
    }
}
