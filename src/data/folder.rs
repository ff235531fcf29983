//! Image files in a folder: one subfolder a class, or a flat or nested pile.
//!
//! Ids are paths relative to the folder, with `/`, sorted by their parts' bytes; classes are the first-level subfolders,
//! sorted likewise (as torchvision numbers them). Links are followed. Hidden files and folders, and files whose
//! ending is no image's, are passed over; an image in a format that is not read (GIF, HEIC, ...) stays in the list
//! and fails when it is loaded, so that it is counted.

use std::path::Path;

use super::DataError;
use super::decode::Limits;
use super::files::{Entry, Files};

/// Endings of image files, read or not.
const ENDINGS: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "bmp", "dib", "tif", "tiff", "gif", "avif", "heic", "heif",
    "jp2", "jxl", "ppm", "pgm", "pbm", "ico", "tga",
];

/// Whether a file name ends as an image's does.
pub(super) fn has_image_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Lists the images under `root`.
///
/// With images in the folder itself it is a pile without labels, whatever lies in subfolders; otherwise the
/// first-level subfolders are the classes.
pub(super) fn open(root: &Path, limits: Limits) -> Result<Files, DataError> {
    let mut entries = Vec::new();
    let walk = walkdir::WalkDir::new(root).follow_links(true).into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name())) {
        let (path, bytes) = match entry {
            Ok(entry) if entry.file_type().is_file() => {
                let bytes = entry.metadata().map_or(0, |data| data.len());
                (entry.into_path(), bytes)
            }
            Ok(_) => continue,
            Err(error) => match error.path().filter(|path| *path != root && is_dangling(&error)) {
                // It fails when it is loaded, and is counted.
                Some(path) => (path.to_path_buf(), 0),
                None => {
                    let path = error.path().unwrap_or(root).to_path_buf();
                    return Err(DataError::Io { path, source: error.into() });
                }
            },
        };
        if !has_image_ending(&path) {
            continue;
        }
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
        entries.push(Entry { id: parts.join("/"), bytes, label: None, path });
    }
    // Part by part: `a/x` comes before `a-b/x` as `a` does before `a-b`.
    entries.sort_unstable_by(|a, b| a.id.split('/').cmp(b.id.split('/')));
    let mut classes: Vec<String> = Vec::new();
    let flat = entries.iter().any(|entry| !entry.id.contains('/'));
    if !flat {
        for entry in &mut entries {
            let class = entry.id.split('/').next().unwrap_or_default();
            if classes.last().map(String::as_str) != Some(class) {
                classes.push(class.to_string());
            }
            entry.label = Some(classes.len() as u32 - 1);
        }
    }
    // Names that are not UTF-8 are written with replacement characters; should two collide, this refuses.
    Files::new(entries, classes, limits)
}

/// Whether a link leads nowhere.
fn is_dangling(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX"
}
