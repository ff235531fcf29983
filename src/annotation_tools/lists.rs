//! Forms that need no tool: a list, and folders by class.

use super::AnnotationToolError;
use super::form::{Placed, ToLabel};
use super::images::put;
use crate::data::plain;
use crate::durable;
use crate::families::LabelKind;
use serde_json::json;
use std::path::Path;

/// The columns of a list that people fill, by what they say of an image.
pub(crate) fn columns(kind: Option<LabelKind>) -> &'static [&'static str] {
    match kind {
        Some(LabelKind::Boxes) => &["boxes", "labels"],
        Some(LabelKind::Classes) => &["labels"],
        Some(LabelKind::Mask) => &["mask"],
        Some(LabelKind::Class) | None => &["label"],
    }
}

/// What the model believes, in the form of the columns that people fill.
fn guesses(to_label: &ToLabel, placed: &Placed) -> Vec<String> {
    let (chosen, classes) = (placed.chosen, to_label.classes);
    match to_label.kind {
        Some(LabelKind::Boxes) => {
            let boxes = chosen.boxes(classes);
            let corners: Vec<_> = boxes.iter().map(|(_, found)| found.corners).collect();
            let names: Vec<_> = boxes.iter().map(|(name, _)| name).collect();
            vec![json!(corners).to_string(), json!(names).to_string()]
        }
        Some(LabelKind::Classes) => vec![json!(chosen.classes(classes)).to_string()],
        Some(LabelKind::Mask) => vec![String::new()],
        Some(LabelKind::Class) | None => vec![chosen.class(classes).cloned().unwrap_or_default()],
    }
}

/// A list with empty columns of labels, which `isal label import` takes once they are filled; behind them what the model believes, in the
/// same form.
pub(super) fn csv(to_label: &ToLabel, placed: &[Placed], stem: &str) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    let number = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
    // Writing into memory does not fail.
    let columns = columns(to_label.kind);
    let guessed: Vec<String> = match columns {
        ["label"] => vec!["guess".to_owned()],
        columns => columns.iter().map(|column| format!("guessed_{column}")).collect(),
    };
    let named = ["path"].iter().chain(columns).chain(&["id", "rank"]).map(|name| (*name).to_owned());
    let last = ["confidence", "influence", "score"].map(str::to_owned);
    let _ = table.write_record(named.chain(guessed).chain(last));
    for placed in placed {
        let Placed { chosen, file, .. } = placed;
        let open = columns.iter().map(|_| String::new());
        let named = [chosen.id.clone(), chosen.rank.to_string()];
        let numbers = [chosen.confidence, chosen.influence, chosen.score].map(number);
        let row = std::iter::once(format!("{stem}/{file}")).chain(open).chain(named);
        let _ = table.write_record(row.chain(guesses(to_label, placed)).chain(numbers));
    }
    String::from_utf8(table.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// Images in a folder for each class that the model believes, for people to move those that are wrong.
pub(super) fn by_class(
    to_label: &ToLabel,
    placed: &[Placed],
    images: &Path,
    folder: &Path,
) -> Result<(), AnnotationToolError> {
    if folder.symlink_metadata().is_ok() {
        return Err(AnnotationToolError::Sorted { folder: folder.to_path_buf() });
    }
    for class in to_label.classes {
        let folder = folder.join(plain(class));
        durable::make_folder(&folder)?;
    }
    for Placed { chosen, file, .. } in placed {
        let class = chosen.class(to_label.classes).map_or("unknown", String::as_str);
        let folder = folder.join(plain(class));
        durable::make_folder(&folder)?;
        let stem = file.rsplit_once('.').map_or(file.as_str(), |(stem, _)| stem);
        match to_label.pool.path(chosen.position) {
            Some(_) => drop(put(to_label.pool, chosen.position, &folder, stem)?),
            None => {
                let (from, to) = (images.join(file), folder.join(file));
                std::fs::copy(from, &to).map_err(AnnotationToolError::io("write", &to))?;
            }
        }
    }
    Ok(())
}
