//! Models, losses and scenes that PyTorch wrote (`tests/fixtures/detectors.py`, `segmenter.py`), scored by the command and held
//! against the exact derivative.

use super::place::*;
use isal::influence::{GradientEngine as _, SolvedVector, spearman};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::runtime::{Library, Session, SessionOptions};
use isal::sweep::Predictor;
use isal::task::{self, TaskModel};
use isal_onnx::Model;
use isal_onnx::influence::INFLUENCE;
use ndarray::{Array4, Axis, concatenate};
use std::fs;
use std::path::{Path, PathBuf};

pub const SIDE: u32 = 64;
const SCENES: u32 = 60;
const LABELLED: u32 = 30;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks").join(name)
}

/// The scenes of a strip, one below the other, of this size.
pub fn strip(name: &str) -> impl Iterator<Item = (u32, image::DynamicImage)> {
    let strip = image::open(fixture(name)).expect("a picture");
    (0..SCENES).map(move |n| (n, strip.crop_imm(0, n * SIDE, SIDE, SIDE)))
}

/// A folder with a model and its task, the first scenes as `labeled` with a list of what `say` says of each, and the others as
/// `pool`.
pub fn place(model: &str, say: impl Fn(u32) -> String) -> Place {
    let place = Place::empty();
    for folder in ["labeled", "pool", "trained"] {
        fs::create_dir(place.path(folder)).expect("a folder");
    }
    let mut list = String::new();
    for (n, scene) in strip("fcos.scenes.jpg") {
        let folder = if n < LABELLED { "labeled" } else { "pool" };
        scene.into_rgb8().save(place.path(folder).join(format!("{n:02}.png"))).expect("a PNG");
        if n < LABELLED {
            list += &format!("{{\"path\": \"{n:02}.png\", {}}}\n", say(n));
        }
    }
    fs::write(place.path("labeled/list.jsonl"), list).expect("written");
    for name in ["model.onnx", "loss.onnx", "decode.onnx"] {
        fs::copy(fixture(&format!("{model}.{name}")), place.path("trained").join(name)).expect("copied");
    }
    let table = "[preprocess]\nrange = \"unit\"\n[task]\nloss = \"loss.onnx\"\ndecode = \"decode.onnx\"\n";
    fs::write(place.path("trained/model.toml"), table).expect("written");
    place
}

/// Images of the pool as the models take them, in order.
fn images(place: &Place) -> Array4<f32> {
    let one = |n: u32| {
        let image = image::open(place.path(&format!("pool/{n:02}.png"))).expect("a PNG").into_rgb8();
        let side = SIDE as usize;
        Array4::from_shape_fn((1, 3, side, side), |(_, c, y, x)| {
            f32::from(image.get_pixel(x as u32, y as u32).0[c]) / 255.0
        })
    };
    let all: Vec<Array4<f32>> = (LABELLED..SCENES).map(one).collect();
    concatenate(Axis(0), &all.iter().map(|image| image.view()).collect::<Vec<_>>()).expect("of one size")
}

/// Largest difference over the largest influence.
fn worst(found: &[f64], exact: &[f64]) -> f64 {
    let scale = exact.iter().fold(f64::MIN_POSITIVE, |a, x| a.max(x.abs()));
    found.iter().zip(exact).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f64::max)
}

/// Scores the pool by the paired graph over a scope, and holds its influences, at the step that was chosen, against the exact
/// derivative of the loss in float64 under the same pseudo-labels: the largest error is at most `bound` of the largest influence.
/// Over all weights that is the error of single images that cross a kink of Relu or MaxPool within the step, up to some 1.5 % by
/// which images a machine's rounding trains the network on; ranks are asked for much more exactly.
pub fn hold(place: &Place, out: &str, (scope, solver): (&str, &str), bound: f64) {
    place.score("labeled/list.jsonl", out, &["--solver", solver, "--scope", scope]).assert().success();
    let (chosen, lowest) = selected(place, out);
    assert_eq!(chosen, lowest, "{out}");

    let wanted = Some(task::beside(&place.path("trained/model.onnx")).expect("a table").expect("a task"));
    let options = task::ModelOptions { task: wanted, ..task::ModelOptions::default() };
    let model = TaskModel::read(&place.path("trained/model.onnx"), &options).expect("a model");
    let (library, images) = (Library::load(None).expect("ONNX Runtime"), images(place));
    let mut predictor =
        Predictor::open(&library, &model.network, &model.task, SessionOptions::default()).expect("a predictor");
    let believed = predictor.decode(images.view()).expect("annotations");
    let vector = SolvedVector::load(&place.path(out).join("s.safetensors")).expect("a vector");
    let load = LoadOptions {
        parameters: vector.parameters.iter().map(|parameter| parameter.name.clone()).collect(),
        task: Some(model.task.clone()),
        precision: Precision::Float64,
        ..LoadOptions::default()
    };
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let mut engine = PluginEngine::from_model(&plugin, &model.network.model, &load).expect("an engine");
    let s = engine.upload(&vector.s).expect("uploaded");
    let (_, along) = engine.loss_derivatives(images.view(), &believed, &s).expect("derivatives");
    let exact: Vec<f64> = along.iter().map(|derivative| -derivative).collect();

    let influence = place.path(out).join("influence.onnx");
    let graph = Model::read(&influence).expect("a graph");
    assert_eq!(graph.metadata["isal.influence.form"], "paired");
    let mut session = Session::open(&library, &influence, SessionOptions::default()).expect("it opens");
    let found = session.run(images.view(), &[INFLUENCE]).expect("it runs").remove(0);
    let found: Vec<f64> = found.iter().map(|x| f64::from(*x)).collect();
    let (rank, off) = (spearman(&found, &exact).expect("ranks"), worst(&found, &exact));
    println!("{scope}, {solver}: Spearman {rank:.6}, worst error {off:.1e}");
    assert!(rank >= 0.9999 && off <= bound, "{scope}: Spearman {rank}, worst error {off:.1e}");
    assert!(worst(&place.influences(out), &exact) <= bound, "the table has them");
}
