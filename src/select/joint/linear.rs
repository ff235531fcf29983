//! Products of large matrices on all cores. Rows are cut into blocks of a fixed size, so that sums do not depend on the number
//! of threads.

use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis};

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

#[cfg(test)]
mod tests {
    use super::*;

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
