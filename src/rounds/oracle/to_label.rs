//! The list of images to label, in the three forms that people and their tools take: CSV, JSON lines, and a folder of images; and
//! in those of annotation tools that the run asks for.

use super::super::going::Going;
use super::super::state::Layout;
use super::super::{RoundsError, state};
use crate::annotation_tools::{Chosen, ToLabel, columns, name, put, write_forms};
use crate::durable;
use crate::families::Guess;
use crate::select::Selection;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The list as CSV; the others lie beside it.
pub(super) fn list(layout: &Layout, round: usize) -> PathBuf {
    layout.round(round).join("to-label.csv")
}

const FOLDER: &str = "to-label";

/// The folder of images.
pub(super) fn images(layout: &Layout, round: usize) -> PathBuf {
    layout.round(round).join(FOLDER)
}

/// The files of that folder by their names without endings.
pub(super) fn files(layout: &Layout, round: usize) -> HashMap<String, PathBuf> {
    let entries = std::fs::read_dir(images(layout, round)).into_iter().flatten().flatten();
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    entries.filter_map(|entry| Some((stem(&entry.path())?, entry.path()))).collect()
}

/// Writes the three forms.
pub(super) fn write(
    going: &Going,
    round: usize,
    ids: &[String],
    guesses: &HashMap<String, Guess>,
) -> Result<(), RoundsError> {
    let folder = images(&going.layout(), round);
    state::make_folder(&folder)?;
    let mut table = csv::Writer::from_writer(Vec::new());
    let (mut lines, mut files) = (Vec::new(), Vec::new());
    let refused = |error: csv::Error| RoundsError::Write { path: folder.with_extension("csv"), source: error.into() };
    let columns = columns(going.label_kind);
    table.write_record(["path"].iter().chain(columns).chain(&["id"])).map_err(refused)?;
    for (place, id) in ids.iter().enumerate() {
        let position = *going.places.get(id).ok_or_else(|| RoundsError::Lost { id: id.clone(), round })?;
        let file = put(&going.pool, position, &folder, &name(place, id))?;
        let path = format!("{FOLDER}/{file}");
        let open = columns.iter().map(|_| "");
        table.write_record(std::iter::once(path.as_str()).chain(open).chain([id.as_str()])).map_err(refused)?;
        let open = columns.iter().map(|column| ((*column).to_owned(), serde_json::Value::Null));
        let named = std::iter::once(("path".to_owned(), path.into())).chain(open);
        let line: serde_json::Map<String, serde_json::Value> =
            named.chain([("id".to_owned(), id.as_str().into())]).collect();
        lines.extend(serde_json::Value::Object(line).to_string().into_bytes());
        lines.push(b'\n');
        files.push(file);
    }
    let table = table.into_inner().unwrap_or_default();
    durable::write_bytes(&folder.with_extension("jsonl"), &lines)?;
    durable::write_bytes(&list(&going.layout(), round), &table)?;
    for_tools(going, round, ids, files, guesses)
}

/// The forms of annotation tools, with what the model of the round before believes of the images, which are `files` of the folder.
fn for_tools(
    going: &Going,
    round: usize,
    ids: &[String],
    files: Vec<String>,
    guesses: &HashMap<String, Guess>,
) -> Result<(), RoundsError> {
    let forms = &going.config.oracle.forms;
    if forms.is_empty() {
        return Ok(());
    }
    let before = round.checked_sub(1).map(|before| going.layout().scored(before).join("selection.json"));
    let selected = before.and_then(|path| Selection::read(&path).ok()).map(|s| s.selected).unwrap_or_default();
    let known: HashMap<&str, &_> = selected.iter().map(|selected| (selected.id.as_str(), selected)).collect();
    let mut images = Vec::new();
    for (place, id) in ids.iter().enumerate() {
        let position = *going.places.get(id).ok_or_else(|| RoundsError::Lost { id: id.clone(), round })?;
        images.push(match known.get(id.as_str()) {
            Some(selected) => Chosen::selected(selected, position, guesses),
            None => Chosen::drawn(id, position, place + 1),
        });
    }
    let chosen_by = match round {
        0 => "drawn by the seed",
        _ => going.config.select.row().name,
    };
    let to_label = ToLabel {
        pool: &going.pool,
        images: &images,
        kind: going.label_kind,
        classes: &going.classes,
        words: going.words(),
        chosen_by,
        url: None,
    };
    let folder = going.layout().round(round);
    for ending in ["-yolo", "-voc"] {
        // Of a run that was killed here: nobody has been asked yet.
        durable::remove_folder(&folder.join(format!("{FOLDER}{ending}")))?;
    }
    write_forms(forms, &to_label, files, &folder, FOLDER)?;
    Ok(())
}
