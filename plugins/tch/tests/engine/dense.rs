//! Every derivative of a small network against dense matrices that were made without automatic differentiation: by
//! central differences of outputs and gradients in float64, and by the formulas for the softmax.
//!
//! Tolerances: a central difference with step 1e-5 in float64 is good to about 1e-10 of the scale (truncation
//! h^2 = 1e-10 times third derivatives of order 1, rounding 1e-16 / h = 1e-11), so 1e-6 leaves no room for a wrong
//! term. The weights are drawn such that no Relu lies within the step of its kink; were one to, the comparison fails.

use super::small::*;
use isal_onnx::testing::rounding::gamma;
use isal_plugin_tch::{Batch, Engine, Vector};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;

fn outputs(engine: &Engine) -> Vec<f64> {
    entries(&engine.forward(&unlabelled(images())).expect("a forward pass")[0].1)
}

fn gradient(engine: &Engine) -> Vec<f64> {
    entries(engine.gradient(&batch()).expect("a gradient").1.entries())
}

/// What the loss is taken of and its derivative.
fn jvp(engine: &Engine, v: &Vector) -> (Tensor, Tensor) {
    engine.jvp(&unlabelled(images()), v).expect("a derivative").values.remove(0)
}

fn vector(engine: &Engine, entries: &[f64]) -> Vector {
    engine.upload(&Tensor::from_slice(entries)).expect("a vector")
}

/// `d f / d theta_i` for every i, one row an i.
fn differences(f: impl Fn(&Engine) -> Vec<f64>) -> Vec<Vec<f64>> {
    let theta = theta();
    let at = |i: usize, by: f64| {
        let mut moved = theta.clone();
        moved[i] += by;
        f(&engine_at(&moved))
    };
    let quotient = |i| at(i, STEP).iter().zip(at(i, -STEP)).map(|(a, b)| (a - b) / (2.0 * STEP)).collect();
    (0..theta.len()).map(quotient).collect()
}

fn directions(dimension: usize) -> Vec<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    (0..4).map(|_| draw(&mut rng, dimension, 1.0)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn times(rows: &[Vec<f64>], v: &[f64]) -> Vec<f64> {
    rows.iter().map(|r| dot(r, v)).collect()
}

fn transposed_times(rows: &[Vec<f64>], v: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; rows[0].len()];
    for (row, v) in rows.iter().zip(v) {
        for (o, r) in out.iter_mut().zip(row) {
            *o += r * v;
        }
    }
    out
}

/// Block-diagonal Hessian of the loss in the outputs times `d`, from its formula `W (diag(p) - p p^T)`.
fn output_hessian_times(outputs: &[f64], d: &[f64]) -> Vec<f64> {
    let mut out = Vec::with_capacity(d.len());
    for ((o, w), d) in outputs.chunks(CLASSES).zip(targets()).zip(d.chunks(CLASSES)) {
        let (p, total) = (softmax(o), w.iter().sum::<f64>());
        for c in 0..CLASSES {
            let row = (0..CLASSES).map(|k| p[c] * (f64::from(u8::from(c == k)) - p[k]) * d[k]);
            out.push(total * row.sum::<f64>());
        }
    }
    out
}

#[test]
fn loss_and_gradient_match_central_differences_of_the_loss_written_out() {
    let engine = engine(Kind::Double);
    let (sum, _) = engine.gradient(&batch()).expect("a gradient");
    let truth = loss(&outputs(&engine));
    assert!((sum - truth).abs() <= 1e-12 * truth, "{sum} against {truth}");
    let by_difference: Vec<f64> = differences(|e| vec![loss(&outputs(e))]).concat();
    let error = relative(&gradient(&engine), &by_difference);
    assert!(error <= TOLERANCE, "relative error {error:e}");
}

#[test]
fn hessian_products_match_the_matrix_of_gradient_differences() {
    let engine = engine(Kind::Double);
    let hessian = differences(gradient);
    for v in directions(hessian.len()) {
        let truth = times(&hessian, &v);
        let v = vector(&engine, &v);
        let products = [
            ("forward over reverse", engine.hessian_product(&batch(), &v)),
            ("reverse over reverse", engine.hessian_product_by_reverse(&batch(), &v)),
        ];
        for (way, product) in products {
            let error = relative(&entries(product.expect("a product").entries()), &truth);
            assert!(error <= TOLERANCE, "{way}: relative error {error:e}");
        }
    }
}

#[test]
fn gauss_newton_products_match_the_matrix_of_output_differences() {
    let engine = engine(Kind::Double);
    let jacobian = differences(outputs);
    let outputs = outputs(&engine);
    for v in directions(jacobian.len()) {
        let tangent = transposed_times(&jacobian, &v);
        let truth = times(&jacobian, &output_hessian_times(&outputs, &tangent));
        let product = engine.gauss_newton_product(&batch(), &vector(&engine, &v)).expect("a product");
        let error = relative(&entries(product.entries()), &truth);
        assert!(error <= TOLERANCE, "relative error {error:e}");
    }
}

