//! Conjugate gradient on `(H + lambda I) s = v` (Hestenes and Stiefel, 1952; for curvature products of
//! networks: Martens, Deep learning via Hessian-free optimization, ICML 2010).
//!
//! Each iteration takes one curvature product, a pass over the images, and four vectors of memory. The
//! error in the norm of the matrix falls at least as `((sqrt(k) - 1) / (sqrt(k) + 1))^iterations` with `k` the
//! condition number, at most `1 + lambda_max / lambda`; a clustered spectrum does far better. A damping relative to
//! `lambda_max` comes with a Krylov space (`lanczos.rs`), in whose coordinates the first iterations are computed at no
//! product.
//!
//! It ends once the influences of a sample of the pool have settled (`settling.rs`), or at the tolerance.
//!
//! Two guards make the answer trustworthy. The recursion's residual drifts from the true one in float32, so it
//! only proposes to stop: the true residual is computed, and if that is too large the recursion starts afresh
//! from where it is, until doing so no longer helps. And a direction `p` with `p.(H + lambda I) p <= 0` proves
//! the matrix indefinite; no step is taken along it and the error tells the damping that would do.

use super::InfluenceError;
use super::damping::Damping;
use super::engine::{Curvature, GradientEngine};
use super::lanczos::Krylov;
use super::operator::{At, Operator};
use super::progress::Stage;
use super::settling::{self, Checkpoints, SampleInfluences};
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
    /// Spearman correlation of the influences of a sample of the pool at two checkpoints at which the solve ends; 1 leaves the
    /// end to the tolerance.
    pub settled: f64,
    /// Residual `||(H + lambda I) s - v|| / ||v||` at which the solve ends, whether or not the influences have settled.
    pub tolerance: f64,
    /// Residual that is let through when the iterations run out, reported as not converged; more is an error.
    pub accepted_residual: f64,
}

impl Default for ConjugateGradient {
    fn default() -> Self {
        ConjugateGradient {
            damping: Damping::default(),
            max_iterations: 500,
            settled: settling::STANDS,
            tolerance: 1e-4,
            accepted_residual: 0.05,
        }
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
        positive("max-iterations", self.max_iterations as f64)?;
        match self.settled > 0.0 && self.settled <= 1.0 {
            true => Ok(()),
            false => {
                let (option, found) = ("settled", self.settled);
                Err(InfluenceError::Option { option, found, expected: "a number above 0 and up to 1" })
            }
        }
    }

    pub(super) fn solve<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        v: &E::Vector,
        sample: Option<&mut SampleInfluences<E>>,
    ) -> Result<Attempt<E::Vector>, InfluenceError> {
        let mut checkpoints = Checkpoints::of(sample, self.settled, self.max_iterations);
        let chosen = self.damping.choose(operator, v)?;
        let largest_eigenvalue = chosen.largest_eigenvalue();
        operator.lambda = chosen.lambda;
        operator.at = At {
            stage: Stage::Solve,
            step: 0,
            steps: self.at_most(chosen.lambda, largest_eigenvalue),
            samples_a_step: operator.samples.samples(),
            residual: None,
        };
        let mut state = match chosen.krylov {
            Some(krylov) => self.advanced(operator, &krylov)?,
            None => State::at(operator.engine.zeros()?, operator.engine.copy(v)?, operator.engine)?,
        };
        let norm = operator.engine.dot(v, v)?;
        let mut spectrum: Option<Spectrum> = None;
        let mut before = 1.0;
        let (relative, settled) = loop {
            let settled = self.descend(operator, norm, &mut state, &mut checkpoints)?;
            spectrum = Spectrum::wider(spectrum, state.recursion.spectrum(operator.lambda));
            let (residual, relative) = operator.residual(&state.s, v)?;
            // Influences that stand still because the recursion has left the equation have not settled.
            let drifted = relative > 2.0 * state.recursion.relative(norm).max(self.tolerance);
            let done = !relative.is_finite() || relative <= self.tolerance || (settled && !drifted);
            let stagnated = relative > 0.5 * before;
            if done || stagnated || state.iterations >= self.max_iterations {
                break (relative, settled && !drifted);
            }
            before = relative;
            state = State { iterations: state.iterations, ..State::at(state.s, residual, operator.engine)? };
        };
        // What was left to come shows in what the last iterations changed.
        checkpoints.stands(operator.engine, &state.s, state.iterations)?;
        Ok(Attempt {
            s: state.s,
            lambda: chosen.lambda,
            iterations: state.iterations,
            converged: settled || relative <= self.tolerance,
            settled: checkpoints.settled,
            residual: Some(relative),
            accepted_residual: Some(self.accepted_residual),
            largest_eigenvalue,
            spectrum,
            lissa: None,
        })
    }

    /// Iterations after which the tolerance is met, by the bound of the condition number where that is known.
    fn at_most(&self, lambda: f64, largest_eigenvalue: Option<f64>) -> usize {
        let bound = largest_eigenvalue.map(|largest| {
            let condition = 1.0 + largest / lambda;
            0.5 * condition.sqrt() * (2.0 * condition.sqrt() / self.tolerance).ln()
        });
        bound.map_or(self.max_iterations, |bound| (bound.ceil() as usize).min(self.max_iterations))
    }

    /// The recursion after as many iterations as the Krylov space has products for, computed in its coordinates.
    fn advanced<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        krylov: &Krylov<E::Vector>,
    ) -> Result<State<E::Vector>, InfluenceError> {
        let axes = krylov.diagonal.len() + 1;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut s = vec![0.0; axes];
        let mut r = vec![0.0; axes];
        r[0] = krylov.norm;
        let mut p = r.clone();
        let norm = krylov.norm.powi(2);
        let mut recursion = Recursion::of(norm);
        let mut iterations = 0;
        while iterations < krylov.diagonal.len().min(self.max_iterations) {
            let product = krylov.apply(operator.lambda, &p);
            iterations += 1;
            let a = recursion.step(dot(&p, &product), operator.curvature, operator.lambda, iterations)?;
            s.iter_mut().zip(&p).for_each(|(s, p)| *s += a * p);
            r.iter_mut().zip(&product).for_each(|(r, product)| *r -= a * product);
            let b = recursion.turn(dot(&r, &r));
            p.iter_mut().zip(&r).for_each(|(p, r)| *p = b * *p + r);
            if recursion.relative(norm) <= self.tolerance {
                break;
            }
        }
        let engine = &mut *operator.engine;
        let state = State {
            s: krylov.combine(engine, &s)?,
            r: krylov.combine(engine, &r)?,
            p: krylov.combine(engine, &p)?,
            recursion,
            iterations,
        };
        operator.step_done(iterations, Some(state.recursion.relative(norm)))?;
        Ok(state)
    }

    /// Runs the recursion until the influences have settled, which it tells, or its own residual meets the tolerance.
    fn descend<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        norm: f64,
        state: &mut State<E::Vector>,
        checkpoints: &mut Checkpoints<E>,
    ) -> Result<bool, InfluenceError> {
        loop {
            let relative = state.recursion.relative(norm);
            if checkpoints.due(state.iterations, relative)
                && checkpoints.stands(operator.engine, &state.s, state.iterations)?
            {
                return Ok(true);
            }
            if relative <= self.tolerance || state.iterations >= self.max_iterations {
                return Ok(false);
            }
            state.iterations += 1;
            let product = operator.apply(&state.p)?;
            let engine = &mut *operator.engine;
            let curvature = engine.dot(&state.p, &product)?;
            let a = state.recursion.step(curvature, operator.curvature, operator.lambda, state.iterations)?;
            engine.axpy(a, &state.p, &mut state.s)?;
            engine.axpy(-a, &product, &mut state.r)?;
            let b = state.recursion.turn(engine.dot(&state.r, &state.r)?);
            engine.scale(b, &mut state.p)?;
            engine.axpy(1.0, &state.r, &mut state.p)?;
            operator.step_done(state.iterations, Some(state.recursion.relative(norm)))?;
        }
    }
}

