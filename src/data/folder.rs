//! Image files in a folder: one subfolder a class, or a flat or nested pile.
//!
//! Ids are paths relative to the folder, with `/`, sorted by their bytes; classes are the first-level subfolders,
//! sorted likewise (as torchvision numbers them). Links are followed. Hidden files and folders, and files whose
//! ending is no image's, are passed over; an image in a format that is not read (GIF, HEIC, ...) stays in the list
//! and fails when it is loaded, so that it is counted.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::decode::{DecodeError, Limits, decode};
use super::{DataError, Image, Source};

/// Endings of image files, read or not.
const ENDINGS: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "bmp", "dib", "tif", "tiff", "gif", "avif", "heic", "heif",
    "jp2", "jxl", "ppm", "pgm", "pbm", "ico", "tga",
];

/// Whether a file name ends as an image's does.
pub(crate) fn has_image_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

struct Entry {
    id: String,
    path: PathBuf,
    bytes: u64,
    label: Option<u32>,
}

/// Image files under one folder.
pub struct Folder {
    entries: Vec<Entry>,
    classes: Vec<String>,
    limits: Limits,
}

impl Folder {
    /// Lists the images under `root`.
    ///
    /// With images in the folder itself it is a pile without labels, whatever lies in subfolders; otherwise the
    /// first-level subfolders are the classes.
    pub fn open(root: &Path, limits: Limits) -> Result<Self, DataError> {
        let mut entries = Vec::new();
        let walk = walkdir::WalkDir::new(root).follow_links(true).into_iter();
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name())) {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(root).to_path_buf();
                DataError::Io { path, source: error.into() }
            })?;
            if !entry.file_type().is_file() || !has_image_ending(entry.path()) {
                continue;
            }
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_path_buf();
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            let id = parts.join("/");
            let bytes = entry.metadata().map(|data| data.len()).unwrap_or(0);
            entries.push(Entry { id, path: root.join(path), bytes, label: None });
        }
        entries.sort_unstable_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
        // Names that are not UTF-8 are written with replacement characters and may then collide.
        if let Some(pair) = entries.array_windows().find(|[a, b]| a.id == b.id) {
            return Err(DataError::DuplicateId { id: pair[0].id.clone() });
        }
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
        Ok(Folder { entries, classes, limits })
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX"
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn id(&self, index: usize) -> String {
        self.entry(index).map(|entry| entry.id.clone()).unwrap_or_default()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.entry(index)?.label
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn stored_bytes(&self, index: usize) -> u64 {
        self.entry(index).map_or(0, |entry| entry.bytes)
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        Some(self.entry(index)?.path.clone())
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        let entry = self.entry(index).ok_or(DataError::Position { index, len: self.entries.len() })?;
        load_file(&entry.path, &entry.id, &self.limits)
    }
}

/// Reads and decodes one image file.
pub(crate) fn load_file(path: &Path, id: &str, limits: &Limits) -> Result<Image, DataError> {
    let failed = |source| DataError::Decode { id: id.to_string(), source };
    let metadata = std::fs::metadata(path).map_err(DataError::io(path))?;
    // Opening a named pipe would wait for a writer for ever.
    if !metadata.is_file() {
        return Err(failed(DecodeError::NotAFile));
    }
    if metadata.len() > limits.file_bytes {
        return Err(failed(DecodeError::FileTooLarge { bytes: metadata.len(), limit: limits.file_bytes }));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    let file = File::open(path).map_err(DataError::io(path))?;
    // The file may have grown since.
    file.take(limits.file_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(DataError::io(path))?;
    decode(&bytes, limits).map_err(failed)
}
