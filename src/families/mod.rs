//! What a task is in Rust, beside its graphs: how its annotations are read, how right a model is, how a belief is shown.
//!
//! A family is a folder here and a line of [`of`]. Whatever a user brings with graphs of its own is the family `own`: its
//! annotations are read by their names, and nothing is known of what they mean.

mod detection;
mod error;
mod fields;
mod label;
mod masks;
mod measure;
mod multi_label;
mod own;
mod regression;
mod segmentation;
mod single_label;

pub use detection::{Figures, FoundBox, KnownBox, OfImage, box_count};
pub use error::AnnotationError;
pub use label::{Guess, LabelKind};
pub use measure::{Fit, Measure};

use crate::classifier::ClassNames;
use crate::data::{DataError, Dataset, Recipe, Size};
use crate::influence::{Annotations, DEFAULT_SOLVER, InfluenceError};
use crate::observe::Observer;
use crate::task::{OWN, SINGLE_LABEL, Task};
use image::RgbImage;
use isal_onnx::ValueInfo;
use std::fmt::Debug;
use std::sync::Arc;

/// What a family is told of the model it is for.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What the loss graph takes of an image, as the loss graph declares it, the batch axis first.
    pub annotations: Vec<ValueInfo>,
    /// Names of the classes in the order of the model's; empty where the task has none.
    pub classes: Vec<String>,
    /// Where the names come from.
    pub class_order: String,
    /// How images are seen.
    pub recipe: Recipe,
}

/// A belief of the model about one image, by the names of the score table's columns.
pub type Beliefs<'a> = dyn Fn(&str) -> Option<f64> + 'a;

