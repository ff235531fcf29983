//! How many labels an arm saves at equal worth.
//!
//! Of each of two curves the best worth so far is taken, joined by straight lines, and both are asked at how many labels they
//! reach the best that `random` reached. An arm that never gets there is asked the other way round: at how many labels
//! `random` reaches the arm's best. Swapping the two curves changes the sign of the answer and nothing else, so that two arms
//! that are alike save nothing on average.

/// Labels, and a worth of which more is better, in the order of labels.
pub(super) type Curve = [(f64, f64)];

/// How an arm and `random` compare at equal worth, for one seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Saving {
    /// Share of `random`'s labels that the arm does without; negative is the share of its own that `random` does without.
    pub(super) share: f64,
    /// Whether the arm reaches the best of `random`.
    pub(super) reached: bool,
}

/// What `arm` saves over `random`; nothing where one of them has no point.
pub(super) fn saving(arm: &Curve, random: &Curve) -> Option<Saving> {
    let (best_arm, best_random) = (best(arm)?, best(random)?);
    let target = best_arm.min(best_random);
    let (of_arm, of_random) = (reaches(arm, target)?, reaches(random, target)?);
    let share = if of_arm <= of_random { 1.0 - of_arm / of_random } else { of_random / of_arm - 1.0 };
    Some(Saving { share, reached: best_arm >= best_random })
}

fn best(curve: &Curve) -> Option<f64> {
    curve.iter().map(|(_, worth)| *worth).reduce(f64::max)
}

/// The number of labels at which a curve first reaches `target`.
fn reaches(curve: &Curve, target: f64) -> Option<f64> {
    let mut before: Option<(f64, f64)> = None;
    for (labels, worth) in curve {
        if *worth >= target {
            let share = before.map(|(from, low)| from + (labels - from) * (target - low) / (worth - low));
            return Some(share.unwrap_or(*labels));
        }
        // Where the curve falls, the best so far is carried along.
        before = Some((*labels, before.map_or(*worth, |(_, low)| low.max(*worth))));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [(f64, f64); 3] = [(20.0, 0.5), (40.0, 0.7), (60.0, 0.8)];

    #[test]
    fn labels_are_counted_where_the_line_crosses() {
        // 0.8 lies three quarters of the way from 40 labels at 0.65 to 60 at 0.85: 55 labels, not 60.
        let arm = [(20.0, 0.5), (40.0, 0.65), (60.0, 0.85)];
        let found = saving(&arm, &RANDOM).expect("points");
        assert!((found.share - (1.0 - 55.0 / 60.0)).abs() < 1e-12, "{found:?}");
        assert!(found.reached);
    }

    #[test]
    fn an_arm_that_never_gets_there_costs_labels() {
        // The arm's best is 0.7, where random is at 40 labels and the arm at 60: it spends a third for nothing.
        let arm = [(20.0, 0.5), (40.0, 0.6), (60.0, 0.7)];
        let found = saving(&arm, &RANDOM).expect("points");
        assert!((found.share + 1.0 / 3.0).abs() < 1e-12 && !found.reached, "{found:?}");
        let swapped = saving(&RANDOM, &arm).expect("points");
        assert!((swapped.share - 1.0 / 3.0).abs() < 1e-12 && swapped.reached, "{swapped:?}");
    }

    #[test]
    fn the_same_curve_saves_nothing_and_a_dip_does_not_count() {
        assert_eq!(saving(&RANDOM, &RANDOM), Some(Saving { share: 0.0, reached: true }));
        // From the 0.7 of before the dip, not from the dip's 0.6: 0.8 is reached halfway from 60 to 80.
        let dipping = [(20.0, 0.5), (40.0, 0.7), (60.0, 0.6), (80.0, 0.9)];
        assert_eq!(reaches(&dipping, 0.8), Some(70.0));
        assert_eq!((saving(&[], &RANDOM), reaches(&RANDOM, 0.81), reaches(&RANDOM, 0.4)), (None, None, Some(20.0)));
    }

    proptest::proptest! {
        #[test]
        fn exchanging_the_curves_changes_the_sign_alone(
            worths in proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 2..9),
        ) {
            let labels = |place: usize| 20.0 + 15.0 * place as f64;
            let curve = |worth: fn(&(f64, f64)) -> f64| -> Vec<(f64, f64)> {
                worths.iter().enumerate().map(|(place, both)| (labels(place), worth(both))).collect()
            };
            let (one, other) = (curve(|both| both.0), curve(|both| both.1));
            let there = saving(&one, &other).expect("points").share;
            let back = saving(&other, &one).expect("points").share;
            proptest::prop_assert!((there + back).abs() < 1e-12, "{there} and {back}");
            proptest::prop_assert!((-1.0..1.0).contains(&there), "{there}");
        }
    }
}
