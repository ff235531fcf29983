//! How far float32 may be off, on whatever processor a test runs.
//!
//! The order of a sum, and with it its rounding, depends on the width of the processor's vectors, on the number of threads and
//! on the kernel that a library picks. The error that one machine shows is therefore no bound for another. Two bounds are
//! valid on all of them:
//!
//! - [`gamma`], for a few sums of known length: Higham's bound, which no order of summation exceeds.
//! - [`Float32`], for whole networks, where that bound is too large to say anything: what float32 does is measured where the
//!   test runs.
//!
//! The measurement is one of the condition. A float32 answer is close to the exact answer for slightly other data, so the
//! question is asked again with every pixel, or every weight, moved by [`ROUNDINGS`] units of roundoff up or down at random,
//! in the same arithmetic. Float32 may be off by as much as these answers are apart.
//!
//! There are two reasons for so many units. A sum of n products whose rounding errors are independent is off by about
//! n / sqrt(2) units of one product, if one term is added after the other; moving its terms by k units moves it by
//! k sqrt(n). So k = 1024 covers long sums in many layers. And the derivative of Relu or MaxPool jumps at a kink: rounding
//! crosses a kink for a few of millions of values, or for none, and each crossing counts in full. A move that is some hundred
//! times as long as the rounding error crosses some hundred times as many, so the draws show what a crossing does long before
//! rounding makes one.
//!
//! The answers differ by rounding and by the move alone. A systematic error of what is tested (a wrong rule, a wrong constant)
//! is in all of them, so it does not widen the bound. What must be exact is computed in float64 and held tightly.

use crate::{DataType, Model, Tensor};

/// Unit roundoff of float32: the largest relative error of one rounding.
pub const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// Units of roundoff that data are moved by.
pub const ROUNDINGS: f64 = 1024.0;

/// How often the question is asked again.
const DRAWS: u64 = 3;

/// What is always explained, of the largest number: the rounding of a sum of 64 terms. An answer that does not depend on what
/// is moved would leave nothing else.
const LEAST: f64 = gamma(64);

/// Largest relative error of a float32 sum of n products, of the sum of their magnitudes, in any order: n u / (1 - n u)
/// (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
pub const fn gamma(n: usize) -> f64 {
    let roundings = n as f64 * ROUNDOFF;
    roundings / (1.0 - roundings)
}

/// Largest error of the difference of two float32 sums over a step: sums of n products whose magnitudes add up to at most
/// `size`, of which one has its weights moved by the step and rounded again.
pub fn over_a_step(n: usize, size: f64, step: f64) -> f64 {
    (2.0 * gamma(n) + ROUNDOFF) * size / step
}

/// The smallest rank correlation (Spearman's) with `exact` that numbers can have which are nowhere further than `error` from
/// it: what is out of order was within twice the error, so nothing moves by more ranks than there are others so near.
pub fn least_agreement(exact: &[f64], error: f64) -> f64 {
    let mut sorted = exact.to_vec();
    sorted.sort_by(f64::total_cmp);
    let near = |x: &f64| {
        let (from, to) = (x - 2.0 * error, x + 2.0 * error);
        (sorted.partition_point(|y| *y <= to) - sorted.partition_point(|y| *y < from)).saturating_sub(1) as f64
    };
    let n = exact.len() as f64;
    1.0 - 6.0 * exact.iter().map(|x| near(x).powi(2)).sum::<f64>() / (n * (n * n - 1.0))
}

/// Numbers, each moved by [`ROUNDINGS`] units of roundoff up or down. Zeros stay.
pub fn moved(values: &[f32], draw: u64) -> Vec<f32> {
    // SplitMix64, of which one bit is taken.
    let mut state = draw.wrapping_mul(0xd134_2543_de82_ef95);
    let mut up = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z >> 63 == 1
    };
    let by = ROUNDINGS * ROUNDOFF;
    values.iter().map(|x| (f64::from(*x) * if up() { 1.0 + by } else { 1.0 - by }) as f32).collect()
}

/// The model with these float32 initializers moved. Others stay: an exponent or a number of pixels means nothing when moved.
pub fn moved_model(model: &Model, names: &[String], draw: u64) -> Model {
    let mut model = model.clone();
    for (i, name) in (0_u64..).zip(names) {
        let tensor = model.graph.initializers.get_mut(name.as_str()).filter(|t| t.data_type() == DataType::Float);
        let Some(tensor) = tensor else { continue };
        let values = tensor.to_vec::<f32>().unwrap_or_default();
        *tensor = Tensor::new(tensor.dims(), &moved(&values, draw.wrapping_mul(1 << 20).wrapping_add(i)));
    }
    model
}

/// A float32 answer, and how far from it float32 puts the answers to data that are a few roundings away.
pub struct Float32 {
    /// To the data as they are.
    pub answer: Vec<f32>,
    largest: f64,
    length: f64,
}

