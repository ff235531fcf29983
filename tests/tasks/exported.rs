//! A loss that PyTorch wrote: what docs/TASKS.md shows how to make (`tests/fixtures/tasks.py`).

use super::place::*;
use isal::influence::{Annotations, GradientEngine as _};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::task::{self, Found, Task};
use isal_onnx::{Builder, Model, Tensor};
use ndarray::{Array2, Array4};
use std::path::{Path, PathBuf};

pub fn file(exporter: &str, graph: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks");
    folder.join(format!("focal.{exporter}.{graph}.onnx"))
}

const EXPORTERS: [&str; 2] = ["dynamo", "torchscript"];

fn focal(exporter: &str, model: &Model) -> Task {
    let graphs = task::read(&file(exporter, "loss"), &file(exporter, "decode")).unwrap();
    let (task, bound) = task::own(model, graphs, &[]).unwrap();
    assert_eq!((bound.len(), bound[0].value.as_str(), bound[0].how), (1, "outputs", Found::OnlyOutput));
    task
}

#[derive(serde::Deserialize)]
struct Expected {
    scores: Vec<Vec<f64>>,
    tags: Vec<Vec<f64>>,
    losses: Vec<f64>,
    gradient: Vec<Vec<f64>>,
}

/// `outputs = images + theta` at theta = 0: the gradient in theta is that in the scores.
fn shift() -> Model {
    let mut b = Builder::new("shift");
    let x = b.input("images", float(&[5, 1, 1]));
    let theta = b.initializer("theta", Tensor::new([5], &[0.0_f32; 5]));
    let flat = b.node("Flatten", [x]).attr("axis", 1).value();
    let outputs = b.node("Add", [flat, theta]).outputs(["outputs"]).value();
    b.output("outputs", outputs, Some(float(&[5])));
    Model::new(18, b.finish().unwrap())
}

/// Float64 on both sides; scores go in as float32, which moves a loss by 1e-7 of itself.
#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let json = std::fs::read_to_string(file("", "").with_file_name("focal.json")).unwrap();
    let expected: Expected = serde_json::from_str(&json).unwrap();
    let rows = |rows: &[Vec<f64>]| Array2::from_shape_fn((rows.len(), 5), |(n, c)| rows[n][c] as f32);
    for exporter in EXPORTERS {
        let model = shift();
        let options = LoadOptions {
            parameters: vec!["theta".to_owned()],
            task: Some(focal(exporter, &model)),
            precision: Precision::Float64,
            ..LoadOptions::default()
        };
        let mut engine = PluginEngine::from_model(&Plugin::find(None).unwrap(), &model, &options).unwrap();
        for n in 0..expected.losses.len() {
            let one = |all: &[Vec<f64>]| rows(&all[n..=n]);
            let images: Array4<f32> = one(&expected.scores).into_shape_with_order((1, 5, 1, 1)).unwrap();
            let tags = Annotations::numbers("tags", one(&expected.tags));
            let loss = f64::from(engine.losses(images.view(), &tags).unwrap()[0]);
            assert!((loss - expected.losses[n]).abs() < 1e-6 * expected.losses[n].max(1e-3), "{exporter}, {n}: {loss}");
            let (_, gradient) = engine.gradient(images.view(), &tags).unwrap();
            let scale = expected.gradient[n].iter().fold(0.0_f64, |m, g| m.max(g.abs()));
            for (found, truth) in engine.download_float64(&gradient).unwrap().iter().zip(&expected.gradient[n]) {
                assert!((found - truth).abs() < 1e-6 * scale, "{exporter}, {n}: {found} against {truth}");
            }
        }
    }
}

#[test]
fn influence_graphs_of_an_exported_loss_are_right_in_both_forms() {
    let mut model = network(&[5]);
    model.opsets.insert(String::new(), 18);
    for exporter in EXPORTERS {
        hold(exporter, &model, &focal(exporter, &model));
    }
}
