//! The damping `lambda` added to the curvature, given or derived from the curvature itself.
//!
//! The curvature of a network spans many orders of magnitude, and its unit depends on the model's
//! parametrisation and loss, so a fixed number means something else for every model. Relative to the largest
//! eigenvalue it means the same everywhere: `lambda = fraction * lambda_max` bounds the condition number of
//! `H + lambda I` by `1 + 1 / fraction`, and with it the iterations a solver needs.
//!
//! `lambda_max` comes from a few steps of the Lanczos process started at the reference gradient (`lanczos.rs`). The start is no
//! accident: a Krylov solver only ever meets the spectrum that `v` excites. Cost: one pass over the images a step, which
//! conjugate gradient gets back. The estimate approaches from below.
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
use super::lanczos::{Krylov, krylov};
use super::operator::Operator;

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
    /// Most steps of the Lanczos process, each a pass over the images; it ends once the eigenvalue stands.
    #[serde(default = "lanczos_steps", alias = "power-iterations")]
    pub lanczos_steps: usize,
}

fn lanczos_steps() -> usize {
    8
}

impl Default for Damping {
    fn default() -> Self {
        Damping::Relative(Relative { fraction: 0.01, lanczos_steps: lanczos_steps() })
    }
}

/// A damping that has been decided.
pub(super) struct Chosen<V> {
    pub lambda: f64,
    /// The Krylov space it was derived from, where it was.
    pub krylov: Option<Krylov<V>>,
}

impl<V> Chosen<V> {
    /// The largest eigenvalue, where it was looked for.
    pub fn largest_eigenvalue(&self) -> Option<f64> {
        self.krylov.as_ref().map(|krylov| krylov.largest)
    }
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
            Damping::Relative(Relative { lanczos_steps: 0, .. }) => Err(InfluenceError::Option {
                option: "damping.relative.lanczos-steps",
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
    ) -> Result<Chosen<E::Vector>, InfluenceError> {
        match *self {
            Damping::Fixed(lambda) => Ok(Chosen { lambda, krylov: None }),
            Damping::Relative(Relative { fraction, lanczos_steps }) => {
                let krylov = krylov(operator, start, lanczos_steps)?;
                Ok(Chosen { lambda: fraction * krylov.largest, krylov: Some(krylov) })
            }
        }
    }
}
