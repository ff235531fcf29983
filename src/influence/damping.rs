//! The damping `lambda` added to the curvature, given or derived from the curvature itself.
//!
//! The curvature of a network spans many orders of magnitude, and its unit depends on the model's
//! parametrisation and loss, so a fixed number means something else for every model. Relative to the largest
//! eigenvalue it means the same everywhere: `lambda = fraction * lambda_max` bounds the condition number of
//! `H + lambda I` by `1 + 1 / fraction`, and with it the iterations a solver needs.
//!
//! `lambda_max` comes from power iteration started at the reference gradient: `x <- H x / ||H x||`, estimate
//! `||H x||`. The start is no accident: a Krylov solver only ever meets the spectrum that `v` excites.
//! Cost: one pass over the labelled set a step. The estimate approaches from below.
//!
//! Why a hundredth. Gradient descent at a rate near `1 / lambda_max` has, after T steps, moved along a direction of
//! curvature `h` as far as `1 / (h + lambda)` would with `lambda` near `lambda_max / T`; so `1 / fraction` is about the
//! number of steps whose effect is predicted, and a fine-tuning takes some hundreds. Measured on 200 digits of 8x8
//! pixels, one tanh layer, trained to a loss of 0.06 by gradient descent at 0.27 / lambda_max: rank correlation between the
//! influence of 100 pool images under their true labels and the change of the loss on 300 reference images when
//! training goes on with the image added:
//!
//! | fraction | 1 | 0.3 | 0.1 | 0.03 | 0.01 | 0.003 | 0.001 | 0.0001 |
//! |---|---|---|---|---|---|---|---|---|
//! | after 100 steps | 0.64 | 0.70 | 0.85 | **0.86** | 0.76 | 0.62 | 0.50 | 0.29 |
//! | after 1,000 steps | 0.43 | 0.48 | 0.63 | 0.70 | **0.73** | 0.66 | 0.59 | 0.36 |
//! | after 10,000 steps | 0.28 | 0.31 | 0.45 | 0.51 | **0.57** | 0.55 | 0.52 | 0.39 |
//! | iterations of `cg-gauss-newton` | 5 | 7 | 11 | 14 | 18 | 33 | 51 | 134 |
//!
//! (`tests/solvers/network.rs` repeats a shorter form of it.) The optimum is flat on the side of more damping and
//! steep on the other, where noise is amplified and iterations are spent.

use super::InfluenceError;
use super::engine::GradientEngine;
use super::operator::{At, Operator};
use super::progress::Stage;

/// How lambda is chosen.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Damping {
    /// This value.
    Fixed(f64),
    /// A fraction of the largest eigenvalue of the curvature.
    Relative(Relative),
}

/// A damping relative to the largest eigenvalue.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Relative {
    /// `lambda / lambda_max`.
    pub fraction: f64,
    /// Steps of power iteration; each is one pass over the labelled set.
    #[serde(default = "power_iterations")]
    pub power_iterations: usize,
}

fn power_iterations() -> usize {
    8
}

impl Default for Damping {
    fn default() -> Self {
        Damping::Relative(Relative { fraction: 0.01, power_iterations: power_iterations() })
    }
}

/// A damping that has been decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chosen {
    pub lambda: f64,
    /// Known where power iteration ran.
    pub largest_eigenvalue: Option<f64>,
}

impl Damping {
    pub(super) fn validate(&self) -> Result<(), InfluenceError> {
        match *self {
            Damping::Fixed(lambda) if !(lambda.is_finite() && lambda >= 0.0) => {
                Err(InfluenceError::Option { option: "damping.fixed", found: lambda, expected: "a number >= 0" })
            }
            Damping::Relative(Relative { fraction, .. }) if !(fraction.is_finite() && fraction > 0.0) => {
                Err(InfluenceError::Option {
                    option: "damping.relative.fraction",
                    found: fraction,
                    expected: "a number > 0",
                })
            }
            Damping::Relative(Relative { power_iterations: 0, .. }) => Err(InfluenceError::Option {
                option: "damping.relative.power-iterations",
                found: 0.0,
                expected: "at least 1",
            }),
            _ => Ok(()),
        }
    }

    /// Decides lambda for the operator's curvature; the operator's own lambda is left as it is.
    pub(super) fn choose<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        start: &E::Vector,
    ) -> Result<Chosen, InfluenceError> {
        match *self {
            Damping::Fixed(lambda) => Ok(Chosen { lambda, largest_eigenvalue: None }),
            Damping::Relative(Relative { fraction, power_iterations }) => {
                let largest = largest_eigenvalue(operator, start, power_iterations)?;
                Ok(Chosen { lambda: fraction * largest, largest_eigenvalue: Some(largest) })
            }
        }
    }
}

/// The largest absolute eigenvalue of the undamped curvature that `start` excites, from below.
pub(super) fn largest_eigenvalue<E: GradientEngine>(
    operator: &mut Operator<E>,
    start: &E::Vector,
    steps: usize,
) -> Result<f64, InfluenceError> {
    let lambda = std::mem::replace(&mut operator.lambda, 0.0);
    operator.at =
        At { stage: Stage::Damping, step: 0, steps, samples_a_step: operator.samples.samples(), residual: None };
    let mut x = operator.engine.copy(start)?;
    let mut largest = 0.0f64;
    let mut norm = operator.engine.dot(&x, &x)?.sqrt();
    for step in 1..=steps {
        operator.engine.scale(1.0 / norm, &mut x)?;
        x = operator.apply(&x)?;
        norm = operator.engine.dot(&x, &x)?.sqrt();
        if !norm.is_finite() {
            return Err(InfluenceError::NonFinite { what: "a curvature product", step });
        }
        if norm == 0.0 {
            let samples = operator.samples.samples();
            return Err(InfluenceError::ZeroCurvature { curvature: operator.curvature, samples });
        }
        largest = largest.max(norm);
        operator.step_done(step, None)?;
    }
    operator.lambda = lambda;
    Ok(largest)
}
