//! Mean average precision: the twelve figures of COCO's protocol, and Pascal VOC's at an overlap of one half.
//!
//! COCO (<https://cocodataset.org/#detection-eval>): detections of a class in the order of their scores, at most 100 of an image, each
//! takes the known box of its class that it overlaps most and that is free, where the overlap reaches a threshold; precision at 101
//! recalls, the mean over classes and thresholds from 0.5 to 0.95. Boxes around crowds take any number of detections and count for
//! nothing. The crate `hotcoco` computes it, held to pycocotools' figures in `tests/detection`. As there, `ignore` counts for nothing in
//! what is measured.

use super::{AREAS, BOXES, CLASSES, FLAGS, LABELS, PLACEMENT, SCORES, voc};
use crate::data::{BoxFlags, Placement, Size, clipped};
use crate::families::{Fit, Measure};
use crate::influence::{Annotation, Annotations};
use hotcoco::params::IouType;
use hotcoco::types::{Annotation as CocoBox, Category, Dataset, Image};
use hotcoco::{COCO, COCOeval};
use ndarray::{ArrayD, ArrayView1, Ix2, Ix3};
use serde_json::{Map, Value, json};

/// Names of the twelve figures, in their order.
pub(super) const FIGURES: [&str; 12] =
    ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];
/// Below this AP50 a model has found next to nothing.
const NOTHING: f64 = 0.01;

/// A box that is known to be there, in pixels of the stored image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownBox {
    /// Left, top, right, bottom.
    pub corners: [f64; 4],
    /// Its class.
    pub class: usize,
    /// What COCO counts as its size.
    pub area: f64,
    /// Around many objects.
    pub crowd: bool,
    /// Hard to recognise.
    pub difficult: bool,
}

/// A box that a model found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundBox {
    /// Left, top, right, bottom.
    pub corners: [f64; 4],
    /// Its class.
    pub class: usize,
    /// The higher, the surer.
    pub score: f64,
}

/// The boxes of an image.
pub type OfImage = (Vec<KnownBox>, Vec<FoundBox>);

/// Figures of detections.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The twelve of COCO in its order (AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl); `None` where there is
    /// nothing to find.
    pub coco: [Option<f64>; 12],
    /// Pascal VOC's AP at an overlap of one half, of each class that has boxes.
    pub voc: Vec<(usize, f64)>,
}

impl Figures {
    /// Of these images.
    pub fn of(images: &[OfImage]) -> Figures {
        Figures { coco: coco(images).unwrap_or([None; 12]), voc: voc::average_precisions(images) }
    }
}

/// As COCO has a box.
fn written([left, top, right, bottom]: [f64; 4]) -> [f64; 4] {
    [left, top, right - left, bottom - top]
}

fn coco(images: &[OfImage]) -> Option<[Option<f64>; 12]> {
    let (mut known_boxes, mut found_boxes) = (Vec::new(), Vec::new());
    let mut classes = std::collections::BTreeSet::new();
    // Numbers from 1, as COCO's.
    let numbered = |class: usize| class as u64 + 1;
    for (image_id, (known, found)) in (1..).zip(images) {
        for known in known {
            classes.insert(known.class);
            known_boxes.push(CocoBox {
                id: known_boxes.len() as u64 + 1,
                image_id,
                category_id: numbered(known.class),
                bbox: Some(written(known.corners)),
                area: Some(known.area),
                iscrowd: known.crowd,
                ..CocoBox::default()
            });
        }
        for found in found.iter().filter(|found| found.score.is_finite()) {
            classes.insert(found.class);
            found_boxes.push(CocoBox {
                id: found_boxes.len() as u64 + 1,
                image_id,
                category_id: numbered(found.class),
                bbox: Some(written(found.corners)),
                score: Some(found.score),
                ..CocoBox::default()
            });
        }
    }
    let dataset = Dataset {
        images: (1..=images.len() as u64).map(|id| Image { id, ..Image::default() }).collect(),
        annotations: known_boxes,
        categories: classes
            .into_iter()
            .map(|class| Category { id: numbered(class), name: class.to_string(), ..Category::default() })
            .collect(),
        ..Dataset::default()
    };
    let known = COCO::from_dataset(dataset);
    let found = known.load_res_anns(found_boxes).ok()?;
    let mut evaluation = COCOeval::new(known, found, IouType::Bbox);
    evaluation.evaluate().ok()?;
    evaluation.accumulate();
    // `run` would print them.
    evaluation.summarize_lines();
    let figures: [f64; 12] = evaluation.stats()?.try_into().ok()?;
    // -1 is the protocol's word for nothing to find.
    Some(figures.map(|figure| (figure >= 0.0).then_some(figure)))
}

/// Adds up what is known and found.
#[derive(Debug)]
pub(super) struct Precision {
    classes: Vec<String>,
    images: Vec<OfImage>,
}

impl Precision {
    /// Of nothing yet; `classes` are the names of the model's.
    pub(super) fn new(classes: &[String]) -> Precision {
        Precision { classes: classes.to_vec(), images: Vec::new() }
    }
}

