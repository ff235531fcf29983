//! Influences of a ResNet-20 through the libtorch plugin against those of an independent PyTorch script, in float64, on
//! its own definition of the network (`tests/fixtures/influence/README.md`). Needs the plugin (`make plugin`).
#![allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]

#[allow(dead_code, reason = "shared with `tests/solvers`, which uses all of it")]
#[path = "solvers/contraction.rs"]
mod contraction;
#[path = "solvers/dense.rs"]
mod dense;
#[allow(dead_code, reason = "shared with `tests/solvers`, which uses all of it")]
#[path = "solvers/digits.rs"]
mod digits;

use contraction::{PseudoLabels, scores};
use std::path::Path;

use isal::influence::{
    ConjugateGradient, Damping, GradientEngine as _, InMemory, Problem, SolverOptions, reference_gradient, solve,
    spearman, unobserved,
};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::task::Task;
use isal_exporters::weights;
use isal_onnx::Tensor;
use isal_onnx::testing::whole_suite;
use ndarray::{Array4, Axis};

use dense::dot;

const CLASSES: usize = 10;

fn plugin() -> Plugin {
    Plugin::find(None).unwrap_or_else(|e| panic!("{e}"))
}

/// What `tests/fixtures/resnet20_influence.py` wrote; its README has the conventions.
#[derive(serde::Deserialize)]
struct Fixture {
    pool_rows: Vec<usize>,
    predictions: Vec<usize>,
    reference_loss: f64,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    scope: String,
    curvature: String,
    lambda: f64,
    parameters: usize,
    v_norm: f64,
    influence: Vec<f64>,
    influence_top_3: Vec<f64>,
}

/// Images `[N, 3, 32, 32]` and labels of these lines of the file.
fn padded(lines: &[(Vec<f32>, usize)], rows: &[usize]) -> (Array4<f32>, Vec<usize>) {
    let images = Array4::from_shape_fn((rows.len(), 3, 32, 32), |(n, _, y, x)| {
        let inside = (2..30).contains(&y) && (2..30).contains(&x);
        if inside { lines[rows[n]].0[28 * (y - 2) + x - 2] / 255.0 } else { 0.0 }
    });
    (images, rows.iter().map(|&row| lines[row].1).collect())
}

/// These rows of each class, in the order of the classes.
fn of_each_class(rows: std::ops::Range<usize>) -> Vec<usize> {
    (0..CLASSES).flat_map(|class| rows.clone().map(move |row| 500 * class + row)).collect()
}

#[test]
fn scores_of_a_resnet_20_are_those_of_an_independent_pytorch_script() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/influence");
    let json = std::fs::read_to_string(folder.join("scores.json")).unwrap();
    let fixture: Fixture = serde_json::from_str(&json).unwrap();
    let mut model = isal_exporters::build("resnet20", &defaults("resnet20")).unwrap();
    weights::load(&mut model, &folder.join("resnet20.safetensors")).unwrap();

    let lines = digits::lines();
    let set = |rows: std::ops::Range<usize>| {
        let (images, labels) = padded(&lines, &of_each_class(rows));
        InMemory::labelled(images, "weights", &labels, CLASSES, 20).unwrap()
    };
    let (mut labelled, mut reference) = (set(0..4), set(4..6));
    assert_eq!(fixture.pool_rows, of_each_class(6..26));
    let (pool, _) = padded(&lines, &fixture.pool_rows);

    // So little damping that a solve takes seven times as long, which is held where there is time for it.
    let long = |case: &&Case| case.lambda < 1.0 && !whole_suite();
    assert_eq!(fixture.cases.len(), 6, "two curvatures, one at two dampings, over two scopes");
    for case in fixture.cases.iter().filter(|case| !long(case)) {
        let name = format!("{} over {}", case.curvature, case.scope);
        let is_parameter = |name: &str, tensor: &Tensor| match case.scope.as_str() {
            "weights" => tensor.dims().len() >= 2,
            _ => tensor.data_type().is_float() && !name.contains("running_"),
        };
        let parameters: Vec<String> =
            model.graph.initializers.iter().filter(|(n, t)| is_parameter(n, t)).map(|(n, _)| n.clone()).collect();
        // Batches this small gain little from threads, and a busy machine makes threads wait for each other.
        let task = Some(Task::single_label(&model.graph.outputs[0].name, CLASSES, 1, model.opset()).unwrap());
        let options = LoadOptions { parameters, task, threads: 1, ..LoadOptions::default() };
        let wide = LoadOptions { precision: Precision::Float64, ..options.clone() };
        let mut wide = PluginEngine::from_model(&plugin(), &model, &wide).unwrap();
        let v = reference_gradient(&mut wide, &mut reference, &mut unobserved).unwrap();
        assert!((v.loss / fixture.reference_loss - 1.0).abs() < 1e-6, "{name}: {} {}", v.loss, fixture.reference_loss);
        assert!((v.norm / case.v_norm - 1.0).abs() < 1e-6, "{name}: {} {}", v.norm, case.v_norm);
        drop(wide);

        let mut engine = PluginEngine::from_model(&plugin(), &model, &options).unwrap();
        assert_eq!(engine.dimension(), case.parameters, "{name}");
        let v = reference_gradient(&mut engine, &mut reference, &mut unobserved).unwrap();
        let options = ConjugateGradient {
            damping: Damping::Fixed(case.lambda),
            max_iterations: 500,
            settled: 1.0,
            tolerance: 1e-3,
            accepted_residual: 1e-2,
        };
        let options = match case.curvature.as_str() {
            "hessian" => SolverOptions::CgHessian(options),
            _ => SolverOptions::CgGaussNewton(options),
        };
        let (observer, held_out) = (&mut unobserved, Some(&mut reference as _));
        let problem =
            Problem { engine: &mut engine, samples: &mut labelled, held_out, v: &v.vector, sample: None, observer };
        let solution = solve(problem, &options).unwrap();

        let of = |pseudo_labels, truth: &[f64], engine: &mut PluginEngine| {
            let (mut influence, mut predictions) = (Vec::new(), Vec::new());
            for images in pool.axis_chunks_iter(Axis(0), 50) {
                let scores = scores(engine, images, &solution.s, pseudo_labels);
                influence.extend(scores.influence);
                predictions.extend(scores.pseudo_labels);
            }
            let difference: Vec<f64> = influence.iter().zip(truth).map(|(a, b)| a - b).collect();
            let distance = (dot(&difference, &difference) / dot(truth, truth)).sqrt();
            (predictions, spearman(&influence, truth).unwrap(), distance)
        };
        let (predictions, agreement, distance) = of(PseudoLabels::ArgMax, &case.influence, &mut engine);
        let (_, agreement_top, distance_top) = of(PseudoLabels::Expected(3), &case.influence_top_3, &mut engine);
        let report = solution.report;
        println!(
            "{name}: Spearman {agreement:.6}, distance {distance:.1e}; top 3: {agreement_top:.6}, {distance_top:.1e}; \
             residual {:.1e}, {} iterations, {:.1} s",
            report.residual, report.iterations, report.seconds
        );
        assert_eq!(predictions, fixture.predictions, "{name}");
        // The solve stops at a residual of a thousandth; what float32 adds is far below.
        assert!(agreement >= 0.999 && agreement_top >= 0.999, "{name}: Spearman {agreement} {agreement_top}");
        assert!(distance < 0.01 && distance_top < 0.01, "{name}: {distance} {distance_top} of the scores' norm");
    }
}

fn defaults(name: &str) -> isal_exporters::ModelOptions {
    isal_exporters::zoo().iter().find(|entry| entry.name == name).unwrap().defaults.clone()
}
