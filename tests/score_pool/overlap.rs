//! Decoding, scoring and writing of a sweep go on at once, and none runs away from the others.

use isal::data::{DataError, Dataset, Image, Preprocess, Recipe, Source};
use isal::observe::Observer;
use isal::scores::{BeliefColumn, Parts, Rows};
use isal::sweep::{Scored, Scorer, SweepError, SweepOptions, part_size, sweep};
use ndarray::ArrayView4;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const BATCH: usize = 8;

/// Images of one pixel that count how many were decoded.
struct Pixels {
    images: usize,
    decoded: Arc<AtomicUsize>,
}

impl Source for Pixels {
    fn len(&self) -> usize {
        self.images
    }
    fn id(&self, index: usize) -> String {
        format!("{index:05}")
    }
    fn label(&self, _index: usize) -> Option<u32> {
        None
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn stamp(&self, _index: usize) -> u64 {
        1
    }
    fn load(&self, index: usize) -> Result<Image, DataError> {
        self.decoded.fetch_add(1, Ordering::SeqCst);
        Ok(Image::new(1, 1, 1, vec![(index % 256) as u8]).expect("one pixel"))
    }
}

/// Calls `before` with the number of images scored so far; the influence of an image is its pixel.
struct Watching<F: FnMut(usize)> {
    scored: usize,
    before: F,
}

impl<F: FnMut(usize)> Scorer for Watching<F> {
    fn columns(&self) -> &[BeliefColumn] {
        &[]
    }

    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        (self.before)(self.scored);
        self.scored += images.dim().0;
        let beliefs = vec![Vec::new(); images.dim().0];
        Ok(Scored { beliefs, influence: Some(images.iter().map(|pixel| f64::from(*pixel)).collect()) })
    }
}

/// Counts stages that began and did not end.
#[derive(Default)]
struct Open(AtomicIsize);

impl Observer for Open {
    fn begin(&self, _stage: &str, _total: u64, _unit: &'static str) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn advance(&self, _units: u64) {}
    fn end(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
    fn say(&self, _line: &str) {}
    fn interrupted(&self) -> bool {
        false
    }
}

struct Setting {
    folder: tempfile::TempDir,
    images: usize,
    decoded: Arc<AtomicUsize>,
}

impl Setting {
    fn new(images: usize) -> Setting {
        let decoded = Arc::new(AtomicUsize::new(0));
        Setting { folder: tempfile::tempdir().expect("a temporary folder"), images, decoded }
    }

    fn parts(&self) -> PathBuf {
        self.folder.path().join("parts")
    }

    /// Sweeps; gives the influences, having checked that no stage stays open.
    fn sweep(&self, before: impl FnMut(usize)) -> Result<Vec<f64>, SweepError> {
        let dataset = Dataset::new(Pixels { images: self.images, decoded: Arc::clone(&self.decoded) });
        let input = [None, Some(1), Some(1), Some(1)];
        let recipe = Recipe::resolve(&Preprocess::default(), &input, None).expect("a recipe");
        let parts = Parts::open(&self.parts(), "key", &[], part_size(BATCH), 0..self.images)?;
        let options = SweepOptions {
            batch_size: BATCH,
            threads: Some(1),
            strict: false,
            classes: None,
            known: Default::default(),
        };
        let observer = Open::default();
        let mut scorer = Watching { scored: 0, before };
        let swept = sweep(&dataset, &recipe, &mut scorer, &parts, &options, &observer);
        assert_eq!(observer.0.load(Ordering::SeqCst), 0, "a stage is still open");
        let mut influences = Vec::new();
        Rows::Files(&swept?.rows).influences(|influence| influences.push(influence))?;
        Ok(influences)
    }
}

/// Waits for what must happen by itself; a minute is never reached unless it does not happen.
fn until(what: &str, happened: impl Fn() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn images_are_decoded_while_others_are_scored_but_never_far_ahead() {
    let setting = Setting::new(4_000);
    let decoded = Arc::clone(&setting.decoded);
    let influences = setting.sweep(|scored| {
        // The batch in hand is decoded in any case; the one after it must come while this one is held.
        let next = (scored + 2 * BATCH).min(4_000);
        until("nothing is decoded during scoring", || decoded.load(Ordering::SeqCst) >= next);
        let ahead = decoded.load(Ordering::SeqCst) - scored;
        // The batch in hand, two that are prefetched, and two of the next part.
        assert!(ahead <= 5 * BATCH, "{ahead} images ahead of the {scored} scored");
    });
    let expected: Vec<f64> = (0..4_000).map(|i| f64::from((i % 256) as f32 / 255.0)).collect();
    assert_eq!(influences.expect("swept"), expected);
}

#[test]
fn a_part_is_written_while_the_next_is_scored() {
    let part = part_size(BATCH);
    let setting = Setting::new(3 * part);
    let first = setting.parts().join(format!("{:09}-{part:09}.parquet", 0));
    let swept = setting.sweep(|scored| {
        assert!(scored >= part || !first.exists(), "the part is not finished yet");
        if scored == part {
            until("the first part is not written while the second is scored", || first.exists());
        }
    });
    assert_eq!(swept.expect("swept").len(), 3 * part);
}

#[test]
fn a_part_that_cannot_be_written_ends_the_sweep_with_the_reason() {
    let setting = Setting::new(40 * part_size(BATCH));
    let parts = setting.parts();
    let mut scored_in_all = 0;
    let failed = setting.sweep(|scored| {
        if scored == 0 {
            std::fs::remove_dir_all(&parts).expect("removed");
        }
        scored_in_all = scored + BATCH;
    });
    let error = failed.expect_err("there is no folder to write to");
    assert!(matches!(error, SweepError::Scores(_)), "{error}");
    // Two parts may wait, one be written and one be scored when the first failure is seen.
    assert!(scored_in_all <= 6 * part_size(BATCH), "{scored_in_all} images were scored for nothing");
}
