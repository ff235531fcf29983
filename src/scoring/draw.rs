//! A strategy that goes by sample ids alone: only the images it draws are looked at.

use super::prepared::Prepared;
use super::stages::{Scored, ScoredRows, scores_path};
use super::{ScoreOptions, ScoringError, known};
use crate::durable::DurableError;
use crate::observe::Observer;
use crate::scores::{self, Rows, ScoreError, ScoreRow};
use crate::select::{Duplicates, LeftOut, Ranked, Ranking, StrategyOptions};
use crate::sweep::{Scorer, SweepOptions, SweepTimes, part_size, sweep};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};

/// Images a batch where none was asked for: so few images are not worth a search.
const BATCH: usize = 64;
/// Images that are drawn at once beyond those that are still missing, at most: so many rows are held.
const AT_ONCE: usize = 1 << 16;

/// Draws the budget, or the candidates of a joint strategy, and scores what was drawn. An image that cannot be used, or that shows what a known or another drawn
/// image shows, is left out, and the next one is drawn.
pub(super) fn scored(
    options: &ScoreOptions,
    prepared: &Prepared,
    scorer: &mut dyn Scorer,
    mut provenance: IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let (by, budget) = options.first_pass();
    let path = scores_path(options.scores.as_deref(), &options.out)?;
    let pool = options.pool.dataset();
    let batch_size = options.batch_size.unwrap_or(BATCH);
    let sweep_options = SweepOptions {
        batch_size,
        threads: (options.threads > 0).then_some(options.threads),
        strict: options.strict,
        classes: prepared.family.goes_by_labels().then(|| prepared.classes.clone()),
        known: known::known_images(options, prepared, observer)?,
    };
    provenance
        .extend(known::describe(&sweep_options.known).map(|known_images| (known::KNOWN.to_owned(), known_images)));
    let scratch = tempfile::tempdir_in(&options.out).map_err(|source| DurableError::Io {
        doing: "create a temporary folder in",
        path: options.out.clone(),
        source,
    })?;
    let leave_out = options.duplicates == Duplicates::LeaveOut;
    // Rows with their position in the pool.
    let mut rows: Vec<(usize, ScoreRow)> = Vec::new();
    let mut shown = HashSet::new();
    let (mut skipped, mut times, mut passed_over) = (Vec::new(), SweepTimes::default(), LeftOut::default());
    let (mut last, mut looked_at) = (None, 0);
    while rows.len() < budget {
        let missing = budget - rows.len();
        // Every draw goes through the whole pool: where most of it is copies, few draws must do.
        let most = if 2 * rows.len() < looked_at { missing.max(looked_at.min(AT_ONCE)) } else { missing };
        let drawn = draw(options, &by, most, last.as_ref())?;
        let Some(last_drawn) = drawn.last() else { break };
        last = Some(last_drawn.clone());
        looked_at += drawn.len();
        let order: HashMap<String, (usize, usize)> =
            drawn.into_iter().enumerate().map(|(place, drawn)| (drawn.id, (place, drawn.held))).collect();
        let mut positions: Vec<usize> = order.values().map(|(_, at)| *at).collect();
        positions.sort_unstable();
        let images = pool.subset(&positions)?;
        let key = format!("{looked_at} images drawn");
        let size = part_size(batch_size);
        let parts = scores::Parts::open(scratch.path(), &key, scorer.columns(), size, 0..positions.len())?;
        let swept = sweep(&images, &prepared.recipe, scorer, &parts, &sweep_options, observer)?;
        let mut scored = Vec::with_capacity(swept.rows.len());
        Rows::Files(&swept.rows).each(|row| {
            scored.extend(order.get(&row.id).map(|(place, at)| (*place, *at, row.clone())));
            Ok::<(), ScoreError>(())
        })?;
        scored.sort_unstable_by_key(|(place, _, _)| *place);
        for (_, at, row) in scored {
            if rows.len() == budget {
                break;
            }
            match row.same_as.filter(|_| leave_out) {
                Some(set) => passed_over.count(set),
                None if leave_out && !shown.insert(row.content) => passed_over.copies += 1,
                None => rows.push((at, row)),
            }
        }
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
    Ok(Scored {
        passed_over,
        ..Scored::new(provenance, ScoredRows::Memory(scorer.columns().to_vec(), rows), path, skipped, Some(times))
    })
}

/// The next `most` images of the pool in the order in which they are drawn, after `last`, with their positions.
fn draw(
    options: &ScoreOptions,
    by: &StrategyOptions,
    most: usize,
    last: Option<&Ranked<usize>>,
) -> Result<Vec<Ranked<usize>>, ScoringError> {
    let pool = options.pool.dataset();
    let keys = by.keys(&[])?;
    let mut ranking = Ranking::of(most);
    for at in 0..pool.len() {
        let unscored = ScoreRow { id: pool.id(at), ..ScoreRow::default() };
        let key = keys.of(&unscored)?;
        if last.is_none_or(|last| last.is_before(key, &unscored.id)) {
            ranking.offer(key, &unscored.id, None, || at);
        }
    }
    Ok(ranking.lowest())
}
