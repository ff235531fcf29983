//! Means with intervals, paired tests, and the correction for many of them.
//!
//! Differences between two arms are taken seed by seed, so the tests are of one sample: whether its mean is zero. The t test
//! rests on differences that are about normal; the sign-flip test only on their being symmetric, and is exact, but with n
//! seeds it cannot say less than 2 / 2^n.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Share of intervals that hold the true mean.
pub const LEVEL: f64 = 0.95;

/// Most differences of which all flips of signs are tried.
const MOST_FLIPPED: usize = 20;

/// A mean over seeds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Student's t interval of [`LEVEL`] around it; none from one seed.
    pub interval: Option<[f64; 2]>,
    /// How many seeds it is over.
    pub seeds: usize,
}

impl Estimate {
    /// The mean of one value a seed; not a number of none.
    pub fn of(values: &[f64]) -> Estimate {
        let mean = mean(values);
        let half = standard_error(values).map(|error| error * quantile(values.len()));
        Estimate { mean, interval: half.map(|half| [mean - half, mean + half]), seeds: values.len() }
    }

    /// Half the width of the interval.
    pub fn half_width(&self) -> Option<f64> {
        self.interval.map(|[low, high]| (high - low) / 2.0)
    }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of the mean; none of a single value.
fn standard_error(values: &[f64]) -> Option<f64> {
    let (mean, count) = (mean(values), values.len() as f64);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt())
}

/// Student's t of `count` values; none of a single value.
fn student(count: usize) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, count.saturating_sub(1) as f64).ok()
}

/// How many standard errors an interval of [`LEVEL`] reaches to either side.
fn quantile(count: usize) -> f64 {
    student(count).map_or(f64::NAN, |t| t.inverse_cdf(f64::midpoint(1.0, LEVEL)))
}

/// The two-sided p value of the paired t test that the mean difference is zero; none from one seed. Differences that are all
/// equal give 1 where they are zero, and else 0.
pub fn paired_t(differences: &[f64]) -> Option<f64> {
    let (mean, error) = (mean(differences), standard_error(differences)?);
    if mean == 0.0 {
        return Some(1.0);
    }
    if error == 0.0 {
        return Some(0.0);
    }
    Some(2.0 * student(differences.len())?.sf((mean / error).abs()))
}

/// The share of all flips of signs whose sum is at least as far from zero; none from one seed or more than twenty.
pub fn sign_flips(differences: &[f64]) -> Option<f64> {
    if !(2..=MOST_FLIPPED).contains(&differences.len()) {
        return None;
    }
    let magnitude: f64 = differences.iter().map(|difference| difference.abs()).sum();
    // Sums that are equal but for rounding count as equal.
    let observed = differences.iter().sum::<f64>().abs() - 1e-12 * magnitude;
    // The first keeps its sign: flipping all of them gives the same distance from zero.
    let flips = 1_u32 << (differences.len() - 1);
    let far = |flip: &u32| {
        let signed = (0..).zip(differences).map(|(place, d)| if ((flip << 1) >> place) & 1 == 1 { -d } else { *d });
        signed.sum::<f64>().abs() >= observed
    };
    Some((0..flips).filter(far).count() as f64 / f64::from(flips))
}

/// p values corrected by Holm's step-down method, in the order given: the chance of one false rejection or more among all of
/// them stays below the threshold.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![0.0; p.len()];
    let mut highest = 0.0_f64;
    for (rank, place) in order.into_iter().enumerate() {
        highest = highest.max((p.len() - rank) as f64 * p[place]).min(1.0);
        corrected[place] = highest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: [f64; 5] = [0.031, 0.012, -0.004, 0.027, 0.019];
    const EIGHT: [f64; 8] = [0.02, 0.03, 0.01, 0.025, -0.002, 0.011, 0.04, 0.018];

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{found}, expected {expected}");
    }

    /// `scipy.stats.t.interval(0.95, n - 1, mean, sem)` of SciPy 1.17.
    #[test]
    fn intervals_are_those_of_scipy() {
        for (values, mean, low, high) in [
            (&FIVE[..], 0.017, -0.000_182_584_097_549_790_69, 0.034_182_584_097_549_79),
            (&[0.5, -1.25], -0.375, -11.492_929_144_152_855, 10.742_929_144_152_855),
            (&EIGHT, 0.019, 0.008_117_956_179_733_03, 0.029_882_043_820_266_97),
        ] {
            let found = Estimate::of(values);
            let [from, to] = found.interval.expect("an interval");
            near(found.mean, mean);
            near(from, low);
            near(to, high);
            assert_eq!(found.seeds, values.len());
        }
        for (count, expected) in
            [(2, 12.706_204_736_174_694), (11, 2.228_138_851_986_274), (31, 2.042_272_456_301_237_8)]
        {
            near(quantile(count), expected);
        }
    }

    /// `scipy.stats.ttest_1samp(differences, 0)`, and all flips of signs gone through in Python.
    #[test]
    fn tests_of_differences_are_those_of_scipy() {
        for (differences, t, flips) in [
            (&FIVE[..], 0.051_536_152_839_164_615, 0.125),
            (&[0.5, -1.25], 0.742_237_883_181_686_8, 1.0),
            (&EIGHT, 0.004_411_592_837_530_403, 0.015_625),
        ] {
            near(paired_t(differences).expect("two seeds or more"), t);
            near(sign_flips(differences).expect("two seeds or more"), flips);
        }
    }

    #[test]
    fn one_seed_has_no_interval_and_no_test() {
        assert_eq!(Estimate::of(&[0.3]), Estimate { mean: 0.3, interval: None, seeds: 1 });
        assert_eq!((paired_t(&[0.3]), sign_flips(&[0.3]), sign_flips(&[0.1; 21])), (None, None, None));
    }

    #[test]
    fn differences_without_spread_are_certain_or_nothing() {
        assert_eq!((paired_t(&[0.0; 4]), sign_flips(&[0.0; 4])), (Some(1.0), Some(1.0)));
        assert_eq!((paired_t(&[0.25; 4]), sign_flips(&[0.25; 4])), (Some(0.0), Some(0.125)));
    }

    /// `statsmodels.stats.multitest.multipletests(p, method="holm")`.
    #[test]
    fn many_tests_are_corrected_as_statsmodels_does() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005, 0.6]);
        for (found, expected) in found.into_iter().zip([0.04, 0.09, 0.09, 0.025, 0.6]) {
            near(found, expected);
        }
        assert_eq!(holm(&[0.7, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
