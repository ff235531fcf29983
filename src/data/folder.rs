//! Image files in a folder: one subfolder a class, or a flat or nested pile.
//!
//! Ids are paths relative to the folder, with `/`, sorted by their parts' bytes; classes are the first-level subfolders,
//! sorted likewise (as torchvision numbers them). Links are followed. Hidden files and folders, and files whose
//! ending is no image's, are passed over; an image in a format that is not read (AVIF, HEIC, ...) stays in the list
//! and fails when it is loaded, so that it is counted.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::DataError;
use super::decode::Decoding;
use super::files::{Files, Labels, Listing};
use super::names::Names;

/// Endings of image files, read or not.
const ENDINGS: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "bmp", "dib", "tif", "tiff", "gif", "avif", "heic", "heif",
    "jp2", "j2k", "jxl", "ppm", "pgm", "pbm", "pnm", "ico", "tga",
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
pub(super) fn open(root: &Path, decoding: Decoding) -> Result<Files, DataError> {
    let mut found = Found::default();
    let walk = walkdir::WalkDir::new(root).follow_links(true).into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name())) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => found.add(root, entry.path()),
            Ok(_) => {}
            Err(error) => match error.path().filter(|path| *path != root && is_dangling(&error)) {
                // It fails when it is loaded, and is counted.
                Some(path) => found.add(root, path),
                None => {
                    let path = error.path().unwrap_or(root).to_path_buf();
                    return Err(DataError::Io { path, source: error.into() });
                }
            },
        }
    }
    let (classes, listing) = found.sorted(root);
    // Names that are not UTF-8 are written with replacement characters; should two collide, this refuses.
    Files::new(listing, classes, decoding)
}

/// Images in the order in which a folder gives them.
#[derive(Default)]
struct Found {
    /// Their ids, one after the other.
    text: String,
    /// Where in `text` each lies.
    ids: Vec<Range<usize>>,
    /// Paths of those whose id does not say it, by where the id begins.
    odd: HashMap<usize, PathBuf>,
}

impl Found {
    fn add(&mut self, root: &Path, path: &Path) {
        if !has_image_ending(path) {
            return;
        }
        let relative = path.strip_prefix(root).unwrap_or(path);
        let start = self.text.len();
        for (place, part) in relative.iter().enumerate() {
            self.text.push_str(if place > 0 { "/" } else { "" });
            self.text.push_str(&part.to_string_lossy());
        }
        if relative.to_str().is_none() {
            self.odd.insert(start, path.to_path_buf());
        }
        self.ids.push(start..self.text.len());
    }

    fn id(&self, at: &Range<usize>) -> &str {
        self.text.get(at.clone()).unwrap_or_default()
    }

    /// The classes, and the images in the order of their ids.
    fn sorted(mut self, root: &Path) -> (Vec<String>, Listing) {
        let (mut ids, mut odd_paths) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.odd));
        // Part by part: `a/x` comes before `a-b/x` as `a` does before `a-b`.
        ids.sort_unstable_by(|a, b| self.id(a).split('/').cmp(self.id(b).split('/')));
        let flat = ids.iter().any(|at| !self.id(at).contains('/'));
        let (mut classes, mut ends): (Vec<String>, Vec<usize>) = (Vec::new(), Vec::new());
        let (mut paths, mut odd) = (Names::default(), BTreeMap::new());
        for (position, at) in ids.iter().enumerate() {
            let id = self.id(at);
            paths.push(id);
            odd.extend(odd_paths.remove(&at.start).map(|path| (position, path)));
            if flat {
                continue;
            }
            let class = id.split('/').next().unwrap_or_default();
            if classes.last().map(String::as_str) != Some(class) {
                classes.push(class.to_string());
                ends.push(position);
            }
            ends.last_mut().into_iter().for_each(|end| *end = position + 1);
        }
        let labels = if flat { Labels::Absent } else { Labels::InBlocks(ends) };
        (classes, Listing { root: root.to_path_buf(), paths, ids: None, odd, labels, fields: None })
    }
}

/// Whether a link leads nowhere.
fn is_dangling(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX"
}
