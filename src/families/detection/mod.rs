//! Boxes with classes: `boxes`, `[left, top, right, bottom]` in pixels of the stored image, and `labels`, of each box its class.
//!
//! Data sets of COCO, Pascal VOC and YOLO give them, and so do lists. The loss takes them as its graph declares: `boxes [N, M, 4]` in
//! pixels of the model's input, cut off at its edges, and `labels [N, M]` with -1 for padding. Boxes around crowds, those to be
//! ignored and difficult ones are left out of what the loss takes, as trainers of the respective formats do, and counted by their
//! own rules where the model is measured.

mod truth;

use super::{AnnotationError, Family, Measure, Setting};
use crate::data::{DataError, Dataset, clipped};
use crate::influence::{Annotation, Annotations};
use crate::families::fields::declared;
use isal_onnx::{Dim, ValueInfo};
use ndarray::{ArrayD, IxDyn};
use truth::Truth;

/// Detection.
#[derive(Debug)]
pub(super) struct Detection {
    pub(super) setting: Setting,
}

/// Name of the boxes.
const BOXES: &str = "boxes";
/// Name of their classes.
const LABELS: &str = "labels";

/// Whether these are the annotations of a detector: `boxes [N, M, 4]` and `labels [N, M]`.
pub(super) fn takes_boxes(annotations: &[ValueInfo]) -> bool {
    let has = |name: &str, fits: fn((&[Dim], bool)) -> bool| {
        annotations.iter().any(|annotation| annotation.name == name && fits(declared(annotation)))
    };
    let boxes = |(dims, whole): (&[Dim], bool)| !whole && matches!(dims, [_, last] if last.known() == Some(4));
    let labels = |(dims, whole): (&[Dim], bool)| whole && dims.len() == 1;
    annotations.len() == 2 && has(BOXES, boxes) && has(LABELS, labels)
}

impl Family for Detection {
    fn annotations(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError> {
        let truth = Truth::of(&self.setting, data, index)?;
        let placement = self.setting.recipe.placement(truth.size);
        let taken = truth.boxes.iter().filter(|marked| {
            let flags = marked.flags;
            !flags.crowd && !flags.ignore && !flags.difficult
        });
        let seen = taken.filter_map(|marked| Some((clipped(placement.seen(marked.corners), placement.size)?, marked.class)));
        let seen: Vec<([f64; 4], u32)> = seen.collect();
        let arrays = self.setting.annotations.iter().map(|annotation| {
            let (dims, whole) = declared(annotation);
            let room = dims.first().and_then(Dim::known).unwrap_or(seen.len());
            if seen.len() > room {
                return Err(AnnotationError::Value {
                    id: truth.id.clone(),
                    field: BOXES.to_owned(),
                    found: format!("{} boxes", seen.len()),
                    expected: format!("at most {room}, which the loss graph has room for"),
                });
            }
            let array = match whole {
                true => {
                    let mut labels: Vec<i64> = seen.iter().map(|(_, class)| i64::from(*class)).collect();
                    labels.resize(room, -1);
                    whole_numbers(&[1, room], labels)
                }
                false => {
                    let mut corners: Vec<f32> = seen.iter().flat_map(|(corners, _)| corners.map(|x| x as f32)).collect();
                    corners.resize(room * 4, 0.0);
                    floats(&[1, room, 4], corners)
                }
            };
            Ok((annotation.name.clone(), array))
        });
        Ok(Annotations::of_one(arrays.collect::<Result<_, AnnotationError>>()?))
    }

    fn as_the_model_counts(&self, data: &Dataset) -> Result<Dataset, DataError> {
        match self.setting.classes.is_empty() || data.classes().is_empty() {
            true => Ok(data.clone()),
            false => data.with_classes(&self.setting.classes),
        }
    }

    fn measure(&self) -> Option<Box<dyn Measure>> {
        None
    }
}

/// An array of these elements, which fit it by construction.
fn floats(shape: &[usize], elements: Vec<f32>) -> Annotation {
    Annotation::Float(ArrayD::from_shape_vec(IxDyn(shape), elements).unwrap_or_default())
}

/// The same of whole numbers.
fn whole_numbers(shape: &[usize], elements: Vec<i64>) -> Annotation {
    Annotation::Whole(ArrayD::from_shape_vec(IxDyn(shape), elements).unwrap_or_default())
}
