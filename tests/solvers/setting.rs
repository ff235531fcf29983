//! One small real problem, and the truth about it: logistic regression on 400 digits, 500 reference digits, a pool
//! of 300.

use isal::influence::{
    GradientEngine, InMemory, InfluenceError, Problem, Solution, SolverOptions, reference_gradient, solve, unobserved,
};
use rayon::prelude::*;

use super::contraction::{PseudoLabels, Scores, scores};
use super::dense::{Cholesky, dot};
use super::digits::Digits;
use super::logistic::{Logistic, Sample, samples};

pub const CLASSES: usize = 10;

pub struct Setting {
    /// Trained to the minimum of the mean loss plus `ridge / 2` times the squared norm.
    pub model: Logistic,
    pub ridge: f64,
    pub labelled: InMemory,
    pub reference: InMemory,
    pub pool: Digits,
}

pub fn of(set: &InMemory) -> Vec<Sample> {
    samples(set.images(), set.annotations())
}

fn one_hot(class: usize) -> Vec<f64> {
    (0..CLASSES).map(|c| f64::from(u8::from(c == class))).collect()
}

impl Setting {
    pub fn new(ridge: f64) -> Setting {
        let digits = Digits::load();
        let set = |range: std::ops::Range<usize>, batch| {
            let part = digits.slice(range);
            InMemory::labelled(part.images, "weights", &part.labels, CLASSES, batch).unwrap()
        };
        let (labelled, reference) = (set(0..400, 64), set(400..900, 128));
        let mut model = Logistic::new(CLASSES, 64);
        model.train(&of(&labelled), ridge);
        Setting { model, ridge, labelled, reference, pool: digits.slice(900..1200) }
    }

    /// Reference gradient and solve through `engine`.
    pub fn solve<E: GradientEngine>(
        &mut self,
        engine: &mut E,
        options: &SolverOptions,
    ) -> Result<Solution<E::Vector>, InfluenceError> {
        let v = reference_gradient(engine, &mut self.reference, &mut unobserved)?.vector;
        let (samples, held_out) = (&mut self.labelled, Some(&mut self.reference as _));
        solve(Problem { engine, samples, held_out, v: &v, sample: None, observer: &mut unobserved }, options)
    }

    /// Influences of the pool through `engine`.
    pub fn scores<E: GradientEngine>(&self, engine: &mut E, s: &E::Vector, pseudo_labels: PseudoLabels) -> Scores {
        scores(engine, self.pool.images.view(), s, pseudo_labels)
    }

    pub fn solved_by_formula(&mut self, options: &SolverOptions) -> Result<Solution<Vec<f64>>, InfluenceError> {
        let mut engine = self.model.clone();
        self.solve(&mut engine, options)
    }

    pub fn scored_by_formula(&self, s: &Vec<f64>, pseudo_labels: PseudoLabels) -> Scores {
        self.scores(&mut self.model.clone(), s, pseudo_labels)
    }

    fn pool_rows(&self) -> Vec<Vec<f64>> {
        self.pool.images.outer_iter().map(|image| image.iter().map(|&x| f64::from(x)).collect()).collect()
    }

    /// `-v^T (H + lambda I)^-1 grad l(u, c)` for every pool image and class, by dense algebra.
    pub fn exact_per_class(&self, lambda: f64) -> Vec<Vec<f64>> {
        let inverse = Cholesky::of(&self.model.hessian(&of(&self.labelled), lambda));
        let s = inverse.solve(&self.model.mean_gradient(&of(&self.reference)));
        let influence =
            |x: &[f64], class: usize| -dot(&s, &self.model.gradient_of(&Sample { x: x.to_vec(), w: one_hot(class) }));
        self.pool_rows().iter().map(|x| (0..CLASSES).map(|class| influence(x, class)).collect()).collect()
    }

    /// Every score with its truth: arg-max, each class, and the expectation over the three likeliest.
    pub fn pairs(&self, exact: &[Vec<f64>], argmax: &Scores, top_three: &Scores) -> Vec<(f64, f64)> {
        let mut pairs = Vec::new();
        for (n, (x, row)) in self.pool_rows().iter().zip(exact).enumerate() {
            let mut believed: Vec<(f64, f64)> =
                self.model.probabilities(x).into_iter().zip(row.iter().copied()).collect();
            believed.sort_by(|a, b| b.0.total_cmp(&a.0));
            pairs.push((argmax.influence[n], believed[0].1));
            let per_class = &argmax.per_class;
            pairs.extend(row.iter().enumerate().map(|(class, truth)| (per_class[[n, class]], *truth)));
            let expectation = believed.iter().take(3).map(|(p, influence)| p * influence).sum();
            pairs.push((top_three.influence[n], expectation));
        }
        pairs
    }

    /// The change of the mean reference loss when each pool image is added to the training set with weight 1/n
    /// under this label, and the model is trained to its minimum again.
    pub fn retrained(&self, labels: &[usize]) -> Vec<f64> {
        let (training, reference) = (of(&self.labelled), of(&self.reference));
        let mut minimum = self.model.clone();
        let inverse = minimum.train(&training, self.ridge);
        let mean_loss =
            |model: &Logistic| reference.iter().map(|r| model.loss(r)).sum::<f64>() / reference.len() as f64;
        let before = mean_loss(&minimum);
        self.pool_rows()
            .into_par_iter()
            .zip(labels)
            .map(|(x, &label)| {
                let mut model = minimum.clone();
                model.descend(&training, &Sample { x, w: one_hot(label) }, self.ridge, &inverse);
                mean_loss(&model) - before
            })
            .collect()
    }
}
