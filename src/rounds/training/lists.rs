//! The images of a round as lists that any program reads: JSON lines with the path, the class and the id of each.

use crate::annotation_tools::{file_name, write_png};
use crate::data::Dataset;
use crate::durable;
use crate::rounds::RoundsError;
use crate::rounds::state;
use std::path::{Path, PathBuf};

/// Where lists go, and the images that are no files of their own.
pub(super) struct Lists<'a> {
    /// The folder of the lists.
    pub(super) lists: PathBuf,
    /// The folder of images that have no file, a folder a set.
    pub(super) images: PathBuf,
    /// Names of the classes, in the order of the class scores.
    pub(super) classes: &'a [String],
}

impl Lists<'_> {
    /// Writes the list `name` of all images of a set, whose labels count in the classes; `set` names the folder of its
    /// images where they are no files. Gives its path.
    pub(super) fn write(&self, name: &str, set: &str, images: &Dataset) -> Result<PathBuf, RoundsError> {
        let mut lines = Vec::new();
        for place in 0..images.len() {
            let label = images.label(place);
            let class = label.and_then(|label| self.classes.get(label as usize));
            let path = self.file(set, images, place)?;
            let line = serde_json::json!({
                "path": path,
                "label": class,
                "class_index": label,
                "id": images.id(place),
            });
            lines.extend(line.to_string().into_bytes());
            lines.push(b'\n');
        }
        self.put(&format!("{name}.jsonl"), &lines)
    }

    /// Writes the names of the classes, one a line. Gives the path.
    pub(super) fn write_classes(&self) -> Result<PathBuf, RoundsError> {
        self.put("classes.txt", (self.classes.join("\n") + "\n").as_bytes())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, RoundsError> {
        state::make_folder(&self.lists)?;
        let path = absolute(&self.lists.join(name))?;
        durable::write_bytes(&path, bytes)?;
        Ok(path)
    }

    /// The file of an image; one is written where it has none.
    fn file(&self, set: &str, images: &Dataset, place: usize) -> Result<PathBuf, RoundsError> {
        if let Some(path) = images.path(place) {
            return absolute(&path);
        }
        let folder = self.images.join(set);
        state::make_folder(&folder)?;
        // Two ids may make one file name; a part of a hash tells them apart.
        let id = images.id(place);
        let path = absolute(&folder.join(format!("{}-{:08x}.png", file_name(&id), short_hash(&id))))?;
        if !path.exists() {
            write_png(images, place, &path)?;
        }
        Ok(path)
    }
}

fn short_hash(text: &str) -> u32 {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(text);
    digest.iter().take(4).fold(0, |hash, byte| (hash << 8) | u32::from(*byte))
}

/// A path that means the same in any folder.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, RoundsError> {
    std::path::absolute(path).map_err(|source| RoundsError::Read { path: path.to_path_buf(), source })
}
