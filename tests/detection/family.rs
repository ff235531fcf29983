//! Boxes of a data set as a detector takes them, and back again where it is measured.

use isal::data::{Dataset, OpenOptions, Preprocess, Recipe};
use isal::families::{self, Family, Setting};
use isal::influence::{Annotation, Annotations};
use isal_onnx::{DataType, Dim, ValueInfo, ValueType};
use ndarray::{ArrayD, IxDyn, array};
use serde_json::json;
use std::sync::Arc;

/// A wide image of 40 x 20 pixels and one without boxes.
fn data(folder: &std::path::Path) -> Dataset {
    for (name, width, height) in [("a.png", 40, 20), ("b.png", 20, 40)] {
        image::RgbImage::new(width, height).save(folder.join(name)).expect("a PNG");
    }
    let marked = |category: usize, bbox: [f64; 4], flag: &str| json!({"image_id": 1, "category_id": category, "bbox": bbox, flag: 1, "area": 50});
    let coco = json!({
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}, {"id": 2, "file_name": "b.png", "width": 20, "height": 40}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            marked(9, [10.0, 5.0, 20.0, 10.0], "id"), marked(1, [0.0, 0.0, 30.0, 20.0], "iscrowd"),
            marked(1, [1.0, 1.0, 5.0, 5.0], "ignore"), marked(1, [2.0, 2.0, 5.0, 5.0], "difficult"),
            marked(1, [30.0, 10.0, 16.0, 5.0], "id"),
        ],
    });
    std::fs::write(folder.join("c.json"), coco.to_string()).expect("written");
    Dataset::open(&folder.join("c.json"), &OpenOptions { fields: true, ..OpenOptions::default() }).expect("COCO")
}

/// A detector of dogs and cats in a letterbox of 64 x 64 pixels, whose loss has room for so many boxes.
fn family(room: Dim) -> Arc<dyn Family> {
    let declared = |name: &str, data_type, inner: &[Dim]| {
        let shape = [Dim::from("N"), room.clone()].into_iter().chain(inner.iter().cloned()).collect();
        ValueInfo { name: name.to_owned(), value_type: Some(ValueType { data_type, shape: Some(shape) }) }
    };
    let table = Preprocess::parse("[preprocess]\nresize = \"letterbox\"", "test").expect("a recipe");
    let setting = Setting {
        annotations: vec![declared("boxes", DataType::Float, &[4.into()]), declared("labels", DataType::Int64, &[])],
        classes: vec!["dog".to_owned(), "cat".to_owned()],
        class_order: String::new(),
        recipe: Recipe::resolve(&table, &[None, Some(3), Some(64), Some(64)], None).expect("a recipe"),
    };
    families::of("fcos", setting)
}

fn floats(annotations: &Annotations, name: &str) -> ArrayD<f32> {
    match annotations.arrays().iter().find(|(found, _)| found == name) {
        Some((_, Annotation::Float(array))) => array.clone(),
        other => panic!("{other:?}"),
    }
}

