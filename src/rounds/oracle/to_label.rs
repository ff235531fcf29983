//! The list of images to label, in the three forms that people and their tools take: CSV, JSON lines, and a folder of images.

use super::super::going::Going;
use super::super::images::{self, file_name};
use super::super::state::Layout;
use super::super::{RoundsError, state};
use crate::durable;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The list as CSV; the others lie beside it.
pub(super) fn list(layout: &Layout, round: usize) -> PathBuf {
    layout.round(round).join("to-label.csv")
}

/// The folder of images.
const FOLDER: &str = "to-label";

/// The name of an image in that folder: its place in the list, then its own name.
pub(super) fn name(place: usize, id: &str) -> String {
    format!("{:04}-{}", place + 1, file_name(id))
}

/// The files of that folder by their names without endings.
pub(super) fn files(layout: &Layout, round: usize) -> HashMap<String, PathBuf> {
    let entries = std::fs::read_dir(layout.round(round).join(FOLDER)).into_iter().flatten().flatten();
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    entries.filter_map(|entry| Some((stem(&entry.path())?, entry.path()))).collect()
}

/// Writes the three forms.
pub(super) fn write(going: &Going, round: usize, ids: &[String]) -> Result<(), RoundsError> {
    let folder = going.layout().round(round).join(FOLDER);
    state::make_folder(&folder)?;
    let mut table = csv::Writer::from_writer(Vec::new());
    let mut lines = Vec::new();
    let refused = |error: csv::Error| RoundsError::Write { path: folder.with_extension("csv"), source: error.into() };
    table.write_record(["path", "label", "id"]).map_err(refused)?;
    for (place, id) in ids.iter().enumerate() {
        let position = *going.places.get(id).ok_or_else(|| RoundsError::Lost { id: id.clone(), round })?;
        let file = put(going, position, &folder, &name(place, id))?;
        let path = format!("{FOLDER}/{file}");
        table.write_record([path.as_str(), "", id]).map_err(refused)?;
        lines.extend(serde_json::json!({ "path": path, "label": null, "id": id }).to_string().into_bytes());
        lines.push(b'\n');
    }
    let table = table.into_inner().unwrap_or_default();
    durable::write_bytes(&folder.with_extension("jsonl"), &lines)?;
    durable::write_bytes(&list(&going.layout(), round), &table)?;
    Ok(())
}

/// Puts an image into the folder: a link to its file, or a PNG file where it has none. Gives the file's name.
fn put(going: &Going, position: usize, folder: &Path, name: &str) -> Result<String, RoundsError> {
    let Some(path) = going.pool.path(position) else {
        let file = format!("{name}.png");
        images::write_png(&going.pool, position, &folder.join(&file))?;
        return Ok(file);
    };
    let ending = path.extension().map_or_else(String::new, |ending| format!(".{}", ending.to_string_lossy()));
    let file = format!("{name}{ending}");
    let link = folder.join(&file);
    let failed = |source| RoundsError::Write { path: link.clone(), source };
    if link.symlink_metadata().is_ok() {
        // Of a run that was killed here.
        std::fs::remove_file(&link).map_err(failed)?;
    }
    let target = std::path::absolute(&path).map_err(failed)?;
    symlink(&target, &link).map_err(failed)?;
    Ok(file)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links need rights elsewhere that copies do not.
#[cfg(not(unix))]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::fs::copy(target, link).map(drop)
}
