//! `isal export model` against PyTorch: networks of torchvision, timm and pycls whose outputs ONNX Runtime gives again, and
//! what does not fit. The weights of whole networks are large, so PyTorch writes them where the test runs:
//!
//! ```console
//! $ FIXTURE_PYTHON=python3 cargo test --release -p isal --test weights -- --ignored --nocapture
//! ```

use assert_cmd::Command;
use isal::runtime::{Library, Session, SessionOptions};
use isal_onnx::Model;
use ndarray::ArrayView;
use safetensors::SafeTensors;
use std::fs;
use std::path::Path;

/// Largest difference of an output, relative to the largest output, that a network may have from PyTorch's.
const BOUND: f64 = 1e-4;

fn isal(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("isal").expect("the command is built");
    command.args(arguments);
    command
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("UTF-8").to_owned()
}

fn floats(tensors: &SafeTensors, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = tensors.tensor(name).expect("it is there");
    let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
    (view.shape().to_vec(), values.collect())
}

#[derive(serde::Deserialize)]
struct Case {
    file: String,
    zoo: String,
    names: String,
    expected: String,
}

#[test]
#[ignore = "needs a Python with PyTorch, torchvision and safetensors, named by FIXTURE_PYTHON"]
fn outputs_of_networks_with_pytorchs_weights_are_pytorchs() {
    let python = std::env::var("FIXTURE_PYTHON").expect("FIXTURE_PYTHON names a Python");
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights.py");
    let status = std::process::Command::new(python).arg(script).arg("parity").arg(folder).status().expect("it starts");
    assert!(status.success(), "{status}");
    let cases = fs::read_to_string(folder.join("cases.json")).expect("cases");
    let cases: Vec<Case> = serde_json::from_str(&cases).expect("JSON");
    assert!(cases.len() >= 10, "five networks of torchvision in two forms");
    let library = Library::load(None).expect("ONNX Runtime");
    let mut over = Vec::new();
    for Case { file, zoo, names, expected } in cases {
        let model = path(folder, "model.onnx");
        let weights = path(folder, &file);
        isal(&["export", "model", "--zoo", &zoo, "--weights", &weights, "-o", &model]).assert().success();
        let bytes = fs::read(folder.join(expected)).expect("what PyTorch computes");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let ((dims, images), (_, truth)) = (floats(&tensors, "images"), floats(&tensors, "outputs"));
        let images = ArrayView::from_shape((dims[0], dims[1], dims[2], dims[3]), &images).expect("images");
        let mut session = Session::open(&library, Path::new(&model), SessionOptions::default()).expect("it opens");
        let found: Vec<f32> = session.run(images, &["logits"]).expect("a run").remove(0).into_iter().collect();
        let scale = truth.iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs())));
        let error = found.iter().zip(&truth).map(|(f, t)| f64::from((f - t).abs())).fold(0.0, f64::max) / scale;
        println!("{file:40} names {names:12} scale {scale:9.3e} error {error:.1e} of it");
        if found.len() != truth.len() || error.is_nan() || error > BOUND {
            over.push(format!("{file}: {error:e}"));
        }
    }
    assert!(over.is_empty(), "{over:?}");
}

/// LeNet with weights of ten classes, as safetensors.
fn lenet(folder: &Path) -> String {
    let entry = isal_exporters::zoo().iter().find(|e| e.name == "lenet").expect("in the zoo");
    let mut model = isal_exporters::build("lenet", &entry.defaults).expect("built");
    isal_exporters::seeded::overwrite(&mut model, 5, 1.0);
    isal_exporters::weights::save(&model, &folder.join("lenet.safetensors")).expect("written");
    path(folder, "lenet.safetensors")
}

