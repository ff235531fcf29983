//! Conjugate gradient on `(H + lambda I) s = v` (Hestenes and Stiefel, 1952; for curvature products of
//! networks: Martens, Deep learning via Hessian-free optimization, ICML 2010).
//!
//! Each iteration takes one curvature product, a pass over the labelled set, and four vectors of memory. The
//! error in the norm of the matrix falls at least as `((sqrt(k) - 1) / (sqrt(k) + 1))^iterations` with `k` the
//! condition number, at most `1 + lambda_max / lambda`; a clustered spectrum does far better.
//!
//! Two guards make the answer trustworthy. The recursion's residual drifts from the true one in float32, so it
//! only proposes to stop: the true residual is computed, and if that is too large the recursion starts afresh
//! from where it is, until doing so no longer helps. And a direction `p` with `p.(H + lambda I) p <= 0` proves
//! the matrix indefinite; no step is taken along it and the error tells the damping that would do.

use super::InfluenceError;
use super::damping::Damping;
use super::engine::GradientEngine;
use super::operator::{At, Operator};
use super::progress::Stage;
use super::solver::{Attempt, Spectrum};
use super::tridiagonal::extreme_eigenvalues;

/// Options of both conjugate-gradient solvers.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ConjugateGradient {
    /// The damping.
    pub damping: Damping,
    /// Most iterations.
    pub max_iterations: usize,
    /// Residual `||(H + lambda I) s - v|| / ||v||` to reach.
    pub tolerance: f64,
    /// Residual that is let through when the iterations run out, reported as not converged; more is an error.
    pub accepted_residual: f64,
}

impl Default for ConjugateGradient {
    fn default() -> Self {
        ConjugateGradient { damping: Damping::default(), max_iterations: 100, tolerance: 1e-3, accepted_residual: 0.05 }
    }
}

impl ConjugateGradient {
    pub(super) fn validate(&self) -> Result<(), InfluenceError> {
        self.damping.validate()?;
        let positive = |option, found: f64| match found.is_finite() && found > 0.0 {
            true => Ok(()),
            false => Err(InfluenceError::Option { option, found, expected: "a number > 0" }),
        };
        positive("tolerance", self.tolerance)?;
        positive("accepted-residual", self.accepted_residual)?;
        positive("max-iterations", self.max_iterations as f64)
    }

    pub(super) fn solve<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        v: &E::Vector,
    ) -> Result<Attempt<E::Vector>, InfluenceError> {
        let chosen = self.damping.choose(operator, v)?;
        operator.lambda = chosen.lambda;
        operator.at = At {
            stage: Stage::Solve,
            step: 0,
            steps: self.max_iterations,
            samples_a_step: operator.samples.samples(),
            residual: None,
        };

        let norm = operator.engine.dot(v, v)?;
        let mut s = operator.engine.zeros()?;
        let mut residual = operator.engine.copy(v)?;
        let mut relative = 1.0;
        let mut spectrum: Option<Spectrum> = None;
        let mut iterations = 0;
        while iterations < self.max_iterations {
            let run = self.descend(operator, norm, &mut s, residual, iterations)?;
            iterations = run.iterations;
            spectrum = Spectrum::wider(spectrum, run.spectrum);
            let before = relative;
            (residual, relative) = operator.residual(&s, v)?;
            let stagnated = relative > 0.5 * before;
            if !relative.is_finite() || relative <= self.tolerance || stagnated {
                break;
            }
        }
        Ok(Attempt {
            s,
            lambda: chosen.lambda,
            iterations,
            converged: relative <= self.tolerance,
            residual: Some(relative),
            accepted_residual: Some(self.accepted_residual),
            largest_eigenvalue: chosen.largest_eigenvalue,
            spectrum,
            lissa: None,
        })
    }

    /// Runs the recursion from `s`, whose residual is `r`, until its own residual meets the tolerance.
    fn descend<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        norm: f64,
        s: &mut E::Vector,
        mut r: E::Vector,
        mut iterations: usize,
    ) -> Result<Run, InfluenceError> {
        let mut p = operator.engine.copy(&r)?;
        let mut rr = operator.engine.dot(&r, &r)?;
        let (mut diagonal, mut off_diagonal) = (Vec::new(), Vec::new());
        let (mut a_before, mut b_before) = (1.0, 0.0);
        while iterations < self.max_iterations && rr > 0.0 {
            iterations += 1;
            let product = operator.apply(&p)?;
            let curvature = operator.engine.dot(&p, &product)?;
            if !curvature.is_finite() {
                return Err(InfluenceError::NonFinite { what: "a curvature product", step: iterations });
            }
            diagonal.push(curvature / rr + b_before / a_before);
            if curvature <= 0.0 {
                return Err(indefinite(operator, &diagonal, &off_diagonal, iterations));
            }
            let a = rr / curvature;
            operator.engine.axpy(a, &p, s)?;
            operator.engine.axpy(-a, &product, &mut r)?;
            let rr_next = operator.engine.dot(&r, &r)?;
            let b = rr_next / rr;
            off_diagonal.push(b.sqrt() / a);
            (rr, a_before, b_before) = (rr_next, a, b);
            let relative = (rr / norm).sqrt();
            operator.step_done(iterations, Some(relative))?;
            if relative <= self.tolerance {
                break;
            }
            operator.engine.scale(b, &mut p)?;
            operator.engine.axpy(1.0, &r, &mut p)?;
        }
        let spectrum = extreme_eigenvalues(&diagonal, &off_diagonal).map(|(smallest, largest)| Spectrum {
            smallest: smallest - operator.lambda,
            largest: largest - operator.lambda,
        });
        Ok(Run { iterations, spectrum })
    }
}

struct Run {
    iterations: usize,
    spectrum: Option<Spectrum>,
}

fn indefinite<E: GradientEngine>(
    operator: &Operator<E>,
    diagonal: &[f64],
    off_diagonal: &[f64],
    iteration: usize,
) -> InfluenceError {
    let (lambda, curvature) = (operator.lambda, operator.curvature);
    let (eigenvalue, largest) = extreme_eigenvalues(diagonal, off_diagonal).unwrap_or((0.0, 0.0));
    let undamped = eigenvalue - lambda;
    let suggested = if undamped < 0.0 { -2.0 * undamped } else { 1e-3 * largest.max(0.0) };
    InfluenceError::NotPositiveDefinite { curvature, lambda, eigenvalue, suggested, iteration }
}
