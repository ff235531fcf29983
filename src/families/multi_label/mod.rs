//! Any number of classes an image: `labels`, the names or numbers of those that it shows; or one yes or no, `label`.
//!
//! A list says `"labels": ["cat", "dog"]`, a cell of a table `cat;dog`; none of them is an empty list. Classes of which nothing is
//! known are named by `unknown`: they cost nothing.

mod agreement;

use super::fields::{Fields, declared};
use super::{AnnotationError, Beliefs, Family, Guess, Measure, Setting};
use crate::data::{Dataset, Size};
use crate::influence::{Annotation, Annotations};
use crate::scores::belief;
use isal_onnx::ValueInfo;
use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

/// Multi-label classification.
#[derive(Debug)]
pub(super) struct MultiLabel {
    pub(super) setting: Setting,
}

/// Whether these annotations are of several classes, not of one yes or no.
pub(super) fn takes_several(annotations: &[ValueInfo]) -> bool {
    annotations.iter().any(|annotation| matches!(declared(annotation).0, [classes] if classes.known() != Some(1)))
}

impl Family for MultiLabel {
    fn annotations(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError> {
        let mut arrays = Vec::new();
        for annotation in &self.setting.annotations {
            let (dims, _) = declared(annotation);
            let array = match dims.iter().map(isal_onnx::Dim::known).collect::<Option<Vec<usize>>>().as_deref() {
                Some([classes]) if *classes > 1 => self.several(&Fields::of(data, index, "`labels`")?, *classes)?,
                _ => {
                    let fields = Fields::of(data, index, "`label`")?;
                    let (name, value) = fields.need(&["label", "labels"])?;
                    let array = fields.array(annotation, name, value)?;
                    yes_or_no(&array)
                        .then_some(array)
                        .ok_or_else(|| fields.wrong(name, value, "0, 1, true or false"))?
                }
            };
            arrays.push((annotation.name.clone(), array));
        }
        Ok(Annotations::of_one(arrays))
    }

    fn is_tied_to_places(&self) -> bool {
        false
    }

    fn measure(&self) -> Option<Box<dyn Measure>> {
        Some(Box::new(agreement::Agreement::default()))
    }

    fn guess(&self, _: Size, believed: &Annotations) -> Guess {
        let [(_, array)] = believed.arrays() else { return Guess::Nothing };
        let shown: Vec<bool> = match array {
            Annotation::Float(array) => array.iter().map(|x| *x > 0.0).collect(),
            Annotation::Whole(array) => array.iter().map(|x| *x > 0).collect(),
        };
        Guess::Classes(shown.iter().enumerate().filter_map(|(class, shown)| shown.then_some(class)).collect())
    }

    fn caption(&self, beliefs: &Beliefs) -> String {
        let text = match (beliefs("positives"), beliefs(belief::PSEUDO_LABEL)) {
            (Some(1.0), _) => "1 class".to_owned(),
            (Some(positives), _) => format!("{positives:.0} classes"),
            (None, Some(yes)) => if yes > 0.0 { "yes" } else { "no" }.to_owned(),
            (None, None) => String::new(),
        };
        super::single_label::with_confidence(text, beliefs)
    }
}

impl MultiLabel {
    /// 1 at the classes of the field `labels`, -1 at those of `unknown`, 0 elsewhere: `[1, classes]`.
    fn several(&self, fields: &Fields, classes: usize) -> Result<Annotation, AnnotationError> {
        let mut labels = vec![0.0_f32; classes];
        let (name, value) = fields.need(&["labels"])?;
        let shown = std::iter::once((name, value, 1.0));
        let unknown = fields.first(&["unknown"]).map(|(name, value)| (name, value, -1.0));
        for (name, value, mark) in shown.chain(unknown) {
            for item in items(value) {
                let place = self.class(&item).filter(|place| *place < classes);
                let expected = || format!("names or numbers of {classes} classes ({})", self.setting.some_classes());
                *place
                    .and_then(|place| labels.get_mut(place))
                    .ok_or_else(|| fields.wrong(name, &item, expected()))? = mark;
            }
        }
        let wrong = |_| fields.wrong(name, value, "one list");
        ArrayD::from_shape_vec(IxDyn(&[1, classes]), labels).map(Annotation::Float).map_err(wrong)
    }

    /// The class that is meant.
    fn class(&self, item: &Value) -> Option<usize> {
        match item {
            Value::Number(number) => usize::try_from(number.as_u64()?).ok(),
            Value::String(text) => {
                let named = self.setting.classes.iter().position(|class| class == text);
                named.or_else(|| text.parse().ok())
            }
            _ => None,
        }
    }
}

/// The classes that a field lists.
fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        Value::String(text) if !text.starts_with('[') => {
            let parts = text.split([';', '|', ',']).map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| Value::String(part.to_owned())).collect()
        }
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Array(items)) => items,
            _ => vec![value.clone()],
        },
        other => vec![other.clone()],
    }
}

fn yes_or_no(array: &Annotation) -> bool {
    match array {
        Annotation::Float(array) => array.iter().all(|x| [0.0, 1.0, -1.0].contains(x)),
        Annotation::Whole(array) => array.iter().all(|x| (-1..=1).contains(x)),
    }
}
