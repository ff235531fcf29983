//! A comparison in words and in a table of text.

use super::comparison::{Against, Arm, Axis, Comparison, Metric, Verdict};
use super::statistics::Estimate;
use crate::report::Summary;
use crate::rounds::Share;
use std::fmt::Write as _;

/// Fewer seeds than this are warned of.
const FEW: usize = 5;

impl Metric {
    /// What it is called.
    pub(super) fn words(self) -> &'static str {
        match self {
            Metric::TestAccuracy => "test accuracy",
            Metric::TestShare(Share::AveragePrecision) => "test mAP",
            Metric::TestShare(Share::MeanIou) => "test mean IoU",
            Metric::TestShare(Share::F1) => "test F1",
            Metric::TestLoss => "test loss",
        }
    }

    /// A value as people write it.
    pub(super) fn value(self, value: f64) -> String {
        match self {
            Metric::TestAccuracy | Metric::TestShare(_) => format!("{:.2} %", 100.0 * value),
            Metric::TestLoss => format!("{value:.4}"),
        }
    }

    /// A mean with its interval.
    pub(crate) fn estimate(self, found: &Estimate) -> String {
        match (self, found.half_width()) {
            (Metric::TestAccuracy | Metric::TestShare(_), Some(half)) => {
                format!("{:.2} ± {:.2} %", 100.0 * found.mean, 100.0 * half)
            }
            (Metric::TestLoss, Some(half)) => format!("{:.4} ± {half:.4}", found.mean),
            (_, None) => self.value(found.mean),
        }
    }

    /// A difference, in points of a percentage or as it is, with its interval.
    pub(super) fn gain(self, found: &Estimate) -> String {
        let (scale, digits) = match self {
            Metric::TestAccuracy | Metric::TestShare(_) => (100.0, 2),
            Metric::TestLoss => (1.0, 4),
        };
        // An exact zero has no sign.
        let mean = scale * found.mean + 0.0;
        let half = found.half_width().map_or_else(String::new, |half| format!(" ± {:.digits$}", scale * half));
        format!("{mean:+.digits$}{half}")
    }

    /// A gain with what it is counted in.
    pub(crate) fn gain_in_words(self, found: &Estimate) -> String {
        match self {
            Metric::TestAccuracy | Metric::TestShare(_) => format!("{} points", self.gain(found)),
            Metric::TestLoss => format!("{} of loss", self.gain(found)),
        }
    }
}

/// A share in per cent, with its interval.
pub(super) fn share(found: &Estimate) -> String {
    let mean = 100.0 * found.mean + 0.0;
    let half = found.half_width().map_or_else(String::new, |half| format!(" ± {:.0}", 100.0 * half));
    format!("{mean:.0}{half} %")
}

