//! What must never come back as an answer, does not, and the advice in the error works.

use std::ops::ControlFlow;

use isal::influence::{
    ConjugateGradient, Damping, GradientEngine, Identity, InMemory, InfluenceError, Lissa, Observer, Problem, Progress,
    Relative, Solution, SolverOptions, Stage, Step, reference_gradient, solve, unobserved,
};

use super::matrix::{Matrix, dummies, of_pixels};

fn run(
    matrix: &mut Matrix,
    options: &SolverOptions,
    observer: &mut Observer,
) -> Result<Solution<Vec<f64>>, InfluenceError> {
    let (mut labelled, v) = (dummies(8), matrix.gradient.clone());
    solve(Problem { engine: matrix, samples: &mut labelled, held_out: None, v: &v, sample: None, observer }, options)
}

fn solved(matrix: &mut Matrix, options: &SolverOptions) -> Result<Solution<Vec<f64>>, InfluenceError> {
    run(matrix, options, &mut unobserved)
}

fn hessian(lambda: f64) -> SolverOptions {
    SolverOptions::CgHessian(ConjugateGradient {
        damping: Damping::Fixed(lambda),
        tolerance: 1e-6,
        ..Default::default()
    })
}

fn lissa(step: Step) -> SolverOptions {
    SolverOptions::Lissa(Lissa { step, steps: 3000, repeats: 2, batch: 2, ..Lissa::default() })
}

/// 20 eigenvalues from 5 down, the last ones negative.
fn indefinite() -> Matrix {
    let mut spectrum: Vec<f64> = (0..20).map(|i| 5.0 * 0.7f64.powi(i)).collect();
    spectrum[18] = -0.2;
    spectrum[19] = -0.5;
    Matrix::with_spectrum(&spectrum, 1)
}

