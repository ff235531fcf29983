//! Boxes with classes: `boxes`, `[left, top, right, bottom]` in pixels of the stored image, and `labels`, of each box its class.
//!
//! Data sets of COCO, Pascal VOC and YOLO give them, and so do lists. The loss takes them as its graph declares: `boxes [N, M, 4]` in
//! pixels of the model's input, cut off at its edges, and `labels [N, M]` with -1 for padding. Boxes around crowds, those to be
//! ignored and difficult ones are left out of what the loss takes, as trainers of the respective formats do, and counted by their
//! own rules where the model is measured.

mod average;
mod drawing;
mod truth;
mod voc;

pub use average::{Figures, FoundBox, KnownBox, OfImage};
pub use truth::box_count;

use super::{AnnotationError, Beliefs, Family, Guess, Measure, Setting};
use crate::data::{DataError, Dataset, MarkedBox, Placement, Size, clipped};
use crate::families::fields::declared;
use crate::influence::{Annotation, Annotations};
use crate::scores::belief;
use image::RgbImage;
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
/// Name of the class of every detection, `[N, M]`, where only some of them are pseudo-labels.
const CLASSES: &str = "classes";
/// Name of how sure a model is of each, `[N, M]`, where its decode graph says so.
const SCORES: &str = "scores";
/// What only the measure takes: flags of each box, its size as COCO counts it, and where an image comes to lie.
const FLAGS: &str = "flags";
const AREAS: &str = "areas";
const PLACEMENT: &str = "placement";

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
        self.annotations_seen(data, index, false)
    }

    fn follows_mirroring(&self) -> bool {
        true
    }

    fn annotations_seen(&self, data: &Dataset, index: usize, mirrored: bool) -> Result<Annotations, AnnotationError> {
        let truth = Truth::of(&self.setting, data, index)?;
        let placement = self.setting.recipe.placement(truth.size);
        let placement = if mirrored { placement.mirrored() } else { placement };
        let taken = truth.boxes.iter().filter(|marked| {
            let flags = marked.flags;
            !flags.crowd && !flags.ignore && !flags.difficult
        });
        let seen =
            taken.filter_map(|marked| Some((clipped(placement.seen(marked.corners), placement.size)?, marked.class)));
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
                    let mut corners: Vec<f32> =
                        seen.iter().flat_map(|(corners, _)| corners.map(|x| x as f32)).collect();
                    corners.resize(room * 4, 0.0);
                    floats(&[1, room, 4], corners)
                }
            };
            Ok((annotation.name.clone(), array))
        });
        Ok(Annotations::of_one(arrays.collect::<Result<_, AnnotationError>>()?))
    }

    /// Boxes in pixels of the stored image with `flags`, `areas` and the `placement` of the image in the input: scale across and down,
    /// offset across and down, width, height.
    fn known(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError> {
        let Truth { size, boxes, .. } = Truth::of(&self.setting, data, index)?;
        let Placement { scale, offset, .. } = self.setting.recipe.placement(size);
        let count = boxes.len();
        let size_of = |marked: &MarkedBox| {
            let [left, top, right, bottom] = marked.corners;
            marked.area.unwrap_or((right - left) * (bottom - top)) as f32
        };
        let corners = boxes.iter().flat_map(|marked| marked.corners.map(|x| x as f32)).collect();
        let placement = [scale[0], scale[1], offset[0], offset[1], size.width as f64, size.height as f64];
        let arrays = [
            (BOXES, floats(&[1, count, 4], corners)),
            (LABELS, whole_numbers(&[1, count], boxes.iter().map(|marked| i64::from(marked.class)).collect())),
            (FLAGS, whole_numbers(&[1, count], boxes.iter().map(|marked| i64::from(marked.flags.bits())).collect())),
            (AREAS, floats(&[1, count], boxes.iter().map(size_of).collect())),
            (PLACEMENT, floats(&[1, 6], placement.iter().map(|x| *x as f32).collect())),
        ];
        Ok(Annotations::of_one(arrays.map(|(name, array)| (name.to_owned(), array)).into()))
    }

    fn as_the_model_counts(&self, data: &Dataset) -> Result<Dataset, DataError> {
        // A list, whose numbers count as the model does already, then says so: a reference set is counted by it.
        match self.setting.classes.is_empty() {
            true => Ok(data.clone()),
            false => data.with_classes(&self.setting.classes),
        }
    }

    fn measure(&self) -> Option<Box<dyn Measure>> {
        Some(Box::new(average::Precision::new(&self.setting.classes)))
    }

    fn caption(&self, beliefs: &Beliefs) -> String {
        let count = belief::BOXES.iter().find_map(|name| beliefs(name));
        let boxes = count.map(|count| if count == 1.0 { "1 box".to_owned() } else { format!("{count:.0} boxes") });
        let best = beliefs(belief::PSEUDO_LABEL).filter(|_| count != Some(0.0));
        let best = best.map(|class| self.setting.class(class as usize));
        let sure = beliefs(belief::CONFIDENCE).filter(|_| count != Some(0.0));
        let best = match (best, sure.map(|sure| format!("{:.0} %", 100.0 * sure))) {
            (Some(class), Some(sure)) => Some(format!("{class} {sure}")),
            (None, Some(sure)) => Some(format!("up to {sure}")),
            (class, None) => class,
        };
        [boxes, best].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Pseudo boxes to a thousandth of a pixel: what people move with a mouse needs no more digits.
    fn guess(&self, stored: Size, believed: &Annotations) -> Guess {
        let placement = self.setting.recipe.placement(stored);
        let rounded = |x: f64| (x * 1e3).round() / 1e3;
        let rounded = |found: FoundBox| FoundBox { corners: found.corners.map(rounded), ..found };
        let is_one = |found: &FoundBox| {
            let [left, top, right, bottom] = found.corners;
            right > left && bottom > top
        };
        let found = average::found_boxes(believed, LABELS, 0, placement).unwrap_or_default();
        Guess::Boxes(found.into_iter().map(rounded).filter(is_one).collect())
    }

    fn draws(&self) -> bool {
        true
    }

    fn overlay(&self, image: &RgbImage, believed: &Annotations) -> Option<RgbImage> {
        self.drawn(image, believed, None)
    }

    fn overlay_with(&self, image: &RgbImage, believed: &Annotations, known: &Annotations) -> Option<RgbImage> {
        self.drawn(image, believed, Some(known))
    }
}

impl Detection {
    /// The believed boxes over their image, with their classes and scores, and known ones in another line.
    fn drawn(&self, image: &RgbImage, believed: &Annotations, known: Option<&Annotations>) -> Option<RgbImage> {
        let stored = Size { height: image.height() as usize, width: image.width() as usize };
        let placement = self.setting.recipe.placement(stored);
        let (known, believed) =
            (known.map(|known| average::known_boxes(known, 0)), average::found_boxes(believed, LABELS, 0, placement)?);
        let name = |class: usize| self.setting.class(class);
        Some(drawing::draw(image, &believed, &known.flatten().unwrap_or_default(), name))
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
