//! An influence graph that one message cannot hold. It writes 4.4 GB, so it runs when asked for:
//! `cargo test --release --test export -- --ignored`.

use crate::classes::Classes;
use isal::influence::GradientEngine as _;
use isal::plugin::{LoadOptions, Plugin, PluginEngine};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal::task::Task;
use isal_onnx::influence::{Difference, Direction, INFLUENCE, Paired};
use isal_onnx::testing::rounding::{gamma, over_a_step};
use isal_onnx::{Builder, DataType, Dim, Model, Scope, Tensor, ValueType};
use ndarray::Array4;

/// Width of the hidden layer: (12 + 5) x 16 million float32 numbers are 1.09 GB, twice that is past the limit of 2 GB.
const WIDTH: usize = 16_000_000;
const CLASSES: usize = 5;

/// Units of the hidden layer that do anything; sums of sixteen million terms would drown in their rounding.
const ALIVE: usize = 1024;

/// Images [N, 3, 2, 2] -> Flatten -> MatMul -> MatMul: each live unit sums the pixels, and class c weighs it (c + 1) / ALIVE.
fn model() -> Model {
    let mut b = Builder::new("large");
    let shape = [Dim::from("N"), 3.into(), 2.into(), 2.into()];
    let images = b.input("images", ValueType::new(DataType::Float, shape));
    let first = b.initializer("first", Tensor::new([12, WIDTH], &live(12, WIDTH, |_, unit| unit, |_, _| 1.0)));
    let class = |_, c| (c + 1) as f32 / ALIVE as f32;
    let last = b.initializer("last", Tensor::new([WIDTH, CLASSES], &live(WIDTH, CLASSES, |unit, _| unit, class)));
    let flat = b.node("Flatten", [images]).attr("axis", 1).value();
    let hidden = b.op("MatMul", [flat, first]);
    let logits = b.node("MatMul", [hidden, last]).outputs(["logits"]).value();
    b.output("logits", logits, Some(ValueType::new(DataType::Float, [Dim::from("N"), CLASSES.into()])));
    Model::new(17, b.finish().expect("a graph"))
}

/// A matrix that is `value` where the unit that `unit` gives is alive, and zero elsewhere.
fn live(
    rows: usize,
    columns: usize,
    unit: impl Fn(usize, usize) -> usize,
    value: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let at = |i: usize| (i / columns, i % columns);
    let entry = |i| {
        let (row, column) = at(i);
        if unit(row, column) < ALIVE { value(row, column) } else { 0.0 }
    };
    (0..rows * columns).map(entry).collect()
}

#[test]
#[ignore = "writes 4.4 GB"]
fn past_two_gigabytes_the_weights_stand_beside_the_graph() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("influence.onnx");
    {
        let model = model();
        // Along the weights themselves, o(theta + eps theta) = (1 + eps)^2 o, so o' = 2 o.
        let s: Direction = model.graph.initializers.clone();
        let options =
            Classes { logits: "logits".into(), classes: CLASSES, top_k: 1, per_class: false, embedding: false };
        let how = Paired { relative_step: 1e-3, difference: Difference::OneSided };
        let built = options.paired(&model, &[s], how).expect("built");
        built.write(&path).expect("written");
    }
    let size = |name: &str| std::fs::metadata(folder.path().join(name)).expect("a file").len();
    assert!(size("influence.onnx.data") > (1 << 31) - (64 << 20), "{}", size("influence.onnx.data"));
    assert!(size("influence.onnx") < 1 << 20, "{}", size("influence.onnx"));
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 0 };
    let mut session = Session::open(&library, &path, options).expect("ONNX Runtime takes it");
    let images = Array4::from_elem((1, 3, 2, 2), 1.0f32 / 12.0);
    let arrays = session.run(images.view(), &["logits", INFLUENCE]).expect("it runs");
    // Pixels sum to one, so the logits are 1 to 5.
    let o: Vec<f64> = (1..=CLASSES).map(|c| c as f64).collect();
    for (c, exact) in o.iter().enumerate() {
        let found = f64::from(arrays[0][[0, c]]);
        assert!((found - exact).abs() < gamma(12 + ALIVE) * exact, "logit {c}: {found}");
    }
    let sum: f64 = o.iter().map(|x| x.exp()).sum();
    let exact: f64 = -o.iter().map(|x| x.exp() / sum * 2.0 * (x - CLASSES as f64)).sum::<f64>();
    // The step bends the square by a thousandth; over it goes the rounding of two sums, of terms of one sign.
    let found = f64::from(arrays[1][[0]]);
    let rounding = 2.0 * over_a_step(12 + ALIVE, CLASSES as f64, 1e-3);
    assert!((found - exact).abs() < 1e-3 * exact + rounding, "{found} against {exact}");

    // One message cannot hold it, and the plugin takes it all the same.
    drop(session);
    let model = Model::read(&path).expect("it is read again");
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let parameters = model.graph.parameters(&Scope::Weights).expect("parameters").into_iter().take(1).collect();
    let load = LoadOptions {
        parameters,
        task: Some(Task::single_label("logits", CLASSES, 1, model.opset()).expect("a task")),
        ..LoadOptions::default()
    };
    let mut engine = PluginEngine::from_model(&plugin, &model, &load).expect("the plugin takes it");
    for (found, exact) in engine.forward(images.view()).expect("it runs").iter().zip(&o) {
        assert!((f64::from(*found) - exact).abs() < gamma(12 + ALIVE) * exact, "{found} against {exact}");
    }
}
