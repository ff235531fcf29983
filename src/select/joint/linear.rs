//! Products of large matrices on all cores. Rows are cut into blocks of a fixed size, so that sums do not depend on the number
//! of threads.

use nalgebra::DMatrix;
use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis, s};

/// Rows a block.
pub(super) const BLOCK: usize = 256;

/// `A B`.
pub(super) fn product(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Array2<f64> {
    let mut out = Array2::zeros((a.nrows(), b.ncols()));
    add_product(1.0, a, b, &mut out);
    out
}

/// `sum += factor A B`.
pub(super) fn add_product(factor: f64, a: ArrayView2<f64>, b: ArrayView2<f64>, sum: &mut Array2<f64>) {
    let blocks = sum.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    blocks
        .zip(a.axis_chunks_iter(Axis(0), BLOCK))
        .for_each(|(mut sum, a)| general_mat_mul(factor, &a, &b, 1.0, &mut sum));
}

/// Numbers that are added side by side.
const LANES: usize = 8;

/// `a b`.
#[multiversion::multiversion(targets = "simd")]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (wide_a, wide_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = wide_a.remainder().iter().zip(wide_b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in wide_a.zip(wide_b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Rows of what is inverted as a whole.
const WHOLE: usize = 128;

/// The inverse of a symmetric positive definite matrix, by halves, so that nearly all of it is products of large matrices:
/// with `S = D - B' A^-1 B`, the inverse of `[A B; B' D]` is `[A^-1 + E S^-1 E', -E S^-1; -S^-1 E', S^-1]`, `E = A^-1 B`.
/// `None` where it is not positive definite.
pub(super) fn inverse_of_positive(matrix: &Array2<f64>) -> Option<Array2<f64>> {
    let size = matrix.nrows();
    if size <= WHOLE {
        let whole = DMatrix::from_fn(size, size, |i, j| matrix[[i, j]]);
        let inverse = whole.cholesky()?.inverse();
        return Some(Array2::from_shape_fn((size, size), |(i, j)| inverse[(i, j)]));
    }
    let half = size / 2;
    let [a, b, d] = [s![..half, ..half], s![..half, half..], s![half.., half..]].map(|part| matrix.slice(part));
    let a = inverse_of_positive(&a.to_owned())?;
    let e = product(a.view(), b);
    let mut rest = d.to_owned();
    add_product(-1.0, b.t(), e.view(), &mut rest);
    let rest = inverse_of_positive(&rest)?;
    let across = product(e.view(), rest.view());
    let mut inverse = Array2::zeros((size, size));
    let mut upper = a;
    add_product(1.0, across.view(), e.t(), &mut upper);
    inverse.slice_mut(s![..half, ..half]).assign(&upper);
    inverse.slice_mut(s![..half, half..]).assign(&across.mapv(|x| -x));
    inverse.slice_mut(s![half.., ..half]).assign(&across.t().mapv(|x| -x));
    inverse.slice_mut(s![half.., half..]).assign(&rest);
    Some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_by_halves_is_one_and_what_has_none_is_refused() {
        let mut random = crate::data::Seeded::new("linear test", &[]);
        let b = Array2::from_shape_fn((300, 300), |_| random.unit() - 0.5);
        let mut a = b.dot(&b.t()) + Array2::<f64>::eye(300);
        let inverse = inverse_of_positive(&a).expect("positive definite");
        // Eigenvalues from 1 to about 100.
        assert!((a.dot(&inverse) - Array2::<f64>::eye(300)).iter().all(|x| x.abs() < 1e-11));
        assert!((&inverse - &inverse.t()).iter().all(|x| x.abs() < 1e-13));
        a[[250, 250]] = -1.0;
        assert!(inverse_of_positive(&a).is_none());
    }

    #[test]
    fn dots_of_any_length_add_up() {
        let a: Vec<f64> = (0..29).map(f64::from).collect();
        assert_eq!(dot(&a, &a[..29]), (0..29).map(|n| f64::from(n * n)).sum::<f64>());
        assert_eq!(dot(&a[..3], &a[..3]), 5.0);
    }

    #[test]
    fn blocks_make_the_whole_product() {
        let a = Array2::from_shape_fn((600, 7), |(i, j)| ((i * 13 + j * 5) % 17) as f64 - 8.0);
        let b = Array2::from_shape_fn((7, 9), |(i, j)| ((i * 3 + j * 11) % 19) as f64 - 9.0);
        assert_eq!(product(a.view(), b.view()), a.dot(&b), "whole numbers: exact in any order");
        let mut sum = a.dot(&b);
        add_product(-1.0, a.view(), b.view(), &mut sum);
        assert_eq!(sum, Array2::<f64>::zeros((600, 9)));
    }
}
