//! How right the model is on the images it was trained on. At chance level something is wrong with what the scores stand on:
//! the order of the classes, or the preprocessing.

use crate::families::{Fit, Measure};
use crate::influence::Annotations;
use crate::task::CLASS_WEIGHTS;
use indexmap::IndexMap;
use serde_json::json;
use std::cmp::Ordering;

/// How right a model is on labelled images.
#[derive(Debug, Clone, PartialEq)]
struct LabelledAccuracy {
    /// Images looked at.
    images: usize,
    /// Those of them that the model classifies rightly.
    right: usize,
    /// Number of classes.
    classes: usize,
    /// Where the order of the classes comes from.
    order: String,
    /// An order of the same names in which the model is right far more often.
    fitting: Option<OtherOrder>,
}

/// Another order of the class names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct OtherOrder {
    /// What it is called.
    name: String,
    /// Images that the model classifies rightly in it.
    right: usize,
}

/// Images by label and by predicted class.
pub(super) struct Confusion {
    pub(super) names: Vec<String>,
    /// Where the names come from.
    pub(super) order: String,
    pub(super) counts: Counts,
}

type Counts = IndexMap<(usize, usize), usize>;

impl Measure for Confusion {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn add(&mut self, known: &Annotations, believed: &Annotations) {
        let (Some(known), Some(believed)) = (known.rows(CLASS_WEIGHTS), believed.rows(CLASS_WEIGHTS)) else { return };
        let best = |row: ndarray::ArrayView1<f32>| {
            (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a))).unwrap_or_default()
        };
        for (known, believed) in known.outer_iter().zip(believed.outer_iter()) {
            *self.counts.entry((best(known), best(believed))).or_default() += 1;
        }
    }

    fn fit(&self) -> Fit {
        let accuracy = LabelledAccuracy::of(&self.counts, &self.names, self.order.clone());
        let details = json!({ "right": accuracy.right, "classes": accuracy.classes, "order": accuracy.order, "fitting": accuracy.fitting });
        Fit {
            images: accuracy.images,
            measure: self.name().to_owned(),
            value: (accuracy.images > 0).then(|| accuracy.right as f64 / accuracy.images as f64),
            finding: accuracy.finding(),
            warning: accuracy.warning(),
            details: details.as_object().cloned().unwrap_or_default(),
        }
    }
}

impl LabelledAccuracy {
    fn of(confusion: &Counts, names: &[String], order: String) -> LabelledAccuracy {
        let images = confusion.values().sum();
        let right = |place: &dyn Fn(usize) -> usize| -> usize {
            confusion.iter().filter(|((label, found), _)| place(*label) == *found).map(|(_, images)| images).sum()
        };
        let as_given = right(&|label| label);
        // Of orders that are as good as each other, the first.
        let best = other_orders(names)
            .into_iter()
            .rev()
            .map(|(name, places)| {
                let right = right(&|label| places.get(label).copied().unwrap_or(usize::MAX));
                OtherOrder { name: name.to_owned(), right }
            })
            .max_by_key(|other| other.right);
        // Beyond what chance explains, and beyond what a wrong order would give.
        let better = |other: &OtherOrder| {
            let lowest = bounds(other.right, images).0;
            lowest > bounds(as_given, images).1 && lowest > little(names.len())
        };
        LabelledAccuracy { images, right: as_given, classes: names.len(), order, fitting: best.filter(better) }
    }

    /// Whether the model does hardly better than by guessing, as far as so few images tell.
    fn is_near_chance(&self) -> bool {
        self.images > 0 && bounds(self.right, self.images).1 < little(self.classes)
    }

    fn percent(&self, right: usize) -> f64 {
        100.0 * right as f64 / self.images.max(1) as f64
    }

    /// What is wrong, where something is, without the full stop.
    fn warning(&self) -> Option<String> {
        let (found, chance) = (self.percent(self.right), 100.0 / self.classes.max(1) as f64);
        let classified = format!("the model is right on {found:.1} % of {} labelled images", self.images);
        if let Some(other) = &self.fitting {
            return Some(format!(
                "{classified}, and with the class names in {} on {:.1} %: the classes (order: {}) seem to be in the wrong \
                 order; give that order with `--classes FILE`",
                other.name,
                self.percent(other.right),
                self.order
            ));
        }
        self.is_near_chance().then(|| {
            format!(
                "{classified}, where guessing gives {chance:.1} %: either the classes are in another order than the \
                 model's (order: {}; `--classes FILE` gives it), or the preprocessing is not that of the training, or the \
                 model is not trained",
                self.order
            )
        })
    }

    /// How right the model is, where nothing seems wrong.
    fn finding(&self) -> Option<String> {
        let sound = self.images > 0 && self.warning().is_none();
        sound.then(|| {
            format!("The model is right on {:.1} % of {} labelled images.", self.percent(self.right), self.images)
        })
    }
}

