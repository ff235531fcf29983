//! Conjugate gradient on the damped Gauss-Newton matrix `G = (1/n) sum J^T H_out J` (Schraudolph, Fast
//! curvature matrix-vector products, 2002; Martens, ICML 2010). The default.
//!
//! For softmax cross-entropy `G` is the Fisher matrix: positive semi-definite whatever the weights, and
//! without need of labels. It equals the Hessian where the model is linear in its parameters, and nears it as
//! the losses near zero. Cost and guards: `conjugate_gradient.rs`. When not to use: for the exact Hessian of a
//! model known to be at a minimum, take `cg-hessian`; for a first look in a few passes, `lissa`.

use super::conjugate_gradient::ConjugateGradient;
use super::solver::{SolverOptions, SolverRow};

pub(super) const ROW: SolverRow = SolverRow {
    name: "cg-gauss-newton",
    about: "conjugate gradient on the damped Gauss-Newton matrix, which is never indefinite (default)",
    options: || SolverOptions::CgGaussNewton(ConjugateGradient::default()),
};
