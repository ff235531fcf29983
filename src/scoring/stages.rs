//! The sweep as a stage: parts that are there are not scored again.

use super::prepared::Prepared;
use super::{ScoreOptions, ScoringError};
use crate::influence::SolvedVector;
use crate::observe::Observer;
use crate::scores::{Part, Parts, ScoreTable};
use crate::sweep::{Scorer, SweepOptions, SweepTimes, part_size, sweep};
use indexmap::IndexMap;
use std::path::PathBuf;

/// What the sweep stage leaves.
pub(super) struct Scored {
    pub(super) table: ScoreTable,
    pub(super) skipped: Vec<(String, String)>,
    /// Absent when the table was there already.
    pub(super) times: Option<SweepTimes>,
    pub(super) vector: Option<SolvedVector>,
    pub(super) scores_path: PathBuf,
}

/// Sweeps the pool, or takes the table that the same sweep left.
pub(super) fn sweep_stage(
    options: &ScoreOptions,
    prepared: &Prepared,
    scorer: &mut dyn Scorer,
    provenance: IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let scores_path = options.scores.clone().unwrap_or_else(|| options.out.join("scores.parquet"));
    crate::scores::ScoreFormat::of(&scores_path)?;
    let key = serde_json::to_string(&provenance).unwrap_or_default();
    let parts = Parts::open(&options.out.join("parts"), &key, part_size(options.batch_size), options.pool.len())?;
    let sweep_options = SweepOptions {
        batch_size: options.batch_size,
        threads: (options.threads > 0).then_some(options.threads),
        strict: options.strict,
        classes: prepared.classes.clone(),
    };
    let (Part { rows, skipped }, times) =
        sweep(options.pool.dataset(), &prepared.recipe, scorer, &parts, &sweep_options, observer)?;
    let table = ScoreTable { provenance, rows };
    table.write(&scores_path)?;
    for (id, reason) in skipped.iter().take(5) {
        observer.say(&format!("warning: pool image `{id}` left out: {reason}"));
    }
    if skipped.len() > 5 {
        observer.say(&format!("warning: and {} more pool images left out; all are in run.json", skipped.len() - 5));
    }
    let times = (times.images > 0).then_some(times);
    Ok(Scored { table, skipped, times, vector: None, scores_path })
}
