//! The pool, batch by batch, through a scorer.
//!
//! Decoding runs ahead on threads of its own, scoring follows, and finished ranges of the pool go to disk on another
//! thread while the next is scored; the queues between them are bounded. Rows that are on disk are not kept, so memory is
//! bounded by the batch and the part, whatever the pool. Batches depend on positions in the pool alone, so a sweep that was killed and goes on makes the same batches,
//! and the same bytes.

mod decoded;
mod decoder;
mod embedder;
mod probe;
mod scorer;
mod served;
mod stability;
mod times;
mod writer;

pub use decoded::Decoded;
pub use embedder::Embedder;
pub use probe::{Probe, probe};
pub use scorer::{InfluenceGraph, Native, Pending, Predictor, Scored, Scorer, influences};
pub use served::Served;
pub use stability::Stability;
pub use times::SweepTimes;

use crate::data::{Content, DataError, Dataset, Loader, LoaderOptions, Recipe, Skipped};
use crate::error_chain::in_one_line;
use crate::inference_client::ClientError;
use crate::influence::{EngineError, InfluenceError};
use crate::network::NetworkError;
use crate::observe::{Observer, Stage};
use crate::runtime::RuntimeError;
use crate::scores::{Finished, KnownImages, Part, Parts, ScoreError, ScoreRow, Stored};
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;
use writer::Writer;

/// Why a sweep ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// An image could not be used and the sweep is strict, or the pool could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The server that scores.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The gradient plugin failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Outputs could not be turned into scores.
    #[error(transparent)]
    Influence(#[from] InfluenceError),
    /// The model could not be given its decode graph.
    #[error(transparent)]
    Network(#[from] NetworkError),
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

/// What a sweep leaves.
#[derive(Debug, Clone)]
pub struct Swept {
    /// Rows of the images that could be scored, in pool order, in the files of the parts.
    pub rows: Stored,
    /// Ids of the images that could not, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Where the time went.
    pub times: SweepTimes,
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
    /// Names of the classes, in the order of the model's outputs; labels of the pool are mapped to it by name. `None` for a
    /// task that does not go by labels.
    pub classes: Option<Vec<String>>,
    /// Images that need no label: a pool image that shows one of them is marked.
    pub known: KnownImages,
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
) -> Result<Swept, SweepError> {
    let began = Instant::now();
    let ranges: Vec<Range<usize>> = parts.ranges().collect();
    let mut finished: Vec<Option<Finished>> = ranges.iter().map(|range| parts.finished(range)).collect();
    let open: Vec<usize> = (0..ranges.len()).filter(|i| finished[*i].is_none()).collect();
    let total: usize = ranges.iter().map(Range::len).sum();
    let left: usize = open.iter().map(|i| ranges[*i].len()).sum();
    if left < total {
        observer.say(&format!("{} of {total} images were scored before", total - left));
    }
    let stage = Stage::begin(observer, "scoring the pool", left as u64, "images");
    let mut scoring = Scoring {
        pool,
        recipe,
        scorer,
        loader: LoaderOptions {
            batch_size: options.batch_size,
            threads: options.threads,
            strict: options.strict,
            contents: true,
            ..LoaderOptions::default()
        },
        labels: options.classes.as_ref().map(|classes| LabelMap::new(pool.classes(), classes)),
        known: &options.known,
        observer,
        began,
        times: SweepTimes::default(),
    };
    let (ended, written) = std::thread::scope(|scope| {
        let writer = Writer::start(scope, parts, &ranges);
        let ended = scoring.run(&ranges, &open, &writer);
        let waiting = Instant::now();
        let written = writer.finish();
        scoring.times.write_wait_s += waiting.elapsed().as_secs_f64();
        (ended, written)
    });
    drop(stage);
    let mut times = scoring.times;
    (times.write_s, times.total_s) = (written.seconds, began.elapsed().as_secs_f64());
    for (place, part) in written.parts {
        finished[place] = Some(part);
    }
    if let Some(failure) = written.failure {
        return Err(failure.into());
    }
    if ended? == Ended::Interrupted {
        let safe = ranges.iter().zip(&finished).filter(|(_, part)| part.is_some());
        return Err(SweepError::Interrupted { done: safe.map(|(range, _)| range.len()).sum(), total });
    }
    let (mut rows, mut skipped) = (0, Vec::new());
    for part in finished.into_iter().flatten() {
        rows += part.rows;
        skipped.extend(part.skipped);
    }
    Ok(Swept { rows: parts.stored(rows), skipped, times })
}

/// How the scoring of all parts came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Interrupted,
    /// The writer says why.
    NotWritten,
}

/// What the scoring of a part needs.
struct Scoring<'a> {
    pool: &'a Dataset,
    recipe: &'a Recipe,
    scorer: &'a mut dyn Scorer,
    loader: LoaderOptions,
    labels: Option<LabelMap>,
    known: &'a KnownImages,
    observer: &'a dyn Observer,
    began: Instant,
    times: SweepTimes,
}

