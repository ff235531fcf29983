//! Every solver of `(H + lambda I) s = v`, the one slice that lists them, and the gate their answers pass.
//!
//! A new solver is a file, a variant of [`SolverOptions`], a line of [`SOLVERS`] and a file under
//! `configs/solver/`. Whatever a solver returns, [`solve`] measures its residual on the samples of the curvature (and on
//! a held-out set if there is one) and refuses a vector that is not finite or whose residual is not acceptable.

use std::time::Instant;

use super::cg_fisher;
use super::cg_gauss_newton;
use super::cg_hessian;
use super::conjugate_gradient::ConjugateGradient;
use super::damping::Damping;
use super::engine::{Curvature, GradientEngine};
use super::identity::{self, Identity};
use super::lissa::{self, Lissa, LissaReport, Step};
use super::operator::{At, Operator};
use super::progress::{Observer, Stage};
use super::settling::{SampleInfluences, Settled};
use super::{Batches, InfluenceError};

/// A line of [`SOLVERS`].
#[derive(Debug, Clone, Copy)]
pub struct SolverRow {
    /// The name users type.
    pub name: &'static str,
    /// One line for `--help` and the documentation.
    pub about: &'static str,
    /// Its default options.
    pub options: fn() -> SolverOptions,
}

/// Every solver and named setting, the floor first.
pub const SOLVERS: &[SolverRow] =
    &[identity::ROW, lissa::ROW, lissa::CLASSIFICATION_ROW, cg_hessian::ROW, cg_fisher::ROW, cg_gauss_newton::ROW];

/// The solver that is taken unless another is asked for.
pub const DEFAULT_SOLVER: &str = "cg-gauss-newton";

/// The options of a solver; its variant says which. In TOML the key `solver` holds the variant.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "solver", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SolverOptions {
    /// `s = v / lambda`.
    Identity(Identity),
    /// Stochastic Neumann series.
    Lissa(Lissa),
    /// Conjugate gradient on the Hessian.
    CgHessian(ConjugateGradient),
    /// Conjugate gradient on the empirical Fisher matrix.
    CgFisher(ConjugateGradient),
    /// Conjugate gradient on the Gauss-Newton matrix.
    CgGaussNewton(ConjugateGradient),
}

impl SolverOptions {
    /// The defaults of the line of [`SOLVERS`] called `name`.
    pub fn named(name: &str) -> Result<Self, InfluenceError> {
        match SOLVERS.iter().find(|row| row.name == name) {
            Some(row) => Ok((row.options)()),
            None => Err(InfluenceError::UnknownSolver {
                name: name.to_owned(),
                known: SOLVERS.iter().map(|row| row.name).collect(),
            }),
        }
    }

    /// The solver's name.
    pub fn solver(&self) -> &'static str {
        match self {
            SolverOptions::Identity(_) => identity::ROW.name,
            SolverOptions::Lissa(_) => lissa::ROW.name,
            SolverOptions::CgHessian(_) => cg_hessian::ROW.name,
            SolverOptions::CgFisher(_) => cg_fisher::ROW.name,
            SolverOptions::CgGaussNewton(_) => cg_gauss_newton::ROW.name,
        }
    }

    /// The matrix the solver inverts.
    pub fn curvature(&self) -> Curvature {
        match self {
            SolverOptions::Lissa(options) => options.curvature,
            SolverOptions::CgHessian(_) => Curvature::Hessian,
            SolverOptions::CgFisher(_) => Curvature::EmpiricalFisher,
            SolverOptions::Identity(_) | SolverOptions::CgGaussNewton(_) => Curvature::GaussNewton,
        }
    }

    /// Whether it can end by the influences of a sample, and so has a use for one.
    pub fn settles(&self) -> bool {
        matches!(self, SolverOptions::CgHessian(_) | SolverOptions::CgFisher(_) | SolverOptions::CgGaussNewton(_))
    }

    /// The same with this damping; of `lissa` with a step that fits it.
    pub fn damped(&self, lambda: f64) -> Self {
        let (mut options, fixed) = (self.clone(), Damping::Fixed(lambda));
        match &mut options {
            SolverOptions::Identity(identity) => identity.damping = fixed,
            SolverOptions::Lissa(lissa) => lissa.step = Step::Automatic { damping: fixed },
            SolverOptions::CgHessian(options)
            | SolverOptions::CgFisher(options)
            | SolverOptions::CgGaussNewton(options) => options.damping = fixed,
        }
        options
    }

    /// Refuses an option outside its range, by name and value.
    pub fn validate(&self) -> Result<(), InfluenceError> {
        match self {
            SolverOptions::Identity(options) => options.validate(),
            SolverOptions::Lissa(options) => options.validate(),
            SolverOptions::CgHessian(options)
            | SolverOptions::CgFisher(options)
            | SolverOptions::CgGaussNewton(options) => options.validate(),
        }
    }
}

/// What a solve needs.
pub struct Problem<'a, E: GradientEngine> {
    /// Differentiates the model.
    pub engine: &'a mut E,
    /// The samples the curvature is the mean over.
    pub samples: &'a mut dyn Batches,
    /// Samples on which the answer's residual is also measured; the reference set will do.
    pub held_out: Option<&'a mut dyn Batches>,
    /// `v`, the reference gradient.
    pub v: &'a E::Vector,
    /// The influences of a sample of the pool, if the solve may end once they have settled.
    pub sample: Option<&'a mut SampleInfluences<'a, E>>,
    /// Hears how far the solve is.
    pub observer: &'a mut Observer<'a>,
}

/// Eigenvalues a solve met (Ritz values), of the undamped matrix.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spectrum {
    /// The smallest.
    pub smallest: f64,
    /// The largest.
    pub largest: f64,
}

