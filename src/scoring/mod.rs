//! `score pool` as stages: reference gradient and `s`, the sweep, the selection.
//!
//! Every stage is a file with its provenance in the output folder. A stage whose file is there, made from the same
//! inputs with the same options, is not done again; so a killed command goes on where it stopped, and another budget
//! or strategy costs no new sweep.

mod agreement;
mod batch_size;
mod carried;
mod curvature;
mod draw;
mod embedding;
mod engines;
mod error;
mod fit;
mod folder;
mod host;
mod ihvp;
mod joint;
mod known;
mod labelled;
mod merge;
mod options;
mod outcome;
mod overlay;
mod prepared;
mod samples;
mod served;
mod shard;
mod solving;
mod stages;
mod tally;
mod usable;
mod wording;

pub use curvature::{CurvatureImages, CurvatureOptions};
pub use embedding::Features;
pub use error::ScoringError;
pub(crate) use fit::measure;
pub use folder::ScoredFolder;
pub use ihvp::SolveKey;
pub use labelled::labelled_influences;
pub use merge::{MergeError, MergeOptions, merge};
pub use options::{Engine, ModelSource, ReferenceSet, ScoreOptions, Source};
pub use outcome::Outcome;
pub use overlay::Overlay;
pub use samples::{Annotated, Samples};
pub use shard::Shard;
pub use usable::NoneUsable;

use crate::durable::FolderLock;
use crate::observe::Observer;
use crate::scores::{Rows, ScoreRow};
use crate::select::{Needs, Selection, StrategyOptions, select_with};
use crate::sweep::Predictor;
use carried::Carried;
use outcome::Written;
use prepared::prepare;
use tally::Tally;

/// Scores a pool and selects from it.
///
/// # Errors
/// [`ScoringError`]. Whatever stage had finished is kept and not done again by the same call.
pub fn score_pool(options: &ScoreOptions, observer: &dyn Observer) -> Result<Outcome, ScoringError> {
    let _lock = FolderLock::take(&options.out)?;
    // Of a strategy that chooses jointly, the candidates.
    let (first, count) = options.first_pass();
    let needs_influence = first.row().needs == Needs::Influence;
    let (prepared, task, mut scored) = match &options.source {
        Source::Model(from) => {
            if options.server.is_some() {
                served::check_model(options)?;
            }
            let (prepared, task) = prepare(from, options, observer)?;
            usable::check(options, &prepared.recipe, observer)?;
            if let Some(server) = &options.server {
                let scored = served::model(server, (&prepared, &task), options, observer)?;
                (prepared, Some(task), scored)
            } else if needs_influence {
                let scored = engines::with_influence(from, options, (&prepared, &task), observer)?;
                (prepared, Some(task), scored)
            } else {
                let (library, session_options) = stages::runtime(options, observer)?;
                let mut predictor = Predictor::open(&library, &prepared.network, &task, session_options)?;
                let scored = stages::predictions(&mut predictor, &library, &prepared, options, observer)?;
                (prepared, Some(task), scored)
            }
        }
        Source::Influence(path) => {
            if options.strategy.rule().is_some() {
                return Err(ScoringError::NeedsModel { strategy: options.strategy.row().name });
            }
            let carried = Carried::read(path, options)?;
            usable::check(options, &carried.prepared.recipe, observer)?;
            let scored = host::sweep_alone(path, &carried, options, observer)?;
            (carried.prepared, None, scored)
        }
    };
    scored.keep()?;
    let drawing = outcome::Drawing { prepared: &prepared, task: task.as_ref(), options };
    let written = Written {
        out: &options.out,
        pool: Some(options.pool.dataset()),
        pool_name: &options.pool_name,
        classes: &prepared.classes,
        family: prepared.family.as_ref(),
        label_kind: prepared.label_kind,
        drawing: Some(&drawing),
    };
    if let Some(shard) = options.shard {
        return outcome::write_shard(&written, shard, scored);
    }
    let rows = scored.rows.view();
    refuse_no_scores(rows, &first)?;
    // Where all that was drawn is known, there is nothing to select from.
    let mut selection = if rows.is_empty() && scored.passed_over.known() > 0 {
        Selection::nothing(options.strategy, options.budget)
    } else {
        select_with(rows, count, &first, options.duplicates, options.without_boxes)?
    };
    if options.strategy.rule().is_some() || options.filters.any() {
        selection = joint::choose(options, (&prepared, task.as_ref()), selection, &mut scored, observer)?;
    }
    let tally = Tally::of(scored.rows.view(), Some(&selection))?;
    if options.strategy.draws() {
        // Drawn from all of them, though only those drawn were scored.
        selection.pool = options.pool.len();
        selection.left_out = scored.passed_over;
        selection.selected.iter_mut().for_each(|selected| selected.copies = None);
    }
    outcome::write(&written, scored, tally, selection)
}

/// Refuses a table in which no image has the number that the strategy goes by, or any belief where it goes by none.
fn refuse_no_scores(rows: Rows, strategy: &StrategyOptions) -> Result<(), ScoringError> {
    let keys = strategy.keys(rows.columns())?;
    let finite = |row: &ScoreRow| match strategy.row().needs {
        Needs::Influence => row.influence.is_none_or(f64::is_finite),
        Needs::Belief { .. } => keys.of(row).is_ok_and(f64::is_finite),
        Needs::Nothing | Needs::Embedding => {
            row.beliefs.is_empty() || row.beliefs.iter().any(|belief| belief.is_finite())
        }
    };
    if !rows.is_empty() && !rows.any(finite)? {
        return Err(ScoringError::NoScores { images: rows.len() });
    }
    Ok(())
}
