//! A strategy that goes by sample ids alone: only the images it draws are looked at.

use super::prepared::Prepared;
use super::stages::{Scored, ScoredRows, scores_path};
use super::{ScoreOptions, ScoringError};
use crate::durable::DurableError;
use crate::observe::Observer;
use crate::scores::{self, Rows, ScoreError, ScoreRow};
use crate::select::{Ranked, Ranking};
use crate::sweep::{Scorer, SweepOptions, SweepTimes, part_size, sweep};
use indexmap::IndexMap;
use std::collections::HashMap;

/// Images a batch where none was asked for: so few images are not worth a search.
const BATCH: usize = 64;

/// Draws the budget, and scores what was drawn. An image that cannot be used is left out, and the next one is drawn.
pub(super) fn scored(
    options: &ScoreOptions,
    prepared: &Prepared,
    scorer: &mut dyn Scorer,
    mut provenance: IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let path = scores_path(options.scores.as_deref(), &options.out)?;
    let pool = options.pool.dataset();
    let batch_size = options.batch_size.unwrap_or(BATCH);
    let sweep_options = SweepOptions {
        batch_size,
        threads: (options.threads > 0).then_some(options.threads),
        strict: options.strict,
        classes: prepared.classes.clone(),
    };
    let scratch = tempfile::tempdir_in(&options.out).map_err(|source| DurableError::Io {
        doing: "create a temporary folder in",
        path: options.out.clone(),
        source,
    })?;
    // Rows with their position in the pool.
    let mut rows: Vec<(usize, ScoreRow)> = Vec::new();
    let (mut skipped, mut times) = (Vec::new(), SweepTimes::default());
    let mut last = None;
    while rows.len() < options.budget {
        let drawn = draw(options, options.budget - rows.len(), last.as_ref())?;
        let Some(last_drawn) = drawn.last() else { break };
        last = Some(last_drawn.clone());
        let places: HashMap<String, usize> = drawn.into_iter().map(|drawn| (drawn.id, drawn.held)).collect();
        let mut positions: Vec<usize> = places.values().copied().collect();
        positions.sort_unstable();
        let images = pool.subset(&positions)?;
        let key = format!("{} images before", rows.len() + skipped.len());
        let parts = scores::Parts::open(scratch.path(), &key, part_size(batch_size), 0..positions.len())?;
        let swept = sweep(&images, &prepared.recipe, scorer, &parts, &sweep_options, observer)?;
        Rows::Files(&swept.rows).each(|row| {
            rows.extend(places.get(&row.id).map(|at| (*at, row.clone())));
            Ok::<(), ScoreError>(())
        })?;
        skipped.extend(swept.skipped);
        times = times.and(swept.times);
    }
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<ScoreRow> = rows.into_iter().map(|(_, row)| row).collect();
    provenance.insert(super::prepared::BATCH_SIZE.into(), batch_size.to_string());
    provenance.insert("images scored".into(), format!("the {} drawn, of {}", rows.len(), pool.len()));
    for (id, reason) in &skipped {
        observer.say(&format!("warning: pool image `{id}` left out: {reason}"));
    }
    Ok(Scored::new(provenance, ScoredRows::Memory(rows), path, skipped, Some(times)))
}

/// The next `most` images of the pool in the order in which they are drawn, after `last`, with their positions.
fn draw(options: &ScoreOptions, most: usize, last: Option<&Ranked<usize>>) -> Result<Vec<Ranked<usize>>, ScoringError> {
    let pool = options.pool.dataset();
    let mut ranking = Ranking::of(most);
    for at in 0..pool.len() {
        let number = f64::NAN;
        let unscored = ScoreRow {
            id: pool.id(at),
            influence: None,
            pseudo_label: 0,
            confidence: number,
            entropy: number,
            margin: number,
            label: None,
        };
        let key = options.strategy.key(&unscored)?;
        if last.is_none_or(|last| last.is_before(key, &unscored.id)) {
            ranking.offer(key, &unscored.id, || at);
        }
    }
    Ok(ranking.lowest())
}