/// The vectors of the recursion.
struct State<V> {
    s: V,
    /// `v - (H + lambda I) s`.
    r: V,
    /// The direction of the next step.
    p: V,
    recursion: Recursion,
    iterations: usize,
}

impl<V> State<V> {
    /// The beginning from `s`, whose residual is `r`.
    fn at<E: GradientEngine<Vector = V>>(s: V, r: V, engine: &mut E) -> Result<State<V>, InfluenceError> {
        let p = engine.copy(&r)?;
        let recursion = Recursion::of(engine.dot(&r, &r)?);
        Ok(State { s, r, p, recursion, iterations: 0 })
    }
}

/// The numbers of the recursion, and the tridiagonal matrix that they make.
struct Recursion {
    /// `r . r`.
    rr: f64,
    a: f64,
    b: f64,
    diagonal: Vec<f64>,
    off_diagonal: Vec<f64>,
}

impl Recursion {
    fn of(rr: f64) -> Recursion {
        Recursion { rr, a: 1.0, b: 0.0, diagonal: Vec::new(), off_diagonal: Vec::new() }
    }

    fn relative(&self, norm: f64) -> f64 {
        (self.rr / norm).sqrt()
    }

    /// The length of a step along `p`, whose `p . (H + lambda I) p` is `along`.
    fn step(&mut self, along: f64, curvature: Curvature, lambda: f64, iteration: usize) -> Result<f64, InfluenceError> {
        if !along.is_finite() {
            return Err(InfluenceError::NonFinite { what: "a curvature product", step: iteration });
        }
        self.diagonal.push(along / self.rr + self.b / self.a);
        if along <= 0.0 {
            let (eigenvalue, largest) = extreme_eigenvalues(&self.diagonal, &self.off_diagonal).unwrap_or((0.0, 0.0));
            let undamped = eigenvalue - lambda;
            let suggested = if undamped < 0.0 { -2.0 * undamped } else { 1e-3 * largest.max(0.0) };
            return Err(InfluenceError::NotPositiveDefinite { curvature, lambda, eigenvalue, suggested, iteration });
        }
        self.a = self.rr / along;
        Ok(self.a)
    }

    /// The share of the old direction in the next one, where `r . r` is now `rr`.
    fn turn(&mut self, rr: f64) -> f64 {
        self.b = rr / self.rr;
        self.off_diagonal.push(self.b.sqrt() / self.a);
        self.rr = rr;
        self.b
    }

    fn spectrum(&self, lambda: f64) -> Option<Spectrum> {
        extreme_eigenvalues(&self.diagonal, &self.off_diagonal)
            .map(|(smallest, largest)| Spectrum { smallest: smallest - lambda, largest: largest - lambda })
    }
}
