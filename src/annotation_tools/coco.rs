//! COCO: images, categories and boxes. It has no form for the class of an image.

use super::boxes;
use super::form::{Placed, ToLabel};
use super::images::Chosen;
use crate::data::coco_box;
use crate::families::LabelKind;
use serde_json::{Value, json};

/// Images in the order of their rank, each with an object `isal` of what is known of it, the classes as categories, and pseudo boxes as
/// annotations with a `score`.
pub(super) fn images(to_label: &ToLabel, placed: &[Placed]) -> String {
    let image = |(number, Placed { chosen, file, size }): (usize, &Placed)| {
        json!({
            "id": number + 1,
            "file_name": file,
            "width": size.width,
            "height": size.height,
            "isal": {
                "id": chosen.id,
                "rank": chosen.rank,
                "influence": chosen.influence,
                "score": chosen.score,
                "guess": guess(to_label, chosen),
                "confidence": chosen.confidence,
            },
        })
    };
    let mut annotations: Vec<Value> = Vec::new();
    for (number, Placed { chosen, .. }) in placed.iter().enumerate() {
        for (_, found) in chosen.boxes(to_label.classes) {
            let mut annotation = coco_box(annotations.len() + 1, number + 1, &boxes::marked(&found));
            annotation["score"] = found.score.into();
            annotations.push(annotation);
        }
    }
    let categories: Vec<Value> =
        to_label.classes.iter().enumerate().map(|(class, name)| json!({ "id": class + 1, "name": name })).collect();
    let value = json!({
        "info": { "description": format!("selected by {}; {}", to_label.chosen_by, crate::scores::SIGN) },
        "licenses": [],
        "images": placed.iter().enumerate().map(image).collect::<Vec<Value>>(),
        "annotations": annotations,
        "categories": categories,
    });
    format!("{value:#}\n")
}

/// The class, or the list of classes, that the model believes; null of boxes, which are annotations.
fn guess(to_label: &ToLabel, chosen: &Chosen) -> Value {
    match to_label.kind {
        Some(LabelKind::Classes) => json!(chosen.classes(to_label.classes)),
        _ => json!(chosen.class(to_label.classes)),
    }
}
