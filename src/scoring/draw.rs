//! A strategy that goes by sample ids alone: only the images it draws are looked at.

use super::prepared::Prepared;
use super::stages::Scored;
use super::{ScoreOptions, ScoringError};
use crate::durable::DurableError;
use crate::observe::Observer;
use crate::scores::{ScoreFormat, ScoreRow, ScoreTable};
use crate::select::select;
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
    let path = options.scores.clone().unwrap_or_else(|| options.out.join("scores.parquet"));
    ScoreFormat::of(&path)?;
    let pool = options.pool.dataset();
    let (order, places) = drawing_order(options)?;
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
    let (mut rows, mut skipped, mut times) = (Vec::new(), Vec::new(), SweepTimes::default());
    let mut next = order.into_iter();
    while rows.len() < options.budget {
        let mut drawn: Vec<usize> = next.by_ref().take(options.budget - rows.len()).collect();
        if drawn.is_empty() {
            break;
        }
        drawn.sort_unstable();
        let images = pool.subset(&drawn)?;
        let key = format!("{} images before", rows.len() + skipped.len());
        let parts = crate::scores::Parts::open(scratch.path(), &key, part_size(batch_size), 0..drawn.len())?;
        let (part, took) = sweep(&images, &prepared.recipe, scorer, &parts, &sweep_options, observer)?;
        rows.extend(part.rows);
        skipped.extend(part.skipped);
        times = times.and(took);
    }
    rows.sort_by_key(|row: &ScoreRow| places.get(&row.id).copied());
    provenance.insert(super::prepared::BATCH_SIZE.into(), batch_size.to_string());
    provenance.insert("images scored".into(), format!("the {} drawn, of {}", rows.len(), pool.len()));
    let table = ScoreTable { provenance, rows };
    table.write(&path)?;
    for (id, reason) in &skipped {
        observer.say(&format!("warning: pool image `{id}` left out: {reason}"));
    }
    let times = (times.images > 0).then_some(times);
    Ok(Scored { table, skipped, times, files: IndexMap::from([("scores", path)]) })
}

/// Positions of the pool in the order in which they are drawn, and the position of each id.
fn drawing_order(options: &ScoreOptions) -> Result<(Vec<usize>, HashMap<String, usize>), ScoringError> {
    let pool = options.pool.dataset();
    let unscored = |id: String| {
        let number = f64::NAN;
        ScoreRow {
            id,
            influence: None,
            pseudo_label: 0,
            confidence: number,
            entropy: number,
            margin: number,
            label: None,
        }
    };
    let rows: Vec<ScoreRow> = (0..pool.len()).map(|i| unscored(pool.id(i))).collect();
    let drawn = select(&rows, rows.len().max(1), &options.strategy)?;
    let places: HashMap<String, usize> = rows.into_iter().enumerate().map(|(i, row)| (row.id, i)).collect();
    let order = drawn.selected.iter().filter_map(|chosen| places.get(&chosen.id).copied()).collect();
    Ok((order, places))
}