#[test]
fn an_indefinite_hessian_is_caught_and_the_damping_advised_solves_it() {
    let error = solved(&mut indefinite(), &hessian(0.1)).unwrap_err();
    let InfluenceError::NotPositiveDefinite { eigenvalue, suggested, lambda, .. } = error else { panic!("{error}") };
    // The true smallest eigenvalue of the damped matrix is -0.4; a Ritz value lies above it and below zero.
    assert!((-0.4 - 1e-9..0.0).contains(&eigenvalue), "{eigenvalue}");
    assert_eq!(lambda, 0.1);
    assert!(error.to_string().contains("fixed = ") && error.to_string().contains("Gauss-Newton"), "{error}");
    let mut lambda = suggested;
    for _ in 0..3 {
        match solved(&mut indefinite(), &hessian(lambda)) {
            Ok(solution) => {
                assert!(indefinite().residual(&solution.s, lambda) < 1e-5);
                assert!(lambda < 2.0, "the advice is within a small factor of the 0.5 that is needed: {lambda}");
                return;
            }
            Err(InfluenceError::NotPositiveDefinite { suggested, .. }) => lambda = suggested,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the advice did not help in three rounds");
}

#[test]
fn a_nan_in_any_product_of_any_solver_is_an_error() {
    let cases = [
        ("identity", SolverOptions::Identity(Identity::default()), vec![1]),
        ("cg-hessian", hessian(0.1), vec![1, 4, 20]),
        ("power iteration", SolverOptions::named("cg-gauss-newton").unwrap(), vec![2, 5]),
        ("lissa", lissa(Step::Given { damping: 0.02, scale: 10.0 }), vec![1, 700, 4500]),
        ("lissa-classification", SolverOptions::named("lissa-classification").unwrap(), vec![1, 1001]),
    ];
    for (name, options, products) in cases {
        for nan_at in products {
            let mut matrix = Matrix::with_spectrum(&[5.0, 3.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.01], 2);
            matrix.nan_at = Some(nan_at);
            let outcome = solved(&mut matrix, &options);
            assert!(matrices_seen(&matrix, nan_at), "{name}: product {nan_at} was never asked for");
            assert!(matches!(outcome, Err(InfluenceError::NonFinite { .. })), "{name}, product {nan_at}: {outcome:?}");
        }
    }
}

fn matrices_seen(matrix: &Matrix, nan_at: usize) -> bool {
    matrix.products >= nan_at
}

#[test]
fn a_reference_gradient_that_is_nan_or_zero_is_an_error() {
    for (gradient, nan) in [(f64::NAN, true), (f64::INFINITY, true), (0.0, false)] {
        let mut matrix = Matrix::with_spectrum(&[1.0, 0.5], 3);
        matrix.gradient = vec![0.0, gradient];
        let outcome = reference_gradient(&mut matrix, &mut dummies(4), &mut unobserved);
        match outcome {
            Err(InfluenceError::NonFinite { .. }) => assert!(nan),
            Err(InfluenceError::ZeroGradient) => assert!(!nan),
            other => panic!("{other:?}"),
        }
        assert!(solved(&mut matrix, &hessian(0.1)).is_err());
    }
}

#[test]
fn the_reference_gradient_is_the_mean_whatever_the_batches() {
    let mut matrix = Matrix::with_spectrum(&[1.0, 0.5, 0.1], 3);
    let reference = reference_gradient(&mut matrix, &mut dummies(7), &mut unobserved).unwrap();
    for (a, b) in reference.vector.iter().zip(&matrix.gradient) {
        assert!((a - b).abs() < 1e-15, "{a} {b}");
    }
    assert!((reference.loss - 1.0).abs() < 1e-15 && reference.samples == 7);
    assert!((reference.norm.powi(2) - matrix.dot(&reference.vector, &reference.vector).unwrap()).abs() < 1e-12);
}

#[test]
fn a_saturated_model_has_no_relative_damping_but_takes_a_fixed_one() {
    let mut flat = Matrix::with_spectrum(&[0.0; 4], 4);
    let error = solved(&mut flat, &SolverOptions::named("cg-gauss-newton").unwrap()).unwrap_err();
    assert!(matches!(error, InfluenceError::ZeroCurvature { samples: 8, .. }), "{error}");
    let solution = solved(&mut flat, &hessian(0.5)).unwrap();
    for (s, v) in solution.s.iter().zip(&flat.gradient) {
        assert!((s - 2.0 * v).abs() < 1e-14);
    }
}

#[test]
fn lissa_with_too_small_a_scale_stops_and_the_scale_advised_works() {
    let spectrum = [40.0, 10.0, 3.0, 1.0];
    let given = |scale: f64| lissa(Step::Given { damping: 0.5 / scale, scale });
    let error = solved(&mut Matrix::with_spectrum(&spectrum, 5), &given(10.0)).unwrap_err();
    let InfluenceError::Diverged { suggested, eigenvalue, .. } = error else { panic!("{error}") };
    assert!((35.0..=40.1).contains(&eigenvalue), "near the largest eigenvalue: {eigenvalue}");
    assert!(error.to_string().contains("`scale`"), "{error}");
    let mut matrix = Matrix::with_spectrum(&spectrum, 5);
    let solution = solved(&mut matrix, &given(suggested)).unwrap();
    assert!(matrix.residual(&solution.s, 0.5) < 1e-6);
}

#[test]
fn lissa_doubles_an_automatic_scale_where_single_batches_are_steeper_than_the_mean() {
    let mut matrix = Matrix::with_spectrum(&[4.0, 2.0, 1.0, 0.5], 6);
    matrix.per_sample = matrix.hessian.clone();
    // One sample in sixteen has all the curvature, sixteen times the mean's; the others have none.
    let mut labelled = of_pixels(&[&[15.0f32][..], &[-1.0; 15]].concat());
    let options = SolverOptions::Lissa(Lissa {
        step: Step::Automatic { damping: Damping::Fixed(0.5) },
        steps: 2000,
        repeats: 64,
        batch: 1,
        ..Lissa::default()
    });
    let v = matrix.gradient.clone();
    let (engine, observer) = (&mut matrix, &mut unobserved);
    let report =
        solve(Problem { engine, samples: &mut labelled, held_out: None, v: &v, sample: None, observer }, &options)
            .unwrap()
            .report;
    let lissa = report.lissa.unwrap();
    // At the first scale, the mean's 4, the steep sample multiplies by 1 - 16: it takes three doublings to reach
    // a factor of one.
    assert!((2..=5).contains(&lissa.scale_doublings), "{lissa:?}");
    assert!((lissa.damping * lissa.scale - 0.5).abs() < 1e-12, "lambda is kept: {lissa:?}");
    assert!(report.residual <= 0.5 && report.lambda == 0.5);
}

#[test]
fn lissa_on_an_indefinite_hessian_names_the_damping_that_would_do() {
    let automatic = lissa(Step::Automatic { damping: Damping::Fixed(0.1) });
    let error = solved(&mut indefinite(), &automatic).unwrap_err();
    let InfluenceError::NotPositiveDefinite { suggested, .. } = error else { panic!("{error}") };
    assert!((0.5..=1.1).contains(&suggested), "{suggested}");
    let given = lissa(Step::Given { damping: 0.01, scale: 10.0 });
    let error = solved(&mut indefinite(), &given).unwrap_err();
    assert!(matches!(error, InfluenceError::Diverged { eigenvalue, .. } if eigenvalue < 0.0), "{error}");
    assert!(error.to_string().contains("gauss-newton"), "{error}");
}

#[test]
fn lissa_cut_short_is_refused_instead_of_passed_off() {
    // damping 1e-4 over 100 steps: 99 % of the start is left along flat directions.
    let step = Step::Given { damping: 1e-4, scale: 10.0 };
    let options = SolverOptions::Lissa(Lissa { step, steps: 100, repeats: 1, batch: 8, ..Lissa::default() });
    let mut matrix = Matrix::with_spectrum(&[2e-3, 1e-3, 1e-3, 1e-3], 7);
    let error = solved(&mut matrix, &options).unwrap_err();
    assert!(matches!(error, InfluenceError::NotConverged { solver: "lissa", .. }), "{error}");
}

#[test]
fn running_out_of_iterations_is_told_and_a_bad_residual_refused() {
    let spectrum: Vec<f64> = (0..60).map(|i| 10.0 * 0.8f64.powi(i)).collect();
    let after = |max_iterations, accepted_residual| {
        let options = ConjugateGradient {
            damping: Damping::Fixed(0.1),
            max_iterations,
            settled: 1.0,
            tolerance: 1e-8,
            accepted_residual,
        };
        solved(&mut Matrix::with_spectrum(&spectrum, 8), &SolverOptions::CgGaussNewton(options))
    };
    let short = after(6, 0.05).unwrap_err();
    assert!(matches!(short, InfluenceError::NotConverged { iterations: 6, .. }), "{short}");
    let some = after(30, 0.05).unwrap().report;
    assert!(!some.converged && some.residual <= 0.05 && some.iterations == 30, "{some:?}");
    let all = after(200, 0.05).unwrap().report;
    assert!(all.converged && all.residual <= 1e-8 && all.iterations < 100, "{all:?}");
}

#[test]
fn in_float32_the_residual_reported_is_the_true_one_though_the_recursion_believes_in_less() {
    // Condition 1e5: float32 products leave a residual near 1e5 * 6e-8.
    let spectrum: Vec<f64> = (0..80).map(|i| 10f64.powf(2.0 - 5.0 * f64::from(i) / 79.0)).collect();
    let mut matrix = Matrix::with_spectrum(&spectrum, 9);
    matrix.float32 = true;
    let options = ConjugateGradient {
        damping: Damping::Fixed(1e-3),
        max_iterations: 2000,
        settled: 1.0,
        tolerance: 1e-7,
        accepted_residual: 0.1,
    };
    let solution = solved(&mut matrix, &SolverOptions::CgGaussNewton(options)).unwrap();
    let truth = matrix.residual(&solution.s, 1e-3);
    assert!(!solution.report.converged && truth > 1e-7, "{:?}, true {truth:.2e}", solution.report);
    assert!(
        (solution.report.residual / truth - 1.0).abs() < 0.5,
        "{:.2e} reported, {truth:.2e} true",
        solution.report.residual
    );
    assert!(solution.report.iterations < 2000, "stagnation ends the solve");
}

#[test]
fn a_restart_gets_past_the_drift_of_the_recursion() {
    let spectrum: Vec<f64> = (0..80).map(|i| 10f64.powf(2.0 - 4.0 * f64::from(i) / 79.0)).collect();
    let mut matrix = Matrix::with_spectrum(&spectrum, 10);
    matrix.float32 = true;
    let options = ConjugateGradient {
        damping: Damping::Fixed(1e-3),
        max_iterations: 2000,
        settled: 1.0,
        tolerance: 2e-5,
        accepted_residual: 0.1,
    };
    let solution = solved(&mut matrix, &SolverOptions::CgGaussNewton(options)).unwrap();
    assert!(solution.report.converged && matrix.residual(&solution.s, 1e-3) < 3e-5, "{:?}", solution.report);
}

#[test]
fn relative_damping_is_a_fraction_of_the_largest_eigenvalue_and_the_spectrum_is_seen() {
    let spectrum: Vec<f64> = (0..30).map(|i| 7.0 * 0.8f64.powi(i)).collect();
    let damping = Damping::Relative(Relative { fraction: 0.02, lanczos_steps: 40 });
    let options = ConjugateGradient { damping, tolerance: 1e-10, max_iterations: 200, ..ConjugateGradient::default() };
    let report =
        solved(&mut Matrix::with_spectrum(&spectrum, 11), &SolverOptions::CgGaussNewton(options)).unwrap().report;
    // From below, and so near that one step more changed it by less than a hundredth.
    let largest = report.largest_eigenvalue.unwrap();
    assert!((0.98 * 7.0..=7.0 + 1e-9).contains(&largest), "{report:?}");
    assert!((report.lambda - 0.02 * largest).abs() < 1e-12);
    let seen = report.spectrum.unwrap();
    assert!((seen.largest - 7.0).abs() < 1e-6 && seen.smallest > 0.0 && seen.smallest < 0.1, "{seen:?}");
}

#[test]
fn identity_is_the_gradient_over_lambda() {
    let mut matrix = Matrix::with_spectrum(&[3.0, 1.0], 12);
    let options = SolverOptions::Identity(Identity { damping: Damping::Fixed(4.0) });
    let solution = solved(&mut matrix, &options).unwrap();
    for (s, v) in solution.s.iter().zip(&matrix.gradient) {
        assert!((s - v / 4.0).abs() < 1e-15);
    }
    assert!((solution.report.residual - matrix.residual(&solution.s, 4.0)).abs() < 1e-12);
}

#[test]
fn the_held_out_residual_is_that_of_the_other_set() {
    let mut matrix = Matrix::with_spectrum(&[3.0, 1.0], 13);
    matrix.per_sample = 0.5 * &matrix.hessian;
    // The labelled mean is the Hessian itself; a single dummy has half of it.
    let (mut labelled, mut held_out, v): (InMemory, InMemory, Vec<f64>) =
        (dummies(8), dummies(1), matrix.gradient.clone());
    let problem = Problem {
        engine: &mut matrix,
        samples: &mut labelled,
        held_out: Some(&mut held_out),
        v: &v,
        sample: None,
        observer: &mut unobserved,
    };
    let solution = solve(problem, &hessian(0.1)).unwrap();
    let half = Matrix::new(0.5 * &matrix.hessian, v);
    let expected = half.residual(&solution.s, 0.1);
    assert!((solution.report.held_out_residual.unwrap() - expected).abs() < 1e-12);
    assert!(solution.report.residual < 1e-6 && expected > 0.1);
}

#[test]
fn the_observer_sees_each_stage_in_order_and_can_stop_it() {
    let mut seen: Vec<Progress> = Vec::new();
    let options = SolverOptions::named("cg-gauss-newton").unwrap();
    let spectrum = [5.0, 1.0, 0.3, 0.1];
    let report = run(&mut Matrix::with_spectrum(&spectrum, 14), &options, &mut |p| {
        seen.push(*p);
        ControlFlow::Continue(())
    });
    let report = report.unwrap().report;
    let mut stages: Vec<Stage> = seen.iter().map(|p| p.stage).collect();
    stages.dedup();
    assert_eq!(stages, [Stage::Damping, Stage::Solve]);
    assert!(seen.iter().all(|p| p.step <= p.steps && p.samples <= p.samples_a_step && p.samples_a_step == 8));
    let last = seen.iter().rev().find(|p| p.stage == Stage::Solve).unwrap();
    assert_eq!(last.step, report.iterations);
    assert!(last.residual.unwrap() <= 1e-4);
    // The iterations, the first of which came with the damping, and the residual's pass, over 8 samples each.
    assert_eq!(report.sample_products, 8 * (report.iterations as u64 + 1));

    for stop_at in 0..seen.len() {
        let mut count = 0;
        let outcome = run(&mut Matrix::with_spectrum(&spectrum, 14), &options, &mut |_| {
            count += 1;
            if count > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(outcome, Err(InfluenceError::Cancelled)), "stopped at report {stop_at}");
        assert_eq!(count, stop_at + 1, "nothing is done after a stop");
    }
}
