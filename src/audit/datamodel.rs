//! Sums of influences against trainings: the linear datamodelling score (Park et al., TRAK: Attributing model behavior at scale,
//! ICML 2023, arXiv 2303.14186, section 2).
//!
//! Of random halves `S` of the labelled images the reference loss after training on them is measured, and `sum of I(z) over S`
//! foretells its order: an image of negative influence lowers the loss by being there. The score is Spearman's correlation of the
//! two over the halves. Trainings with other seeds differ on the same half, and no prediction can correlate better than the
//! measurement with itself; so each half is trained on more than once, and the bound that follows stands beside the score.

use super::agreement::lengthened;
use super::variants::{self, Solved};
use super::{AuditError, AuditOptions};
use crate::data::{Dataset, Labelled, Seeded, Split, Test};
use crate::durable;
use crate::influence::spearman;
use crate::observe::Observer;
use crate::rounds::{Start, TrainPart};
use crate::scoring::labelled_influences;
use crate::train::{Evaluation, train};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Fewer halves make no correlation.
pub(super) const LEAST_HALVES: usize = 6;
/// Resamples of the halves for an interval.
const RESAMPLES: usize = 2000;
/// Share of the resamples' scores that an interval holds.
const LEVEL: f64 = 0.95;

/// How models are trained again.
#[derive(Debug, Clone)]
pub struct Retraining {
    /// The model whose weights each training starts from.
    pub initial: PathBuf,
    /// Epochs, rates and the like.
    pub numbers: TrainPart,
    /// No half is begun later than this after the first one.
    pub time: Duration,
    /// Most halves.
    pub halves: usize,
    /// Trainings on each half, with seeds of their own.
    pub trainings: usize,
}

/// What was measured on a half.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Retrained {
    /// Mean influence of its images: what it is foretold, up to a factor; the lower the better.
    pub foretold: f64,
    /// Reference loss after each training.
    pub losses: Vec<f64>,
}

impl Retrained {
    fn loss(&self) -> f64 {
        self.losses.iter().sum::<f64>() / self.losses.len() as f64
    }
}

/// Sums of influences against trainings.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Datamodel {
    /// Labelled images of each half.
    pub images: usize,
    /// Trainings on each half.
    pub trainings: usize,
    /// Every half that was trained on.
    pub halves: Vec<Retrained>,
    /// The linear datamodelling score, in [-1, 1]; absent of too few halves.
    pub score: Option<f64>,
    /// Its bootstrap interval of 95 % over the halves.
    pub interval: Option<[f64; 2]>,
    /// What no prediction can go beyond, by how far trainings on the same half agree; absent of one training a half.
    pub bound: Option<f64>,
    /// Wall time of one training.
    pub seconds_a_training: f64,
}

/// A file of a half: what it belongs to, and what was measured.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    key: String,
    losses: Vec<f64>,
    seconds: f64,
}

/// Trains on random halves until the time is over, or takes what was measured before.
pub(super) fn measure(
    options: &AuditOptions,
    retraining: &Retraining,
    base: &Solved,
    observer: &dyn Observer,
) -> Result<Datamodel, AuditError> {
    let labelled = options.labelled()?;
    let source = &options.source;
    let influences =
        labelled_influences(source, &options.scoring(source.clone(), variants::BASE), &base.vector, observer)?;
    let folder = options.out.join("retrained");
    durable::make_folder(&folder)?;
    let half = labelled.len() / 2;
    let key = key(options, retraining)?;
    let (mut halves, mut seconds, mut trainings) = (Vec::new(), 0.0, 0);
    let began = Instant::now();
    observer.say(&format!(
        "training on random halves of the labelled images, {} times each, for {:.0} minutes at most",
        retraining.trainings,
        retraining.time.as_secs_f64() / 60.0
    ));
    for number in 0..retraining.halves {
        let positions = drawn(labelled.len(), half, options.seed, number);
        let path = folder.join(format!("half-{:03}.json", number + 1));
        let kept = match kept(&path, &key)? {
            Some(kept) => kept,
            // What it takes to tell anything is measured however long it takes.
            None if began.elapsed() > retraining.time && halves.len() >= LEAST_HALVES => break,
            None => {
                let kept = trained(options, retraining, &positions, number, &key, observer)?;
                let json = serde_json::to_vec_pretty(&kept).unwrap_or_default();
                durable::write_bytes(&path, &json)?;
                kept
            }
        };
        seconds += kept.seconds;
        trainings += kept.losses.len();
        let sum: f64 = positions.iter().filter_map(|place| influences.get(*place).copied().flatten()).sum();
        halves.push(Retrained { foretold: sum / half.max(1) as f64, losses: kept.losses });
        observer.say(&describe(&halves, retraining.halves));
    }
    let (foretold, losses) = columns(&halves);
    Ok(Datamodel {
        images: half,
        trainings: retraining.trainings,
        score: score(&foretold, &losses),
        interval: interval(&foretold, &losses, options.seed),
        bound: bound(&halves),
        seconds_a_training: seconds / trainings.max(1) as f64,
        halves,
    })
}