#[test]
fn jvp_matches_output_differences_and_leaves_the_outputs_alone() {
    let engine = engine(Kind::Double);
    let jacobian = differences(outputs);
    for v in directions(jacobian.len()) {
        let (values, tangents) = jvp(&engine, &vector(&engine, &v));
        assert_eq!(entries(&values), outputs(&engine));
        let error = relative(&entries(&tangents), &transposed_times(&jacobian, &v));
        assert!(error <= TOLERANCE, "relative error {error:e}");
    }
}

/// `w . (J v) = (J^T w) . v`: forward mode against reverse mode, no step size. The gradient of the loss is
/// `J^T (W p - w)`, so `g . v` has to be `(W p - w) . (J v)`; both in float64, hence to rounding.
#[test]
fn jvp_is_the_adjoint_of_the_backward_pass() {
    let engine = engine(Kind::Double);
    let (outputs, gradient) = (outputs(&engine), gradient(&engine));
    let residual: Vec<f64> = outputs
        .chunks(CLASSES)
        .zip(targets())
        .flat_map(|(o, w)| {
            let total: f64 = w.iter().sum();
            softmax(o).into_iter().zip(w).map(move |(p, w)| total * p - w).collect::<Vec<_>>()
        })
        .collect();
    for v in directions(gradient.len()) {
        let (_, tangents) = jvp(&engine, &vector(&engine, &v));
        let forward = dot(&residual, &entries(&tangents));
        let reverse = dot(&gradient, &v);
        assert!((forward - reverse).abs() <= 1e-12 * reverse.abs().max(1.0), "{forward} against {reverse}");
    }
}

#[test]
fn products_are_symmetric_and_gauss_newton_is_positive_semi_definite() {
    let engine = engine(Kind::Double);
    let directions = directions(theta().len());
    let (a, b) = (vector(&engine, &directions[0]), vector(&engine, &directions[1]));
    type Product = fn(&Engine, &Batch, &Vector) -> Result<Vector, isal_plugin_tch::Failure>;
    for (name, product) in [
        ("Hessian", Engine::hessian_product as Product),
        ("Gauss-Newton", Engine::gauss_newton_product),
        ("Fisher", Engine::empirical_fisher_product),
    ] {
        let apply = |v: &Vector| product(&engine, &batch(), v).expect("a product");
        let (ab, ba) = (apply(&a).dot(&b).expect("a number"), apply(&b).dot(&a).expect("a number"));
        assert!((ab - ba).abs() <= 1e-12 * ab.abs(), "{name}: {ab} against {ba}");
        if name != "Hessian" {
            for v in &directions {
                let v = vector(&engine, v);
                let square = apply(&v).dot(&v).expect("a number");
                assert!(square > 0.0, "{square}");
            }
        }
    }
}

#[test]
fn results_of_parts_of_a_batch_add_up() {
    let engine = engine(Kind::Double);
    let (images, targets) = (images(), targets_tensor());
    let (whole_loss, whole) = engine.gradient(&batch()).expect("a gradient");
    let v = whole.copy().expect("a copy");
    let mut rest = engine.gauss_newton_product(&batch(), &v).expect("a product");
    let (mut left, mut whole) = (whole_loss, whole);
    for (start, len) in [(0, 2), (2, 3)] {
        let part_of = labelled(images.narrow(0, start, len), targets.narrow(0, start, len));
        let (loss, part) = engine.gradient(&part_of).expect("a gradient");
        left -= loss;
        whole.axpy(-1.0, &part).expect("a sum");
        rest.axpy(-1.0, &engine.gauss_newton_product(&part_of, &v).expect("a product")).expect("a sum");
    }
    assert!(left.abs() <= 1e-12 * whole_loss, "{left}");
    let largest = |v: &Vector| entries(v.entries()).iter().fold(0.0f64, |m, e| m.max(e.abs()));
    assert!(largest(&whole) <= 1e-12 && largest(&rest) <= 1e-12, "{} and {}", largest(&whole), largest(&rest));
}

/// Three layers forward and back and their derivative, of sums of at most 36 terms each.
#[test]
fn float32_agrees_with_float64() {
    let (wide, narrow) = (engine(Kind::Double), engine(Kind::Float));
    let v = directions(theta().len()).remove(0);
    let all = |engine: &Engine| {
        let v = vector(engine, &v);
        [
            gradient(engine),
            entries(engine.hessian_product(&batch(), &v).expect("a product").entries()),
            entries(engine.gauss_newton_product(&batch(), &v).expect("a product").entries()),
            entries(&jvp(engine, &v).1),
        ]
    };
    for (name, (narrow, wide)) in
        ["gradient", "Hessian", "Gauss-Newton", "jvp"].iter().zip(all(&narrow).iter().zip(all(&wide)))
    {
        let error = relative(narrow, &wide);
        assert!(error <= gamma(9 * 36), "{name}: relative error {error:e}");
        assert!(error > 0.0, "{name}: float32 ran in float64");
    }
}
