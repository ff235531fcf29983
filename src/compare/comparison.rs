//! The comparison itself: arms, what each is worth, and how it stands to `random` and to the others.

use super::arms::{self, Runs};
use super::found::{self, Found};
use super::saving::saving;
use super::statistics::{self, Estimate, LEVEL};
use super::{CompareError, wording};
use crate::report::Summary;
use crate::rounds::{Round, Share};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Name and version of the form of a comparison.
const SCHEMA: &str = "isal-compare/1";

/// What a model is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of the test images that is classified rightly; more is better.
    TestAccuracy,
    /// Another share on the test images; more is better.
    TestShare(Share),
    /// Mean loss on the test images; less is better.
    TestLoss,
}

impl Metric {
    fn of(self, round: &Round) -> Option<f64> {
        match self {
            Metric::TestAccuracy => round.test_accuracy,
            Metric::TestShare(share) => {
                round.test_figure.filter(|figure| figure.measure == share).map(|figure| figure.value)
            }
            Metric::TestLoss => round.test_loss,
        }
        .filter(|value| value.is_finite())
    }

    /// A difference turned so that more is better.
    fn turned(self, difference: f64) -> f64 {
        match self {
            Metric::TestAccuracy | Metric::TestShare(_) => difference,
            Metric::TestLoss => -difference,
        }
    }
}

/// What a curve is drawn against, and what its mean and the labels saved are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Labelled images.
    #[default]
    Labels,
    /// The boxes on them: what a detector's labels cost.
    Boxes,
}

impl Axis {
    /// How much was labelled for a round.
    fn of(self, round: &Round) -> Option<f64> {
        match self {
            Axis::Labels => Some(round.labeled as f64),
            Axis::Boxes => round.boxes.map(|boxes| boxes as f64),
        }
    }
}

/// What the numbers say of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Verdict {
    /// The corrected p value is below 0.05, and the gain above zero.
    #[serde(rename = "better than random")]
    Better,
    /// Nothing tells the two apart.
    #[serde(rename = "no better than random")]
    NoBetter,
    /// The corrected p value is below 0.05, and the gain below zero.
    #[serde(rename = "worse than random")]
    Worse,
    /// One seed, which tells nothing.
    #[serde(rename = "one seed, no telling")]
    OneSeed,
}

impl Verdict {
    fn of(gain: f64, corrected: Option<f64>) -> Verdict {
        match corrected {
            None => Verdict::OneSeed,
            Some(p) if p < 1.0 - LEVEL && gain > 0.0 => Verdict::Better,
            Some(p) if p < 1.0 - LEVEL && gain < 0.0 => Verdict::Worse,
            Some(_) => Verdict::NoBetter,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better than random",
            Verdict::NoBetter => "no better than random",
            Verdict::Worse => "worse than random",
            Verdict::OneSeed => "one seed, no telling",
        }
    }
}

/// A round of an arm: what its models are worth at so many labels.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Point {
    /// Counted from 1.
    pub round: usize,
    /// Labelled images, the mean over seeds.
    pub labels: f64,
    /// Boxes on them, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<f64>,
    /// What the models are worth.
    pub worth: Estimate,
}

/// How an arm stands to `random`, over the seeds that both have.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Against {
    /// How much more the arm is worth on average over the rounds from the second on; above zero is better, of a loss too.
    pub gain: Estimate,
    /// Two-sided p value of the paired t test.
    pub p: Option<f64>,
    /// The same of the exact test by flips of signs, for up to twenty seeds.
    pub p_sign_flips: Option<f64>,
    /// `p`, corrected by Holm's method for all arms that are held against `random`.
    pub p_corrected: Option<f64>,
    /// Share of `random`'s labels that the arm does without at equal worth; below zero, the share of its own labels that
    /// `random` does without.
    pub labels_saved: Estimate,
    /// Seeds in which the arm never got as far as `random`.
    pub never_reached: usize,
    /// What that says.
    pub verdict: Verdict,
}

/// A strategy with its options.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Arm {
    /// What it is called.
    pub name: String,
    /// Its strategy.
    pub strategy: String,
    /// What tells it from other arms, by dotted keys.
    pub options: BTreeMap<String, Value>,
    /// Its seeds.
    pub seeds: Vec<u64>,
    /// Where its runs lie, in the order of the seeds.
    pub folders: Vec<PathBuf>,
    /// Labelled images of the reference set that its models were trained on besides, which the curve does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_labeled: Option<usize>,
    /// Worth at each number of labels.
    pub curve: Vec<Point>,
    /// Mean worth over the rounds from the second on: the area under the curve, without the round that all arms share.
    pub area: Estimate,
    /// Mean worth over all rounds.
    pub area_with_first_round: Estimate,
    /// Seconds of a round's training, on average.
    pub train_s: f64,
    /// Seconds of a round's scoring and selecting, on average, where they are known.
    pub score_s: Option<f64>,
    /// How it stands to `random`; nothing for `random` itself, and where no seed is shared.
    pub against_random: Option<Against>,
}

