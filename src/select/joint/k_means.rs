//! Clusters of features: Lloyd's iterations from k-means++ seeds (Arthur and Vassilvitskii, SODA 2007).

use super::distances::between;
use super::{JointError, largest};
use crate::data::Seeded;
use crate::observe::Observer;
use ndarray::{Array2, ArrayView2, Axis};

/// Iterations at most; assignments of well-parted clusters settle within ten.
const ITERATIONS: usize = 50;

/// The cluster of each row, of `k` at most.
pub(super) fn clusters(
    rows: ArrayView2<f64>,
    k: usize,
    seed: u64,
    observer: &dyn Observer,
) -> Result<Vec<usize>, JointError> {
    let mut centres = seeds(rows, k.min(rows.nrows()), seed, observer)?;
    let mut assigned = vec![usize::MAX; rows.nrows()];
    for _ in 0..ITERATIONS {
        if observer.interrupted() {
            return Err(JointError::Interrupted);
        }
        let apart = between(rows, centres.view());
        let nearest: Vec<usize> =
            apart.axis_iter(Axis(0)).map(|row| largest(row.iter().map(|d| -d)).map_or(0, |(place, _)| place)).collect();
        if nearest == assigned {
            break;
        }
        assigned = nearest;
        let mut counts = vec![0.0; centres.nrows()];
        let mut sums = Array2::zeros(centres.dim());
        for (row, cluster) in rows.axis_iter(Axis(0)).zip(&assigned) {
            counts[*cluster] += 1.0;
            let mut sum = sums.row_mut(*cluster);
            sum += &row;
        }
        for ((mut centre, sum), count) in centres.axis_iter_mut(Axis(0)).zip(sums.axis_iter(Axis(0))).zip(counts) {
            // A centre without rows stays where it is.
            if count > 0.0 {
                centre.assign(&(&sum / count));
            }
        }
    }
    Ok(assigned)
}

fn seeds(rows: ArrayView2<f64>, k: usize, seed: u64, observer: &dyn Observer) -> Result<Array2<f64>, JointError> {
    let mut random = Seeded::new("k-means", &[seed]);
    let mut centres = vec![random.below(rows.nrows())];
    let mut nearest = vec![f64::INFINITY; rows.nrows()];
    while centres.len() < k {
        if observer.interrupted() {
            return Err(JointError::Interrupted);
        }
        let last = centres[centres.len() - 1];
        let to_last = between(rows, rows.slice(ndarray::s![last..=last, ..]));
        nearest.iter_mut().zip(&to_last).for_each(|(nearest, d)| *nearest = nearest.min(*d));
        let all: f64 = nearest.iter().sum();
        if all <= 0.0 {
            break;
        }
        let mut left = random.unit() * all;
        let place = nearest.iter().position(|d| {
            left -= d;
            left < 0.0
        });
        centres.push(place.unwrap_or(rows.nrows() - 1));
    }
    Ok(rows.select(Axis(0), &centres))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Unobserved;

    #[test]
    fn groups_far_from_each_other_are_found() {
        for seed in 0..20 {
            let mut random = Seeded::new("blobs", &[seed]);
            let rows = Array2::from_shape_fn((90, 2), |(i, j)| 100.0 * (((i % 3) * (j + 1)) as f64) + random.unit());
            let found = clusters(rows.view(), 3, seed, &Unobserved).expect("clusters");
            for i in 0..90 {
                assert_eq!(found[i] == found[0], i % 3 == 0, "{found:?}");
            }
        }
    }

    #[test]
    fn copies_make_no_more_clusters_than_there_are_places() {
        let rows = Array2::from_shape_fn((8, 1), |(i, _)| (i % 2) as f64);
        let found = clusters(rows.view(), 5, 0, &Unobserved).expect("clusters");
        assert!(found.iter().all(|c| *c < 2));
    }
}
