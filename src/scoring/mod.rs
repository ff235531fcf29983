//! `score pool` as stages: reference gradient and `s`, the sweep, the selection.
//!
//! Every stage is a file with its provenance in the output folder. A stage whose file is there, made from the same
//! inputs with the same options, is not done again; so a killed command goes on where it stopped, and another budget
//! or strategy costs no new sweep.

mod agreement;
mod engines;
mod error;
mod ihvp;
mod options;
mod outcome;
mod pair;
mod prepared;
mod samples;
mod solving;
mod stages;

pub use error::ScoringError;
pub use ihvp::SolveKey;
pub use options::{Engine, ReferenceSet, ScoreOptions};
pub use outcome::Outcome;
pub use samples::Samples;

use crate::durable::FolderLock;
use crate::observe::Observer;
use crate::runtime::{Library, Session, SessionOptions};
use crate::select::{Needs, select};
use crate::sweep::Predictor;
use prepared::{Prepared, prepare};
use stages::{Scored, sweep_stage};

/// Scores a pool and selects from it.
///
/// # Errors
/// [`ScoringError`]. Whatever stage had finished is kept and not done again by the same call.
pub fn score_pool(options: &ScoreOptions, observer: &dyn Observer) -> Result<Outcome, ScoringError> {
    let _lock = FolderLock::take(&options.out)?;
    let prepared = prepare(options)?;
    let needs_influence = options.strategy.row().needs == Needs::Influence;
    let scored = if needs_influence {
        engines::with_influence(options, &prepared, observer)?
    } else {
        let library = Library::load(options.onnxruntime.as_deref())?;
        let session_options = SessionOptions { provider: options.provider, threads: options.threads };
        let session = Session::open(&library, &options.model, session_options)?;
        let mut provenance = prepared.provenance.clone();
        provenance.insert("engine".into(), format!("ONNX Runtime {}", library.version()));
        provenance.insert("execution provider".into(), session.provider().to_string());
        let mut scorer =
            Predictor { session, output: prepared.classifier.output.clone(), contraction: prepared.contraction() };
        sweep_stage(options, &prepared, &mut scorer, provenance, observer)?
    };
    let finite = |row: &crate::scores::ScoreRow| {
        if needs_influence { row.influence.is_some_and(f64::is_finite) } else { row.confidence.is_finite() }
    };
    if !scored.table.rows.is_empty() && !scored.table.rows.iter().any(finite) {
        return Err(ScoringError::NoScores { images: scored.table.rows.len() });
    }
    let selection = select(&scored.table.rows, options.budget, &options.strategy)?;
    outcome::write(options, &prepared, scored, selection)
}
