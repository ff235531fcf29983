//! The radius of a Gaussian kernel.

use super::Embedded;
use super::distances::between;
use ndarray::{Array2, Axis};

/// The least distance above zero between labelled images of different classes, of unit features (Bae et al., Uncertainty
/// herding, arXiv 2412.20644, section 4.2). Where there is no such pair: the median distance of a candidate to the labelled
/// image nearest to it, or one.
pub(super) fn radius(unit_labelled: &Array2<f64>, labelled: &Embedded, unit_candidates: &Array2<f64>) -> f64 {
    let apart = between(unit_labelled.view(), unit_labelled.view());
    let mut least = f64::INFINITY;
    for ((a, b), d) in apart.indexed_iter() {
        let differ =
            matches!((labelled.labels.get(a), labelled.labels.get(b)), (Some(Some(a)), Some(Some(b))) if a != b);
        if differ && *d > 1e-12 {
            least = least.min(*d);
        }
    }
    if least.is_finite() {
        return least.sqrt();
    }
    if unit_labelled.nrows() == 0 || unit_candidates.nrows() == 0 {
        return 1.0;
    }
    let apart = between(unit_candidates.view(), unit_labelled.view());
    let nearest = apart.axis_iter(Axis(0)).map(|row| row.iter().copied().fold(f64::INFINITY, f64::min));
    let mut nearest: Vec<f64> = nearest.collect();
    let middle = nearest.len() / 2;
    let (_, median, _) = nearest.select_nth_unstable_by(middle, f64::total_cmp);
    if *median > 1e-12 { median.sqrt() } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::super::distances::unit_rows;
    use super::*;
    use ndarray::array;

    #[test]
    fn the_radius_is_the_least_distance_between_classes() {
        let features = array![[1.0_f32, 0.0], [0.8, 0.6], [0.0, 1.0], [1.0, 0.0]];
        let unit = unit_rows(&features);
        let of = |labels: [u32; 4]| {
            let embedded =
                Embedded { features: features.clone(), labels: labels.map(Some).to_vec(), ..Embedded::default() };
            radius(&unit, &embedded, &unit)
        };
        assert!((of([0, 0, 1, 0]) - 0.8_f64.sqrt()).abs() < 1e-7, "from (0.8, 0.6) to (0, 1)");
        assert!((of([0, 1, 1, 1]) - 0.4_f64.sqrt()).abs() < 1e-7, "a copy of another class is passed over");
        assert_eq!(of([0, 0, 0, 0]), 1.0, "one class, and every candidate is labelled");
    }
}
