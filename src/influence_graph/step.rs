//! The step of the paired form, chosen and not guessed.
//!
//! Two errors pull apart: a long step crosses kinks of Relu and MaxPool, and its quotient is bent (an error that grows
//! with the step); a short one is rounded away by float32 (an error that grows as the step shrinks). Candidates from 1e-2
//! to 3e-7 are tried on images: over the zoo the best lay between 3e-5 and 3e-7 (`docs/decisions/0001-one-sided.md`), and
//! scopes without kinks, such as the head, like longer ones.
//!
//! With the exact derivative at hand, the plugin's or the tangent graph's ([`Judge::Exact`]), the step that ranks the images
//! most like it is taken. Without ([`Judge::Neighbours`]) a step is judged by the worse of its agreements with the next longer and the next shorter one.
//! With candidates a factor r apart (here 3 to 10) the longer neighbour's bend is at least about r times its own, and the
//! shorter one's rounding r times its own, so each disagreement is at least r - 1 times the error it stands for, and the
//! worse of the two overestimates the step's error from either side. The first and last candidate have one neighbour
//! only and are never taken. What all steps have in common is not seen this way.
//!
//! Where no step of the first difference ranks the images nearly as the judge does ([`CLOSE`]), the next one is tried.

use super::InfluenceGraphError;
use crate::influence::spearman;
use crate::observe::{Observer, Stage};
use isal_onnx::influence::Difference;

/// Relative steps `||eps s|| / ||theta||` that are tried: from where kinks are crossed to where float32 rounds a step away.
pub const STEPS: [f64; 9] = [1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7];
/// Rank agreement that a step must reach.
pub const AGREEMENT: f64 = 0.999;
/// Rank agreement at which no further difference is tried.
pub const CLOSE: f64 = 0.9999;
/// Distance of the neighbours that a step given by hand is held against where no derivative is to be had.
const APART: f64 = 3.0;

/// Influences whose range is less than this share of the largest are all alike: float32 gives them to about 1e-6 of their size,
/// so that their order is rounding.
const ALIKE: f64 = 1e-5;

/// What becomes of a graph that is not shown to rank the sample as the exact derivative does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unproven {
    /// It is refused.
    #[default]
    Refused,
    /// It is used, and says so.
    Used,
}

impl Unproven {
    /// What was found wrong, where it is let pass.
    ///
    /// # Errors
    /// What was found wrong, where it is not.
    pub(super) fn judge(
        self,
        found: Result<(), InfluenceGraphError>,
        observer: &dyn Observer,
    ) -> Result<Option<String>, InfluenceGraphError> {
        match (found, self) {
            (Ok(()), _) => Ok(None),
            (Err(error), Unproven::Refused) => Err(error),
            (Err(error), Unproven::Used) => {
                observer.say(&format!("warning: used though unproven: {error}"));
                Ok(Some(error.to_string()))
            }
        }
    }
}

/// Influences of a sample, a column for each direction.
pub type Columns = Vec<Vec<f64>>;

/// What a step is judged by.
#[derive(Debug, Clone, PartialEq)]
pub enum Judge {
    /// Influences by the exact derivative.
    Exact {
        /// A column for each direction.
        influences: Columns,
        /// What computed them, as a sentence names it.
        by: String,
    },
    /// The steps beside it.
    Neighbours,
}

impl Judge {
    /// As a sentence names it.
    pub fn name(&self) -> &str {
        match self {
            Judge::Exact { by, .. } => by,
            Judge::Neighbours => "the steps beside it",
        }
    }

    /// Refuses influences that are all alike, which no graph can be shown to rank.
    fn tells_apart(&self) -> Result<(), InfluenceGraphError> {
        let Judge::Exact { influences, .. } = self else { return Ok(()) };
        for column in influences {
            let fold = |start: f64, take: fn(f64, f64) -> f64| column.iter().copied().fold(start, take);
            let (low, high) = (fold(f64::INFINITY, f64::min), fold(f64::NEG_INFINITY, f64::max));
            let size = low.abs().max(high.abs());
            if column.len() > 1 && high - low <= ALIKE * size {
                return Err(InfluenceGraphError::Alike { images: column.len(), influence: low, range: high - low });
            }
        }
        Ok(())
    }