impl Spectrum {
    pub(super) fn wider(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => {
                Some(Spectrum { smallest: a.smallest.min(b.smallest), largest: a.largest.max(b.largest) })
            }
            (a, b) => a.or(b),
        }
    }
}

/// How a solve went.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SolveReport {
    /// The solver and the options it ran with.
    pub options: SolverOptions,
    /// The matrix.
    pub curvature: Curvature,
    /// The damping that was added to it.
    pub lambda: f64,
    /// Where the damping is relative to it.
    pub largest_eigenvalue: Option<f64>,
    /// Eigenvalues met on the way.
    pub spectrum: Option<Spectrum>,
    /// Iterations used.
    pub iterations: usize,
    /// Whether the influences had settled or the solver's tolerance was met; one without a tolerance says true.
    pub converged: bool,
    /// How far the influences of a sample of the pool had settled, where there was one.
    #[serde(default)]
    pub settled: Option<Settled>,
    /// `||(H + lambda I) s - v|| / ||v||` over the samples.
    pub residual: f64,
    /// The same over the held-out set: how far the answer depends on the samples of the curvature.
    pub held_out_residual: Option<f64>,
    /// Samples the curvature is the mean over.
    #[serde(alias = "labelled-samples")]
    pub curvature_samples: usize,
    /// Curvature products of one sample, in all.
    pub sample_products: u64,
    /// Wall time.
    pub seconds: f64,
    /// What only LiSSA has to say.
    pub lissa: Option<LissaReport>,
}

/// A vector that passed the gate.
#[derive(Debug)]
pub struct Solution<V> {
    /// `(H + lambda I)^-1 v`.
    pub s: V,
    /// How it was solved.
    pub report: SolveReport,
}

/// What a solver hands to the gate.
pub(super) struct Attempt<V> {
    pub s: V,
    pub lambda: f64,
    pub iterations: usize,
    pub converged: bool,
    pub settled: Option<Settled>,
    /// The true residual over the samples, if the solver has computed it.
    pub residual: Option<f64>,
    /// Above this the answer is refused; `None` where the residual is large by nature.
    pub accepted_residual: Option<f64>,
    pub largest_eigenvalue: Option<f64>,
    pub spectrum: Option<Spectrum>,
    pub lissa: Option<LissaReport>,
}

/// Solves `(H + lambda I) s = v` and measures the answer.
///
/// Errors: an option outside its range, an empty labelled set, a NaN, divergence, an indefinite matrix, or a
/// residual above what the options accept. What is returned is always finite.
pub fn solve<E: GradientEngine>(
    problem: Problem<'_, E>,
    options: &SolverOptions,
) -> Result<Solution<E::Vector>, InfluenceError> {
    options.validate()?;
    let Problem { engine, samples, held_out, v, sample, observer } = problem;
    let started = Instant::now();
    if samples.samples() == 0 {
        return Err(InfluenceError::Empty { set: "curvature" });
    }
    let norm = engine.dot(v, v)?.sqrt();
    if !norm.is_finite() {
        return Err(InfluenceError::NonFinite { what: "the reference gradient", step: 0 });
    }
    if norm == 0.0 {
        return Err(InfluenceError::ZeroGradient);
    }
    let curvature_samples = samples.samples();
    let at = At { stage: Stage::Solve, step: 0, steps: 0, samples_a_step: curvature_samples, residual: None };
    let curvature = options.curvature();
    let mut operator = Operator { engine, samples, curvature, lambda: 0.0, observer, at, sample_products: 0 };
    let attempt = match options {
        SolverOptions::Identity(options) => options.solve(&mut operator, v),
        SolverOptions::Lissa(options) => options.solve(&mut operator, v),
        SolverOptions::CgHessian(options)
        | SolverOptions::CgFisher(options)
        | SolverOptions::CgGaussNewton(options) => options.solve(&mut operator, v, sample),
    }?;

    let s = attempt.s;
    let squared = operator.engine.dot(&s, &s)?;
    operator.lambda = attempt.lambda;
    let residual = match attempt.residual {
        Some(residual) => residual,
        None => {
            operator.at =
                At { stage: Stage::Residual, step: 0, steps: 1, samples_a_step: curvature_samples, residual: None };
            operator.residual(&s, v)?.1
        }
    };
    if !(squared.is_finite() && residual.is_finite()) {
        return Err(InfluenceError::NonFinite { what: "the solved vector", step: attempt.iterations });
    }
    if let Some(accepted) = attempt.accepted_residual.filter(|&accepted| residual > accepted) {
        let (iterations, lambda) = (attempt.iterations, attempt.lambda);
        return Err(InfluenceError::NotConverged { solver: options.solver(), residual, accepted, iterations, lambda });
    }
    let held_out_residual = match held_out {
        Some(held_out) => {
            let samples_a_step = held_out.samples();
            operator.samples = held_out;
            operator.at =
                At { stage: Stage::HeldOutResidual, step: 0, steps: 1, samples_a_step, residual: Some(residual) };
            Some(operator.residual(&s, v)?.1)
        }
        None => None,
    };
    let report = SolveReport {
        options: options.clone(),
        curvature,
        lambda: attempt.lambda,
        largest_eigenvalue: attempt.largest_eigenvalue,
        spectrum: attempt.spectrum,
        iterations: attempt.iterations,
        converged: attempt.converged,
        settled: attempt.settled,
        residual,
        held_out_residual,
        curvature_samples,
        sample_products: operator.sample_products,
        seconds: started.elapsed().as_secs_f64(),
        lissa: attempt.lissa,
    };
    Ok(Solution { s, report })
}
