//! Conjugate gradient on the damped empirical Fisher matrix `F = (1/n) sum J^T g g^T J`, `g` the gradient of an image's loss in
//! the model's values: the mean outer product of the images' own gradients.
//!
//! Positive semi-definite whatever the loss, where the Gauss-Newton matrix of a loss that is not convex in the model's values is not.
//! It needs labels, and it vanishes with the losses: on images that are fitted to zero loss there is nothing left of it. It is
//! not the Fisher matrix, and no curvature, away from a fit (Kunstner, Balles, Hennig, Limitations of the empirical Fisher
//! approximation, NeurIPS 2019, arXiv 1905.12558). Cost and guards: `conjugate_gradient.rs`. When not to use: wherever
//! `cg-gauss-newton` works.

use super::conjugate_gradient::ConjugateGradient;
use super::solver::{SolverOptions, SolverRow};

pub(super) const ROW: SolverRow = SolverRow {
    name: "cg-fisher",
    about: "conjugate gradient on the damped empirical Fisher matrix: for losses that are not convex in the model's values",
    options: || SolverOptions::CgFisher(ConjugateGradient::default()),
};
