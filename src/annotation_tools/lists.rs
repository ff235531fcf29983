//! Forms that need no tool: a list, and folders by class.

use super::AnnotationToolError;
use super::form::{Placed, ToLabel};
use super::images::put;
use crate::data::plain;
use crate::durable;
use std::path::Path;

/// A list with an empty column of labels, which `isal label import` takes once it is filled.
pub(super) fn csv(to_label: &ToLabel, placed: &[Placed], stem: &str) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    let number = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
    // Writing into memory does not fail.
    let _ = table.write_record(["path", "label", "id", "rank", "guess", "confidence", "influence", "score"]);
    for Placed { chosen, file, .. } in placed {
        let guess = chosen.guess.and_then(|guess| to_label.classes.get(guess)).cloned().unwrap_or_default();
        let (path, rank) = (format!("{stem}/{file}"), chosen.rank.to_string());
        let (confidence, influence, score) =
            (number(chosen.confidence), number(chosen.influence), number(chosen.score));
        let row = [path.as_str(), "", &chosen.id, &rank, &guess, &confidence, &influence, &score];
        let _ = table.write_record(row);
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
        let class = chosen.guess.and_then(|guess| to_label.classes.get(guess)).map_or("unknown", String::as_str);
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
