//! A user's own task: annotations are fields of their names; one of a whole number a pixel may be the path of a mask.

use super::fields::{Fields, declared};
use super::{AnnotationError, Family, Measure, Setting, masks};
use crate::data::Dataset;
use crate::influence::Annotations;
use serde_json::Value;

/// A task of which nothing is known but its graphs.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) setting: Setting,
}

impl Family for Own {
    fn annotations(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError> {
        let names: Vec<&str> = self.setting.annotations.iter().map(|annotation| annotation.name.as_str()).collect();
        let fields = Fields::of(data, index, &format!("`{}`", names.join("`, `")))?;
        let mut arrays = Vec::with_capacity(names.len());
        for annotation in &self.setting.annotations {
            let (name, value) = fields.need(&[&annotation.name])?;
            let array = match (value, declared(annotation)) {
                (Value::String(written), ([_, _], true)) if written.ends_with(".png") => {
                    masks::read(&self.setting, data, index, (&fields, written), annotation, |_| Ok(()))?
                }
                _ => fields.array(annotation, name, value)?,
            };
            arrays.push((annotation.name.clone(), array));
        }
        Ok(Annotations::of_one(arrays))
    }

    fn measure(&self) -> Option<Box<dyn Measure>> {
        None
    }
}
