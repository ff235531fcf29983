//! What a model has done since the server began, for its statistics and its metrics. It survives a reload.

use prometheus::{Histogram, HistogramOpts};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often something happened, and how long it took altogether.
#[derive(Debug, Default)]
pub struct Spent {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Spent {
    /// Adds one time.
    pub fn add(&self, took: Duration) {
        self.add_times(1, took);
    }

    /// Adds several that took so long altogether.
    pub fn add_times(&self, times: u64, took: Duration) {
        self.count.fetch_add(times, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How often.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long, in nanoseconds.
    pub fn nanoseconds(&self) -> u64 {
        self.nanoseconds.load(Ordering::Relaxed)
    }
}

/// Times of the three parts of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts {
    /// Making tensors of the inputs.
    pub input: Duration,
    /// The model itself.
    pub infer: Duration,
    /// Copying the outputs.
    pub output: Duration,
}

/// Runs of one batch size.
#[derive(Debug, Clone, Copy, Default)]
pub struct Batches {
    /// How many.
    pub runs: u64,
    /// How long they took altogether.
    pub spent: Parts,
}

/// What one version of a model has done.
#[derive(Debug)]
pub struct Stats {
    /// Requests that were answered.
    pub success: Spent,
    /// Requests that were refused or failed once their model was known.
    pub fail: Spent,
    /// Their time in the queue.
    pub queue: Spent,
    /// A request's share of making tensors.
    pub input: Spent,
    /// A request's share of the runs.
    pub infer: Spent,
    /// A request's share of copying outputs.
    pub output: Spent,
    /// Rows that were computed.
    pub inferences: AtomicU64,
    /// Runs of the model.
    pub executions: AtomicU64,
    /// When the last run ended, in milliseconds since 1970.
    last_ms: AtomicU64,
    batches: Mutex<BTreeMap<usize, Batches>>,
    /// Rows of each run.
    pub batch_sizes: Option<Histogram>,
    /// Influences that were given out, where the model gives any. More negative = labelling the image is expected to lower
    /// the reference loss more.
    pub influences: Option<Histogram>,
}

/// Batch sizes that statistics tell apart; the sizes beyond are counted with the last.
const MAX_BATCH_SIZES: usize = 4096;

impl Stats {
    /// Nothing done yet, by this version of this model.
    pub fn new(model: &str, version: u64) -> Stats {
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let options = HistogramOpts::new(name, help).buckets(buckets);
            let options = options.const_label("model", model).const_label("version", version.to_string());
            // Fails on names and buckets that are wrong, and these are not.
            Histogram::with_opts(options).ok()
        };
        Stats {
            success: Spent::default(),
            fail: Spent::default(),
            queue: Spent::default(),
            input: Spent::default(),
            infer: Spent::default(),
            output: Spent::default(),
            inferences: AtomicU64::new(0),
            executions: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            batches: Mutex::new(BTreeMap::new()),
            batch_sizes: histogram(
                "isal_batch_rows",
                "Rows of each run of the model",
                (0..12).map(|power| f64::from(1 << power)).collect(),
            ),
            influences: histogram(
                "isal_influence",
                "Influences given out; more negative = labelling the image is expected to lower the reference loss more",
                influence_buckets(),
            ),
        }
    }

    /// Counts a run of `rows` rows for `requests` requests.
    pub fn ran(&self, rows: usize, requests: u64, parts: Parts) {
        self.inferences.fetch_add(rows as u64, Ordering::Relaxed);
        self.executions.fetch_add(1, Ordering::Relaxed);
        // A request is told the time of the run that it was part of.
        for (spent, took) in [(&self.input, parts.input), (&self.infer, parts.infer), (&self.output, parts.output)] {
            spent.add_times(requests, took.saturating_mul(u32::try_from(requests).unwrap_or(u32::MAX)));
        }
        if let Some(sizes) = &self.batch_sizes {
            sizes.observe(rows as f64);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = batches.entry(rows.min(MAX_BATCH_SIZES)).or_default();
        batch.runs += 1;
        batch.spent.input += parts.input;
        batch.spent.infer += parts.infer;
        batch.spent.output += parts.output;
    }

    /// When the last run ended, in milliseconds since 1970; 0 before the first.
    pub fn last_ms(&self) -> u64 {
        self.last_ms.load(Ordering::Relaxed)
    }

    /// Runs by their number of rows.
    pub fn batches(&self) -> BTreeMap<usize, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Powers of ten on both sides of 0: nobody knows the scale of an influence beforehand.
fn influence_buckets() -> Vec<f64> {
    let sizes: Vec<f64> = (-6..=3).map(|power| 10_f64.powi(power)).collect();
    let negative = sizes.iter().rev().map(|size| -size);
    negative.chain([0.0]).chain(sizes.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_for_every_request_in_it() {
        let stats = Stats::new("m", 1);
        let parts = Parts { infer: Duration::from_millis(5), ..Parts::default() };
        stats.ran(8, 3, parts);
        stats.ran(8, 1, parts);
        assert_eq!(stats.inferences.load(Ordering::Relaxed), 16);
        assert_eq!(stats.executions.load(Ordering::Relaxed), 2);
        assert_eq!((stats.infer.count(), stats.infer.nanoseconds()), (4, 20_000_000));
        let batches = stats.batches();
        assert_eq!((batches.len(), batches[&8].runs, batches[&8].spent.infer), (1, 2, Duration::from_millis(10)));
        assert!(stats.influences.is_some() && stats.batch_sizes.is_some());
    }
}