    /// The steps to try: the one given by hand, with neighbours where they are the judge; else all.
    pub fn candidates(&self, by_hand: Option<f64>) -> Vec<f64> {
        match (self, by_hand) {
            (_, None) => STEPS.to_vec(),
            (Judge::Exact { .. }, Some(step)) => vec![step],
            (Judge::Neighbours, Some(step)) => vec![step * APART, step, step / APART],
        }
    }
}

/// How well influences agree with what judges them; of several directions, the worst.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Spearman correlation; NaN where it means nothing.
    pub spearman: f64,
    /// Largest error over the largest influence; infinite where a value is missing or not a number.
    pub worst: f64,
}

impl Agreement {
    const NONE: Agreement = Agreement { spearman: f64::NAN, worst: f64::INFINITY };

    pub(super) fn between(found: &Columns, truth: &Columns) -> Agreement {
        let mut agreement = Agreement { spearman: 1.0, worst: 0.0 };
        if found.len() != truth.len() || found.is_empty() {
            return Agreement::NONE;
        }
        for (found, truth) in found.iter().zip(truth) {
            let rank = spearman(found, truth).unwrap_or(f64::NAN);
            // `min` would drop a NaN.
            agreement.spearman =
                if rank.is_nan() || agreement.spearman.is_nan() { f64::NAN } else { agreement.spearman.min(rank) };
            agreement.worst = agreement.worst.max(worst(found, truth));
        }
        agreement
    }

    /// Refuses a tangent graph, exact by construction, that ranks otherwise.
    ///
    /// # Errors
    /// [`InfluenceGraphError::Alike`]; [`InfluenceGraphError::Tangent`] under [`AGREEMENT`].
    pub(super) fn of_exact(&self, judge: &Judge) -> Result<(), InfluenceGraphError> {
        judge.tells_apart()?;
        if self.spearman >= AGREEMENT {
            return Ok(());
        }
        let judged_by = judge.name().to_owned();
        Err(InfluenceGraphError::Tangent { spearman: self.spearman, judged_by, wanted: AGREEMENT })
    }

    /// The one that says less for the step.
    fn or_worse(self, other: Agreement) -> Agreement {
        if other.better_than(&self) { self } else { other }
    }

    /// By rank, then by the worst error. A NaN is no better than anything.
    fn better_than(&self, other: &Agreement) -> bool {
        if self.spearman.is_nan() {
            return false;
        }
        other.spearman.is_nan()
            || self.spearman > other.spearman
            || (self.spearman == other.spearman && self.worst < other.worst)
    }
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spearman {:.6}, worst error {:.2e} of the largest influence", self.spearman, self.worst)
    }
}

/// A difference at a step, and how well it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Which difference.
    pub difference: Difference,
    /// `||eps s|| / ||theta||`.
    pub step: f64,
    /// On the sample.
    pub agreement: Agreement,
}

impl Choice {
    /// Refuses one that is not good enough to rank by.
    ///
    /// # Errors
    /// [`InfluenceGraphError::Alike`]; [`InfluenceGraphError::Step`] under [`AGREEMENT`].
    pub fn accepted(&self, judge: &Judge) -> Result<(), InfluenceGraphError> {
        judge.tells_apart()?;
        let spearman = self.agreement.spearman;
        if spearman >= AGREEMENT {
            return Ok(());
        }
        let judged_by = judge.name().to_owned();
        Err(InfluenceGraphError::Step { step: self.step, spearman, judged_by, wanted: AGREEMENT })
    }
}

