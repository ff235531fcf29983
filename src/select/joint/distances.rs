//! Distances between features, which are never held as a whole matrix of the pool.

use super::linear::{BLOCK, product};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rayon::slice::ParallelSliceMut as _;

/// Numbers that are added side by side.
const LANES: usize = 16;

/// `|a - b|^2`.
#[multiversion::multiversion(targets = "simd")]
pub(super) fn squared(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (wide_a, wide_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = wide_a.remainder().iter().zip(wide_b.remainder()).map(|(a, b)| (a - b) * (a - b)).sum();
    for (a, b) in wide_a.zip(wide_b) {
        for lane in 0..LANES {
            let apart = a[lane] - b[lane];
            sums[lane] += apart * apart;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// `a b`.
#[multiversion::multiversion(targets = "simd")]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (wide_a, wide_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = wide_a.remainder().iter().zip(wide_b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in wide_a.zip(wide_b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Lowers each number of `nearest` to the squared distance of its row of `features` to `to`, where that is less.
pub(super) fn nearer(features: &Array2<f32>, to: ArrayView1<f32>, nearest: &mut [f32]) {
    let to = to.to_vec();
    let blocks = features.axis_chunks_iter(Axis(0), BLOCK).into_par_iter();
    blocks.zip(nearest.par_chunks_mut(BLOCK)).for_each(|(rows, nearest)| {
        for (row, nearest) in rows.axis_iter(Axis(0)).zip(nearest) {
            *nearest = nearest.min(row.as_slice().map_or(f32::NAN, |row| squared(row, &to)));
        }
    });
}

/// Rows scaled to unit length; a row of zeros stays one.
pub(super) fn unit_rows(features: &Array2<f32>) -> Array2<f64> {
    let mut scaled = features.mapv(f64::from);
    for mut row in scaled.axis_iter_mut(Axis(0)) {
        let length = row.dot(&row).sqrt();
        if length > 0.0 {
            row /= length;
        }
    }
    scaled
}

/// `|a - b|^2` of every row of `a` with every row of `b`, at least zero.
pub(super) fn between(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Array2<f64> {
    let lengths = |of: ArrayView2<f64>| of.axis_iter(Axis(0)).map(|row| row.dot(&row)).collect::<Vec<f64>>();
    let (of_a, of_b) = (lengths(a), lengths(b));
    let mut apart = product(a, b.t());
    apart.axis_iter_mut(Axis(0)).into_par_iter().zip(of_a).for_each(|(mut row, a)| {
        row.iter_mut().zip(&of_b).for_each(|(x, b)| *x = (a + b - 2.0 * *x).max(0.0));
    });
    apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn lanes_and_rests_add_up() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        let b: Vec<f32> = (0..37).map(|i| (i % 5) as f32).collect();
        let expected: f32 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
        assert_eq!(squared(&a, &b), expected, "whole numbers below 2^24 are exact");
        assert_eq!(dot(&a, &b), a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>());
    }

    #[test]
    fn distances_are_those_of_pairs() {
        let apart = between(array![[0.0, 0.0], [3.0, 4.0]].view(), array![[3.0, 4.0]].view());
        assert_eq!(apart, array![[25.0], [0.0]]);
        assert_eq!(unit_rows(&array![[3.0, 4.0], [0.0, 0.0]]), array![[0.6, 0.8], [0.0, 0.0]].mapv(|x: f64| x));
    }
}