/// Two arms, over the seeds that both have.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Pair {
    /// The one.
    pub row: String,
    /// The other.
    pub column: String,
    /// How much more the first is worth; above zero is better, of a loss too.
    pub gain: Estimate,
    /// Two-sided p value of the paired t test.
    pub p: Option<f64>,
    /// The same, corrected by Holm's method for all pairs.
    pub p_corrected: Option<f64>,
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Where it lies.
    pub folder: PathBuf,
    /// Rounds that have ended.
    pub ended: usize,
    /// Rounds it has in all.
    pub rounds: usize,
}

/// Runs beside each other.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Version of this object.
    pub schema: &'static str,
    /// In sentences.
    pub summary: Summary,
    /// What the models are measured by.
    pub metric: Metric,
    /// What means and labels saved are counted in.
    pub against: Axis,
    /// Rounds of every run.
    pub rounds: usize,
    /// Share of intervals that hold the true mean.
    pub level: f64,
    /// The best first.
    pub arms: Vec<Arm>,
    /// Each two of them, the better first.
    pub pairs: Vec<Pair>,
    /// Runs that have not ended, which count nowhere.
    pub left_out: Vec<LeftOut>,
}

impl Comparison {
    /// Puts runs beside each other.
    ///
    /// # Errors
    /// [`CompareError`]: runs that differ in more than arm and seed, runs of a single round, none that has ended; runs whose boxes
    /// are not known, against boxes.
    pub fn of(found: Vec<Found>, against: Axis) -> Result<Comparison, CompareError> {
        let (ended, open): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|run| run.recorded.is_finished());
        let left_out = open.iter().map(|run| LeftOut {
            folder: run.folder.clone(),
            ended: run.recorded.run.ended.len(),
            rounds: run.recorded.run.rounds,
        });
        let left_out: Vec<LeftOut> = left_out.collect();
        let Some(any) = ended.first() else {
            return Err(match left_out.into_iter().next() {
                Some(LeftOut { folder, ended, rounds }) => CompareError::Unfinished { folder, ended, rounds },
                None => CompareError::Nothing,
            });
        };
        found::check(&ended)?;
        let rounds = any.recorded.run.rounds;
        if rounds < 2 {
            return Err(CompareError::OneRound);
        }
        let metric = metric(&ended)?;
        let unknown = |run: &&Found| run.recorded.run.ended.iter().any(|round| against.of(round).is_none());
        if let Some(run) = ended.iter().find(unknown) {
            return Err(CompareError::NoBoxes { folder: run.folder.clone() });
        }
        let measured: Vec<Measured> =
            arms::arms(&ended)?.into_iter().map(|runs| Measured::of(runs, (metric, against), &ended)).collect();
        let mut arms: Vec<(Arm, &Measured)> = measured.iter().map(|arm| (arm.arm(metric), arm)).collect();
        arms.sort_by(|(a, _), (b, _)| metric.turned(b.area.mean).total_cmp(&metric.turned(a.area.mean)));
        let pairs = pairs(&arms, metric);
        if let Some(baseline) = measured.iter().find(|arm| arms::is_plain_random(&arm.runs.strategy, &arm.runs.options))
        {
            hold_against(&mut arms, baseline, metric);
        }
        let arms = arms.into_iter().map(|(arm, _)| arm).collect();
        let mut comparison = Comparison {
            schema: SCHEMA,
            summary: Summary::default(),
            metric,
            against,
            rounds,
            level: LEVEL,
            arms,
            pairs,
            left_out,
        };
        comparison.summary = wording::summary(&comparison);
        Ok(comparison)
    }

    /// The arm that the others are held against.
    pub fn baseline(&self) -> Option<&Arm> {
        self.arms.iter().find(|arm| arms::is_plain_random(&arm.strategy, &arm.options))
    }

    /// Arms beside the baseline, each with how it stands to it.
    pub fn against(&self) -> impl Iterator<Item = (&Arm, &Against)> {
        self.arms.iter().filter_map(|arm| Some((arm, arm.against_random.as_ref()?)))
    }
}

