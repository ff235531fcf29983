//! Matrices of a few rows, as slices by rows: those of one image's classes, of which there are many.

/// The lower Cholesky factor of `matrix` in its place, `n` by `n`; `false` where it is not positive definite.
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

/// `tr(A^-1 T)` of a symmetric `t`, `A = L L'` by its factor; `t` is overwritten.
pub(super) fn trace_of_solved(l: &[f64], t: &mut [f64], n: usize) -> f64 {
    // tr(A^-1 T) = tr(L^-1 T L^-T): two passes, the second over the transpose of the first.
    forward(l, t, n, n);
    for i in 0..n {
        for j in 0..i {
            t.swap(i * n + j, j * n + i);
        }
    }
    forward(l, t, n, n);
    (0..n).map(|i| t[i * n + i]).sum()
}

/// `A^-1` of `A = L L'` by its factor.
pub(super) fn inverse(l: &[f64], n: usize) -> Vec<f64> {
    let mut half = vec![0.0; n * n];
    (0..n).for_each(|i| half[i * n + i] = 1.0);
    forward(l, &mut half, n, n);
    // A^-1 = L^-T L^-1.
    let mut inverse = vec![0.0; n * n];
    for k in 0..n {
        for i in 0..=k {
            let factor = half[k * n + i];
            for j in 0..=k {
                inverse[i * n + j] += factor * half[k * n + j];
            }
        }
    }
    inverse
}

/// `A B`, `n` by `n`.
pub(super) fn product(a: &[f64], b: &[f64], n: usize, out: &mut [f64]) {
    out.fill(0.0);
    for (a, out) in a.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        for (a, b) in a.iter().zip(b.chunks_exact(n)) {
            for (out, b) in out.iter_mut().zip(b) {
                *out += a * b;
            }
        }
    }
}

/// `sum += factor (A B')`, `n` by `n`.
pub(super) fn add_product_of_transposed(a: &[f64], b: &[f64], n: usize, factor: f64, sum: &mut [f64]) {
    for (a, sum) in a.chunks_exact(n).zip(sum.chunks_exact_mut(n)) {
        for (sum, b) in sum.iter_mut().zip(b.chunks_exact(n)) {
            *sum += factor * a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::DMatrix;

    #[test]
    fn factors_traces_and_inverses_are_those_of_another_library() {
        let n = 5;
        let b = DMatrix::from_fn(n, n, |i, j| ((i * 7 + j * 3) % 11) as f64 / 11.0 - 0.3);
        let a = &b * b.transpose() + DMatrix::identity(n, n);
        let t = DMatrix::from_fn(n, n, |i, j| 1.0 / (1 + i + j) as f64);
        let rows = |m: &DMatrix<f64>| m.transpose().as_slice().to_vec();
        let mut l = rows(&a);
        assert!(cholesky(&mut l, n));
        let expected = a.clone().try_inverse().expect("it is positive definite");
        let inverse = DMatrix::from_row_slice(n, n, &inverse(&l, n));
        assert!((inverse - &expected).abs().max() < 1e-12);
        let trace = trace_of_solved(&l, &mut rows(&t), n);
        assert!((trace - (&expected * &t).trace()).abs() < 1e-12);
        let mut out = vec![0.0; n * n];
        product(&rows(&a), &rows(&t), n, &mut out);
        assert!((DMatrix::from_row_slice(n, n, &out) - &a * &t).abs().max() < 1e-12);
        add_product_of_transposed(&rows(&a), &rows(&b), n, -2.0, &mut out);
        assert!((DMatrix::from_row_slice(n, n, &out) - (&a * &t - 2.0 * &a * b.transpose())).abs().max() < 1e-12);
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2) && !cholesky(&mut [f64::NAN], 1));
    }
}