impl Measure for Precision {
    fn name(&self) -> &'static str {
        "mAP"
    }

    fn add(&mut self, known: &Annotations, believed: &Annotations) {
        let of = |n| Some((known_boxes(known, n)?, detected(believed, n, placement(known, n)?)?));
        self.images.extend((0..known.images().min(believed.images())).filter_map(of));
    }

    fn fit(&self) -> Fit {
        let boxes: usize = self.images.iter().map(|(known, _)| known.len()).sum();
        let figures = Figures::of(&self.images);
        let [value, half, ..] = figures.coco;
        let images = self.images.len();
        let said = |value: f64, half: f64| {
            format!("The model's mAP is {value:.3} (AP50 {half:.3}) on {images} labelled images with {boxes} boxes.")
        };
        let poor = half.is_some_and(|half| half < NOTHING);
        let both = value.zip(half);
        let mut details = Map::new();
        details.insert("boxes".to_owned(), json!(boxes));
        for (name, figure) in FIGURES.iter().zip(figures.coco) {
            details.insert((*name).to_owned(), json!(figure));
        }
        let of_voc = &figures.voc;
        let mean = of_voc.iter().map(|(_, average)| average).sum::<f64>() / of_voc.len().max(1) as f64;
        details.insert("VOC AP50".to_owned(), json!((!of_voc.is_empty()).then_some(mean)));
        let name = |class: usize| self.classes.get(class).cloned().unwrap_or_else(|| class.to_string());
        let by_class: Map<String, Value> =
            of_voc.iter().map(|(class, average)| (name(*class), json!(average))).collect();
        details.insert("VOC AP50 by class".to_owned(), by_class.into());
        Fit {
            images,
            measure: self.name().to_owned(),
            value,
            finding: both.filter(|_| !poor).map(|(value, half)| said(value, half)),
            warning: both.filter(|_| poor).map(|(value, half)| {
                format!(
                    "the model's mAP is {value:.3} (AP50 {half:.3}) on {images} labelled images with {boxes} boxes, so it finds next to \
                     nothing: either the classes are in another order than the model's (`--classes FILE` gives it), or the \
                     preprocessing is not that of the training, or the model is not trained"
                )
            }),
            details,
        }
    }
}

fn float<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a ArrayD<f32>> {
    annotations.arrays().iter().find_map(|(found, array)| match array {
        Annotation::Float(array) if found == name => Some(array),
        _ => None,
    })
}

fn whole<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a ArrayD<i64>> {
    annotations.arrays().iter().find_map(|(found, array)| match array {
        Annotation::Whole(array) if found == name => Some(array),
        _ => None,
    })
}

fn numbers(row: ArrayView1<f32>) -> [f64; 4] {
    std::array::from_fn(|n| row.get(n).map_or(f64::NAN, |x| f64::from(*x)))
}

/// The class of a box; `None` of padding.
fn class(label: Option<&i64>) -> Option<usize> {
    label.and_then(|label| usize::try_from(*label).ok())
}

/// The known boxes of image `n`, as [`Detection`](super::Detection) gives them to its measure.
pub(super) fn known_boxes(known: &Annotations, n: usize) -> Option<Vec<KnownBox>> {
    let boxes = float(known, BOXES)?.view().into_dimensionality::<Ix3>().ok()?;
    let labels = whole(known, LABELS)?.view().into_dimensionality::<Ix2>().ok()?;
    let flags = whole(known, FLAGS)?.view().into_dimensionality::<Ix2>().ok()?;
    let areas = float(known, AREAS)?.view().into_dimensionality::<Ix2>().ok()?;
    let of = |(m, corners): (usize, ArrayView1<f32>)| {
        let flags = BoxFlags::of(u8::try_from(*flags.get((n, m))?).ok()?);
        Some(KnownBox {
            corners: numbers(corners),
            class: class(labels.get((n, m)))?,
            area: f64::from(*areas.get((n, m))?),
            crowd: flags.crowd,
            difficult: flags.difficult,
        })
    };
    Some(boxes.outer_iter().nth(n)?.outer_iter().enumerate().filter_map(of).collect())
}

/// All boxes that the decode graph gives of image `n`, back in the stored image: those too that are too unsure for pseudo-labels, where
/// it says their classes.
fn detected(believed: &Annotations, n: usize, placement: Placement) -> Option<Vec<FoundBox>> {
    let classes = if whole(believed, CLASSES).is_some() { CLASSES } else { LABELS };
    found_boxes(believed, classes, n, placement)
}

/// The boxes of the decode graph of image `n` that have a class under this name, back in the stored image.
pub(super) fn found_boxes(
    believed: &Annotations,
    labels: &str,
    n: usize,
    placement: Placement,
) -> Option<Vec<FoundBox>> {
    let boxes = float(believed, BOXES)?.view().into_dimensionality::<Ix3>().ok()?;
    let labels = whole(believed, labels)?.view().into_dimensionality::<Ix2>().ok()?;
    let scores = float(believed, SCORES).and_then(|scores| scores.view().into_dimensionality::<Ix2>().ok());
    let of = |(m, corners): (usize, ArrayView1<f32>)| {
        let score = scores.and_then(|scores| scores.get((n, m)).map(|score| f64::from(*score)));
        Some(FoundBox {
            corners: clipped(placement.stored(numbers(corners)), placement.stored)?,
            class: class(labels.get((n, m)))?,
            // Without scores, the order is all that is known.
            score: score.unwrap_or(1.0),
        })
    };
    Some(boxes.outer_iter().nth(n)?.outer_iter().enumerate().filter_map(of).collect())
}

/// Where image `n` comes to lie, by what is known of it.
fn placement(known: &Annotations, n: usize) -> Option<Placement> {
    let rows = float(known, PLACEMENT)?.view().into_dimensionality::<Ix2>().ok()?;
    let row: Vec<f64> = rows.outer_iter().nth(n)?.iter().map(|x| f64::from(*x)).collect();
    let &[across, down, x, y, width, height] = row.as_slice() else { return None };
    let stored = Size { width: width as usize, height: height as usize };
    Some(Placement { scale: [across, down], offset: [x, y], stored, size: stored })
}