/// A p value.
pub(super) fn chance(p: Option<f64>) -> String {
    match p {
        None => "-".to_owned(),
        Some(p) if p < 0.001 => "< 0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

pub(super) fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"))
}

/// What the comparison says, in sentences.
pub(super) fn summary(comparison: &Comparison) -> Summary {
    let metric = comparison.metric;
    let against: Vec<(&Arm, &Against)> = comparison.against().collect();
    let with = |verdict: Verdict| against.iter().filter(move |(_, against)| against.verdict == verdict);
    let names = |verdict: Verdict| {
        let names: Vec<String> = with(verdict).map(|(arm, _)| format!("`{}`", arm.name)).collect();
        names.join(", ")
    };
    let headline = match (comparison.baseline(), with(Verdict::Better).next()) {
        (None, _) => "No run of `random`, so nothing is held against it".to_owned(),
        (Some(_), Some((arm, _))) => format!("{} is better than random", arm.name),
        (Some(_), None) if against.is_empty() => "Nothing to hold against `random`".to_owned(),
        (Some(_), None) if against.iter().all(|(_, against)| against.verdict == Verdict::OneSeed) => {
            "One seed, which does not tell what is better".to_owned()
        }
        (Some(_), None) => "No better than random".to_owned(),
    };
    let mut findings = Vec::new();
    for (arm, against) in with(Verdict::Better) {
        findings.push(format!(
            "`{}` is better than random: {} on average, and {} of the labels saved at equal {}.",
            arm.name,
            metric.gain_in_words(&against.gain),
            share(&against.labels_saved),
            metric.words()
        ));
    }
    for (arm, against) in with(Verdict::Worse) {
        let gain = metric.gain_in_words(&against.gain);
        findings.push(format!("`{}` is worse than random: {gain} on average.", arm.name));
    }
    if with(Verdict::NoBetter).next().is_some() {
        findings.push(format!("No better than random: {}.", names(Verdict::NoBetter)));
    }
    findings.push(scope(comparison));
    Summary {
        headline,
        findings,
        next: String::new(),
        warnings: warnings(comparison),
        details: details(metric, comparison.against),
    }
}

/// How much was compared.
fn scope(comparison: &Comparison) -> String {
    let runs: usize = comparison.arms.iter().map(|arm| arm.seeds.len()).sum();
    let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let curve = comparison.arms.first().map(|arm| arm.curve.as_slice()).unwrap_or_default();
    let labels = match (curve.first(), curve.last()) {
        (Some(first), Some(last)) => match (comparison.against, first.boxes, last.boxes) {
            (Axis::Boxes, Some(first), Some(last)) => format!(", {first:.0} to {last:.0} boxes"),
            _ => format!(", {:.0} to {:.0} labels", first.labels, last.labels),
        },
        _ => String::new(),
    };
    let (arms, runs) = (of(comparison.arms.len(), "arm"), of(runs, "run"));
    format!("{arms}, {runs}, {}{labels}; {}.", of(comparison.rounds, "round"), metric_in_words(comparison.metric))
}

fn metric_in_words(metric: Metric) -> String {
    let turned = match metric {
        Metric::TestAccuracy | Metric::TestShare(_) => "",
        Metric::TestLoss => ", of which less is better; gains are turned so that more is better",
    };
    format!("by {}{turned}", metric.words())
}

fn warnings(comparison: &Comparison) -> Vec<String> {
    let mut warnings = Vec::new();
    for left_out in &comparison.left_out {
        let (folder, ended, rounds) = (left_out.folder.display(), left_out.ended, left_out.rounds);
        warnings.push(format!("`{folder}` is left out: {ended} of {rounds} rounds have ended."));
    }
    let seeds: Vec<usize> = comparison.arms.iter().map(|arm| arm.seeds.len()).collect();
    let least = seeds.iter().copied().min().unwrap_or(0);
    if least == 1 {
        warnings.push("There are no intervals and no tests from one seed: run more.".to_owned());
    } else if least < FEW {
        warnings
            .push(format!("{least} seeds are few: intervals are wide, and stand on differences being about normal."));
    }
    if let Some(first) = comparison.arms.first()
        && comparison.arms.iter().any(|arm| arm.seeds != first.seeds)
    {
        warnings.push("Arms have different seeds; two arms are compared over those that both have.".to_owned());
    }
    if let Some(baseline) = comparison.baseline() {
        for arm in &comparison.arms {
            if arm.name != baseline.name && arm.against_random.is_none() {
                warnings.push(format!("`{}` shares no seed with `{}`.", arm.name, baseline.name));
            }
        }
    }
    for arm in &comparison.arms {
        if let Some(images) = arm.reference_labeled {
            warnings.push(format!(
                "`{}` is trained on {images} labelled images of the reference set as well, which its labels do not count.",
                arm.name
            ));
        }
    }
    let differ = |round: usize| {
        let mut labels = comparison.arms.iter().filter_map(|arm| arm.curve.get(round)).map(|point| point.labels);
        labels.next().is_some_and(|first| labels.any(|other| other != first))
    };
    if comparison.against == Axis::Labels && (0..comparison.rounds).any(differ) {
        warnings.push(
            "Arms labelled different numbers of images in a round: the budget is in boxes, or the pool ran short of usable ones."
                .to_owned(),
        );
    }
    for (arm, against) in comparison.against().filter(|(_, against)| against.never_reached > 0) {
        let (never, seeds) = (against.never_reached, against.labels_saved.seeds);
        warnings.push(format!(
            "`{}` never reached the best of random in {never} of {seeds} seeds; what it saves is below zero there.",
            arm.name
        ));
    }
    warnings
}

fn details(metric: Metric, axis: Axis) -> Vec<String> {
    vec![
        match axis {
            Axis::Labels => format!(
                "An arm's mean is its {} on average over the rounds from the second on, the area under its curve; the first \
                 round, before anything was selected, is the same for all.",
                metric.words()
            ),
            Axis::Boxes => format!(
                "An arm's mean is its {} on average over boxes, the area under its curve against boxes, its points joined by \
                 straight lines: from the first round on, up to as many boxes as every run of the seed has. Labels are boxes \
                 below.",
                metric.words()
            ),
        },
        "Intervals hold the true mean with 95 % by Student's t, over seeds. Gains are differences of runs of the same seed, so \
         that the first labelled images are the same; more is better."
            .to_owned(),
        "p is of a two-sided paired t test, corrected by Holm's method for the number of arms (against random) or of pairs. \
         An arm is better or worse than random where the corrected p is below 0.05."
            .to_owned(),
        "Labels saved: of each curve the best so far, joined by straight lines; where an arm reaches the best of random at L \
         labels and random at R, it saves 1 - L/R. Where it never does, both are asked for the arm's best, and it saves \
         R/L - 1, a number below zero."
            .to_owned(),
    ]
}

/// The comparison as text.
pub fn text(comparison: &Comparison) -> String {
    let metric = comparison.metric;
    let mut text = format!("{}.\n", comparison.summary.headline);
    for line in comparison.summary.main_lines() {
        let _ = writeln!(text, "{}", line.replace('`', ""));
    }
    let mean = format!("mean {}", metric.words());
    let head = ["arm", "seeds", &mean, "over random", "p", "labels saved", "training", "selection", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for arm in &comparison.arms {
        let against = arm.against_random.as_ref();
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            arm.name.clone(),
            arm.seeds.len().to_string(),
            metric.estimate(&arm.area),
            or_dash(against.map(|against| metric.gain(&against.gain))),
            chance(against.and_then(|against| against.p_corrected)),
            or_dash(against.map(|against| share(&against.labels_saved))),
            seconds(Some(arm.train_s)),
            seconds(arm.score_s),
            against.map_or_else(String::new, |against| against.verdict.words().to_owned()),
        ]);
    }
    text + "\n" + &aligned(&rows)
}

/// Columns as wide as their widest cell: the first and the last to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 || column + 1 == columns { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line = cells.collect::<Vec<String>>().join("   ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_sign_their_unit_and_their_interval() {
        let estimate = |mean, half: Option<f64>| {
            let interval = half.map(|half: f64| [mean - half, mean + half]);
            Estimate { mean, interval, seeds: 2 }
        };
        assert_eq!(Metric::TestAccuracy.estimate(&estimate(0.8125, Some(0.015))), "81.25 ± 1.50 %");
        assert_eq!(Metric::TestAccuracy.gain(&estimate(0.031, Some(0.012))), "+3.10 ± 1.20");
        assert_eq!(Metric::TestAccuracy.gain(&estimate(-0.0, None)), "+0.00");
        assert_eq!(Metric::TestLoss.gain(&estimate(-0.25, None)), "-0.2500");
        assert_eq!(
            (share(&estimate(0.125, Some(0.05))), share(&estimate(-0.0, None))),
            ("12 ± 5 %".into(), "0 %".into())
        );
        assert_eq!([Some(0.0004), Some(0.04), None].map(chance), ["< 0.001", "0.040", "-"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "seeds", ""], ["longer", "±5", "better"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "a        seeds\nlonger      ±5   better\n");
    }
}
