//! LiSSA, the stochastic Neumann series (Agarwal, Bullins and Hazan, Second-order stochastic optimization for
//! machine learning in linear time, JMLR 2017; for influence: Koh and Liang, ICML 2017; for active learning:
//! Liu et al., ISAL, ICCV 2021).
//!
//! `s_0 = v`, `s_{t+1} = v + (1 - damping) s_t - H_batch s_t / scale`, restarted and averaged. Its fixed point
//! is `scale (H + damping * scale I)^-1 v`, so what it solves is a damping of `lambda = damping * scale`; the
//! result is divided by `scale` and is then `(H + lambda I)^-1 v` like every other solver's.
//! The published settings for classifiers (`lissa-classification`: damping 0.01, scale 1e4, 250 single-image
//! steps, 4 repeats) therefore mean lambda = 100, far above the curvature of most networks: there `s` is
//! nearly `v / 100`.
//!
//! Cost: `steps * repeats` curvature products of `batch` samples, three vectors, plus one pass over the
//! labelled set for the residual. What is left of the start after `steps` is `(1 - damping)^steps`, so a small
//! damping needs many steps: about `5 / damping` for 1 %. When not to use: where a precise `s` or a small
//! lambda is wanted; conjugate gradient gets there in fewer products.
//!
//! Divergence. As long as every step contracts, `||s_t|| <= ||v|| min(t + 1, 1 / damping)`. A norm ten times that
//! (the slack is for single batches above the mean) proves that `scale` is below half of the largest
//! eigenvalue, or that an eigenvalue is below `-lambda`. In the first case `step = automatic` doubles the scale at
//! the same lambda and starts again; all else is an error with advice, and a given scale is never changed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::InfluenceError;
use super::damping::Damping;
use super::engine::{Curvature, GradientEngine};
use super::lanczos::krylov;
use super::operator::{At, Operator};
use super::progress::Stage;
use super::solver::{Attempt, SolverOptions, SolverRow};

pub(super) const ROW: SolverRow = SolverRow {
    name: "lissa",
    about: "stochastic Neumann series with its step derived from the curvature",
    options: || SolverOptions::Lissa(Lissa::default()),
};

pub(super) const CLASSIFICATION_ROW: SolverRow = SolverRow {
    name: "lissa-classification",
    about: "lissa with the published settings for classifiers: lambda = 0.01 * 1e4 = 100",
    options: || SolverOptions::Lissa(Lissa::classification()),
};

/// Options of `lissa`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Lissa {
    /// Which matrix.
    pub curvature: Curvature,
    /// The step of the recursion.
    pub step: Step,
    /// Steps a repeat.
    pub steps: usize,
    /// Independent repeats that are averaged.
    pub repeats: usize,
    /// Samples a step, drawn with replacement; the whole labelled set where it is not larger.
    pub batch: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Residual that is let through; more is an error.
    pub accepted_residual: f64,
}

/// The two factors of the recursion.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// As published: lambda is their product.
    Given {
        /// Shrinks `s` each step.
        damping: f64,
        /// Divides the curvature.
        scale: f64,
    },
    /// `scale` starts at the largest eigenvalue of the mean curvature and is doubled on divergence;
    /// `damping = lambda / scale`.
    Automatic {
        /// The lambda that is solved.
        damping: Damping,
    },
}

impl Default for Lissa {
    fn default() -> Self {
        Lissa {
            curvature: Curvature::GaussNewton,
            step: Step::Automatic { damping: Damping::default() },
            steps: 1000,
            repeats: 4,
            batch: 8,
            seed: 0,
            accepted_residual: 0.5,
        }
    }
}

/// What only LiSSA reports.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LissaReport {
    /// Factor the recursion shrinks `s` by: `lambda / scale`.
    pub damping: f64,
    /// Divisor of the curvature in the run that gave the answer.
    pub scale: f64,
    /// Times an automatic scale was doubled after divergence.
    pub scale_doublings: usize,
    /// `(1 - damping)^steps`: what is left of the start along directions of no curvature.
    pub truncation: f64,
    /// Standard error of the average over repeats, relative to its norm; absent of a single repeat.
    pub spread: Option<f64>,
}

/// Slack over the bound that every convergent recursion obeys.
const GROWTH_SLACK: f64 = 10.0;
/// After so many doublings the scale is a thousand times the mean's largest eigenvalue.
const MOST_DOUBLINGS: usize = 10;
/// Lanczos steps for the scale where the damping is fixed and so brought no eigenvalue along.
const SCALE_STEPS: usize = 8;

impl Lissa {
    /// The published settings for classifiers.
    pub fn classification() -> Self {
        Lissa {
            curvature: Curvature::Hessian,
            step: Step::Given { damping: 0.01, scale: 1e4 },
            steps: 250,
            repeats: 4,
            batch: 1,
            ..Lissa::default()
        }
    }

    pub(super) fn validate(&self) -> Result<(), InfluenceError> {
        let refuse = |option, found, expected| Err(InfluenceError::Option { option, found, expected });
        match self.step {
            Step::Given { damping, .. } if !(damping > 0.0 && damping < 1.0) => {
                return refuse("step.given.damping", damping, "a number between 0 and 1, both excluded");
            }
            Step::Given { scale, .. } if !(scale.is_finite() && scale > 0.0) => {
                return refuse("step.given.scale", scale, "a number > 0");
            }
            Step::Given { .. } => {}
            Step::Automatic { damping } => {
                damping.validate()?;
                if damping == Damping::Fixed(0.0) {
                    return refuse("step.automatic.damping.fixed", 0.0, "a number > 0");
                }
            }
        }
        for (option, found) in [("steps", self.steps), ("repeats", self.repeats), ("batch", self.batch)] {
            if found == 0 {
                return refuse(option, 0.0, "at least 1");
            }
        }
        if !(self.accepted_residual.is_finite() && self.accepted_residual > 0.0) {
            return refuse("accepted-residual", self.accepted_residual, "a number > 0");
        }
        Ok(())
    }

