//! Images in files of their own, with ids and labels: what folders and manifests become.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::decode::{DecodeError, Limits, decode};
use super::{DataError, Image, Source};

/// One image file.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) label: Option<u32>,
}

/// Image files, each decoded when it is asked for.
pub struct Files {
    entries: Vec<Entry>,
    classes: Vec<String>,
    limits: Limits,
}

impl Files {
    /// These files, in this order; no id may occur twice.
    pub(crate) fn new(entries: Vec<Entry>, classes: Vec<String>, limits: Limits) -> Result<Self, DataError> {
        let mut ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        ids.sort_unstable();
        if let Some([id, _]) = ids.array_windows().find(|[a, b]| a == b) {
            return Err(DataError::DuplicateId { id: (*id).to_string() });
        }
        Ok(Files { entries, classes, limits })
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }
}

impl Source for Files {
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
fn load_file(path: &Path, id: &str, limits: &Limits) -> Result<Image, DataError> {
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
