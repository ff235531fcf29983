//! A solve ends when the order of the scores stands, and says how far it had come when it does not.

use isal::influence::{
    ConjugateGradient, Damping, InfluenceError, Problem, Relative, Solution, SolverOptions, lowest_tenth, solve,
    spearman, unobserved,
};

use super::dense::dot;
use super::matrix::{Matrix, dummies};

/// 60 eigenvalues from 10 down to 2e-5.
fn matrix() -> Matrix {
    let spectrum: Vec<f64> = (0..60).map(|i| 10.0 * 0.8f64.powi(i)).collect();
    Matrix::with_spectrum(&spectrum, 21)
}

fn relative(fraction: f64) -> ConjugateGradient {
    let damping = Damping::Relative(Relative { fraction, lanczos_steps: 8 });
    ConjugateGradient { damping, tolerance: 1e-10, ..ConjugateGradient::default() }
}

/// Gradients of 200 pool images, drawn with more along the steep directions as real ones have.
fn gradients(matrix: &Matrix) -> Vec<Vec<f64>> {
    let mut state = 1u64;
    let mut drawn = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let size = matrix.gradient.len();
    let plain: Vec<Vec<f64>> = (0..200).map(|_| (0..size).map(|_| drawn()).collect()).collect();
    plain
        .iter()
        .map(|g| matrix.hessian.outer_iter().map(|row| row.iter().zip(g).map(|(h, g)| h * g).sum()).collect())
        .collect()
}

fn influences(gradients: &[Vec<f64>], s: &[f64]) -> Vec<f64> {
    gradients.iter().map(|g| -dot(g, s)).collect()
}

/// Solves with a sample of the pool, and counts how often its influences were asked for.
fn settled(matrix: &mut Matrix, options: ConjugateGradient) -> (Result<Solution<Vec<f64>>, InfluenceError>, usize) {
    let gradients = gradients(matrix);
    let (mut samples, v) = (dummies(8), matrix.gradient.clone());
    let mut asked = 0;
    let mut sample = |_: &mut Matrix, s: &Vec<f64>| {
        asked += 1;
        Ok(influences(&gradients, s))
    };
    let problem = Problem {
        engine: matrix,
        samples: &mut samples,
        held_out: None,
        v: &v,
        sample: Some(&mut sample),
        observer: &mut unobserved,
    };
    let solution = solve(problem, &SolverOptions::CgGaussNewton(options));
    (solution, asked)
}

#[test]
fn it_ends_when_the_order_stands_and_that_order_is_the_converged_one() {
    for fraction in [0.1, 0.01, 1e-3] {
        let early = settled(&mut matrix(), relative(fraction)).0.unwrap();
        let late = settled(&mut matrix(), ConjugateGradient { settled: 1.0, ..relative(fraction) }).0.unwrap();
        assert!(early.report.iterations < late.report.iterations, "{fraction}: {:?}", early.report);
        assert!(early.report.converged && early.report.residual > 1e-8, "{:?}", early.report);
        let gradients = gradients(&matrix());
        let (early_scores, late_scores) = (influences(&gradients, &early.s), influences(&gradients, &late.s));
        let agreement = spearman(&early_scores, &late_scores).unwrap();
        assert!(agreement >= 0.9999, "{fraction}: Spearman {agreement}");
        assert!(lowest_tenth(&early_scores, &late_scores) >= 0.95);
        let said = early.report.settled.unwrap();
        assert!(said.spearman.unwrap() >= 0.9999 && said.images == 200 && said.iterations >= 2, "{said:?}");
    }
}

#[test]
fn out_of_iterations_the_report_says_so_and_how_much_still_changed() {
    let options =
        ConjugateGradient { max_iterations: 20, settled: 0.999_999_99, accepted_residual: 1.0, ..relative(1e-3) };
    let (solution, asked) = settled(&mut matrix(), options);
    let report = solution.unwrap().report;
    assert!(!report.converged && report.iterations == 20, "{report:?}");
    let said = report.settled.expect("two checkpoints at least");
    assert!(asked >= 2 && said.spearman.unwrap() < 0.999_999_99, "{said:?}");
}

#[test]
fn influences_that_are_all_alike_never_settle_and_the_tolerance_ends_the_solve() {
    let mut matrix = matrix();
    let (mut samples, v) = (dummies(8), matrix.gradient.clone());
    let mut sample = |_: &mut Matrix, _: &Vec<f64>| Ok(vec![1.0; 50]);
    let problem = Problem {
        engine: &mut matrix,
        samples: &mut samples,
        held_out: None,
        v: &v,
        sample: Some(&mut sample),
        observer: &mut unobserved,
    };
    let report = solve(problem, &SolverOptions::CgGaussNewton(relative(0.01))).unwrap().report;
    assert!(report.converged && report.residual <= 1e-10, "{report:?}");
    assert_eq!(report.settled.unwrap().spearman, None);
}

#[test]
fn the_iterations_that_come_with_the_damping_are_those_of_plain_conjugate_gradient() {
    // The same lambda, given: no Krylov space is at hand then, and every iteration takes its product.
    for fraction in [0.3, 0.01, 1e-4] {
        let derived = settled(&mut matrix(), ConjugateGradient { settled: 1.0, tolerance: 1e-6, ..relative(fraction) });
        let derived = derived.0.unwrap();
        let mut plain = matrix();
        let damping = Damping::Fixed(derived.report.lambda);
        let options = ConjugateGradient { settled: 1.0, tolerance: 1e-6, damping, ..relative(fraction) };
        let given = settled(&mut plain, options).0.unwrap();
        assert!(derived.report.iterations.abs_diff(given.report.iterations) <= 1, "{fraction}");
        let difference: Vec<f64> = derived.s.iter().zip(&given.s).map(|(a, b)| a - b).collect();
        // Both leave a residual of 1e-6 of ||v||; the inverse is at most 1 / lambda.
        let bound = 2e-6 * dot(&plain.gradient, &plain.gradient).sqrt() / derived.report.lambda;
        assert!(dot(&difference, &difference).sqrt() <= bound, "{fraction}");
        assert!(matrix().residual(&derived.s, derived.report.lambda) <= 1.01e-6);
    }
}

#[test]
fn the_first_iterations_cost_no_product_beyond_those_of_the_damping() {
    let mut counted = matrix();
    let report = settled(&mut counted, ConjugateGradient { settled: 1.0, ..relative(0.01) }).0.unwrap().report;
    // An iteration a product, and the residual.
    assert_eq!(report.sample_products, 8 * (report.iterations as u64 + 1), "{report:?}");
    let largest = report.largest_eigenvalue.unwrap();
    assert!((9.9..=10.0 + 1e-9).contains(&largest), "{largest}");
}