    pub(super) fn solve<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        v: &E::Vector,
    ) -> Result<Attempt<E::Vector>, InfluenceError> {
        let (lambda, mut scale, largest) = match self.step {
            Step::Given { damping, scale } => (damping * scale, scale, None),
            Step::Automatic { damping } => {
                let chosen = damping.choose(operator, v)?;
                let largest = match chosen.largest_eigenvalue() {
                    Some(largest) => largest,
                    None => krylov(operator, v, SCALE_STEPS)?.largest,
                };
                // The damping of the recursion is kept below 1/2 for a lambda above the curvature.
                (chosen.lambda, largest.max(2.0 * chosen.lambda), Some(largest))
            }
        };
        // The recursion takes the curvature alone; lambda enters through its damping factor.
        operator.lambda = 0.0;
        operator.at = At {
            stage: Stage::Solve,
            step: 0,
            steps: self.steps * self.repeats,
            samples_a_step: self.batch.min(operator.samples.samples()),
            residual: None,
        };
        let mut doublings = 0;
        let average = loop {
            match (self.step, self.average(operator, v, lambda / scale, scale)) {
                // No scale cures an eigenvalue below -lambda.
                (Step::Automatic { .. }, Err(InfluenceError::Diverged { eigenvalue, step, .. }))
                    if eigenvalue < 0.0 =>
                {
                    return Err(InfluenceError::NotPositiveDefinite {
                        curvature: self.curvature,
                        lambda,
                        eigenvalue: eigenvalue + lambda,
                        suggested: -2.0 * eigenvalue,
                        iteration: step,
                    });
                }
                (Step::Automatic { .. }, Err(InfluenceError::Diverged { .. })) if doublings < MOST_DOUBLINGS => {
                    scale *= 2.0;
                    doublings += 1;
                }
                (_, other) => break other?,
            }
        };
        operator.lambda = lambda;
        let damping = lambda / scale;
        let truncation = (1.0 - damping).powf(self.steps as f64);
        Ok(Attempt {
            s: average.s,
            lambda,
            iterations: self.steps * self.repeats,
            converged: true,
            settled: None,
            residual: None,
            accepted_residual: Some(self.accepted_residual),
            largest_eigenvalue: largest,
            spectrum: None,
            lissa: Some(LissaReport { damping, scale, scale_doublings: doublings, truncation, spread: average.spread }),
        })
    }

    /// The mean over repeats of the recursion's last vector, divided by the scale.
    fn average<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        v: &E::Vector,
        damping: f64,
        scale: f64,
    ) -> Result<Average<E::Vector>, InfluenceError> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut sum = operator.engine.zeros()?;
        let mut sum_of_squares = 0.0;
        for repeat in 0..self.repeats {
            let s = self.recur(operator, v, damping, scale, repeat, &mut rng)?;
            sum_of_squares += operator.engine.dot(&s, &s)?;
            operator.engine.axpy(1.0, &s, &mut sum)?;
        }
        let repeats = self.repeats as f64;
        operator.engine.scale(1.0 / (repeats * scale), &mut sum)?;
        let squared = operator.engine.dot(&sum, &sum)?;
        // sum_r ||s_r - mean||^2 = sum_r ||s_r||^2 - repeats ||mean||^2, in units of the unscaled recursion.
        let scatter = (sum_of_squares / (scale * scale) - repeats * squared).max(0.0);
        let spread = (self.repeats > 1).then(|| (scatter / (repeats * (repeats - 1.0)) / squared).sqrt());
        Ok(Average { s: sum, spread })
    }

    fn recur<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        v: &E::Vector,
        damping: f64,
        scale: f64,
        repeat: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<E::Vector, InfluenceError> {
        let norm_of_v = operator.engine.dot(v, v)?.sqrt();
        let samples = operator.samples.samples();
        if samples == 0 {
            return Err(InfluenceError::Empty { set: "labelled" });
        }
        let mut s = operator.engine.copy(v)?;
        for t in 0..self.steps {
            let step = repeat * self.steps + t + 1;
            let product = if self.batch >= samples {
                operator.apply(&s)?
            } else {
                let positions: Vec<usize> = (0..self.batch).map(|_| rng.random_range(0..samples)).collect();
                operator.apply_to(&positions, &s)?
            };
            let along = operator.engine.dot(&s, &product)? / operator.engine.dot(&s, &s)?;
            operator.engine.scale(1.0 - damping, &mut s)?;
            operator.engine.axpy(1.0, v, &mut s)?;
            operator.engine.axpy(-1.0 / scale, &product, &mut s)?;
            let norm = operator.engine.dot(&s, &s)?.sqrt();
            if !(norm.is_finite() && along.is_finite()) {
                return Err(InfluenceError::NonFinite { what: "a curvature product", step });
            }
            let bound = norm_of_v * (t as f64 + 2.0).min(1.0 / damping);
            if norm > GROWTH_SLACK * bound {
                let suggested = if along < 0.0 { -2.0 * along / damping } else { along.max(2.0 * scale) };
                return Err(InfluenceError::Diverged { step, scale, damping, eigenvalue: along, suggested });
            }
            operator.step_done(step, None)?;
        }
        Ok(s)
    }
}

struct Average<V> {
    s: V,
    spread: Option<f64>,
}
