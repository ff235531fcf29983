//! Numbers: `targets`, or `target` or `value` where there is one.

use super::fields::Fields;
use super::{AnnotationError, Beliefs, Family, Fit, Measure, Setting};
use crate::data::Dataset;
use crate::influence::{Annotation, Annotations};
use crate::report::figure;

/// Names of the field.
const FIELDS: [&str; 3] = ["targets", "target", "value"];

/// Regression.
#[derive(Debug)]
pub(super) struct Regression {
    pub(super) setting: Setting,
}

impl Family for Regression {
    fn annotations(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError> {
        let fields = Fields::of(data, index, "`targets`")?;
        let (name, value) = fields.need(&FIELDS)?;
        let arrays = self.setting.annotations.iter().map(|annotation| {
            let array = fields.array(annotation, name, value)?;
            Ok((annotation.name.clone(), array))
        });
        Ok(Annotations::of_one(arrays.collect::<Result<_, AnnotationError>>()?))
    }

    /// A prediction is at no distance from itself.
    fn learns_from_belief(&self) -> bool {
        false
    }

    fn is_tied_to_places(&self) -> bool {
        false
    }

    fn measure(&self) -> Option<Box<dyn Measure>> {
        Some(Box::new(Squares::default()))
    }

    fn caption(&self, beliefs: &Beliefs) -> String {
        beliefs("value").map(figure).unwrap_or_default()
    }
}

/// Squared errors of all numbers, and the squares about their mean.
#[derive(Debug, Default)]
struct Squares {
    images: usize,
    numbers: usize,
    errors: f64,
    sum: f64,
    squares: f64,
}

impl Measure for Squares {
    fn name(&self) -> &'static str {
        "root mean squared error"
    }

    fn add(&mut self, known: &Annotations, believed: &Annotations) {
        for ((_, known), (_, believed)) in known.arrays().iter().zip(believed.arrays()) {
            let (Annotation::Float(known), Annotation::Float(believed)) = (known, believed) else { continue };
            for (known, believed) in known.iter().zip(believed) {
                let (known, believed) = (f64::from(*known), f64::from(*believed));
                self.numbers += 1;
                self.errors += (known - believed).powi(2);
                self.sum += known;
                self.squares += known * known;
            }
        }
        self.images += known.images();
    }

    fn fit(&self) -> Fit {
        let count = self.numbers.max(1) as f64;
        let error = (self.errors / count).sqrt();
        let spread = (self.squares / count - (self.sum / count).powi(2)).max(0.0).sqrt();
        let value = (self.numbers > 0).then_some(error);
        let said = format!(
            "The model is off by {} (root mean square) on {} labelled images, whose targets spread by {}.",
            figure(error),
            self.images,
            figure(spread)
        );
        // On the images it was trained on, a model that is no better than their mean has learnt nothing.
        let worse = self.numbers > 1 && error >= spread;
        Fit {
            images: self.images,
            measure: self.name().to_owned(),
            value,
            finding: value.filter(|_| !worse).map(|_| said.clone()),
            warning: worse.then(|| {
                format!(
                    "the model is off by {} (root mean square) on the labelled images, no better than their mean \
                     ({}): either the preprocessing or the targets are not those of the training, or the model is not \
                     trained",
                    figure(error),
                    figure(spread)
                )
            }),
            details: serde_json::Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_root_of_the_mean_square_and_the_mean_is_no_model() {
        let of = |values: &[f32]| {
            let column = ndarray::Array2::from_shape_vec((values.len(), 1), values.to_vec()).expect("a column");
            Annotations::numbers("targets", column)
        };
        let mut measure = Squares::default();
        measure.add(&of(&[1.0, 2.0]), &of(&[1.5, 2.0]));
        measure.add(&of(&[4.0]), &of(&[3.0]));
        let fit = measure.fit();
        assert!((fit.value.expect("a number") - (1.25_f64 / 3.0).sqrt()).abs() < 1e-12, "{fit:?}");
        assert!(fit.warning.is_none() && fit.finding.is_some_and(|said| said.contains("3 labelled images")));
        let mut useless = Squares::default();
        useless.add(&of(&[1.0, 3.0]), &of(&[2.0, 2.0]));
        assert!(useless.fit().warning.is_some_and(|said| said.contains("no better than their mean")));
    }
}
