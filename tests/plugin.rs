//! The built plugin through its shared library: what the client passes in and out arrives as it was meant.
//!
//! Needs the plugin (`make plugin`); the mathematics behind it is tested beside it.

use isal::influence::{Annotations, Curvature, EngineError, GradientEngine};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, PluginError, Precision, Role, TrainStep};
use isal::task::{CLASS_WEIGHTS, Task};
use isal_exporters::ModelOptions;
use ndarray::{Array2, Array4, ArrayView4};

fn plugin() -> Plugin {
    Plugin::find(None).unwrap_or_else(|e| panic!("{e}"))
}

fn model() -> isal_onnx::Model {
    let entry = isal_exporters::zoo().iter().find(|e| e.name == "lenet").expect("LeNet is in the zoo");
    let options = ModelOptions { classes: 3, input: [1, 12, 12], ..entry.defaults.clone() };
    isal_exporters::build(entry.name, &options).expect("LeNet is in the zoo")
}

fn scope(model: &isal_onnx::Model) -> Vec<String> {
    model.graph.initializers.keys().filter(|n| n.ends_with(".weight") || n.ends_with(".bias")).cloned().collect()
}

fn task(model: &isal_onnx::Model) -> Task {
    Task::single_label(&model.graph.outputs[0].name, 3, 1, model.opset()).expect("a task")
}

fn engine(precision: Precision) -> PluginEngine {
    let model = model();
    let options = LoadOptions {
        parameters: scope(&model),
        task: Some(task(&model)),
        precision,
        threads: 1,
        ..LoadOptions::default()
    };
    PluginEngine::from_model(&plugin(), &model, &options).unwrap_or_else(|e| panic!("{e}"))
}

/// Smooth, sample-dependent pixels.
fn images(n: usize) -> Array4<f32> {
    Array4::from_shape_fn((n, 1, 12, 12), |(n, _, y, x)| ((n * 31 + y * 7 + x * 3) as f32 * 0.37).sin())
}

fn targets(n: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, 3), |(n, c)| f32::from(u8::from(n % 3 == c)))
}

fn annotations(n: usize) -> Annotations {
    Annotations::numbers(CLASS_WEIGHTS, targets(n))
}

#[test]
fn the_plugin_says_what_it_is() {
    let description = plugin().describe().expect("a description");
    assert_eq!(description.name, "tch");
    assert!(description.backend.starts_with("libtorch "), "{description:?}");
    assert!(description.devices.contains(&"cpu".to_owned()), "{description:?}");
    assert!(description.ops.iter().any(|op| op == "Conv"), "{description:?}");
}

#[test]
fn a_loaded_model_says_what_it_is() {
    let (engine, model) = (engine(Precision::Float32), model());
    assert_eq!(engine.input().name, "images");
    let bound: Vec<&str> = engine.bound().map(|value| value.name.as_str()).collect();
    assert_eq!(bound, [&model.graph.outputs[0].name]);
    let annotations: Vec<&str> = engine.annotations().iter().map(|value| value.name.as_str()).collect();
    assert_eq!(annotations, [CLASS_WEIGHTS]);
    for parameter in engine.parameters() {
        assert_eq!(parameter.shape, model.graph.initializers[&parameter.name].dims(), "{}", parameter.name);
    }
    let names: Vec<_> = engine.parameters().iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, scope(&model));
}

#[test]
fn vectors_are_added_scaled_and_multiplied_as_plain_numbers_are() {
    let mut engine = engine(Precision::Float32);
    let n = engine.dimension();
    let a: Vec<f32> = (0..n).map(|i| (i % 17) as f32 - 8.0).collect();
    let b: Vec<f32> = (0..n).map(|i| (i % 5) as f32 * 0.5).collect();
    let (va, mut vb) = (engine.upload(&a).expect("a vector"), engine.upload(&b).expect("a vector"));
    // Halves and small integers: every product and sum is exact in float64.
    let dot: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    assert_eq!(engine.dot(&va, &vb).expect("a number"), dot);
    let kept = engine.copy(&vb).expect("a copy");
    engine.axpy(2.0, &va, &mut vb).expect("a sum");
    engine.scale(-0.5, &mut vb).expect("a product");
    let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| -0.5 * (b + 2.0 * a)).collect();
    assert_eq!(engine.download(&vb).expect("entries"), expected);
    assert_eq!(engine.download(&kept).expect("entries"), b, "a copy does not follow its original");
    let mut sum = engine.zeros().expect("zeros");
    assert_eq!(engine.download(&sum).expect("entries"), vec![0.0; n]);
    let twin = engine.copy(&va).expect("a copy");
    engine.axpy(1.0, &twin, &mut sum).expect("a sum");
    assert_eq!(engine.download_float64(&sum).expect("entries"), a.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
}

