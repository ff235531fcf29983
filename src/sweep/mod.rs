//! The pool, batch by batch, through a scorer.
//!
//! Decoding runs ahead on threads of its own, scoring follows, and finished ranges of the pool go to disk while
//! the next is scored. Memory is bounded by the batch and the score columns. Batches depend on positions in the
//! pool alone, so a sweep that was killed and goes on makes the same batches, and the same bytes.

mod probe;
mod scorer;

pub use probe::{Probe, probe};
pub use scorer::{InfluenceGraph, Native, Predictor, Scored, Scorer};

use crate::causes::in_one_line;
use crate::data::{DataError, Dataset, Loader, LoaderOptions, Recipe};
use crate::influence::{EngineError, InfluenceError};
use crate::observe::Observer;
use crate::runtime::RuntimeError;
use crate::scores::{Part, Parts, ScoreError, ScoreRow};
use std::ops::Range;
use std::time::Instant;

/// Why a sweep ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// An image could not be used and the sweep is strict, or the pool could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The gradient plugin failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Outputs could not be turned into scores.
    #[error(transparent)]
    Influence(#[from] InfluenceError),
    /// ONNX Runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Finished scores could not be kept.
    #[error(transparent)]
    Scores(#[from] ScoreError),
    /// The observer asked to stop. Finished parts are on disk.
    #[error("interrupted after {done} of {total} images")]
    Interrupted {
        /// Images whose scores are safe on disk.
        done: usize,
        /// Images to score.
        total: usize,
    },
}

/// How a sweep runs.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// Images a batch.
    pub batch_size: usize,
    /// Decoding threads; as many as there are cores where `None`.
    pub threads: Option<usize>,
    /// Whether an image that cannot be used ends the sweep.
    pub strict: bool,
    /// Names of the classes, in the order of the model's outputs; labels of the pool are mapped to it by name.
    pub classes: Vec<String>,
}

/// Where the time of a sweep went. Decoding overlaps scoring: what is counted is the waiting for it.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct SweepTimes {
    /// Waiting for decoded images, in seconds.
    pub decode_wait_s: f64,
    /// Scoring, in seconds.
    pub score_s: f64,
    /// Writing finished parts, in seconds.
    pub write_s: f64,
    /// All of it, in seconds.
    pub total_s: f64,
    /// Images scored in that time (those of an earlier, interrupted run are not among them).
    pub images: usize,
}

/// Images of a part for batches of `batch_size`: about a thousand, in whole batches. Parts are what a kill can cost and
/// what a pool is cut into for several machines, so they are not large; and not small, or the batches that end them
/// would be waited for too often.
pub fn part_size(batch_size: usize) -> usize {
    let batch = batch_size.max(1);
    batch.saturating_mul((1024 / batch).clamp(4, 32))
}

