//! The stage that has `s`: solves it, or takes it from disk where the same one was solved before.

use super::ScoringError;
use crate::influence::{
    ArtefactError, Batches, GradientEngine, Problem, Progress, Provenance, SampleInfluences, SolvedVector,
    SolverOptions, Stage, reference_gradient, solve,
};
use crate::observe::Observer;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// What identifies a solve: equal keys give equal vectors.
#[derive(Debug, Clone)]
pub struct SolveKey {
    /// Hash of the model.
    pub model_sha256: String,
    /// Hash of the labelled data with its preprocessing.
    pub labelled_sha256: String,
    /// Hash of the reference data with its preprocessing.
    pub reference_sha256: String,
    /// Hash of the pool images that take part with their preprocessing.
    pub pool_sha256: String,
    /// Images of the labelled set.
    pub labelled_samples: usize,
    /// Images of the curvature: labelled ones, and those of the pool.
    pub curvature: [usize; 2],
    /// Scope as the user gave it.
    pub scope: String,
    /// The loss, and the values of the model that it is taken of.
    pub loss: String,
    /// Solver and options.
    pub solver: SolverOptions,
    /// Versions of what takes part, by name.
    pub versions: BTreeMap<String, String>,
}

/// A vector on disk that was solved for this key, if there is one.
pub fn saved<E: GradientEngine>(path: &Path, key: &SolveKey, engine: &E) -> Option<SolvedVector> {
    // A missing, broken or other vector is solved anew: nothing is lost by it.
    let vector = SolvedVector::load(path).ok()?;
    vector.check(engine.parameters(), &key.model_sha256).ok()?;
    let made = &vector.provenance;
    (made.labelled_sha256 == key.labelled_sha256
        && made.reference_sha256 == key.reference_sha256
        && made.pool_sha256 == key.pool_sha256
        && made.curvature_drawn == key.curvature
        && made.scope == key.scope
        && made.loss == key.loss
        && made.solve.options == key.solver
        && made.versions == key.versions)
        .then_some(vector)
}

/// The images of a solve, and what computes the influences of a sample of the pool.
pub struct Images<'a, E: GradientEngine> {
    /// Those that the curvature is the mean over.
    pub curvature: &'a mut dyn Batches,
    /// How many of them are of the pool.
    pub of_pool: usize,
    /// Those whose loss is to fall.
    pub reference: &'a mut dyn Batches,
    /// Influences of a sample of the pool.
    pub sample: &'a mut SampleInfluences<'a, E>,
}

/// Computes the reference gradient, solves for `s`, and keeps both at `path`.
///
/// # Errors
/// Whatever the solver says ([`InfluenceError`]), or that the file could not be written.
pub fn solve_and_save<E: GradientEngine>(
    engine: &mut E,
    images: Images<'_, E>,
    key: &SolveKey,
    path: &Path,
    observer: &dyn Observer,
) -> Result<SolvedVector, ScoringError> {
    let Images { curvature, of_pool, reference, sample } = images;
    let mut stages = Stages { observer, open: None };
    let v = reference_gradient(engine, reference, &mut |progress| stages.show(progress))?;
    let solution = solve(
        Problem {
            engine,
            samples: curvature,
            held_out: Some(reference),
            v: &v.vector,
            sample: Some(sample),
            observer: &mut |progress: &Progress| stages.show(progress),
        },
        &key.solver,
    )?;
    stages.close();
    let vector = SolvedVector {
        parameters: engine.parameters().to_vec(),
        s: engine.download(&solution.s)?,
        reference_gradient: engine.download(&v.vector)?,
        provenance: Provenance {
            model_sha256: key.model_sha256.clone(),
            labelled_sha256: key.labelled_sha256.clone(),
            pool_sha256: key.pool_sha256.clone(),
            curvature_drawn: key.curvature,
            labelled_samples: key.labelled_samples,
            pool_samples: of_pool,
            reference_sha256: key.reference_sha256.clone(),
            reference_samples: v.samples,
            reference_loss: v.loss,
            reference_gradient_norm: v.norm,
            scope: key.scope.clone(),
            loss: key.loss.clone(),
            solve: solution.report,
            versions: key.versions.clone(),
        },
    };
    vector.save(path).map_err(|source: ArtefactError| ScoringError::Artefact(Box::new(source)))?;
    Ok(vector)
}

/// Shows a solver's reports as stages.
struct Stages<'a> {
    observer: &'a dyn Observer,
    open: Option<(Stage, u64)>,
}

impl Stages<'_> {
    fn show(&mut self, progress: &Progress) -> ControlFlow<()> {
        if self.observer.interrupted() {
            return ControlFlow::Break(());
        }
        if self.open.is_none_or(|(stage, _)| stage != progress.stage) {
            self.close();
            let name = match progress.stage {
                Stage::ReferenceGradient => "reference gradient",
                Stage::Damping => "damping",
                Stage::Solve => "solving for s",
                Stage::Residual => "residual",
                Stage::HeldOutResidual => "held-out residual",
            };
            let total = progress.steps.max(1).saturating_mul(progress.samples_a_step) as u64;
            self.observer.begin(name, total, "samples");
            self.open = Some((progress.stage, 0));
        }
        if let Some((_, shown)) = &mut self.open {
            let done = (progress.step.saturating_mul(progress.samples_a_step)
                + progress.samples % progress.samples_a_step.max(1)) as u64;
            self.observer.advance(done.saturating_sub(*shown));
            *shown = done.max(*shown);
        }
        ControlFlow::Continue(())
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.observer.end();
        }
    }
}

impl Drop for Stages<'_> {
    fn drop(&mut self) {
        self.close();
    }
}
