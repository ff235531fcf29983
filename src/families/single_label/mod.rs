//! One class an image: the label that a data set gives it.

mod accuracy;

use super::{AnnotationError, Beliefs, Family, Measure, Setting};
use crate::data::{DataError, Dataset};
use crate::influence::{Annotations, one_hot};
use crate::scores::belief;
use crate::task::CLASS_WEIGHTS;

/// Classification.
#[derive(Debug)]
pub(super) struct SingleLabel {
    pub(super) setting: Setting,
}

impl Family for SingleLabel {
    fn annotations(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError> {
        let classes = self.setting.classes.len();
        let missing = || AnnotationError::Missing {
            id: data.id(index),
            what: "label".to_owned(),
            how: "put it into the folder of its class, or give a list with a `label`".to_owned(),
        };
        let label = data.label(index).ok_or_else(missing)?;
        let weights = one_hot(&[label as usize], classes).map_err(|_| AnnotationError::Value {
            id: data.id(index),
            field: "label".to_owned(),
            found: label.to_string(),
            expected: format!("one of {classes} classes, counted from 0"),
        })?;
        Ok(Annotations::numbers(CLASS_WEIGHTS, weights))
    }

    fn as_the_model_counts(&self, data: &Dataset) -> Result<Dataset, DataError> {
        data.with_classes(&self.setting.classes)
    }

    fn goes_by_labels(&self) -> bool {
        true
    }

    fn is_tied_to_places(&self) -> bool {
        false
    }

    fn measure(&self) -> Option<Box<dyn Measure>> {
        let (names, order) = (self.setting.classes.clone(), self.setting.class_order.clone());
        Some(Box::new(accuracy::Confusion { names, order, counts: Default::default() }))
    }

    fn caption(&self, beliefs: &Beliefs) -> String {
        let class = beliefs(belief::PSEUDO_LABEL).map_or_else(String::new, |class| self.setting.class(class as usize));
        with_confidence(class, beliefs)
    }
}

/// A belief with how sure the model is of it.
pub(super) fn with_confidence(text: String, beliefs: &Beliefs) -> String {
    match beliefs(belief::CONFIDENCE) {
        None => text,
        Some(confidence) if text.is_empty() => format!("{:.0} % sure", 100.0 * confidence),
        Some(confidence) => format!("{text} ({:.0} %)", 100.0 * confidence),
    }
}
