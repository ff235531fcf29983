//! COCO: images and categories. It has boxes, masks and points, and no form for the class of an image.

use super::form::{Placed, ToLabel};
use serde_json::{Value, json};

/// Images in the order of their rank, each with an object `isal` of what is known of it, and the classes as categories.
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
                "guess": chosen.guess.and_then(|guess| to_label.classes.get(guess)),
                "confidence": chosen.confidence,
            },
        })
    };
    let categories: Vec<Value> =
        to_label.classes.iter().enumerate().map(|(class, name)| json!({ "id": class + 1, "name": name })).collect();
    let value = json!({
        "info": { "description": format!("selected by {}; {}", to_label.chosen_by, crate::scores::SIGN) },
        "licenses": [],
        "images": placed.iter().enumerate().map(image).collect::<Vec<Value>>(),
        "annotations": [],
        "categories": categories,
    });
    format!("{value:#}\n")
}