/// Tries the differences in turn until one is [`CLOSE`], each at every step, longest first, and gives the best that was
/// found. `influences` computes those of the sample.
///
/// # Errors
/// Whatever `influences` says of the first difference, and [`InfluenceGraphError::Interrupted`]; where a later one
/// cannot be made, the observer hears of it.
pub fn choose(
    differences: &[Difference],
    steps: &[f64],
    judge: &Judge,
    mut influences: impl FnMut(Difference, f64) -> Result<Columns, InfluenceGraphError>,
    observer: &dyn Observer,
) -> Result<Choice, InfluenceGraphError> {
    let mut best: Option<Choice> = None;
    for &difference in differences {
        let found = match (at_best(difference, steps, judge, &mut influences, observer), best) {
            (Ok(found), _) => found,
            (Err(error), None) | (Err(error @ InfluenceGraphError::Interrupted), _) => return Err(error),
            (Err(error), Some(_)) => {
                observer.say(&format!("the {} difference cannot be had: {error}", difference.name()));
                continue;
            }
        };
        if best.is_none_or(|best| found.agreement.better_than(&best.agreement))
            && let Some(cheaper) = best.replace(found)
        {
            let (taken, left) = (found.difference.name(), cheaper.difference.name());
            let price = match found.difference {
                Difference::Central => "its predictions are means of two weight settings",
                Difference::OneSided | Difference::Held => "it takes more time",
            };
            observer.say(&format!(
                "the {taken} difference is taken: Spearman {:.6} on the sample, where the {left} one has {:.6}; {price}: `--difference {left}` avoids that",
                found.agreement.spearman, cheaper.agreement.spearman,
            ));
        }
        if found.agreement.spearman >= CLOSE {
            break;
        }
    }
    let nothing = Choice { difference: Difference::OneSided, step: f64::NAN, agreement: Agreement::NONE };
    Ok(best.unwrap_or(nothing))
}

/// A difference at the step that does best.
fn at_best(
    difference: Difference,
    steps: &[f64],
    judge: &Judge,
    influences: &mut impl FnMut(Difference, f64) -> Result<Columns, InfluenceGraphError>,
    observer: &dyn Observer,
) -> Result<Choice, InfluenceGraphError> {
    let _stage =
        Stage::begin(observer, &format!("choosing the step, {}", difference.name()), steps.len() as u64, "steps");
    let mut found = Vec::with_capacity(steps.len());
    for &step in steps {
        if observer.interrupted() {
            return Err(InfluenceGraphError::Interrupted);
        }
        found.push((step, influences(difference, step)?));
        observer.advance(1);
    }
    let judged: Vec<Choice> = match judge {
        Judge::Exact { influences, .. } => found
            .iter()
            .map(|(step, found)| Choice { difference, step: *step, agreement: Agreement::between(found, influences) })
            .collect(),
        Judge::Neighbours => found
            .windows(3)
            .filter_map(|three| match three {
                [(_, longer), (step, own), (_, shorter)] => {
                    let with = |other: &Columns| Agreement::between(own, other);
                    Some(Choice { difference, step: *step, agreement: with(longer).or_worse(with(shorter)) })
                }
                _ => None,
            })
            .collect(),
    };
    let step = steps.first().copied().unwrap_or(f64::NAN);
    let none = Choice { difference, step, agreement: Agreement::NONE };
    let better = |best: Choice, next: Choice| if next.agreement.better_than(&best.agreement) { next } else { best };
    Ok(judged.into_iter().reduce(better).unwrap_or(none))
}