/// Scores every image of `pool` that `parts` covers and does not hold already.
///
/// # Errors
/// [`SweepError`]; finished parts stay on disk and the same call goes on from them.
pub fn sweep(
    pool: &Dataset,
    recipe: &Recipe,
    scorer: &mut dyn Scorer,
    parts: &Parts,
    options: &SweepOptions,
    observer: &dyn Observer,
) -> Result<(Part, SweepTimes), SweepError> {
    let began = Instant::now();
    let mut times = SweepTimes::default();
    let ranges: Vec<Range<usize>> = parts.ranges().collect();
    let mut finished: Vec<Option<Part>> = ranges.iter().map(|range| parts.read(range)).collect();
    let open: Vec<usize> = (0..ranges.len()).filter(|i| finished[*i].is_none()).collect();
    let loader_options = LoaderOptions {
        batch_size: options.batch_size,
        threads: options.threads,
        strict: options.strict,
        ..LoaderOptions::default()
    };
    let load = |i: usize| Loader::over(pool.clone(), recipe.clone(), ranges[i].clone().collect(), &loader_options);
    let labels = LabelMap::new(pool.classes(), &options.classes);

    let total: usize = ranges.iter().map(Range::len).sum();
    observer.begin("scoring the pool", total as u64, "images");
    let resumed: usize = ranges.iter().zip(&finished).filter(|(_, p)| p.is_some()).map(|(r, _)| r.len()).sum();
    observer.advance(resumed as u64);
    let mut done = resumed;
    // The loader of the next part decodes while this part's last batches are scored.
    let mut ahead = open.first().map(|i| load(*i)).transpose()?;
    for (place, &i) in open.iter().enumerate() {
        let Some(mut loader) = ahead.take() else { break };
        ahead = open.get(place + 1).map(|next| load(*next)).transpose()?;
        let mut part = Part::default();
        loop {
            let waiting = Instant::now();
            let Some(batch) = loader.next() else { break };
            times.decode_wait_s += waiting.elapsed().as_secs_f64();
            let batch = batch?;
            if observer.interrupted() {
                observer.end();
                return Err(SweepError::Interrupted { done, total });
            }
            let scoring = Instant::now();
            let scored = scorer.score(batch.images.view())?;
            times.score_s += scoring.elapsed().as_secs_f64();
            for (n, (index, label)) in batch.indices.iter().zip(&batch.labels).enumerate() {
                part.rows.push(row(pool.id(*index), labels.map(*label), n, &scored));
            }
            observer.advance(batch.indices.len() as u64);
            times.images += batch.indices.len();
        }
        let skipped = loader.into_skipped();
        observer.advance(skipped.len() as u64);
        part.skipped = skipped.into_iter().map(|s| (s.id, in_one_line(&s.reason))).collect();
        let writing = Instant::now();
        parts.write(&ranges[i], &part)?;
        times.write_s += writing.elapsed().as_secs_f64();
        done += ranges[i].len();
        finished[i] = Some(part);
    }
    observer.end();
    times.total_s = began.elapsed().as_secs_f64();
    let mut whole = Part::default();
    for part in finished.into_iter().flatten() {
        whole.rows.extend(part.rows);
        whole.skipped.extend(part.skipped);
    }
    Ok((whole, times))
}

/// A score that is not a number stays one: it is counted and never selected.
fn row(id: String, label: Option<u32>, n: usize, scored: &Scored) -> ScoreRow {
    let belief = scored.beliefs.get(n);
    let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
    ScoreRow {
        id,
        influence: scored.influence.as_ref().map(|values| number(values.get(n).copied())),
        pseudo_label: belief.and_then(|b| u32::try_from(b.pseudo_label).ok()).unwrap_or(u32::MAX),
        confidence: number(belief.map(|b| b.confidence)),
        entropy: number(belief.map(|b| b.entropy)),
        margin: number(belief.map(|b| b.margin)),
        label,
    }
}

/// From the pool's own class positions to those of the model's outputs.
struct LabelMap(Option<Vec<Option<u32>>>);

impl LabelMap {
    fn new(pool: &[String], model: &[String]) -> LabelMap {
        if pool.is_empty() || model.is_empty() || pool == model {
            return LabelMap(None);
        }
        let place = |name: &String| model.iter().position(|m| m == name).and_then(|i| u32::try_from(i).ok());
        LabelMap(Some(pool.iter().map(place).collect()))
    }

    fn map(&self, label: Option<u32>) -> Option<u32> {
        match &self.0 {
            None => label,
            Some(places) => places.get(label? as usize).copied().flatten(),
        }
    }
}

impl SweepTimes {
    /// `412.3 images/s; 1 % waiting for decoding, 98 % scoring, 1 % writing`
    pub fn sentence(&self) -> String {
        let share = |part: f64| 100.0 * part / self.total_s.max(1e-9);
        format!(
            "{:.1} images/s; {:.0} % waiting for decoding, {:.0} % scoring, {:.0} % writing",
            self.images as f64 / self.total_s.max(1e-9),
            share(self.decode_wait_s),
            share(self.score_s),
            share(self.write_s)
        )
    }
}