impl Scoring<'_> {
    fn load(&self, range: &Range<usize>) -> Result<Loader, DataError> {
        Loader::over(self.pool.clone(), self.recipe.clone(), range.clone().collect(), &self.loader)
    }

    fn run(&mut self, ranges: &[Range<usize>], open: &[usize], writer: &Writer) -> Result<Ended, SweepError> {
        // The loader of the next part decodes while this part's last batches are scored.
        let mut ahead = open.first().map(|i| self.load(&ranges[*i])).transpose()?;
        let mut under_way = VecDeque::new();
        let mut part = Rows::new();
        let most = self.scorer.under_way().max(1) - 1;
        for (place, &i) in open.iter().enumerate() {
            let Some(mut loader) = ahead.take() else { break };
            ahead = open.get(place + 1).map(|next| self.load(&ranges[*next])).transpose()?;
            loop {
                let waiting = Instant::now();
                let Some(batch) = loader.next() else { break };
                self.times.decode_wait_s += waiting.elapsed().as_secs_f64();
                let batch = batch?;
                if self.observer.interrupted() {
                    return Ok(Ended::Interrupted);
                }
                let scoring = Instant::now();
                let pending = self.scorer.begin(batch.images.view())?;
                self.times.score_s += scoring.elapsed().as_secs_f64();
                let images = Images { indices: batch.indices, labels: batch.labels, contents: batch.contents };
                under_way.push_back(UnderWay::Batch(images, pending));
                if let Some(ended) = self.finish(&mut under_way, most, &mut part, writer)? {
                    return Ok(ended);
                }
            }
            // The part's last batches may be under way while those of the next begin. Where none is, the part is finished.
            under_way.push_back(UnderWay::End(i, loader.into_skipped()));
            if let Some(ended) = self.finish(&mut under_way, most, &mut part, writer)? {
                return Ok(ended);
            }
        }
        Ok(self.finish(&mut under_way, 0, &mut part, writer)?.unwrap_or(Ended::Done))
    }

    /// Waits until no more than `most` batches are under way, and hands over the parts that end meanwhile.
    fn finish(
        &mut self,
        under_way: &mut VecDeque<UnderWay>,
        most: usize,
        part: &mut Rows,
        writer: &Writer,
    ) -> Result<Option<Ended>, SweepError> {
        let batches =
            |queue: &VecDeque<UnderWay>| queue.iter().filter(|one| matches!(one, UnderWay::Batch(..))).count();
        while batches(under_way) > most || matches!(under_way.front(), Some(UnderWay::End(..))) {
            match under_way.pop_front() {
                None => break,
                Some(UnderWay::Batch(images, pending)) => {
                    let scoring = Instant::now();
                    let Some(scored) = pending.wait(self.observer)? else { return Ok(Some(Ended::Interrupted)) };
                    self.times.score_s += scoring.elapsed().as_secs_f64();
                    self.rows(images, &scored, part);
                }
                Some(UnderWay::End(place, skipped)) => {
                    let part = self.part(std::mem::take(part), skipped);
                    let waiting = Instant::now();
                    if !writer.write(place, part) {
                        return Ok(Some(Ended::NotWritten));
                    }
                    self.times.write_wait_s += waiting.elapsed().as_secs_f64();
                }
            }
        }
        Ok(None)
    }

    /// Adds the rows of a batch.
    fn rows(&mut self, images: Images, scored: &Scored, rows: &mut Rows) {
        for (n, (index, label)) in images.indices.iter().zip(&images.labels).enumerate() {
            let content = images.contents.get(n).copied().unwrap_or_default();
            let row = ScoreRow {
                id: self.pool.id(*index),
                label: self.labels.as_ref().and_then(|labels| labels.map(*label)),
                content,
                same_as: self.known.same_as(content),
                influence: scored.influence.as_ref().map(|values| values.get(n).copied().unwrap_or(f64::NAN)),
                // A score that is not a number stays one: it is counted and never selected.
                beliefs: scored.beliefs.get(n).cloned().unwrap_or_default(),
            };
            rows.push((*index, row));
        }
        self.observer.note(&self.times.shares(self.began.elapsed().as_secs_f64()));
        self.observer.advance(images.indices.len() as u64);
        self.times.images += images.indices.len();
    }

    /// A part that is scored.
    fn part(&self, mut rows: Rows, mut skipped: Vec<Skipped>) -> Part {
        self.observer.advance(skipped.len() as u64);
        // Images of sizes of their own come in the order of these.
        rows.sort_by_key(|(index, _)| *index);
        skipped.sort_by_key(|skipped| skipped.index);
        let skipped = skipped.into_iter().map(|s| (s.id, in_one_line(&s.reason))).collect();
        Part { rows: rows.into_iter().map(|(_, row)| row).collect(), skipped }
    }
}

/// Rows with their positions in the pool.
type Rows = Vec<(usize, ScoreRow)>;

/// What is kept of a batch while it is scored: everything but its pixels.
struct Images {
    indices: Vec<usize>,
    labels: Vec<Option<u32>>,
    contents: Vec<Content>,
}

/// In the order of the pool.
enum UnderWay {
    /// A batch that was begun.
    Batch(Images, Pending),
    /// The end of a part, with its place and the images that could not be used.
    End(usize, Vec<Skipped>),
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
