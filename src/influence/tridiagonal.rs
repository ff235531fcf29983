//! Extreme eigenvalues of a symmetric tridiagonal matrix, by bisection on Sturm's count.
//!
//! Conjugate gradient builds such a matrix as it goes (Golub and Van Loan, Matrix Computations, 10.2): with
//! step lengths `a_k` and direction coefficients `b_k` its diagonal is `1/a_k + b_{k-1}/a_{k-1}` and its
//! off-diagonal `sqrt(b_k)/a_k`. Its eigenvalues (Ritz values) lie within the spectrum of the operator and
//! reach the ends first, so a solve tells its condition number for nothing.

/// The smallest and the largest eigenvalue; `None` of an empty matrix or of entries that are not finite.
pub(super) fn extreme_eigenvalues(diagonal: &[f64], off_diagonal: &[f64]) -> Option<(f64, f64)> {
    let n = diagonal.len();
    if n == 0 || !diagonal.iter().chain(off_diagonal).all(|x| x.is_finite()) {
        return None;
    }
    let off = |i: usize| off_diagonal.get(i).copied().unwrap_or(0.0).abs();
    let radius = |i: usize| off(i) + if i == 0 { 0.0 } else { off(i - 1) };
    // Gershgorin: every eigenvalue lies in a disc around a diagonal entry. Only the first n - 1 couplings count.
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for (i, d) in diagonal.iter().enumerate() {
        low = low.min(d - radius(i));
        high = high.max(d + radius(i));
    }
    let below = |x: f64| {
        let (mut count, mut q) = (0usize, 1.0f64);
        for (i, d) in diagonal.iter().enumerate() {
            let coupling = if i == 0 { 0.0 } else { off(i - 1).powi(2) };
            q = d - x - coupling / q;
            if q == 0.0 {
                q = f64::MIN_POSITIVE;
            }
            count += usize::from(q < 0.0);
        }
        count
    };
    // The k-th smallest is where the count of eigenvalues below x passes k.
    let kth = |k: usize| {
        let (mut a, mut b) = (low, high);
        for _ in 0..120 {
            let middle = 0.5 * (a + b);
            if below(middle) > k { b = middle } else { a = middle }
        }
        0.5 * (a + b)
    };
    Some((kth(0), kth(n - 1)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    /// The second-difference matrix of order n has eigenvalues 2 - 2 cos(k pi / (n + 1)).
    #[test]
    fn second_difference_matrix_has_its_closed_form_extremes() {
        for n in [1usize, 2, 5, 40] {
            let (low, high) = extreme_eigenvalues(&vec![2.0; n], &vec![-1.0; n - 1]).unwrap();
            let angle = std::f64::consts::PI / (n as f64 + 1.0);
            assert!((low - (2.0 - 2.0 * angle.cos())).abs() < 1e-12, "n = {n}: {low}");
            assert!((high - (2.0 - 2.0 * (n as f64 * angle).cos())).abs() < 1e-12, "n = {n}: {high}");
        }
    }

    #[test]
    fn a_diagonal_matrix_with_a_negative_entry_gives_that_entry() {
        let (low, high) = extreme_eigenvalues(&[3.0, -0.5, 1.0], &[0.0, 0.0]).unwrap();
        assert!((low + 0.5).abs() < 1e-12 && (high - 3.0).abs() < 1e-12, "{low} {high}");
    }

    #[test]
    fn entries_that_are_not_finite_have_no_answer() {
        assert!(extreme_eigenvalues(&[1.0, f64::NAN], &[0.0]).is_none());
        assert!(extreme_eigenvalues(&[], &[]).is_none());
    }
}
