//! Images to `s`, with the plugin held against ONNX Runtime first.

use super::curvature::Drawn;
use super::prepared::Prepared;
use super::samples::{Annotated, Samples};
use super::{ReferenceSet, ScoreOptions, ScoringError, SolveKey, agreement, ihvp};
use crate::data::{DataError, Dataset, HoldOut, Labelled, LoaderOptions, OnOverlap, Reference, Split};
use crate::error_chain::in_one_line;
use crate::influence::{Batches as _, GradientEngine, InfluenceError, Joined, SolvedVector, SolverOptions};
use crate::network::Aside;
use crate::observe::{Observer, Stage};
use crate::plugin::PluginEngine;
use crate::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use crate::sweep::{Predictor, influences};
use crate::task::Task;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Images a batch where none was asked for. Not what the sweep's probe finds: `s` must not hang on how busy a machine was.
const BATCH: usize = 64;

/// What is solved, on which images, and where the vector goes.
pub(super) struct Solving<'a> {
    pub(super) options: &'a ScoreOptions,
    pub(super) prepared: &'a Prepared,
    pub(super) task: &'a Task,
    /// ONNX Runtime, which the plugin is held against, and which says what the model believes of images without annotations.
    pub(super) library: &'a Library,
    pub(super) curvature: &'a Drawn,
    pub(super) reference: &'a Dataset,
    pub(super) key: &'a SolveKey,
    pub(super) path: &'a Path,
}

/// Images of the pool whose influences must have settled before a solve ends, and on which a graph is then held against the
/// exact derivative.
pub(super) const SAMPLE: usize = 256;

/// Those whose influences have to settle; a solver that does not settle has no use for them.
fn sampled(solver: &SolverOptions, pool: &Dataset) -> Vec<usize> {
    if solver.settles() { pool.spread(SAMPLE) } else { Vec::new() }
}

/// The pool images that a solve looks at: those of the curvature, and those whose influences have to settle.
pub(super) fn of_pool(curvature: &Drawn, solver: &SolverOptions, pool: &Dataset) -> Result<Dataset, DataError> {
    pool.subset(&[curvature.pool.clone(), sampled(solver, pool)].concat())
}

/// Reads the images, checks the plugin against ONNX Runtime on some of them, and solves.
pub(super) fn solve_stage(
    solving: &Solving,
    engine: &mut PluginEngine,
    observer: &dyn Observer,
) -> Result<SolvedVector, ScoringError> {
    let Solving { options, prepared, task, library, key, path, .. } = *solving;
    let loader = LoaderOptions {
        batch_size: options.batch_size.unwrap_or(BATCH),
        threads: (options.threads > 0).then_some(options.threads),
        strict: options.strict,
        ..LoaderOptions::default()
    };
    let on_cpu = SessionOptions { provider: ExecutionProvider::Cpu, threads: options.threads };
    let predictor = Predictor::open(library, &prepared.network, task, on_cpu)?;
    let known = Annotated::Known(Arc::clone(&prepared.family));
    let believed = Annotated::Believed(Arc::new(Mutex::new(predictor)));
    let read = |dataset: &Dataset, what: &str, annotated: &Annotated| -> Result<Samples, ScoringError> {
        let stage = Stage::begin(observer, &format!("reading {what} images"), dataset.len() as u64, "images");
        let samples = Samples::read(dataset, &prepared.recipe, annotated.clone(), &loader, |n| {
            observer.advance(n as u64);
            !observer.interrupted()
        });
        drop(stage);
        let samples = samples?;
        for skipped in &samples.skipped {
            observer.say(&format!("warning: {what} image left out: {}", in_one_line(&skipped.reason)));
        }
        Ok(samples)
    };
    let Drawn { labelled, pool } = solving.curvature;
    let of_pool = options.pool.dataset();
    let (pool, sample) = (of_pool.subset(pool)?, of_pool.subset(&sampled(&key.solver, of_pool))?);
    let mut labelled = read(labelled, "labelled", &known)?;
    let mut pool = read(&pool, "pool", &believed)?;
    let mut sample = read(&sample, "sample", &believed)?;
    let mut reference = read(solving.reference, "reference", &known)?;
    check_agreement(solving, engine, &mut reference, on_cpu)?;

    let mut of_sample = |engine: &mut PluginEngine, s: &<PluginEngine as GradientEngine>::Vector| {
        let mut found = Vec::with_capacity(sample.samples());
        sample.visit(&mut |images, annotations| {
            found.extend(influences(engine, images, annotations, s)?);
            if observer.interrupted() { Err(InfluenceError::Cancelled) } else { Ok(()) }
        })?;
        Ok(found)
    };
    let pool_samples = pool.samples();
    let images = ihvp::Images {
        curvature: &mut Joined { first: &mut labelled, second: &mut pool },
        of_pool: pool_samples,
        reference: &mut reference,
        sample: &mut of_sample,
    };
    ihvp::solve_and_save(engine, images, key, path, observer)
}

/// Compares the plugin with ONNX Runtime on a few images: the values that the loss reads.
fn check_agreement(
    solving: &Solving,
    engine: &PluginEngine,
    samples: &mut Samples,
    on_cpu: SessionOptions,
) -> Result<(), ScoringError> {
    let positions: Vec<usize> = (0..samples.samples().min(8)).collect();
    let (images, _) = samples.gather(&positions)?;
    let ending = agreement::ending_at(&solving.prepared.network.model, engine);
    let values = Aside::write(&ending, Path::new("values.onnx"))?;
    let mut session = Session::open(solving.library, values.path(), on_cpu)?;
    agreement::check(engine, &mut session, images.view())?;
    Ok(())
}

/// Labelled and reference images, disjoint.
pub(super) fn split(
    labelled: &Split<Labelled>,
    reference: &ReferenceSet,
) -> Result<(Split<Labelled>, Split<Reference>), ScoringError> {
    Ok(match reference {
        ReferenceSet::Given(reference) => {
            let reference = Split::<Reference>::given(reference.clone(), labelled, None, OnOverlap::Refuse)?;
            (labelled.clone(), reference)
        }
        ReferenceSet::HeldOut { fraction, seed } => labelled.hold_out(HoldOut::Fraction(*fraction), *seed)?,
    })
}