/// `g . v` by reverse mode and `(softmax(o) - w) . o'` by forward mode, through the boundary. Float64 throughout, so
/// they agree to rounding (some ten thousand terms: 1e-12).
#[test]
fn gradient_and_jvp_are_adjoint_in_float64() {
    let mut engine = engine(Precision::Float64);
    let (images, targets) = (images(4).mapv(f64::from), targets(4).mapv(f64::from));
    let v: Vec<f64> = (0..engine.dimension()).map(|i| (i as f64 * 0.7).cos()).collect();
    let v = engine.upload_float64(&v).expect("a vector");
    let (loss, gradient) = engine.gradient_float64(images.view(), (CLASS_WEIGHTS, targets.view())).expect("a gradient");
    let (outputs, tangents) = engine.jvp_float64(images.view(), &v).expect("a derivative");
    let (mut by_hand, mut forward) = (0.0, 0.0);
    for ((o, t), w) in outputs.rows().into_iter().zip(tangents.rows()).zip(targets.rows()) {
        let sum: f64 = o.iter().map(|o| o.exp()).sum();
        for c in 0..3 {
            let p = o[c].exp() / sum;
            by_hand -= w[c] * p.ln();
            forward += (p - w[c]) * t[c];
        }
    }
    let reverse = engine.dot(&gradient, &v).expect("a number");
    assert!((loss - by_hand).abs() <= 1e-12 * by_hand, "{loss} against {by_hand}");
    assert!((reverse - forward).abs() <= 1e-12 * reverse.abs().max(1.0), "{reverse} against {forward}");
    let entries = engine.download_float64(&gradient).expect("entries");
    assert!(entries.iter().any(|e| *e != f64::from(*e as f32)), "float64 entries came through float32");
}

#[test]
fn both_curvatures_reach_the_plugin() {
    let mut engine = engine(Precision::Float64);
    let (images, targets) = (images(5), annotations(5));
    let v: Vec<f32> = (0..engine.dimension()).map(|i| (i as f32 * 0.3).sin() * 0.1).collect();
    let v = engine.upload(&v).expect("a vector");
    let mut square = |curvature| {
        let product = engine.curvature_product(curvature, images.view(), &targets, &v).expect("a product");
        engine.dot(&v, &product).expect("a number")
    };
    let (hessian, gauss_newton) = (square(Curvature::Hessian), square(Curvature::GaussNewton));
    assert!(gauss_newton > 0.0);
    assert!((hessian - gauss_newton).abs() > 1e-9 * gauss_newton, "{hessian} is the Gauss-Newton form");
    // v . G v = sum_n o'_n . (diag(p) - p p^T) o'_n = the variance of o'_n under p, summed.
    let (outputs, tangents) = engine.jvp_float64(images.mapv(f64::from).view(), &v).expect("a derivative");
    let variance: f64 = outputs
        .rows()
        .into_iter()
        .zip(tangents.rows())
        .map(|(o, t)| {
            let e = o.mapv(f64::exp);
            let p = &e / e.sum();
            (&p * &t * t).sum() - (&p * &t).sum().powi(2)
        })
        .sum();
    assert!((variance - gauss_newton).abs() <= 1e-10 * gauss_newton, "{variance} against {gauss_newton}");
}

