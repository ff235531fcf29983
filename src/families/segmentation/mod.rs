//! One class a pixel: `mask`, a PNG whose samples (or palette indices) are class numbers, at the size of the image.
//!
//! A folder with `images` and `masks` has them by name. The mask goes through the image's own resizing and cropping, by nearest
//! neighbour.

mod overlap;
mod overlay;

use super::fields::Fields;
use super::{AnnotationError, Beliefs, Family, Measure, Setting, masks};
use crate::data::Dataset;
use crate::influence::{Annotation, Annotations};
use image::RgbImage;
use ndarray::Axis;
use serde_json::Value;

/// The label of pixels that do not count, as in the built-in loss.
pub(super) const IGNORE: i64 = 255;

/// Semantic segmentation.
#[derive(Debug)]
pub(super) struct Segmentation {
    pub(super) setting: Setting,
}

impl Family for Segmentation {
    fn annotations(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError> {
        let fields = Fields::of(data, index, "`mask`")?;
        let (name, value) = fields.need(&["mask"])?;
        let Value::String(written) = value else { return Err(fields.wrong(name, value, "the path of a mask")) };
        let classes = i64::try_from(self.setting.classes.len()).unwrap_or(i64::MAX);
        let check = |label: i64| match label == IGNORE || (0..classes).contains(&label) {
            true => Ok(()),
            false => Err(format!(
                "it has the label {label}, expected 0 to {} for the classes, or {IGNORE} for what does not count",
                classes - 1
            )),
        };
        let arrays = self.setting.annotations.iter().map(|annotation| {
            let labels = masks::read(&self.setting, data, index, (&fields, written), annotation, check)?;
            Ok((annotation.name.clone(), labels))
        });
        Ok(Annotations::of_one(arrays.collect::<Result<_, AnnotationError>>()?))
    }

    fn measure(&self) -> Option<Box<dyn Measure>> {
        Some(Box::new(overlap::Overlap::new(&self.setting.classes)))
    }

    fn caption(&self, beliefs: &Beliefs) -> String {
        match beliefs(crate::scores::belief::CONFIDENCE) {
            Some(confidence) => format!("{:.0} % sure a pixel", 100.0 * confidence),
            None => String::new(),
        }
    }

    fn draws(&self) -> bool {
        true
    }

    fn overlay(&self, image: &RgbImage, believed: &Annotations) -> Option<RgbImage> {
        match believed.arrays().first()? {
            (_, Annotation::Whole(labels)) => {
                let labels = labels.view().index_axis_move(Axis(0), 0).into_dimensionality().ok()?;
                Some(overlay::draw(image, labels))
            }
            _ => None,
        }
    }
}