/// A share of right answers that is next to none for a model on the images it was trained on: three times chance, or a quarter
/// of the way from chance to certainty where classes are few.
fn little(classes: usize) -> f64 {
    let chance = 1.0 / classes.max(1) as f64;
    (3.0 * chance).min(chance + (1.0 - chance) / 4.0)
}

/// Wilson's interval of a share, 95 %.
fn bounds(right: usize, images: usize) -> (f64, f64) {
    const Z: f64 = 1.96;
    if images == 0 {
        return (0.0, 1.0);
    }
    let n = images as f64;
    let share = right as f64 / n;
    let centre = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let all = 1.0 + Z * Z / n;
    ((centre - half) / all, (centre + half) / all)
}

/// The orders that classes are mostly given in, as the place of every class; without the one they are in.
fn other_orders(names: &[String]) -> Vec<(&'static str, Vec<usize>)> {
    let sorted = |compare: &dyn Fn(&str, &str) -> Ordering, reversed: bool| {
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by(|a, b| match (names.get(*a), names.get(*b)) {
            (Some(a), Some(b)) => compare(a, b),
            _ => Ordering::Equal,
        });
        if reversed {
            order.reverse();
        }
        places(&order)
    };
    let text = |a: &str, b: &str| a.cmp(b);
    let turned: Vec<usize> = (0..names.len()).rev().collect();
    let all = [
        ("the order of texts (0, 1, 10, 2)", sorted(&text, false)),
        ("natural order (0, 1, 2, 10)", sorted(&natural, false)),
        ("the reverse of their order", places(&turned)),
        ("the reverse of the order of texts", sorted(&text, true)),
        ("the reverse of natural order", sorted(&natural, true)),
    ];
    all.into_iter().filter(|(_, places)| !places.is_sorted()).collect()
}

/// Where each class stands in an order of them.
fn places(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, class) in order.iter().enumerate() {
        if let Some(entry) = places.get_mut(*class) {
            *entry = place;
        }
    }
    places
}

/// Runs of digits compare as numbers, all else as text.
fn natural(a: &str, b: &str) -> Ordering {
    parts(a).cmp(&parts(b))
}

fn parts(text: &str) -> Vec<(u128, &str)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        // Numbers before letters, and text between them as it is.
        parts.push(if digits { (part.parse().unwrap_or(u128::MAX - 1), "") } else { (u128::MAX, part) });
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: impl IntoIterator<Item = u32>) -> Vec<String> {
        of.into_iter().map(|n| n.to_string()).collect()
    }

    /// Ten images a class of a perfect model whose order is `real`, under names in the order `taken`.
    fn perfect(taken: &[String], real: &[String]) -> LabelledAccuracy {
        let mut confusion = Counts::new();
        for (label, name) in taken.iter().enumerate() {
            let found = real.iter().position(|other| other == name).expect("the same names");
            confusion.insert((label, found), 10);
        }
        LabelledAccuracy::of(&confusion, taken, "a test".to_owned())
    }

    #[test]
    fn the_order_that_fits_is_named() {
        let natural = names(0..12);
        let mut text = natural.clone();
        text.sort();
        let mut reversed = natural.clone();
        reversed.reverse();
        for (taken, real, expected) in
            [(&text, &natural, "natural order"), (&natural, &text, "order of texts"), (&reversed, &natural, "natural")]
        {
            let found = perfect(taken, real);
            let fitting = found.fitting.clone().expect("an order fits");
            assert_eq!(fitting.right, 120);
            assert!(fitting.name.contains(expected), "{fitting:?}");
            assert!(found.warning().is_some_and(|warning| warning.contains("100.0 %")), "{:?}", found.warning());
        }
        let right = perfect(&natural, &natural);
        assert_eq!((right.right, right.fitting.clone(), right.warning()), (120, None, None));
    }

    #[test]
    fn guessing_is_told_from_knowing_by_as_many_images_as_there_are() {
        let accuracy =
            |right, images, classes| LabelledAccuracy { images, right, classes, order: String::new(), fitting: None };
        assert!(accuracy(10, 100, 10).is_near_chance());
        assert!(!accuracy(60, 100, 10).is_near_chance());
        // Half of two classes is chance, and of a thousand classes it is knowledge.
        assert!(accuracy(500, 1000, 2).is_near_chance());
        assert!(!accuracy(500, 1000, 1000).is_near_chance());
        // Three images say nothing.
        assert!(!accuracy(0, 3, 10).is_near_chance());
    }

    #[test]
    fn wilsons_interval_is_that_of_the_textbook() {
        // 8 of 10: (0.490, 0.943), as in Newcombe (1998), table for the score method.
        let (low, high) = bounds(8, 10);
        assert!((low - 0.4902).abs() < 1e-3 && (high - 0.9433).abs() < 1e-3, "{low} {high}");
    }
}