#[test]
fn batches_in_any_memory_order_mean_the_same() {
    let mut engine = engine(Precision::Float32);
    let images = images(3);
    let truth = engine.forward(images.view()).expect("a forward pass");
    let mut turned = Array4::zeros((12, 12, 1, 3));
    turned.assign(&images.view().reversed_axes());
    let back: ArrayView4<f32> = turned.view().reversed_axes();
    assert!(!back.is_standard_layout() && back == images.view());
    assert_eq!(engine.forward(back).expect("a forward pass"), truth);
    let strided = ndarray::concatenate![ndarray::Axis(0), images, images];
    let every_other = strided.slice(ndarray::s![..;2, .., .., ..]);
    let picked = engine.forward(every_other).expect("a forward pass");
    assert_eq!(picked.row(0), truth.row(0));
    assert_eq!(picked.row(1), truth.row(2));
    let all = engine.forward_all(images.view()).expect("a forward pass");
    assert_eq!(all[0].values, truth.into_dyn());
}

#[test]
fn training_lowers_the_loss_and_the_state_carries_over() {
    let step = TrainStep {
        learning_rate: 0.02,
        momentum: 0.9,
        weight_decay: 1e-4,
        decay_all: false,
        clip_norm: None,
        bias_rate: 1.0,
        nesterov: true,
        seed: 1,
    };
    let (images, targets) = (images(6), annotations(6));
    let mut one = engine(Precision::Float32);
    let mut losses = Vec::new();
    for _ in 0..10 {
        losses.push(one.train_step(&step, images.view(), &targets).expect("a step").0);
    }
    assert!(losses[9] < losses[0], "{losses:?}");
    let state = one.state().expect("the state");
    assert!(state.iter().any(|s| s.role == Role::Momentum && s.name == "fc3.weight"));
    let mut two = engine(Precision::Float32);
    two.set_state(&state).expect("the state fits");
    let next = |engine: &mut PluginEngine| engine.train_step(&step, images.view(), &targets).expect("a step");
    let (a, b) = (next(&mut one), next(&mut two));
    assert_eq!(a, b);
    assert_eq!(one.state().expect("the state"), two.state().expect("the state"));
}

#[test]
fn errors_carry_the_plugins_own_words() {
    let mut engine = engine(Precision::Float32);
    let wrong = Array4::zeros((2, 3, 12, 12));
    let error = engine.forward(wrong.view()).expect_err("three channels");
    let EngineError::Plugin { call: "forward", message } = &error else { panic!("{error}") };
    assert!(message.contains("input `images`: expected shape [N, 1, 12, 12], found [2, 3, 12, 12]"), "{message}");
    let nowhere = LoadOptions { device: "cuda:99".to_owned(), parameters: scope(&model()), ..LoadOptions::default() };
    let error = PluginEngine::from_model(&plugin(), &model(), &nowhere).expect_err("no such device");
    let PluginError::Call { call: "load", status: 5, message } = &error else { panic!("{error}") };
    assert!(message.contains("`cuda:99` is not there (found: cpu"), "{message}");
    let error = PluginEngine::load(&plugin(), b"not a model", None, &LoadOptions::default()).expect_err("no model");
    assert!(matches!(error, PluginError::Call { call: "load", status: 3, .. }), "{error}");
}

#[test]
fn an_engine_can_be_moved_to_another_thread() {
    let mut engine = engine(Precision::Float32);
    let here = engine.forward(images(2).view()).expect("a forward pass");
    let there = std::thread::spawn(move || engine.forward(images(2).view()).expect("a forward pass"));
    assert_eq!(there.join().expect("the thread ends"), here);
}

/// The shared library of a table that says it is of another version.
#[test]
fn a_plugin_of_another_version_is_refused_with_what_to_do() {
    const SOURCE: &str = "#include <stddef.h>\n#include <stdint.h>\n\
        static const struct { uint32_t version, reserved; size_t size; } table = {1, 0, 16};\n\
        const void *isal_plugin_table(void) { return &table; }\n";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, library) = (folder.path().join("old.c"), folder.path().join("libold.so"));
    std::fs::write(&source, SOURCE).expect("written");
    let built = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("a C compiler").success());
    let error = Plugin::find(Some(&library)).expect_err("version 1");
    assert!(matches!(error, PluginError::Version { expected: 3, found: 1, .. }), "{error}");
    assert!(error.to_string().contains("`make plugin`"), "{error}");
}
