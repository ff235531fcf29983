//! Conjugate gradient on the damped Hessian `H = (1/n) sum hess l` (Koh and Liang, Understanding black-box
//! predictions via influence functions, ICML 2017, section 3).
//!
//! The exact second derivative of the training loss. A network that has not been trained to a strict minimum
//! has negative eigenvalues; with a lambda below their size the system has no minimum and the solver stops with
//! the eigenvalue it found. Cost and guards: `conjugate_gradient.rs`. When not to use: on a network trained
//! with early stopping or heavy regularisation; `cg-gauss-newton` is safe there and as cheap.

use super::conjugate_gradient::ConjugateGradient;
use super::solver::{SolverOptions, SolverRow};

pub(super) const ROW: SolverRow = SolverRow {
    name: "cg-hessian",
    about: "conjugate gradient on the damped Hessian; stops with advice where that is indefinite",
    options: || SolverOptions::CgHessian(ConjugateGradient::default()),
};
