//! The mean over the classes of intersection over union (Everingham et al., The Pascal visual object classes challenge, 2015,
//! section 4.3): the pixels that are of the class and believed to be, over those that are one or the other.

use super::IGNORE;
use crate::families::{Fit, Measure};
use crate::influence::{Annotation, Annotations};
use serde_json::{Map, Value, json};

/// Pixels of each class.
#[derive(Debug)]
pub(super) struct Overlap {
    classes: Vec<String>,
    images: usize,
    both: Vec<u64>,
    known: Vec<u64>,
    believed: Vec<u64>,
}

impl Overlap {
    pub(super) fn new(classes: &[String]) -> Overlap {
        let none = vec![0; classes.len()];
        Overlap { classes: classes.to_vec(), images: 0, both: none.clone(), known: none.clone(), believed: none }
    }

    /// Of each class that is known or believed anywhere.
    fn of_classes(&self) -> impl Iterator<Item = (&String, f64)> {
        let counts = self.both.iter().zip(&self.known).zip(&self.believed);
        self.classes.iter().zip(counts).filter_map(|(class, ((both, known), believed))| {
            let either = known + believed - both;
            (either > 0).then(|| (class, *both as f64 / either as f64))
        })
    }
}

impl Measure for Overlap {
    fn name(&self) -> &'static str {
        "mean IoU"
    }

    fn add(&mut self, known: &Annotations, believed: &Annotations) {
        for ((_, known), (_, believed)) in known.arrays().iter().zip(believed.arrays()) {
            let (Annotation::Whole(known), Annotation::Whole(believed)) = (known, believed) else { continue };
            for (known, believed) in known.iter().zip(believed) {
                if *known == IGNORE {
                    continue;
                }
                let count = |counts: &mut Vec<u64>, label: i64| {
                    let of = usize::try_from(label).ok().and_then(|label| counts.get_mut(label));
                    of.into_iter().for_each(|count| *count += 1);
                };
                count(&mut self.known, *known);
                count(&mut self.believed, *believed);
                if known == believed {
                    count(&mut self.both, *known);
                }
            }
        }
        self.images += known.images();
    }

    fn fit(&self) -> Fit {
        let of_classes: Vec<(&String, f64)> = self.of_classes().collect();
        let value = (!of_classes.is_empty())
            .then(|| of_classes.iter().map(|(_, overlap)| overlap).sum::<f64>() / of_classes.len() as f64);
        // Calling every pixel the commonest class is the best that can be done without looking.
        let (all, most) = (self.known.iter().sum::<u64>(), self.known.iter().max().copied().unwrap_or(0));
        let there = self.known.iter().filter(|count| **count > 0).count().max(1);
        let blind = most as f64 / all.max(1) as f64 / there as f64;
        let worse = there > 1 && value.is_some_and(|value| value <= blind);
        let said = |value: f64| format!("The model's mean IoU is {value:.3} on {} labelled images.", self.images);
        Fit {
            images: self.images,
            measure: self.name().to_owned(),
            value,
            finding: value.filter(|_| !worse).map(said),
            warning: value.filter(|_| worse).map(|value| {
                format!(
                    "the model's mean IoU is {value:.3} on {} labelled images, where calling every pixel the commonest class \
                     gives {blind:.3}: either the classes are in another order than the model's, or the preprocessing is \
                     not that of the training, or the model is not trained",
                    self.images
                )
            }),
            details: Map::from_iter([(
                "IoU".to_owned(),
                of_classes.into_iter().map(|(class, overlap)| (class.clone(), json!(overlap))).collect::<Map<String, Value>>().into(),
            )]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_mean_is_over_the_classes_that_are_there_and_ignored_pixels_do_not_count() {
        let of = |labels: ndarray::Array2<i64>| {
            Annotations::of_one(vec![(
                "labels".to_owned(),
                Annotation::Whole(labels.insert_axis(ndarray::Axis(0)).into_dyn()),
            )])
        };
        let classes = ["background", "cat", "dog", "never"].map(str::to_owned);
        let mut overlap = Overlap::new(&classes);
        overlap.add(&of(array![[0, 0, 1], [1, 255, 0]]), &of(array![[0, 1, 1], [2, 2, 0]]));
        let fit = overlap.fit();
        // Background 2 of 3, cat 1 of 3, dog 0 of 1; the ignored pixel is nobody's.
        assert!((fit.value.expect("a mean") - (2.0 / 3.0 + 1.0 / 3.0) / 3.0).abs() < 1e-12, "{fit:?}");
        assert_eq!(fit.details["IoU"], json!({"background": 2.0 / 3.0, "cat": 1.0 / 3.0, "dog": 0.0}));
        // Three fifths are background, two classes are there: 0.3.
        assert!(fit.warning.is_none());
    }
}
