//! Dense symmetric positive-definite systems in float64, for truths that share no code with the solvers.

use ndarray::Array2;

/// `A = L L^T`.
pub struct Cholesky(Array2<f64>);

impl Cholesky {
    pub fn of(matrix: &Array2<f64>) -> Self {
        let n = matrix.nrows();
        let mut l = Array2::zeros((n, n));
        for i in 0..n {
            for j in 0..=i {
                let dot: f64 = l.row(i).iter().zip(l.row(j)).take(j).map(|(a, b): (&f64, &f64)| a * b).sum();
                let rest = matrix[[i, j]] - dot;
                if i == j {
                    assert!(rest > 0.0, "not positive definite at {i}: {rest}");
                    l[[i, i]] = rest.sqrt();
                } else {
                    l[[i, j]] = rest / l[[j, j]];
                }
            }
        }
        Cholesky(l)
    }

    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let (l, n) = (&self.0, b.len());
        let mut y = b.to_vec();
        for i in 0..n {
            let dot: f64 = (0..i).map(|j| l[[i, j]] * y[j]).sum();
            y[i] = (y[i] - dot) / l[[i, i]];
        }
        for i in (0..n).rev() {
            y[i] /= l[[i, i]];
            let value = y[i];
            for j in 0..i {
                y[j] -= l[[i, j]] * value;
            }
        }
        y
    }
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn cholesky_solves_what_it_was_given() {
    let matrix = Array2::from_shape_fn((6, 6), |(i, j)| if i == j { 4.0 } else { 1.0 / (1.0 + (i + j) as f64) });
    let x: Vec<f64> = (0..6).map(|i| (i as f64).sin()).collect();
    let b: Vec<f64> = (0..6).map(|i| dot(&matrix.row(i).to_vec(), &x)).collect();
    let solved = Cholesky::of(&matrix).solve(&b);
    for (a, b) in solved.iter().zip(&x) {
        assert!((a - b).abs() < 1e-14, "{a} {b}");
    }
}