/// Accuracy where every round has one, or another share, else the loss.
fn metric(runs: &[Found]) -> Result<Metric, CompareError> {
    let mut rounds = runs.iter().flat_map(|run| run.recorded.run.ended.iter().map(move |round| (run, round)));
    if rounds.clone().all(|(_, round)| Metric::TestAccuracy.of(round).is_some()) {
        return Ok(Metric::TestAccuracy);
    }
    let share = rounds.clone().find_map(|(_, round)| round.test_figure).map(|figure| Metric::TestShare(figure.measure));
    if let Some(metric) = share.filter(|metric| rounds.clone().all(|(_, round)| metric.of(round).is_some())) {
        return Ok(metric);
    }
    match rounds.find(|(_, round)| Metric::TestLoss.of(round).is_none()) {
        Some((run, round)) => Err(CompareError::NoMetric { folder: run.folder.clone(), round: round.round + 1 }),
        None => Ok(Metric::TestLoss),
    }
}

/// A run in the numbers that are compared.
struct Numbers {
    /// Labels or boxes, and worth, more is better, round by round.
    gains: Vec<(f64, f64)>,
    /// Labelled images and boxes, round by round.
    counts: Vec<(f64, Option<f64>)>,
    /// Mean worth from the second round on, and of all rounds, in the metric's own sense.
    area: f64,
    area_with_first_round: f64,
}

/// An arm with the numbers of its runs by seed.
struct Measured<'a> {
    runs: Runs<'a>,
    by_seed: BTreeMap<u64, Numbers>,
}