/// Largest error over the largest exact value.
fn worst(found: &[f64], exact: &[f64]) -> f64 {
    if found.len() != exact.len() {
        return f64::INFINITY;
    }
    let scale = exact.iter().fold(f64::MIN_POSITIVE, |scale, e| scale.max(e.abs()));
    let error = found.iter().zip(exact).fold(0.0_f64, |worst, (f, e)| {
        let error = (f - e).abs();
        if error.is_nan() { f64::INFINITY } else { worst.max(error) }
    });
    error / scale
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use crate::observe::Unobserved;

    /// Influences 1..50 with an error of `bend * step` and one of `rounding / step`, each in a pattern of its own.
    fn with_errors(step: f64, bend: f64, rounding: f64) -> Columns {
        let value = |i: usize| {
            let x = i as f64;
            x + bend * step * (1.7 * x).sin() + rounding / step * (2.9 * x + 1.0).cos()
        };
        vec![(0..50).map(value).collect()]
    }

    /// The choice among steps of one difference.
    fn one_sided(
        steps: &[f64],
        judge: &Judge,
        mut influences: impl FnMut(f64) -> Result<Columns, InfluenceGraphError>,
    ) -> Result<Choice, InfluenceGraphError> {
        choose(&[Difference::OneSided], steps, judge, |_, step| influences(step), &Unobserved)
    }

    fn truth() -> Columns {
        with_errors(1.0, 0.0, 0.0)
    }

    #[test]
    fn the_exact_judge_takes_the_step_nearest_to_the_truth() {
        let judge = Judge::Exact { influences: truth(), by: "the truth".to_owned() };
        // bend * h = rounding / h at h = sqrt(1e-6 / 1e3): of the candidates 3e-5 is nearest.
        let chosen = one_sided(&STEPS, &judge, |h| Ok(with_errors(h, 1e3, 1e-6))).unwrap();
        assert_eq!(chosen.step, 3e-5);
        let worst = (1e3 * 3e-5 + 1e-6 / 3e-5) / 49.0;
        assert!(chosen.agreement.worst <= worst && chosen.agreement.worst > 0.3 * worst, "{}", chosen.agreement.worst);
        assert!(chosen.accepted(&judge).is_ok());
    }

    #[test]
    fn influences_that_are_all_alike_are_called_so_and_let_pass_on_request() {
        for column in [vec![0.0; 50], vec![2.5; 50], (0..50).map(|i| 3.0 + 1e-8 * f64::from(i)).collect::<Vec<_>>()] {
            let judge = Judge::Exact { influences: vec![column.clone()], by: "the truth".to_owned() };
            let chosen = one_sided(&STEPS, &judge, |_| Ok(vec![column.clone()])).unwrap();
            let error = chosen.accepted(&judge).unwrap_err();
            assert!(matches!(error, InfluenceGraphError::Alike { images: 50, .. }), "{error}");
            assert!(chosen.agreement.of_exact(&judge).is_err());
            assert!(Unproven::Refused.judge(Err(error), &Unobserved).is_err());
            let said = Unproven::Used.judge(chosen.accepted(&judge), &Unobserved).unwrap().unwrap();
            assert!(said.contains("all alike") && said.contains("trained"), "{said}");
        }
        let judge = Judge::Exact { influences: truth(), by: "the truth".to_owned() };
        let chosen = one_sided(&STEPS, &judge, |h| Ok(with_errors(h, 1e3, 1e-6))).unwrap();
        assert_eq!(Unproven::Used.judge(chosen.accepted(&judge), &Unobserved).unwrap(), None);
    }

    #[test]
    fn neighbours_find_the_flat_bottom_and_overestimate_the_error() {
        for (bend, rounding) in [(1e3, 1e-6), (1e2, 1e-7), (3e4, 1e-4)] {
            let errors = |h: f64| with_errors(h, bend, rounding);
            let chosen = one_sided(&STEPS, &Judge::Neighbours, |h| Ok(errors(h))).unwrap();
            let true_error = Agreement::between(&errors(chosen.step), &truth());
            let best =
                one_sided(&STEPS, &Judge::Exact { influences: truth(), by: String::new() }, |h| Ok(errors(h))).unwrap();
            assert!(chosen.agreement.worst >= true_error.worst, "{chosen:?} claims less than {true_error:?}");
            assert!(chosen.agreement.spearman <= true_error.spearman, "{chosen:?} claims more than {true_error:?}");
            let place = |step: f64| STEPS.iter().position(|s| *s == step).unwrap();
            assert!(place(chosen.step).abs_diff(place(best.step)) <= 1, "{chosen:?} beside {best:?}");
        }
    }

    #[test]
    fn the_ends_are_never_taken_for_want_of_a_second_neighbour() {
        // The shortest is the best here, and only the longer side can vouch for it.
        let chosen = one_sided(&STEPS, &Judge::Neighbours, |h| Ok(with_errors(h, 1e3, 0.0))).unwrap();
        assert_eq!(chosen.step, 1e-6);
    }

    #[test]
    fn several_directions_are_as_good_as_their_worst_and_nan_never_passes() {
        let judge = Judge::Exact { influences: vec![truth()[0].clone(); 2], by: "the truth".to_owned() };
        let two = |second: Vec<f64>| vec![truth()[0].clone(), second];
        let mut off = truth()[0].clone();
        off.swap(0, 49);
        let chosen = one_sided(&[1e-3], &judge, |_| Ok(two(off.clone()))).unwrap();
        assert!(chosen.agreement.spearman < 0.9 && chosen.agreement.worst == 1.0);
        assert!(matches!(chosen.accepted(&judge), Err(InfluenceGraphError::Step { wanted: AGREEMENT, .. })));
        let chosen = one_sided(&[1e-3, 1e-4], &judge, |_| Ok(two(vec![f64::NAN; 50]))).unwrap();
        assert!(chosen.agreement.spearman.is_nan() && chosen.accepted(&judge).is_err());
        // A step with NaN loses against any other, whichever comes first.
        for bad in [1e-3, 1e-4] {
            let second = |h: f64| if h == bad { vec![f64::NAN; 50] } else { truth()[0].clone() };
            let chosen = one_sided(&[1e-3, 1e-4], &judge, |h| Ok(two(second(h)))).unwrap();
            assert_eq!((chosen.step == bad, chosen.agreement.spearman), (false, 1.0));
        }
    }

    #[test]
    fn a_step_by_hand_is_judged_alone_or_between_neighbours_of_its_own() {
        let exact = Judge::Exact { influences: truth(), by: String::new() };
        assert_eq!(exact.candidates(Some(5e-5)), [5e-5]);
        let three = Judge::Neighbours.candidates(Some(5e-5));
        assert_eq!(three.len(), 3);
        let chosen = one_sided(&three, &Judge::Neighbours, |h| Ok(with_errors(h, 1.0, 0.0))).unwrap();
        assert_eq!(chosen.step, 5e-5);
    }

    #[test]
    fn differences_are_tried_until_one_is_close_and_the_best_is_taken() {
        let judge = Judge::Exact { influences: truth(), by: "the truth".to_owned() };
        let three = [Difference::OneSided, Difference::Held, Difference::Central];
        // Errors of 5 and more are of the size of the images' distance: not close. 0 is exact.
        for (errors, taken, tries) in [
            ([1e-3, 0.0, 0.0], Difference::OneSided, 1),
            ([5.0, 0.0, 0.0], Difference::Held, 2),
            ([5.0, 50.0, 0.0], Difference::Central, 3),
            ([50.0, 5.0, 0.0], Difference::Central, 3),
            ([50.0, 5.0, 500.0], Difference::Held, 3),
            ([5.0, 50.0, 500.0], Difference::OneSided, 3),
        ] {
            let tried = std::cell::Cell::new(0);
            let influences = |difference, _| {
                let place = three.iter().position(|one| *one == difference).unwrap();
                tried.set(tried.get() + 1);
                Ok(with_errors(1.0, errors[place], 0.0))
            };
            let chosen = choose(&three, &[1e-3], &judge, influences, &Unobserved).unwrap();
            assert_eq!((chosen.difference, tried.get()), (taken, tries), "{errors:?}");
        }
    }

    #[test]
    fn a_costlier_difference_that_fails_leaves_the_cheaper_one() {
        let judge = Judge::Exact { influences: truth(), by: "the truth".to_owned() };
        let both = [Difference::OneSided, Difference::Held];
        let influences = |difference, _| match difference {
            Difference::OneSided => Ok(with_errors(1.0, 5.0, 0.0)),
            _ => Err(InfluenceGraphError::NoStep),
        };
        let chosen = choose(&both, &[1e-3], &judge, influences, &Unobserved).unwrap();
        assert_eq!(chosen.difference, Difference::OneSided);
        let none = choose(&both[1..], &[1e-3], &judge, influences, &Unobserved);
        assert!(matches!(none, Err(InfluenceGraphError::NoStep)));
        let stopped = |difference, _| match difference {
            Difference::OneSided => Ok(with_errors(1.0, 5.0, 0.0)),
            _ => Err(InfluenceGraphError::Interrupted),
        };
        assert!(matches!(choose(&both, &[1e-3], &judge, stopped, &Unobserved), Err(InfluenceGraphError::Interrupted)));
    }
}
