//! How much alike two orders of the same images are.

use crate::influence::{lowest_tenth, spearman};
use std::collections::HashMap;

/// How much alike two orders of the same images are.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Images that have a finite influence in both.
    pub images: usize,
    /// Spearman's rank correlation; absent where it means nothing.
    pub spearman: Option<f64>,
    /// Share of the lowest tenth of the first that is in the lowest tenth of the second.
    pub lowest_tenth: f64,
}

/// The influence of each image, by its id, in the order of the pool.
pub(super) type Influences = Vec<(String, f64)>;

impl Agreement {
    /// Of two columns, image by image.
    pub(super) fn of(first: &Influences, second: &Influences) -> Agreement {
        let other: HashMap<&str, f64> = second.iter().map(|(id, influence)| (id.as_str(), *influence)).collect();
        let both = first.iter().filter_map(|(id, influence)| Some((*influence, *other.get(id.as_str())?)));
        let (a, b): (Vec<f64>, Vec<f64>) = both.filter(|(a, b)| a.is_finite() && b.is_finite()).unzip();
        Agreement { images: a.len(), spearman: spearman(&a, &b), lowest_tenth: lowest_tenth(&a, &b) }
    }
}

/// The reliability of a measurement `times` as long as one of this reliability (Spearman 1910, Brown 1910).
pub(super) fn lengthened(reliability: f64, times: f64) -> f64 {
    times * reliability / (1.0 + (times - 1.0) * reliability)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[(&str, f64)]) -> Influences {
        values.iter().map(|(id, influence)| ((*id).to_owned(), *influence)).collect()
    }

    #[test]
    fn images_are_matched_by_id_and_those_without_a_number_left_out() {
        let first = column(&[("a", -3.0), ("b", -1.0), ("c", 0.5), ("d", f64::NAN), ("e", 2.0)]);
        let second = column(&[("e", 9.0), ("c", 8.0), ("b", -0.1), ("a", -7.0), ("d", 1.0)]);
        let same = Agreement { images: 4, spearman: Some(1.0), lowest_tenth: 1.0 };
        assert_eq!(Agreement::of(&first, &second), same);
        let turned: Influences = second.into_iter().map(|(id, influence)| (id, -influence)).collect();
        assert_eq!(Agreement::of(&first, &turned), Agreement { spearman: Some(-1.0), lowest_tenth: 0.0, ..same });
    }

    /// Two halves that correlate at 0.5 make a whole that correlates at 2/3 with another like it.
    #[test]
    fn a_longer_measurement_is_more_reliable() {
        assert!((lengthened(0.5, 2.0) - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!([lengthened(1.0, 2.0), lengthened(0.0, 3.0)], [1.0, 0.0]);
    }
}
