//! Solvers on a network that is not convex and was not trained to a minimum, as real ones are.

use isal::influence::{
    ConjugateGradient, Damping, InMemory, InfluenceError, Problem, Relative, Solution, SolverOptions,
    reference_gradient, solve, spearman, unobserved,
};
use rayon::prelude::*;

use super::contraction::{PseudoLabels, scores};
use super::digits::Digits;
use super::logistic::Sample;
use super::mlp::Mlp;
use super::setting::of;

/// 0.27 / lambda_max: a seventh of the largest stable rate of gradient descent here.
const RATE: f64 = 0.3;

struct Network {
    model: Mlp,
    labelled: InMemory,
    reference: InMemory,
    v: Vec<f64>,
}

fn trained(digits: &Digits) -> Network {
    let set = |range: std::ops::Range<usize>| {
        let part = digits.slice(range);
        InMemory::labelled(part.images, "weights", &part.labels, 10, 50).unwrap()
    };
    let (labelled, mut reference) = (set(0..200), set(200..500));
    let mut model = Mlp::new(64, 16, 10, 3);
    model.descend(&of(&labelled), None, RATE, 1500);
    let v = reference_gradient(&mut model, &mut reference, &mut unobserved).unwrap().vector;
    Network { model, labelled, reference, v }
}

impl Network {
    fn solve(&mut self, options: &SolverOptions) -> Result<Solution<Vec<f64>>, InfluenceError> {
        let problem = Problem {
            engine: &mut self.model,
            samples: &mut self.labelled,
            held_out: Some(&mut self.reference),
            v: &self.v,
            sample: None,
            observer: &mut unobserved,
        };
        solve(problem, options)
    }
}

fn relative(fraction: f64) -> ConjugateGradient {
    let damping = Damping::Relative(Relative { fraction, lanczos_steps: 8 });
    ConjugateGradient { damping, max_iterations: 1000, ..ConjugateGradient::default() }
}

#[test]
fn the_default_damping_predicts_further_training_better_than_much_more_or_much_less() {
    const STEPS: usize = 300;
    let digits = Digits::load();
    let mut network = trained(&digits);
    let pool = digits.slice(500..570);
    let (training, reference) = (of(&network.labelled), of(&network.reference));
    let further = |extra: Option<&Sample>| {
        let mut model = network.model.clone();
        model.descend(&training, extra, RATE, STEPS);
        model.mean_loss(&reference)
    };
    let without = further(None);
    let images: Vec<Vec<f64>> =
        pool.images.outer_iter().map(|image| image.iter().map(|&x| f64::from(x)).collect()).collect();
    let measured: Vec<f64> = images
        .into_par_iter()
        .zip(&pool.labels)
        .map(|(x, &label)| {
            let w = (0..10).map(|c| f64::from(u8::from(c == label))).collect();
            further(Some(&Sample { x, w })) - without
        })
        .collect();

    let mut agreement = |options: &SolverOptions| {
        let s = network.solve(options).unwrap().s;
        let per_class = scores(&mut network.model, pool.images.view(), &s, PseudoLabels::ArgMax).per_class;
        let predicted: Vec<f64> = pool.labels.iter().enumerate().map(|(i, &label)| per_class[[i, label]]).collect();
        spearman(&predicted, &measured).unwrap()
    };
    let default = agreement(&SolverOptions::named("cg-gauss-newton").unwrap());
    let (more, less) = (
        agreement(&SolverOptions::CgGaussNewton(relative(1.0))),
        agreement(&SolverOptions::CgGaussNewton(relative(1e-4))),
    );
    let none = agreement(&SolverOptions::named("identity").unwrap());
    println!(
        "after {STEPS} steps: default {default:.3}, 100 times as much {more:.3}, a hundredth {less:.3}, identity {none:.3}"
    );
    assert!(default > 0.7, "{default:.3}");
    assert!(
        default > more + 0.1 && default > less + 0.1 && default > none + 0.1,
        "{default:.3} {more:.3} {less:.3} {none:.3}"
    );
}

#[test]
fn a_real_indefinite_hessian_stops_its_solver_with_advice_and_gauss_newton_does_not_mind() {
    let mut network = trained(&Digits::load());
    let error = network.solve(&SolverOptions::CgHessian(relative(3e-4))).unwrap_err();
    let InfluenceError::NotPositiveDefinite { eigenvalue, suggested, .. } = error else { panic!("{error}") };
    assert!(eigenvalue < 0.0 && suggested > 0.0);
    let report = network.solve(&SolverOptions::CgGaussNewton(relative(3e-4))).unwrap().report;
    assert!(report.converged && report.spectrum.unwrap().smallest > -1e-9, "{report:?}");
}

#[test]
fn with_damping_above_the_negative_curvature_hessian_and_gauss_newton_nearly_agree() {
    let digits = Digits::load();
    let mut network = trained(&digits);
    let pool = digits.slice(500..800);
    let mut influences = |options: &SolverOptions| {
        let s = network.solve(options).unwrap().s;
        scores(&mut network.model, pool.images.view(), &s, PseudoLabels::ArgMax).influence
    };
    let hessian = influences(&SolverOptions::CgHessian(relative(0.01)));
    let gauss_newton = influences(&SolverOptions::CgGaussNewton(relative(0.01)));
    // The training loss is 0.06, so the residual term that the two differ by is small but not nothing.
    let agreement = spearman(&hessian, &gauss_newton).unwrap();
    println!("Hessian against Gauss-Newton: Spearman {agreement:.4}");
    assert!(agreement > 0.9 && agreement < 1.0 - 1e-6, "{agreement}");
}
