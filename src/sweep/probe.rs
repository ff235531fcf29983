//! How many images a batch scores the most images a second, found by trying on images of the pool itself.
//!
//! Sizes double from 8 to 256. Each is run once unmeasured, because a runtime plans its memory anew for a new shape, and
//! then until it has run for a third of a second, three times at most; its fastest run counts, since whatever else the
//! machine does only slows a run down. The trying ends when two sizes in a row gain less than a twentieth, when a batch
//! takes two seconds, when the pool or a quarter of a gigabyte is too small for the next, or when ONNX Runtime fails at one, as it
//! does where a GPU has too little memory.

use super::{Scorer, SweepError};
use crate::data::{Dataset, Loader, LoaderOptions, Recipe};
use crate::error_chain::in_one_line;
use crate::observe::{Observer, Stage};
use crate::runtime::RuntimeError;
use ndarray::{Axis, Slice};
use std::time::{Duration, Instant};

/// Sizes that are tried.
const SIZES: [usize; 6] = [8, 16, 32, 64, 128, 256];
/// A larger batch must gain this much to be worth its memory.
const GAIN: f64 = 1.05;
/// Sizes in a row that may fail to gain before the trying ends: one alone may be a busy moment.
const MISSES: usize = 2;
/// No batch is to take longer.
const LONGEST: Duration = Duration::from_secs(2);
/// Measured runs of a size, at most, and the time after which no other begins.
const RUNS: usize = 3;
const ENOUGH: Duration = Duration::from_millis(300);
/// Bytes of the images of a batch, at most.
const BYTES: usize = 256 << 20;

/// What a probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The size to take.
    pub batch_size: usize,
    /// Images a second by batch size, as far as it was tried.
    pub rates: Vec<(usize, f64)>,
}

impl Probe {
    /// `batch size 32 (8: 410/s, 16: 520/s, 32: 601/s, 64: 604/s, 128: 598/s)`
    pub fn sentence(&self) -> String {
        let rates: Vec<String> = self.rates.iter().map(|(size, rate)| format!("{size}: {rate:.0}/s")).collect();
        format!("batch size {} (images a second by batch size: {})", self.batch_size, rates.join(", "))
    }
}

/// Tries batch sizes on the first usable images of the pool. `None` for a pool without any.
///
/// # Errors
/// Whatever the scorer says; [`SweepError::Interrupted`].
pub fn probe(
    pool: &Dataset,
    recipe: &Recipe,
    scorer: &mut dyn Scorer,
    threads: Option<usize>,
    observer: &dyn Observer,
) -> Result<Option<Probe>, SweepError> {
    let largest = SIZES[SIZES.len() - 1].min(BYTES / (recipe.len() * size_of::<f32>()).max(1)).max(SIZES[0]);
    // A bad image is left out here; whether that is an error is for the sweep to say.
    let options = LoaderOptions { batch_size: SIZES[0], threads, prefetch: 1, ..LoaderOptions::default() };
    // The largest images are what a batch has to be small enough for.
    let mut loader = Loader::new(pool.clone(), recipe.of_one_size(), &options)?;
    let Some(first) = loader.next() else { return Ok(None) };
    let mut images = first?.images;
    let stage = Stage::begin(observer, "choosing the batch size", SIZES.len() as u64, "sizes");
    let rates = climb(|size| {
        if observer.interrupted() {
            return Err(SweepError::Interrupted { done: 0, total: pool.len() });
        }
        while images.len_of(Axis(0)) < size && size <= largest {
            let Some(batch) = loader.next() else { break };
            if images.append(Axis(0), batch?.images.view()).is_err() {
                break;
            }
        }
        if images.len_of(Axis(0)) < size {
            return Ok(None);
        }
        let batch = images.slice_axis(Axis(0), Slice::from(..size));
        let time = tried(size, fastest(|| scorer.score(batch).map(drop)), observer)?;
        observer.advance(1);
        Ok(time)
    });
    drop(stage);
    let rates = rates?;
    // A pool smaller than the smallest size is one batch.
    let batch_size = best(&rates).unwrap_or(SIZES[0]);
    Ok(Some(Probe { batch_size, rates }))
}

/// The time of a batch of this size, or `None` where ONNX Runtime cannot run so many and a smaller size is left to take.
fn tried(
    size: usize,
    time: Result<Duration, SweepError>,
    observer: &dyn Observer,
) -> Result<Option<Duration>, SweepError> {
    match time {
        Err(SweepError::Runtime(error @ RuntimeError::Run { .. })) if size > SIZES[0] => {
            observer.say(&format!("batches of {size} images cannot be run here: {}", in_one_line(&error)));
            Ok(None)
        }
        time => time.map(Some),
    }
}

