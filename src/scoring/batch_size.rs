//! Which batch size a sweep takes: the one asked for, the one it had when it was interrupted, or the one found by trying.
//!
//! `sweep.json` keeps it beside what the sweep was of, because scores in another batch size differ in their last bits:
//! a sweep that goes on must go on with the same.

use super::prepared::{BATCH_SIZE, Prepared};
use super::{ScoreOptions, ScoringError};
use crate::durable;
use crate::observe::Observer;
use crate::sweep::{Scorer, probe};
use indexmap::IndexMap;

/// What a shard takes, and a pool in which no image can be tried. Shards must agree, and machines that try would not.
const UNTRIED: usize = 64;
const SCHEMA: &str = "isal-sweep/1";

/// `sweep.json`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Sweep {
    schema: String,
    batch_size: usize,
    /// Images a second by batch size, where they were tried.
    #[serde(default)]
    tried: Vec<(usize, f64)>,
    /// The provenance of the scores, without the batch size.
    of: IndexMap<String, String>,
}

/// The batch size of a sweep with this provenance; it is added to the provenance too.
pub(super) fn settle(
    options: &ScoreOptions,
    prepared: &Prepared,
    scorer: &mut dyn Scorer,
    provenance: &mut IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<usize, ScoringError> {
    let path = options.out.join("sweep.json");
    let mut of = provenance.clone();
    of.shift_remove(BATCH_SIZE);
    let saved = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Sweep>(&bytes).ok());
    let saved = saved.filter(|saved| saved.schema == SCHEMA && saved.of == of && saved.batch_size > 0);
    let fixed = prepared.network.input.first().copied().flatten();
    let (batch_size, tried) = match (options.batch_size.or(fixed), saved, options.shard) {
        (Some(given), _, _) => (given, Vec::new()),
        (None, Some(saved), _) => (saved.batch_size, saved.tried),
        (None, None, Some(_)) => (UNTRIED, Vec::new()),
        (None, None, None) => {
            let threads = (options.threads > 0).then_some(options.threads);
            match probe(options.pool.dataset(), &prepared.recipe, scorer, threads, observer)? {
                Some(found) => {
                    observer.say(&found.sentence());
                    (found.batch_size, found.rates)
                }
                None => (UNTRIED, Vec::new()),
            }
        }
    };
    let sweep = Sweep { schema: SCHEMA.to_owned(), batch_size, tried, of };
    durable::write_bytes(&path, &serde_json::to_vec_pretty(&sweep).unwrap_or_default())?;
    provenance.insert(BATCH_SIZE.to_owned(), batch_size.to_string());
    Ok(batch_size)
}
