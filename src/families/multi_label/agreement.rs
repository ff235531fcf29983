//! How many of the classes of images a model finds: the F1 score, and the share of images of which it has every class right.

use crate::families::{Fit, Measure};
use crate::influence::{Annotation, Annotations};
use serde_json::json;

/// Counts over all classes of all images; classes of which nothing is known are passed over.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    images: usize,
    whole: usize,
    found: usize,
    missed: usize,
    wrong: usize,
    rejected: usize,
}

impl Measure for Agreement {
    fn name(&self) -> &'static str {
        "F1"
    }

    fn add(&mut self, known: &Annotations, believed: &Annotations) {
        let first = |annotations: &Annotations| match annotations.arrays().first() {
            Some((_, Annotation::Float(array))) => Some(array.clone()),
            _ => None,
        };
        let (Some(known), Some(believed)) = (first(known), first(believed)) else { return };
        for (known, believed) in known.outer_iter().zip(believed.outer_iter()) {
            let mut right = true;
            for (known, believed) in known.iter().zip(believed.iter()) {
                let (known, believed) = (if *known < 0.0 { continue } else { *known > 0.5 }, *believed > 0.5);
                right &= known == believed;
                let count = match (known, believed) {
                    (true, true) => &mut self.found,
                    (true, false) => &mut self.missed,
                    (false, true) => &mut self.wrong,
                    (false, false) => &mut self.rejected,
                };
                *count += 1;
            }
            self.images += 1;
            self.whole += usize::from(right);
        }
    }

    fn fit(&self) -> Fit {
        let Agreement { images, whole, found, missed, wrong, rejected } = *self;
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        let f1 = share(2 * found, 2 * found + missed + wrong);
        // Calling every class of every image present is the best that can be done without looking.
        let present = share(found + missed, found + missed + wrong + rejected);
        let blind = 2.0 * present / (1.0 + present);
        let measured = found + missed > 0;
        let worse = measured && f1 <= blind;
        let said = format!(
            "The model's F1 score is {f1:.3} on {images} labelled images, and of {:.1} % it has every class right.",
            100.0 * share(whole, images)
        );
        Fit {
            images,
            measure: self.name().to_owned(),
            value: measured.then_some(f1),
            finding: (measured && !worse).then_some(said),
            warning: worse.then(|| {
                format!(
                    "the model's F1 score is {f1:.3} on {images} labelled images, where calling every class present gives \
                     {blind:.3}: either the classes are in another order than the model's (`--classes FILE` gives it), or \
                     the preprocessing is not that of the training, or the model is not trained"
                )
            }),
            details: json!({ "images wholly right": whole }).as_object().cloned().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_score_counts_classes_and_passes_over_what_is_not_known() {
        let mut agreement = Agreement::default();
        let known = Annotations::numbers("labels", array![[1.0, 0.0, 1.0], [0.0, -1.0, 1.0]]);
        let believed = Annotations::numbers("labels", array![[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]);
        agreement.add(&known, &believed);
        let fit = agreement.fit();
        // Found 2, missed 1, wrong 1: 4 / 6.
        assert!((fit.value.expect("a score") - 2.0 / 3.0).abs() < 1e-12, "{fit:?}");
        assert_eq!(fit.details["images wholly right"], 1);
        // Three of five known classes are there: calling all present gives 2 * 0.6 / 1.6.
        assert!(fit.warning.is_some_and(|said| said.contains("gives 0.750")));
    }
}