/// Runs once, and then measures.
fn fastest(mut run: impl FnMut() -> Result<(), SweepError>) -> Result<Duration, SweepError> {
    let began = Instant::now();
    run()?;
    let mut fastest = began.elapsed();
    if fastest >= LONGEST {
        return Ok(fastest);
    }
    let measuring = Instant::now();
    for number in 0..RUNS {
        let began = Instant::now();
        run()?;
        let took = began.elapsed();
        fastest = if number == 0 { took } else { fastest.min(took) };
        if measuring.elapsed() >= ENOUGH {
            break;
        }
    }
    Ok(fastest)
}

/// Images a second of each size for as long as it pays to go on. `measure` gives the time of a batch, or `None` where
/// there can be none of that size.
fn climb<E>(mut measure: impl FnMut(usize) -> Result<Option<Duration>, E>) -> Result<Vec<(usize, f64)>, E> {
    let mut rates: Vec<(usize, f64)> = Vec::new();
    let (mut top, mut misses) = (0.0_f64, 0);
    for size in SIZES {
        let Some(time) = measure(size)? else { break };
        let rate = size as f64 / time.as_secs_f64().max(1e-9);
        rates.push((size, rate));
        misses = if rate > top * GAIN { 0 } else { misses + 1 };
        top = top.max(rate);
        if misses == MISSES || time >= LONGEST {
            break;
        }
    }
    Ok(rates)
}

/// The smallest size that no larger one beats by [`GAIN`].
fn best(rates: &[(usize, f64)]) -> Option<usize> {
    let top = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    rates.iter().find(|(_, rate)| rate * GAIN >= top).map(|(size, _)| *size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Unobserved;

    /// What is tried and chosen where a batch of each size has this rate, in images a second.
    fn chosen(rates: &[(usize, f64)]) -> (usize, usize) {
        let time = |size: usize| {
            let (_, rate) = rates.iter().find(|(of, _)| *of == size)?;
            Some(Duration::from_secs_f64(size as f64 / rate))
        };
        let Ok(tried) = climb(|size| Ok::<_, std::convert::Infallible>(time(size)));
        (tried.len(), best(&tried).expect("one was tried"))
    }

    #[test]
    fn the_smallest_size_that_no_larger_one_clearly_beats_is_chosen() {
        let cases: &[(&[f64], (usize, usize))] = &[
            (&[100.0, 180.0, 300.0, 310.0, 312.0, 500.0], (5, 32)),
            (&[100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0], (6, 256)),
            (&[100.0, 101.0, 102.0, 900.0, 900.0, 900.0], (3, 8)),
            // One busy moment does not end the trying.
            (&[100.0, 90.0, 200.0, 205.0, 120.0, 900.0], (5, 32)),
            // A batch of 16 takes over two seconds.
            (&[5.0, 7.0, 20.0, 20.0, 20.0, 20.0], (2, 16)),
            (&[3.0, 7.0, 20.0, 20.0, 20.0, 20.0], (1, 8)),
            // A pool of 40 images.
            (&[100.0, 150.0, 200.0], (3, 32)),
        ];
        for (rates, expected) in cases {
            let rates: Vec<_> = SIZES.into_iter().zip(rates.iter().copied()).collect();
            assert_eq!(chosen(&rates), *expected, "{rates:?}");
        }
    }

    #[test]
    fn a_size_that_cannot_be_run_ends_the_trying_and_the_smallest_ends_the_sweep() {
        // A GPU whose memory 64 images fill.
        let time = |size: usize| {
            let reason = "Failed to allocate memory for requested buffer of size 619708416".to_owned();
            let full = || RuntimeError::Run { model: "influence.onnx".to_owned(), reason };
            if size > 64 { Err(full().into()) } else { Ok(Duration::from_millis(5)) }
        };
        let rates = climb(|size| tried(size, time(size), &Unobserved)).expect("smaller sizes run");
        assert_eq!((rates.len(), best(&rates)), (4, Some(64)));
        assert!(tried(SIZES[0], time(1000), &Unobserved).is_err());
        let interrupted = SweepError::Interrupted { done: 0, total: 1 };
        assert!(tried(64, Err(interrupted), &Unobserved).is_err());
    }
}
