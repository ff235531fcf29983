//! Matrices of a few rows, as slices by rows: those of one image's classes, of which there are many.

/// The lower Cholesky factor of `matrix` in its place, `n` by `n`, and zeros above; `false` where it is not positive definite.
pub(super) fn cholesky(matrix: &mut [f64], n: usize) -> bool {
    for j in 0..n {
        let mut pivot = matrix[j * n + j];
        for k in 0..j {
            pivot -= matrix[j * n + k] * matrix[j * n + k];
        }
        if pivot.is_nan() || pivot <= 0.0 {
            return false;
        }
        let pivot = pivot.sqrt();
        matrix[j * n + j] = pivot;
        for i in j + 1..n {
            let mut below = matrix[i * n + j];
            for k in 0..j {
                below -= matrix[i * n + k] * matrix[j * n + k];
            }
            matrix[i * n + j] = below / pivot;
        }
    }
    for i in 0..n {
        matrix[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
    true
}

/// `L^-1 X` in the place of `x`, `n` by `columns`.
fn forward(l: &[f64], x: &mut [f64], n: usize, columns: usize) {
    for i in 0..n {
        for k in 0..i {
            let factor = l[i * n + k];
            let (above, row) = x.split_at_mut(i * columns);
            let above = &above[k * columns..(k + 1) * columns];
            for (x, above) in row[..columns].iter_mut().zip(above) {
                *x -= factor * above;
            }
        }
        let pivot = l[i * n + i];
        x[i * columns..(i + 1) * columns].iter_mut().for_each(|x| *x /= pivot);
    }
}

/// `L^-1` of a lower triangular `l`, `n` by `n`.
pub(super) fn inverse_of_lower(l: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    (0..n).for_each(|i| inverse[i * n + i] = 1.0);
    forward(l, &mut inverse, n, n);
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::DMatrix;

    #[test]
    fn factors_and_inverses_are_those_of_another_library() {
        let n = 5;
        let b = DMatrix::from_fn(n, n, |i, j| ((i * 7 + j * 3) % 11) as f64 / 11.0 - 0.3);
        let a = &b * b.transpose() + DMatrix::identity(n, n);
        let rows = |m: &DMatrix<f64>| m.transpose().as_slice().to_vec();
        let mut l = rows(&a);
        assert!(cholesky(&mut l, n));
        let back = DMatrix::from_row_slice(n, n, &inverse_of_lower(&l, n));
        let expected = a.clone().try_inverse().expect("it is positive definite");
        assert!((back.transpose() * &back - &expected).abs().max() < 1e-12);
        let lower = DMatrix::from_row_slice(n, n, &l);
        assert!((&lower * lower.transpose() - &a).abs().max() < 1e-12);
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2) && !cholesky(&mut [f64::NAN], 1));
    }
}
