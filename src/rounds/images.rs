//! Images as files of their own, for people and for other programs.

use super::RoundsError;
use crate::data::{Dataset, plain, png};
use crate::durable;
use std::path::Path;

/// A file name for an image, without an ending: its id in characters that every file system takes.
pub(super) fn file_name(id: &str) -> String {
    let name = plain(id);
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 4 => stem.to_owned(),
        _ => name,
    }
}

/// Writes an image as PNG.
pub(super) fn write_png(images: &Dataset, position: usize, path: &Path) -> Result<(), RoundsError> {
    let image = images.load(position).map_err(|source| RoundsError::data("the image", path, source))?;
    let bytes = png(&image).map_err(|error| RoundsError::Write {
        path: path.to_path_buf(),
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(durable::write_bytes(path, &bytes)?)
}