/// How annotations of a task are read, measured and shown.
pub trait Family: Debug + Send + Sync {
    /// What the loss graph takes of the image at `index`: annotations of one image.
    ///
    /// # Errors
    /// [`AnnotationError`] with the image's id, for one that is not annotated or not as the model is.
    fn annotations(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError>;

    /// What the measure is told of the image at `index`: what the loss takes of it, and what only the measure needs besides.
    ///
    /// # Errors
    /// As [`Family::annotations`].
    fn known(&self, data: &Dataset, index: usize) -> Result<Annotations, AnnotationError> {
        self.annotations(data, index)
    }

    /// The data set with its labels counted as the model counts them, where the task goes by labels.
    ///
    /// # Errors
    /// Labels that the model does not have.
    fn as_the_model_counts(&self, data: &Dataset) -> Result<Dataset, DataError> {
        Ok(data.clone())
    }

    /// Whether the label that a data set gives an image is the task's annotation.
    fn goes_by_labels(&self) -> bool {
        false
    }

    /// Whether annotations say something of places of the image, which must not be moved without them.
    fn is_tied_to_places(&self) -> bool {
        true
    }

    /// Whether [`Family::annotations_seen`] follows an image that is mirrored.
    fn follows_mirroring(&self) -> bool {
        !self.is_tied_to_places()
    }

    /// [`Family::annotations`] of the image as training may show it, `mirrored` left and right.
    ///
    /// # Errors
    /// The same.
    fn annotations_seen(&self, data: &Dataset, index: usize, mirrored: bool) -> Result<Annotations, AnnotationError> {
        let _ = mirrored;
        self.annotations(data, index)
    }

    /// Whether the loss of an image has a gradient where the model's own belief is taken for the label.
    fn learns_from_belief(&self) -> bool {
        true
    }

    /// What measures how right a model is on annotated images; `None` where nothing is known of what is right.
    fn measure(&self) -> Option<Box<dyn Measure>>;

    /// What the model believes, in a few words; empty where nothing is to be said.
    fn caption(&self, beliefs: &Beliefs) -> String {
        single_label::with_confidence(String::new(), beliefs)
    }

    /// What the model believes of an image of these rows and columns, out of the decoded annotations of that one image.
    fn guess(&self, stored: Size, believed: &Annotations) -> Guess {
        let _ = (stored, believed);
        Guess::Nothing
    }

    /// Whether beliefs are drawn over images.
    fn draws(&self) -> bool {
        false
    }

    /// The believed annotation drawn over its image; `None` where there is nothing to draw.
    fn overlay(&self, image: &RgbImage, believed: &Annotations) -> Option<RgbImage> {
        let _ = (image, believed);
        None
    }

    /// The same with what is known of the image, as [`Family::known`] gives it.
    fn overlay_with(&self, image: &RgbImage, believed: &Annotations, known: &Annotations) -> Option<RgbImage> {
        let _ = known;
        self.overlay(image, believed)
    }
}

/// Boxes named one by one in a warning.
const NAMED: usize = 10;

/// Says which boxes of a set were left out because they are none.
pub fn say_dropped(set: &str, data: &Dataset, observer: &dyn Observer) {
    let lines = data.dropped().lines(NAMED);
    if let Some((first, named)) = lines.split_first() {
        observer.say(&format!("warning: {set} images: {first}"));
        named.iter().for_each(|line| observer.say(line));
    }
}

/// The name of a task in the line that [`Task::text`](crate::task::Task::text) says.
pub fn named_in(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// What the loss graph takes of the images at these positions, padded to the longest; `refused` makes an error of one that cannot
/// be used.
///
/// # Errors
/// `refused`'s; annotations that do not go together.
pub fn annotations<E: From<InfluenceError>>(
    family: &dyn Family,
    data: &Dataset,
    indices: &[usize],
    refused: impl Fn(AnnotationError) -> E,
) -> Result<Annotations, E> {
    joined(indices, |index| family.annotations(data, index), refused)
}

/// [`annotations`] of the images as training shows them; `mirrored` says which ones are mirrored.
///
/// # Errors
/// As there.
pub fn annotations_seen<E: From<InfluenceError>>(
    family: &dyn Family,
    data: &Dataset,
    indices: &[usize],
    mirrored: impl Fn(usize) -> bool,
    refused: impl Fn(AnnotationError) -> E,
) -> Result<Annotations, E> {
    joined(indices, |index| family.annotations_seen(data, index, mirrored(index)), refused)
}

/// What the measure is told of the images at these positions, padded alike.
///
/// # Errors
/// As [`annotations`].
pub fn known<E: From<InfluenceError>>(
    family: &dyn Family,
    data: &Dataset,
    indices: &[usize],
    refused: impl Fn(AnnotationError) -> E,
) -> Result<Annotations, E> {
    joined(indices, |index| family.known(data, index), refused)
}

fn joined<E: From<InfluenceError>>(
    indices: &[usize],
    read: impl Fn(usize) -> Result<Annotations, AnnotationError>,
    refused: impl Fn(AnnotationError) -> E,
) -> Result<Annotations, E> {
    let each = indices.iter().map(|index| read(*index).map_err(&refused)).collect::<Result<Vec<_>, E>>()?;
    Ok(Annotations::join(&each.iter().collect::<Vec<_>>())?)
}

/// The solver for a built-in task unless another is asked for, by name: on the Gauss-Newton matrix, and of losses that are not convex
/// in what they read of the model (overlaps of boxes), whose Gauss-Newton matrix is indefinite, on the empirical Fisher matrix.
pub fn default_solver(task: Option<&str>) -> &'static str {
    match task {
        Some(name) if isal_exporters::detection::task(name).is_some() => "cg-fisher",
        _ => DEFAULT_SOLVER,
    }
}

/// What people say of an image of the task of this name, whose loss graph takes these annotations; `None` where there is no form for it.
pub fn label_kind(task: &str, annotations: &[ValueInfo]) -> Option<LabelKind> {
    match task {
        SINGLE_LABEL => Some(LabelKind::Class),
        "sigmoid-cross-entropy" => multi_label::takes_several(annotations).then_some(LabelKind::Classes),
        "pixel-cross-entropy" => Some(LabelKind::Mask),
        "fcos" | "retinanet" | "faster-rcnn" | "yolo" => Some(LabelKind::Boxes),
        OWN if detection::takes_boxes(annotations) => Some(LabelKind::Boxes),
        _ => None,
    }
}

/// The family of the task of this name.
pub fn of(task: &str, setting: Setting) -> Arc<dyn Family> {
    match task {
        SINGLE_LABEL => Arc::new(single_label::SingleLabel { setting }),
        "sigmoid-cross-entropy" => Arc::new(multi_label::MultiLabel { setting }),
        "pixel-cross-entropy" => Arc::new(segmentation::Segmentation { setting }),
        "fcos" | "retinanet" | "faster-rcnn" | "yolo" => Arc::new(detection::Detection { setting }),
        OWN if detection::takes_boxes(&setting.annotations) => Arc::new(detection::Detection { setting }),
        "squared-error" | "huber" => Arc::new(regression::Regression { setting }),
        _ => Arc::new(own::Own { setting }),
    }
}

impl Setting {
    /// For a model of this task; `names` are those of its classes, where it has any.
    pub fn of(task: &Task, recipe: Recipe, names: Option<ClassNames>) -> Setting {
        let annotations = task.annotations().cloned().collect();
        let (classes, class_order) = names.map(|names| (names.names, names.source)).unwrap_or_default();
        Setting { annotations, classes, class_order, recipe }
    }

    /// The name of a class, or its number where it has none.
    fn class(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    /// The first few names, for messages.
    fn some_classes(&self) -> String {
        const SHOWN: usize = 8;
        let more = if self.classes.len() > SHOWN { ", ..." } else { "" };
        format!("{}{more}", self.classes.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
    }
}