fn whole(annotations: &Annotations, name: &str) -> ArrayD<i64> {
    match annotations.arrays().iter().find(|(found, _)| found == name) {
        Some((_, Annotation::Whole(array))) => array.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_loss_gets_boxes_as_the_image_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let family = family(Dim::from("M"));
    let data = family.as_the_model_counts(&data(folder.path())).expect("its classes");
    // 40 x 20 becomes 64 x 32 with 16 rows of grey above and below; the last box is cut off at the edge.
    let taken = family.annotations(&data, 0).expect("annotations");
    assert_eq!(floats(&taken, "boxes"), array![[[16.0, 24.0, 48.0, 40.0], [48.0, 32.0, 64.0, 40.0]]].into_dyn());
    assert_eq!(whole(&taken, "labels"), array![[0, 1]].into_dyn());
    let mirrored = family.annotations_seen(&data, 0, true).expect("annotations");
    assert_eq!(floats(&mirrored, "boxes"), array![[[16.0, 24.0, 48.0, 40.0], [0.0, 32.0, 16.0, 40.0]]].into_dyn());
    assert!(family.follows_mirroring() && family.is_tied_to_places());
    let none = family.annotations(&data, 1).expect("annotations");
    assert_eq!(floats(&none, "boxes").shape(), [1, 0, 4]);
    // A loss with room for so many.
    let roomy = self::family(Dim::from(3_usize)).annotations(&data, 0).expect("annotations");
    assert_eq!(
        (whole(&roomy, "labels"), floats(&roomy, "boxes").shape()),
        (array![[0, 1, -1]].into_dyn(), &[1, 3, 4][..])
    );
    let crowded = self::family(Dim::from(1_usize)).annotations(&data, 0).expect_err("two boxes").to_string();
    assert!(crowded.contains("`a.png`") && crowded.contains("at most 1"), "{crowded}");
}

#[test]
fn a_model_that_finds_what_is_there_is_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let family = family(Dim::from("M"));
    let data = family.as_the_model_counts(&data(folder.path())).expect("its classes");
    let known = families::known(family.as_ref(), &data, &[0, 1], |error| panic!("{error}"));
    let known = known.map_err(|error: isal::influence::InfluenceError| error).expect("annotations");
    assert_eq!(whole(&known, "labels"), array![[0_i64, 1, 1, 1, 1], [-1, -1, -1, -1, -1]].into_dyn());
    let believed = |labels: [i64; 2]| {
        // In the letterbox; the second is as much of the last box as lies in the image, and nothing in the image without boxes.
        let boxes = [[16.0, 24.0, 48.0, 40.0], [48.0, 32.0, 64.0, 40.0], [0.0; 4], [0.0; 4]].concat();
        let arrays = vec![
            ("boxes".to_owned(), Annotation::Float(ArrayD::from_shape_vec(IxDyn(&[2, 2, 4]), boxes).expect("boxes"))),
            ("labels".to_owned(), Annotation::Whole(array![labels, [-1, -1]].into_dyn())),
            ("scores".to_owned(), Annotation::Float(array![[0.9, 0.8], [0.0, 0.0]].into_dyn())),
        ];
        Annotations::new(2, arrays).expect("annotations")
    };
    let fit = |labels| {
        let mut measure = family.measure().expect("a measure");
        measure.add(&known, &believed(labels));
        measure.fit()
    };
    let right = fit([0, 1]);
    assert_eq!((right.images, right.measure.as_str(), &right.details["boxes"]), (2, "mAP", &json!(5)));
    // The dog is found whole. Of the two cats that count for VOC (ignoring is for training), one overlaps by 10 of 16.
    assert_eq!(right.details["VOC AP50 by class"], json!({"dog": 1.0, "cat": 0.5}), "{right:?}");
    assert!(right.value.is_some_and(|value| value > 0.5) && right.warning.is_none(), "{right:?}");
    let swapped = fit([1, 0]);
    assert_eq!(swapped.value, Some(0.0));
    assert!(swapped.warning.is_some_and(|said| said.contains("another order")));
}

#[test]
fn a_belief_in_a_few_words_and_drawn() {
    let family = family(Dim::from("M"));
    let said = |found: f64, class: Option<f64>, sure: Option<f64>| {
        family.caption(&move |name| match name {
            "found" => Some(found),
            "pseudo_label" => class,
            "confidence" => sure,
            _ => None,
        })
    };
    assert_eq!(said(3.0, Some(1.0), Some(0.931)), "3 boxes, cat 93 %");
    assert_eq!(
        (said(1.0, None, Some(0.5)), said(0.0, Some(1.0), Some(0.2))),
        ("1 box, up to 50 %".to_owned(), "0 boxes".to_owned())
    );
    let arrays = vec![
        ("boxes".to_owned(), Annotation::Float(array![[[16.0, 24.0, 48.0, 40.0]]].into_dyn())),
        ("labels".to_owned(), Annotation::Whole(array![[1]].into_dyn())),
    ];
    let believed = Annotations::new(1, arrays).expect("annotations");
    let image = image::RgbImage::from_pixel(400, 200, image::Rgb([7, 7, 7]));
    let drawn = family.overlay(&image, &believed).expect("a drawing");
    // Back in the stored image: from (100, 50) to before (300, 150).
    let changed = |x, y| drawn.get_pixel(x, y) != image.get_pixel(x, y);
    assert!(changed(100, 140) && changed(299, 140) && changed(200, 149) && changed(200, 50));
    assert!(!changed(200, 140) && !changed(99, 140) && !changed(300, 140) && !changed(200, 150));
    assert!(changed(101, 40), "its class above it");
}
