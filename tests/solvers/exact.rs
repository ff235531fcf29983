//! Scores of every solver against the exact inverse Hessian of a convex model on real images.

use isal::influence::{ConjugateGradient, Damping, Lissa, SolverOptions, Step, spearman};

use super::contraction::PseudoLabels;

use super::dense::{Cholesky, dot};
use super::setting::{Setting, of};

const LAMBDA: f64 = 0.01;

fn precise() -> ConjugateGradient {
    ConjugateGradient {
        damping: Damping::Fixed(LAMBDA),
        max_iterations: 400,
        settled: 1.0,
        tolerance: 1e-8,
        accepted_residual: 1e-7,
    }
}

/// LiSSA without chance: the whole set every step, so that only truncation is left.
fn deterministic_lissa() -> Lissa {
    let step = Step::Automatic { damping: Damping::Fixed(LAMBDA) };
    Lissa { step, steps: 4000, repeats: 1, batch: usize::MAX, accepted_residual: 1e-4, ..Lissa::default() }
}

#[test]
fn every_score_of_every_exact_solver_is_within_a_thousandth_of_dense_algebra() {
    let mut setting = Setting::new(LAMBDA);
    let exact = setting.exact_per_class(LAMBDA);
    let solvers = [
        SolverOptions::CgGaussNewton(precise()),
        SolverOptions::CgHessian(precise()),
        SolverOptions::Lissa(deterministic_lissa()),
    ];
    for options in &solvers {
        let solution = setting.solved_by_formula(options).unwrap();
        let argmax = setting.scored_by_formula(&solution.s, PseudoLabels::ArgMax);
        let top_three = setting.scored_by_formula(&solution.s, PseudoLabels::Expected(3));
        let pairs = setting.pairs(&exact, &argmax, &top_three);
        assert_eq!(pairs.len(), 300 + 3000 + 300);
        let worst = pairs.iter().map(|(score, truth)| (score / truth - 1.0).abs()).fold(0.0, f64::max);
        let report = solution.report;
        println!(
            "{}: worst relative error {worst:.2e}, residual {:.2e}, {} iterations, {:.2} s",
            options.solver(),
            report.residual,
            report.iterations,
            report.seconds
        );
        assert!(worst <= 1e-3, "{}: worst relative error {worst:.3e}", options.solver());
    }
}

/// `(F + lambda I) s = v` with the outer products written out.
#[test]
fn the_fisher_solver_inverts_the_mean_outer_product_of_the_gradients() {
    let mut setting = Setting::new(LAMBDA);
    let labelled = of(&setting.labelled);
    let dimension = setting.model.theta.len();
    let mut matrix = ndarray::Array2::<f64>::zeros((dimension, dimension));
    for sample in &labelled {
        let gradient = ndarray::Array1::from(setting.model.gradient_of(sample));
        let column = gradient.clone().insert_axis(ndarray::Axis(1));
        matrix.scaled_add(1.0 / labelled.len() as f64, &column.dot(&gradient.insert_axis(ndarray::Axis(0))));
    }
    matrix.diag_mut().iter_mut().for_each(|d| *d += LAMBDA);
    let truth = Cholesky::of(&matrix).solve(&setting.model.mean_gradient(&of(&setting.reference)));
    let solution = setting.solved_by_formula(&SolverOptions::CgFisher(precise())).unwrap();
    let error = distance(&solution.s, &truth);
    // The residual asked for is 1e-8 of v; lambda_max / lambda is some hundred, which is what it may grow by.
    assert!(error < 1e-5, "{error:e}");
}

/// Relative distance of two columns, in the norm of the second.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    (dot(&difference, &difference) / dot(b, b)).sqrt()
}

#[test]
fn stochastic_lissa_is_as_exact_as_it_says() {
    let mut setting = Setting::new(LAMBDA);
    let automatic = Step::Automatic { damping: Damping::Fixed(LAMBDA) };
    let small_batches = Lissa { step: automatic, steps: 3000, repeats: 8, batch: 16, ..Lissa::default() };
    // (options, the lambda they mean, the rank agreement to expect of their noise)
    let cases =
        [("batches of 16", small_batches, LAMBDA, 0.95), ("published settings", Lissa::classification(), 100.0, 0.99)];
    for (name, options, lambda, least_agreement) in cases {
        let solution = setting.solved_by_formula(&SolverOptions::Lissa(options)).unwrap();
        let report = &solution.report;
        let lissa = report.lissa.as_ref().unwrap();
        assert!((report.lambda / lambda - 1.0).abs() < 1e-12, "{name}: lambda {}", report.lambda);
        let inverse = Cholesky::of(&setting.model.hessian(&of(&setting.labelled), lambda));
        let error = distance(&solution.s, &inverse.solve(&setting.model.mean_gradient(&of(&setting.reference))));
        let scores = setting.scored_by_formula(&solution.s, PseudoLabels::ArgMax);
        let truth: Vec<f64> =
            setting.exact_per_class(lambda).iter().zip(&scores.pseudo_labels).map(|(row, label)| row[*label]).collect();
        let agreement = spearman(&scores.influence, &truth).unwrap();
        let (spread, truncation) = (lissa.spread.unwrap(), lissa.truncation);
        println!(
            "{name}: error {error:.4}, spread {spread:.4}, truncation {truncation:.4}, residual {:.4}, Spearman {agreement:.4}",
            report.residual
        );
        assert!(error <= truncation + 3.0 * spread, "{name}: {error:.4} against {truncation:.4} + 3 * {spread:.4}");
        assert!(error > (truncation + spread) / 3.0, "{name}: {error:.4}, so {truncation:.4} + {spread:.4} is idle");
        assert!(agreement > least_agreement, "{name}: Spearman {agreement:.4}");
    }
}