#[test]
fn a_network_has_as_many_classes_as_its_weights_and_a_new_head_as_many_as_are_asked_for() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path();
    let (weights, out) = (lenet(folder), path(folder, "out.onnx"));
    let export = |more: &[&str]| {
        let all = [&["export", "model", "--zoo", "lenet", "--weights", &weights, "-o", &out], more].concat();
        isal(&all).assert()
    };
    export(&[]).success();
    let whole = Model::read(&out).expect("a model");
    assert_eq!(isal_exporters::weights::to_bytes(&whole).expect("bytes"), fs::read(&weights).expect("bytes"));

    let refused = export(&["--classes", "7"]).failure().code(2);
    let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(text.contains("for 10 classes, and `--classes` is 7: `--new-head 7`"), "{text}");

    for (seed, same) in [("0", true), ("1", false)] {
        export(&["--new-head", "7", "--seed", seed]).success();
        let new = Model::read(&out).expect("a model");
        assert_eq!(new.graph.initializers["fc3.weight"].dims(), [7, 84]);
        assert_eq!(new.graph.initializers["fc2.weight"], whole.graph.initializers["fc2.weight"]);
        // The same from a file of the whole network, but for what is drawn.
        let other = path(folder, "other.onnx");
        let model = path(folder, "whole.onnx");
        whole.write(&model).expect("written");
        isal(&["export", "model", "--model", &model, "--new-head", "7", "-o", &other]).assert().success();
        let of_file = Model::read(&other).expect("a model");
        let drawn = |model: &Model| model.graph.initializers["fc3.weight"].to_vec::<f32>().expect("float32");
        let deviation = |w: &[f32]| (w.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / w.len() as f64).sqrt();
        // 588 numbers of deviation 0.01 (the zoo's LeNet: sqrt(2 / 84)): theirs is within a tenth of it, or three sigma.
        assert!((deviation(&drawn(&of_file)) / 0.01 - 1.0).abs() < 0.1, "{}", deviation(&drawn(&of_file)));
        let again = path(folder, "again.onnx");
        let arguments = ["export", "model", "--model", &model, "--new-head", "7", "--seed", seed, "-o", &again];
        isal(&arguments).assert().success();
        assert_eq!(drawn(&Model::read(&again).expect("a model")) == drawn(&of_file), same, "the seed decides");
        assert_eq!(
            of_file.graph.outputs[0].value_type.clone().and_then(|t| t.shape).map(|s| s[1].known()),
            Some(Some(7))
        );
    }
}

/// A detector's classes are those of its weights; a new head draws the layers anew that count them, and no others.
#[test]
fn a_detector_has_the_classes_of_its_weights_or_new_ones() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path();
    for (name, layers, rows) in [
        ("fcos-tiny", &["head.classification_head.cls_logits"][..], 3),
        ("faster-rcnn-tiny", &["roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"], 4),
    ] {
        let entry = isal_exporters::detection::detectors().iter().find(|e| e.name == name).expect("in the zoo");
        let options = isal_exporters::ModelOptions { classes: 3, input: [3, 64, 64], ..entry.defaults.clone() };
        let mut trained = isal_exporters::build(name, &options).expect("built");
        isal_exporters::seeded::overwrite(&mut trained, 5, 0.5);
        let (weights, out) = (path(folder, "weights.safetensors"), path(folder, "out.onnx"));
        isal_exporters::weights::save(&trained, Path::new(&weights)).expect("written");
        let export = |more: &[&str]| {
            let common = ["export", "model", "--zoo", name, "--weights", &weights, "--input", "3x64x64", "-o", &out];
            isal(&[&common, more].concat()).assert().success();
            Model::read(&out).expect("a model")
        };
        let whole = export(&[]);
        assert_eq!(whole.graph.initializers, trained.graph.initializers, "{name}");
        assert_eq!(whole.graph.initializers[&format!("{}.weight", layers[0])].dims()[0], rows);
        let new = export(&["--new-head", "7"]);
        assert_eq!(new.graph.initializers[&format!("{}.weight", layers[0])].dims()[0], rows + 4);
        for (weight, tensor) in &trained.graph.initializers {
            let counts = layers.iter().any(|layer| weight.starts_with(layer));
            assert_eq!(new.graph.initializers[weight] == *tensor, !counts, "{name}: `{weight}`");
        }
    }
}

#[test]
fn everything_that_does_not_fit_is_listed_and_nothing_is_written() {
    let temporary = tempfile::tempdir().expect("a folder");
    let (weights, out) = (lenet(temporary.path()), path(temporary.path(), "out.onnx"));
    let refused = isal(&["export", "model", "--zoo", "resnet8", "--weights", &weights, "-o", &out]).assert().code(2);
    let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    for expected in [
        "do not fit `resnet8`",
        "the file lacks (",
        "    `layer3.0.conv2.weight`",
        "no place for (9):",
        "    `fc3.bias`",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in\n{text}");
    }
    assert!(text.contains("`conv1.weight` is F32 [6, 1, 5, 5], expected Float [16, 3, 3, 3]"), "{text}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn hostile_and_foreign_files_are_bad_input() {
    let temporary = tempfile::tempdir().expect("a folder");
    let out = path(temporary.path(), "out.onnx");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights");
    for (file, expected) in
        [("runs.pt", "posix.system"), ("legacy.pth", "before PyTorch 1.6"), ("values.json", "safetensors")]
    {
        let weights = path(&fixtures, file);
        let refused = isal(&["export", "model", "--zoo", "lenet", "--weights", &weights, "-o", &out]).assert().code(2);
        let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(text.contains(expected) && text.contains(file), "{file}: {text}");
    }
}