impl<'a> Measured<'a> {
    fn of(runs: Runs<'a>, (metric, axis): (Metric, Axis), all: &[Found]) -> Measured<'a> {
        // Where the last curve of a seed that ends ends: as far as all of them can be held against each other.
        let end = |seed: u64| {
            let of_seed = all.iter().filter(|run| run.recorded.run.seed == seed);
            of_seed.filter_map(|run| axis.of(run.recorded.run.ended.last()?)).fold(f64::INFINITY, f64::min)
        };
        let numbers = |run: &&Found| {
            let ended = &run.recorded.run.ended;
            // `metric` was chosen so that no round lacks it.
            let worth: Vec<f64> = ended.iter().map(|round| metric.of(round).unwrap_or(f64::NAN)).collect();
            let across = ended.iter().map(|round| axis.of(round).unwrap_or(f64::NAN));
            let gains: Vec<(f64, f64)> = across.zip(&worth).map(|(x, worth)| (x, metric.turned(*worth))).collect();
            let (area, area_with_first_round) = match axis {
                Axis::Labels => (statistics::mean(worth.get(1..).unwrap_or_default()), statistics::mean(&worth)),
                Axis::Boxes => {
                    let mean = metric.turned(mean_up_to(&gains, end(run.recorded.run.seed)));
                    (mean, mean)
                }
            };
            let counts = ended.iter().map(|round| (round.labeled as f64, Axis::Boxes.of(round))).collect();
            (run.recorded.run.seed, Numbers { gains, counts, area, area_with_first_round })
        };
        let by_seed = runs.runs.iter().map(numbers).collect();
        Measured { runs, by_seed }
    }

    fn arm(&self, metric: Metric) -> Arm {
        let over = |value: fn(&Numbers) -> f64| {
            let values: Vec<f64> = self.by_seed.values().map(value).collect();
            Estimate::of(&values)
        };
        let rounds = self.by_seed.values().map(|run| run.gains.len()).min().unwrap_or(0);
        let point = |round: usize| {
            let worth: Vec<f64> = self.by_seed.values().map(|run| metric.turned(run.gains[round].1)).collect();
            let (labels, boxes): (Vec<f64>, Vec<Option<f64>>) =
                self.by_seed.values().map(|run| run.counts[round]).unzip();
            let boxes = boxes.into_iter().collect::<Option<Vec<f64>>>().map(|boxes| statistics::mean(&boxes));
            Point { round: round + 1, labels: statistics::mean(&labels), boxes, worth: Estimate::of(&worth) }
        };
        let ended = || self.runs.runs.iter().flat_map(|run| &run.recorded.run.ended);
        let train: Vec<f64> = ended().map(|round| round.train_s).collect();
        let score: Vec<f64> = ended().filter_map(|round| round.score_s).collect();
        Arm {
            name: self.runs.name.clone(),
            strategy: self.runs.strategy.clone(),
            options: self.runs.options.clone(),
            seeds: self.by_seed.keys().copied().collect(),
            folders: self.runs.runs.iter().map(|run| run.folder.clone()).collect(),
            reference_labeled: ended().map(|round| round.reference_labeled).max().filter(|images| *images > 0),
            curve: (0..rounds).map(point).collect(),
            area: over(|run| run.area),
            area_with_first_round: over(|run| run.area_with_first_round),
            train_s: statistics::mean(&train),
            score_s: (!score.is_empty()).then(|| statistics::mean(&score)),
            against_random: None,
        }
    }

    /// How much more this is worth than `other`, for each seed that both have.
    fn gains_over(&self, other: &Measured, metric: Metric) -> Vec<f64> {
        let shared = self.by_seed.iter().filter_map(|(seed, run)| Some((run, other.by_seed.get(seed)?)));
        shared.map(|(run, other)| metric.turned(run.area - other.area)).collect()
    }
}

/// The mean height of a curve, its points joined by straight lines, from where it begins up to `end`.
fn mean_up_to(curve: &[(f64, f64)], end: f64) -> f64 {
    let Some((start, first)) = curve.first().copied() else { return f64::NAN };
    let mut area = 0.0;
    for pair in curve.windows(2) {
        let [(from, low), (to, high)] = *pair else { continue };
        if to > from && from < end {
            let until = to.min(end);
            let there = low + (high - low) * (until - from) / (to - from);
            area += (until - from) * f64::midpoint(low, there);
        }
    }
    if end > start { area / (end - start) } else { first }
}

/// Says of every other arm how it stands to `baseline`.
fn hold_against(arms: &mut [(Arm, &Measured)], baseline: &Measured, metric: Metric) {
    for (arm, measured) in arms.iter_mut().filter(|(_, measured)| !std::ptr::eq(*measured, baseline)) {
        let gains = measured.gains_over(baseline, metric);
        if gains.is_empty() {
            continue;
        }
        let shared = measured.by_seed.iter().filter_map(|(seed, run)| Some((run, baseline.by_seed.get(seed)?)));
        let savings: Vec<_> = shared.filter_map(|(run, random)| saving(&run.gains, &random.gains)).collect();
        let shares: Vec<f64> = savings.iter().map(|saving| saving.share).collect();
        arm.against_random = Some(Against {
            gain: Estimate::of(&gains),
            p: statistics::paired_t(&gains),
            p_sign_flips: statistics::sign_flips(&gains),
            p_corrected: None,
            labels_saved: Estimate::of(&shares),
            never_reached: savings.iter().filter(|saving| !saving.reached).count(),
            verdict: Verdict::OneSeed,
        });
    }
    let against = || arms.iter().filter_map(|(arm, _)| arm.against_random.as_ref()?.p);
    let mut corrected = statistics::holm(&against().collect::<Vec<f64>>()).into_iter();
    for (arm, _) in arms.iter_mut() {
        if let Some(against) = &mut arm.against_random {
            against.p_corrected = against.p.and_then(|_| corrected.next());
            against.verdict = Verdict::of(against.gain.mean, against.p_corrected);
        }
    }
}

/// Each two arms that share a seed, the earlier in the order first.
fn pairs(arms: &[(Arm, &Measured)], metric: Metric) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (place, (row, measured)) in arms.iter().enumerate() {
        for (column, other) in &arms[place + 1..] {
            let gains = measured.gains_over(other, metric);
            if !gains.is_empty() {
                let (row, column) = (row.name.clone(), column.name.clone());
                let p = statistics::paired_t(&gains);
                pairs.push(Pair { row, column, gain: Estimate::of(&gains), p, p_corrected: None });
            }
        }
    }
    let mut corrected = statistics::holm(&pairs.iter().filter_map(|pair| pair.p).collect::<Vec<f64>>()).into_iter();
    for pair in &mut pairs {
        pair.p_corrected = pair.p.and_then(|_| corrected.next());
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_against_boxes_is_the_area_under_the_lines_up_to_the_common_end() {
        let curve = [(10.0, 0.2), (30.0, 0.6), (70.0, 0.8)];
        // 20 boxes at 0.4 on average, and 20 at 0.65: half of the way from 0.6 to 0.8.
        assert!((mean_up_to(&curve, 50.0) - (20.0 * 0.4 + 20.0 * 0.65) / 40.0).abs() < 1e-12);
        assert!((mean_up_to(&curve, 70.0) - (20.0 * 0.4 + 40.0 * 0.7) / 60.0).abs() < 1e-12);
        // Images without boxes move nothing along.
        assert!((mean_up_to(&[(10.0, 0.2), (10.0, 0.9), (20.0, 0.9)], 20.0) - 0.9).abs() < 1e-12);
        assert_eq!(mean_up_to(&curve, 10.0), 0.2);
    }
}
