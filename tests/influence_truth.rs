//! Influences through the libtorch plugin against truths that share no code with it: dense algebra on a convex model,
//! and retraining it. Needs the plugin (`make plugin`).
#![allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]

#[allow(dead_code, reason = "shared with `tests/solvers`, which uses all of it")]
#[path = "solvers/contraction.rs"]
mod contraction;
#[path = "solvers/dense.rs"]
mod dense;
#[allow(dead_code, reason = "shared with `tests/solvers`, which uses all of it")]
#[path = "solvers/digits.rs"]
mod digits;
#[allow(dead_code, reason = "shared with `tests/solvers`, which uses all of it")]
#[path = "solvers/logistic.rs"]
mod logistic;
#[allow(dead_code, reason = "shared with `tests/solvers`, which uses all of it")]
#[path = "solvers/setting.rs"]
mod setting;

use contraction::PseudoLabels;
use isal::influence::{ConjugateGradient, Damping, SolverOptions, spearman};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::task::Task;
use isal_onnx::testing::rounding::gamma;
use isal_onnx::{Builder, DataType, Model, Tensor, ValueType};

use dense::dot;
use setting::{CLASSES, Setting};

const LAMBDA: f64 = 0.01;
const FEATURES: usize = 64;

fn plugin() -> Plugin {
    Plugin::find(None).unwrap_or_else(|e| panic!("{e}"))
}

/// The setting's model with its parameters rounded to float32, as the ONNX file holds them.
fn rounded(ridge: f64) -> Setting {
    let mut setting = Setting::new(ridge);
    setting.model.theta.iter_mut().for_each(|x| *x = f64::from(*x as f32));
    setting
}

/// Images [N, 1, 8, 8] -> Flatten -> Gemm, with the setting's parameters.
fn onnx(setting: &Setting) -> Model {
    let theta: Vec<f32> = setting.model.theta.iter().map(|&x| x as f32).collect();
    let (w, bias) = theta.split_at(CLASSES * FEATURES);
    let mut b = Builder::new("logistic");
    let shape = vec!["N".into(), 1.into(), 8.into(), 8.into()];
    let images = b.input("images", ValueType { data_type: DataType::Float, shape: Some(shape) });
    let w = b.initializer("head.weight", Tensor::new([CLASSES, FEATURES], w));
    let bias = b.initializer("head.bias", Tensor::new([CLASSES], bias));
    let flat = b.node("Flatten", [images]).attr("axis", 1).value();
    let logits = b.node("Gemm", [flat, w, bias]).attr("transB", 1).outputs(["logits"]).value();
    let scores = ValueType { data_type: DataType::Float, shape: Some(vec!["N".into(), CLASSES.into()]) };
    b.output("logits", logits, Some(scores));
    Model::new(17, b.finish().unwrap())
}

fn engine(setting: &Setting, precision: Precision) -> PluginEngine {
    let parameters = vec!["head.weight".to_owned(), "head.bias".to_owned()];
    let options = LoadOptions {
        parameters,
        task: Some(Task::single_label("logits", CLASSES, 1, 17).unwrap()),
        precision,
        ..LoadOptions::default()
    };
    PluginEngine::from_model(&plugin(), &onnx(setting), &options).unwrap()
}

/// A tolerance that float32 does not reach: the solve ends where restarting no longer helps.
fn precise() -> ConjugateGradient {
    ConjugateGradient {
        damping: Damping::Fixed(LAMBDA),
        max_iterations: 400,
        settled: 1.0,
        tolerance: 1e-7,
        accepted_residual: 1e-4,
    }
}

#[test]
fn every_score_is_within_a_thousandth_of_dense_algebra() {
    let mut setting = rounded(LAMBDA);
    let exact = setting.exact_per_class(LAMBDA);
    let solvers = [SolverOptions::CgGaussNewton(precise()), SolverOptions::CgHessian(precise())];
    for precision in [Precision::Float32, Precision::Float64] {
        for options in &solvers {
            let mut engine = engine(&setting, precision);
            let solution = setting.solve(&mut engine, options).unwrap();
            let argmax = setting.scores(&mut engine, &solution.s, PseudoLabels::ArgMax);
            let top_three = setting.scores(&mut engine, &solution.s, PseudoLabels::Expected(3));
            let pairs = setting.pairs(&exact, &argmax, &top_three);
            // A score is a sum over features and classes; what cancels in it leaves the rounding of the largest.
            let largest = pairs.iter().map(|(_, truth)| truth.abs()).fold(0.0, f64::max);
            let narrow = precision == Precision::Float32;
            let rounding = if narrow { gamma(FEATURES + CLASSES) * largest } else { 0.0 };
            let error = |(score, truth): &(f64, f64)| ((score - truth).abs() - rounding).max(0.0) / truth.abs();
            let worst = pairs.iter().map(error).fold(0.0, f64::max);
            let report = solution.report;
            let solver = options.solver();
            println!(
                "{precision:?} {solver}: worst relative error {worst:.2e} of {} scores, residual {:.2e}, {} iterations, {:.2} s",
                pairs.len(),
                report.residual,
                report.iterations,
                report.seconds
            );
            let tolerance = if narrow { 1e-3 } else { 1e-4 };
            assert!(worst <= tolerance, "{precision:?} {solver}: worst relative error {worst:.3e}");
        }
    }
}

#[test]
fn influence_predicts_the_change_that_adding_each_pool_image_makes() {
    let mut setting = rounded(LAMBDA);
    let mut engine = engine(&setting, Precision::Float32);
    let s = setting.solve(&mut engine, &SolverOptions::CgGaussNewton(precise())).unwrap().s;
    let scores = setting.scores(&mut engine, &s, PseudoLabels::ArgMax);
    let per_class = &scores.per_class;
    for (name, labels) in [("pseudo-label", &scores.pseudo_labels), ("true label", &setting.pool.labels)] {
        let predicted: Vec<f64> = labels.iter().enumerate().map(|(i, &label)| per_class[[i, label]] / 400.0).collect();
        let measured = setting.retrained(labels);
        let agreement = spearman(&predicted, &measured).unwrap();
        let slope = dot(&predicted, &measured) / dot(&predicted, &predicted);
        println!("{name}: Spearman {agreement:.4} over {} pool images, slope {slope:.3}", measured.len());
        assert!(agreement >= 0.95, "{name}: Spearman {agreement:.4} over {} pool images", measured.len());
        assert!((slope - 1.0).abs() < 0.25, "{name}: slope {slope:.3}");
    }
}