fn describe(halves: &[Retrained], most: usize) -> String {
    let loss = halves.last().map_or(f64::NAN, Retrained::loss);
    let (foretold, losses) = columns(halves);
    let so_far = score(&foretold, &losses).map_or_else(String::new, |score| format!("; score so far {score:.2}"));
    format!("half {} of at most {most}: reference loss {loss:.4}{so_far}", halves.len())
}

/// Positions of the images of a half.
fn drawn(images: usize, half: usize, seed: u64, number: usize) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..images).collect();
    Seeded::new("halves of the labelled images", &[seed, number as u64]).shuffle(&mut positions);
    positions.truncate(half);
    positions.sort_unstable();
    positions
}

/// All that a training on a half depends on, but the half.
fn key(options: &AuditOptions, retraining: &Retraining) -> Result<String, AuditError> {
    let Retraining { initial, numbers, trainings, .. } = retraining;
    let key = serde_json::json!({
        "initial": initial,
        "numbers": numbers,
        "trainings": trainings,
        "seed": options.seed,
        "labelled": options.labelled()?.dataset().fingerprint(),
        "reference": options.reference()?.fingerprint(),
    });
    Ok(key.to_string())
}

fn kept(path: &Path, key: &str) -> Result<Option<Kept>, AuditError> {
    // A file that is missing or broken is measured anew: nothing is lost by it.
    let found = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    match found {
        Some(found) if found.key != key => Err(AuditError::Another { path: path.to_path_buf() }),
        found => Ok(found),
    }
}

/// Trains on a half and measures the reference loss, as often as is asked.
fn trained(
    options: &AuditOptions,
    retraining: &Retraining,
    positions: &[usize],
    number: usize,
    key: &str,
    observer: &dyn Observer,
) -> Result<Kept, AuditError> {
    let images: Dataset = options.labelled()?.dataset().subset(positions)?;
    let began = Instant::now();
    let mut losses = Vec::with_capacity(retraining.trainings);
    for training in 0..retraining.trainings {
        let out = options.out.join("training");
        // What an interrupted training of another half has left.
        durable::remove_folder(&out)?;
        let start = Start {
            model: retraining.initial.clone(),
            task: options.source.task.clone(),
            preprocess: options.source.preprocess.clone(),
            seed: options.seed.wrapping_mul(1_000_003).wrapping_add((number * retraining.trainings + training) as u64),
            threads: options.score.threads,
            device: options.source.device.clone(),
            plugin: options.source.plugin.clone(),
            out: out.clone(),
        };
        // Here the reference images only measure, as test images do: nothing is chosen by it.
        let measured = Split::<Test>::new(options.reference()?.clone())?;
        let train_options = retraining.numbers.options(start, Split::<Labelled>::new(images.clone())?, Some(measured));
        let failed = |source| AuditError::Train { half: number + 1, source: Box::new(source) };
        let trained = train(&train_options, &Quiet(observer)).map_err(failed)?;
        let evaluated = trained.epochs.last().and_then(|epoch| epoch.test);
        losses.push(evaluated.map_or(f64::NAN, |Evaluation { loss, .. }| loss));
        durable::remove_folder(&out)?;
    }
    Ok(Kept { key: key.to_owned(), losses, seconds: began.elapsed().as_secs_f64() })
}

/// Hears of a training that is one of many: its progress, not every epoch.
struct Quiet<'a>(&'a dyn Observer);

impl Observer for Quiet<'_> {
    fn begin(&self, stage: &str, total: u64, unit: &'static str) {
        self.0.begin(stage, total, unit);
    }
    fn advance(&self, units: u64) {
        self.0.advance(units);
    }
    fn note(&self, words: &str) {
        self.0.note(words);
    }
    fn end(&self) {
        self.0.end();
    }
    fn say(&self, _line: &str) {}
    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

/// What was foretold, and the loss that was measured, of each half.
fn columns(halves: &[Retrained]) -> (Vec<f64>, Vec<f64>) {
    halves.iter().map(|half| (half.foretold, half.loss())).unzip()
}

fn score(foretold: &[f64], losses: &[f64]) -> Option<f64> {
    if foretold.len() < LEAST_HALVES { None } else { spearman(foretold, losses) }
}

