//! How well two rankings agree.

/// Spearman's rank correlation of two columns of the same samples: Pearson's of their ranks, equal values
/// sharing the mean of theirs (Kendall and Gibbons, Rank correlation methods, 1990, chapter 3).
///
/// `None` where it means nothing: columns of different lengths, fewer than two samples, a NaN, or a column of
/// equal values.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 || a.iter().chain(b).any(|x| x.is_nan()) {
        return None;
    }
    let middle = (a.len() as f64 - 1.0) / 2.0;
    let (ranks_a, ranks_b) = (ranks(a), ranks(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in ranks_a.iter().zip(&ranks_b) {
        let (x, y) = (x - middle, y - middle);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// Share of the images in the lowest tenth of `a` that are in the lowest tenth of `b` too; a tenth is at least one image.
pub fn lowest_tenth(a: &[f64], b: &[f64]) -> f64 {
    let tenth = |values: &[f64]| -> Vec<usize> {
        let mut order: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
        order.sort_by(|x, y| x.1.total_cmp(&y.1));
        order.into_iter().take((values.len() / 10).max(1)).map(|(position, _)| position).collect()
    };
    let (a, b) = (tenth(a), tenth(b));
    let common = a.iter().filter(|position| b.contains(position)).count();
    common as f64 / a.len().max(1) as f64
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
    order.sort_by(|x, y| x.1.total_cmp(&y.1));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for ties in order.chunk_by(|x, y| x.1 == y.1) {
        let mean = first as f64 + (ties.len() as f64 - 1.0) / 2.0;
        for (position, _) in ties {
            if let Some(rank) = ranks.get_mut(*position) {
                *rank = mean;
            }
        }
        first += ties.len();
    }
    ranks
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    #[test]
    fn it_sees_order_alone() {
        let a = [0.1, -5.0, 3.0, 2.0];
        let cubed: Vec<f64> = a.iter().map(|x: &f64| x.powi(3)).collect();
        let negated: Vec<f64> = a.iter().map(|x| -x).collect();
        assert_eq!(spearman(&a, &cubed), Some(1.0));
        assert_eq!(spearman(&a, &negated), Some(-1.0));
    }

    #[test]
    fn ties_share_the_mean_rank() {
        // Ranks 0.5 0.5 2 3 against 0 1 2 3: covariance 4.5, variances 4.5 and 5.
        let value = spearman(&[1.0, 1.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((value - 4.5 / (4.5f64 * 5.0).sqrt()).abs() < 1e-15, "{value}");
    }

    #[test]
    fn the_lowest_tenth_is_compared_as_a_set() {
        let a: Vec<f64> = (0..40).map(f64::from).collect();
        let mut b = a.clone();
        b.swap(0, 3);
        assert_eq!(lowest_tenth(&a, &b), 1.0);
        b.swap(1, 20);
        assert_eq!(lowest_tenth(&a, &b), 0.75);
        assert_eq!(lowest_tenth(&[2.0, 1.0], &[1.0, 2.0]), 0.0);
    }

    #[test]
    fn it_is_absent_where_it_means_nothing() {
        assert_eq!(spearman(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
    }
}
