//! Scores of every solver against the exact inverse Hessian of a convex model on real images.

use isal::influence::{
    ConjugateGradient, Contraction, Damping, InMemory, InfluenceError, Lissa, OutputKind, Problem, PseudoLabels,
    Scores, Solution, SolverOptions, Step, reference_gradient, solve, spearman, unobserved,
};

use super::dense::{Cholesky, dot};
use super::digits::Digits;
use super::logistic::{Logistic, Sample, samples};

const CLASSES: usize = 10;
const LAMBDA: f64 = 0.01;

pub struct Setting {
    pub model: Logistic,
    pub labelled: InMemory,
    pub reference: InMemory,
    pub pool: Digits,
}

impl Setting {
    pub fn new(ridge: f64) -> Setting {
        let digits = Digits::load();
        let set = |range: std::ops::Range<usize>, batch| {
            let part = digits.slice(range);
            InMemory::labelled(part.images, &part.labels, CLASSES, batch).unwrap()
        };
        let (labelled, reference) = (set(0..400, 64), set(400..900, 128));
        let mut model = Logistic::new(CLASSES, 64);
        model.train(&of(&labelled), ridge);
        Setting { model, labelled, reference, pool: digits.slice(900..1200) }
    }

    pub fn solve(&mut self, options: &SolverOptions) -> Result<Solution<Vec<f64>>, InfluenceError> {
        let v = reference_gradient(&mut self.model, &mut self.reference, &mut unobserved)?.vector;
        let problem = Problem {
            engine: &mut self.model,
            labelled: &mut self.labelled,
            held_out: Some(&mut self.reference),
            v: &v,
            observer: &mut unobserved,
        };
        solve(problem, options)
    }

    pub fn scores(&mut self, s: &Vec<f64>, pseudo_labels: PseudoLabels) -> Scores {
        let contraction = Contraction { output: OutputKind::Logits, pseudo_labels, per_class: true };
        contraction.score_images(&mut self.model, self.pool.images.view(), s).unwrap()
    }

    /// `-v^T (H + lambda I)^-1 grad l(u, c)` for every pool image and class, by dense algebra.
    fn exact_per_class(&self, lambda: f64) -> Vec<Vec<f64>> {
        let inverse = Cholesky::of(&self.model.hessian(&of(&self.labelled), lambda));
        let s = inverse.solve(&self.model.mean_gradient(&of(&self.reference)));
        let influence = |x: &[f64], class: usize| {
            let w = (0..CLASSES).map(|c| f64::from(u8::from(c == class))).collect();
            -dot(&s, &self.model.gradient_of(&Sample { x: x.to_vec(), w }))
        };
        let images = self.pool.images.outer_iter();
        images
            .map(|image| {
                let x: Vec<f64> = image.iter().map(|&x| f64::from(x)).collect();
                (0..CLASSES).map(|class| influence(&x, class)).collect()
            })
            .collect()
    }
}

pub fn of(set: &InMemory) -> Vec<Sample> {
    samples(set.images(), set.targets())
}

fn precise() -> ConjugateGradient {
    ConjugateGradient { damping: Damping::Fixed(LAMBDA), max_iterations: 400, tolerance: 1e-8, accepted_residual: 1e-7 }
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
        let solution = setting.solve(options).unwrap();
        let mut worst: f64 = 0.0;
        // Argmax, and all classes each: 300 + 3000 scores.
        let scores = setting.scores(&solution.s, PseudoLabels::ArgMax);
        for (n, row) in exact.iter().enumerate() {
            let argmax = scores.influence[n];
            worst = worst.max((argmax / row[scores.beliefs[n].pseudo_label] - 1.0).abs());
            for (class, truth) in row.iter().enumerate() {
                worst = worst.max((scores.per_class.as_ref().unwrap()[[n, class]] / truth - 1.0).abs());
            }
        }
        // The expected gradient over three classes.
        let scores = setting.scores(&solution.s, PseudoLabels::Expected(3));
        for (n, row) in exact.iter().enumerate() {
            let x: Vec<f64> = setting.pool.images.outer_iter().nth(n).unwrap().iter().map(|&x| f64::from(x)).collect();
            let mut p: Vec<(f64, f64)> = setting.model.probabilities(&x).into_iter().zip(row.iter().copied()).collect();
            p.sort_by(|a, b| b.0.total_cmp(&a.0));
            let truth: f64 = p.iter().take(3).map(|(p, influence)| p * influence).sum();
            worst = worst.max((scores.influence[n] / truth - 1.0).abs());
        }
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
        let solution = setting.solve(&SolverOptions::Lissa(options)).unwrap();
        let report = &solution.report;
        let lissa = report.lissa.as_ref().unwrap();
        assert!((report.lambda / lambda - 1.0).abs() < 1e-12, "{name}: lambda {}", report.lambda);
        let inverse = Cholesky::of(&setting.model.hessian(&of(&setting.labelled), lambda));
        let error = distance(&solution.s, &inverse.solve(&setting.model.mean_gradient(&of(&setting.reference))));
        let scores = setting.scores(&solution.s, PseudoLabels::ArgMax);
        let truth: Vec<f64> =
            setting.exact_per_class(lambda).iter().zip(&scores.beliefs).map(|(row, b)| row[b.pseudo_label]).collect();
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