/// The percentile bootstrap over the halves (Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13).
fn interval(foretold: &[f64], losses: &[f64], seed: u64) -> Option<[f64; 2]> {
    score(foretold, losses)?;
    let mut random = Seeded::new("resamples of halves", &[seed]);
    let mut scores: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let places: Vec<usize> = foretold.iter().map(|_| random.below(foretold.len())).collect();
            let (a, b): (Vec<f64>, Vec<f64>) =
                places.iter().filter_map(|place| Some((*foretold.get(*place)?, *losses.get(*place)?))).unzip();
            spearman(&a, &b)
        })
        .collect();
    scores.sort_by(f64::total_cmp);
    let at = |share: f64| scores.get(((scores.len().saturating_sub(1)) as f64 * share).round() as usize).copied();
    Some([at((1.0 - LEVEL) / 2.0)?, at(f64::midpoint(1.0, LEVEL))?])
}

/// The root of the reliability of a half's mean loss, by how far its trainings correlate with each other over the halves.
fn bound(halves: &[Retrained]) -> Option<f64> {
    let trainings = halves.iter().map(|half| half.losses.len()).min()?;
    if halves.len() < LEAST_HALVES {
        return None;
    }
    let column =
        |training: usize| -> Vec<f64> { halves.iter().filter_map(|half| half.losses.get(training).copied()).collect() };
    let pairs = (0..trainings).flat_map(|a| (0..a).map(move |b| (a, b)));
    let found: Vec<f64> = pairs.filter_map(|(a, b)| spearman(&column(a), &column(b))).collect();
    if found.is_empty() {
        return None;
    }
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    Some(lengthened(mean.max(0.0), trainings as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(of: impl Fn(f64, u64) -> f64) -> Vec<Retrained> {
        let half = |n: u64| {
            let foretold = n as f64;
            Retrained { foretold, losses: (0..2).map(|training| of(foretold, training)).collect() }
        };
        (0..40).map(half).collect()
    }

    #[test]
    fn losses_that_follow_the_influences_score_one_and_those_against_them_minus_one() {
        for (sign, expected) in [(1.0, 1.0), (-1.0, -1.0)] {
            let found = halves(|foretold, _| sign * foretold.powi(3) + 5.0);
            let (foretold, losses) = columns(&found);
            assert_eq!(score(&foretold, &losses), Some(expected));
            assert_eq!(interval(&foretold, &losses, 0), Some([expected, expected]));
            assert_eq!(bound(&found), Some(1.0));
        }
    }

    #[test]
    fn few_halves_have_no_score() {
        let few = halves(|foretold, _| foretold).into_iter().take(LEAST_HALVES - 1).collect::<Vec<_>>();
        let (foretold, losses) = columns(&few);
        assert_eq!((score(&foretold, &losses), interval(&foretold, &losses, 0), bound(&few)), (None, None, None));
    }

    /// Losses that have nothing to do with the influences: of a hundred such audits, some five intervals miss zero. A binomial
    /// of 100 and 0.05 is above 12 in one case of 500; the percentile interval of 40 halves is a little short.
    #[test]
    fn an_interval_of_nothing_holds_zero_about_as_often_as_it_says() {
        let misses = (0..100)
            .filter(|audit| {
                let mut random = Seeded::new("noise", &[*audit]);
                let (foretold, losses): (Vec<f64>, Vec<f64>) = (0..40).map(|_| (random.unit(), random.unit())).unzip();
                let [low, high] = interval(&foretold, &losses, *audit).expect("an interval");
                low > 0.0 || high < 0.0
            })
            .count();
        assert!(misses <= 12, "{misses} of 100 intervals miss zero");
        assert!(misses >= 1, "an interval that never misses is too wide");
    }

    /// Loss = signal + noise of equal variance: two trainings correlate at 0.5, so the bound is the root of 2/3 but for chance.
    #[test]
    fn noise_of_training_bounds_the_score() {
        let mut random = Seeded::new("noise of training", &[7]);
        let mut normal = || (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
        let found: Vec<Retrained> = (0..2000)
            .map(|_| {
                let foretold = normal();
                Retrained { foretold, losses: vec![foretold + normal(), foretold + normal()] }
            })
            .collect();
        let bound = bound(&found).expect("a bound");
        // Spearman's of normal columns at 0.5 is 6/pi asin(0.25) = 0.483; its standard error here is about 0.02.
        let expected = lengthened(0.483, 2.0).sqrt();
        assert!((bound - expected).abs() < 0.03, "{bound}, expected {expected}");
        let (foretold, losses) = columns(&found);
        // The signal itself reaches the bound: Pearson's root of 2/3 = 0.816 is 6/pi asin(0.408) = 0.803 in ranks.
        let reached = score(&foretold, &losses).expect("a score");
        assert!((reached - 0.803).abs() < 0.03, "{reached}");
    }

    #[test]
    fn halves_are_half_of_the_images_and_other_ones_each_time() {
        let (first, second) = (drawn(41, 20, 0, 0), drawn(41, 20, 0, 1));
        assert_eq!((first.len(), second.len()), (20, 20));
        assert!(first != second && first == drawn(41, 20, 0, 0) && first.is_sorted());
        assert!(first.iter().all(|place| *place < 41));
    }
}