impl Float32 {
    /// Asks with the data as they are (`None`), and moved by a draw.
    ///
    /// # Errors
    /// Those of the question.
    pub fn measure<E>(mut ask: impl FnMut(Option<u64>) -> Result<Vec<f32>, E>) -> Result<Float32, E> {
        let answer = ask(None)?;
        let (mut largest, mut length) = (0.0_f64, 0.0_f64);
        for draw in 1..=DRAWS {
            let other: Vec<f64> = ask(Some(draw))?.into_iter().map(f64::from).collect();
            let (furthest, whole) = distance(&answer, &other);
            (largest, length) = (worse(largest, furthest), worse(length, whole));
        }
        Ok(Float32 { answer, largest, length })
    }

    /// The largest error of a number, of what float32 explains: at most 1, unless something else is wrong.
    pub fn off(&self, truth: &[f64]) -> f64 {
        self.error(truth) / self.explained(truth)
    }

    /// The length of the error of all numbers as one vector, of what float32 explains.
    pub fn off_as_a_whole(&self, truth: &[f64]) -> f64 {
        distance(&self.answer, truth).1 / self.length.max(LEAST * scale(truth))
    }

    /// The largest error of a number.
    pub fn error(&self, truth: &[f64]) -> f64 {
        distance(&self.answer, truth).0
    }

    /// The largest error of a number that float32 explains.
    pub fn explained(&self, truth: &[f64]) -> f64 {
        self.largest.max(LEAST * scale(truth))
    }

    /// What float32 explains of the largest number, to print and to see that a test can fail.
    pub fn allowed(&self) -> f64 {
        self.largest / self.answer.iter().fold(f64::MIN_POSITIVE, |a, x| a.max(f64::from(x.abs())))
    }
}

fn scale(truth: &[f64]) -> f64 {
    truth.iter().fold(f64::MIN_POSITIVE, |a, x| a.max(x.abs()))
}

/// The largest difference, and the length of all. Not a number, or another count, is not a number here.
fn distance(a: &[f32], b: &[f64]) -> (f64, f64) {
    if a.len() != b.len() {
        return (f64::NAN, f64::NAN);
    }
    let differences = || a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).abs());
    (differences().fold(0.0, worse), differences().map(|d| d * d).sum::<f64>().sqrt())
}

/// The larger, where not a number is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum of 1,000 products in float32, of data that cancel to a hundredth.
    fn sum(weights: &[f32], wrong: f32) -> Vec<f32> {
        vec![wrong * weights.iter().enumerate().map(|(i, w)| w * (i as f32).sin()).sum::<f32>()]
    }

    #[test]
    fn rounding_is_explained_and_a_wrong_factor_is_not() {
        let weights: Vec<f32> = (0..1000).map(|i| (0.7 * i as f32).cos()).collect();
        let truth: f64 = weights.iter().enumerate().map(|(i, w)| f64::from(*w) * f64::from((i as f32).sin())).sum();
        let measure = |wrong| {
            let ask = |draw: Option<u64>| {
                let weights = draw.map_or_else(|| weights.clone(), |draw| moved(&weights, draw));
                Ok::<_, ()>(sum(&weights, wrong))
            };
            Float32::measure(ask).expect("sums")
        };
        assert!(measure(1.0).off(&[truth]) <= 1.0);
        assert!(measure(1.01).off(&[truth]) > 1.0 && measure(1.01).off_as_a_whole(&[truth]) > 1.0);
        assert!(measure(f32::NAN).off(&[truth]).is_nan(), "not a number is never explained");
        assert!(measure(1.0).off(&[]).is_nan(), "nor is another count");
    }

    #[test]
    fn neighbours_within_the_error_may_change_places_and_no_others() {
        let exact = [1.0, 2.0, 2.5, 4.0];
        assert_eq!(least_agreement(&exact, 0.2), 1.0);
        // Two neighbours out of order: 1 - 6 (1 + 1) / (4 * 15).
        assert_eq!(least_agreement(&exact, 0.26), 0.8);
    }

    #[test]
    fn every_number_moves_by_so_many_roundings_up_or_down() {
        let values = [1.0_f32, -3.5, 1e-20, 0.0];
        let (mut up, mut down) = (0, 0);
        for draw in 0..50 {
            for (to, from) in moved(&values, draw).iter().zip(values).filter(|(_, from)| *from != 0.0) {
                let by = (f64::from(*to) / f64::from(from) - 1.0) / ROUNDOFF;
                assert!((by.abs() - ROUNDINGS).abs() <= 1.0, "{by}");
                (up, down) = (up + usize::from(by > 0.0), down + usize::from(by < 0.0));
            }
            assert_eq!(moved(&values, draw)[3], 0.0);
        }
        assert!(up > 40 && down > 40, "{up} up, {down} down");
    }
}
