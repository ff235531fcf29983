//! The images of a round as lists that any program reads: JSON lines with the path, the label and the id of each.

use crate::annotation_tools::{file_name, write_png};
use crate::data::Dataset;
use crate::durable;
use crate::families::LabelKind;
use crate::rounds::RoundsError;
use crate::rounds::state;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Where lists go, and the images that are no files of their own.
pub(super) struct Lists<'a> {
    /// The folder of the lists.
    pub(super) lists: PathBuf,
    /// The folder of images that have no file, a folder a set.
    pub(super) images: PathBuf,
    /// Names of the classes, in the order of the class scores.
    pub(super) classes: &'a [String],
    /// What images are labelled with; `None` of a task that people have no form for.
    pub(super) kind: Option<LabelKind>,
}

impl Lists<'_> {
    /// Writes the list `name` of all images of a set, whose labels count in the classes; `set` names the folder of its
    /// images where they are no files. Gives its path.
    pub(super) fn write(&self, name: &str, set: &str, images: &Dataset) -> Result<PathBuf, RoundsError> {
        let mut lines = Vec::new();
        for place in 0..images.len() {
            let mut line = Map::from_iter([("path".to_owned(), json!(self.file(set, images, place)?))]);
            line.extend(self.label(images, place)?);
            line.insert("id".to_owned(), images.id(place).into());
            lines.extend(Value::Object(line).to_string().into_bytes());
            lines.push(b'\n');
        }
        self.put(&format!("{name}.jsonl"), &lines)
    }

    /// What is said of an image, in the keys that lists have: a class and its number; boxes in pixels with the name and the number of the
    /// class of each; the names of its classes; the whole path of its mask; of other tasks all that the data set says.
    fn label(&self, images: &Dataset, place: usize) -> Result<Map<String, Value>, RoundsError> {
        if self.kind == Some(LabelKind::Class) {
            let label = images.label(place);
            let class = label.and_then(|label| self.classes.get(label as usize));
            return Ok(Map::from_iter([("label".to_owned(), json!(class)), ("class_index".to_owned(), json!(label))]));
        }
        let mut fields = images.fields(place).unwrap_or_default();
        match self.kind {
            Some(LabelKind::Boxes | LabelKind::Classes) => {
                let named = |item: &Value| match item.as_u64() {
                    Some(class) => self.classes.get(usize::try_from(class).unwrap_or(usize::MAX)).cloned(),
                    None => item.as_str().map(str::to_owned),
                };
                if let Some(Value::Array(labels)) = fields.get("labels") {
                    let names: Vec<Option<String>> = labels.iter().map(named).collect();
                    let number =
                        |name: &Option<String>| self.classes.iter().position(|class| Some(class) == name.as_ref());
                    let numbers: Vec<Option<usize>> = names.iter().map(number).collect();
                    fields.insert("labels".to_owned(), json!(names));
                    fields.insert("class_indices".to_owned(), json!(numbers));
                }
            }
            Some(LabelKind::Mask) => {
                if let Some(Value::String(written)) = fields.get("mask") {
                    let of = |problem: crate::data::TableProblem| {
                        RoundsError::Config(format!("the mask of `{}`: {problem}", images.id(place)))
                    };
                    let path = absolute(&images.beside(place, written).map_err(of)?)?;
                    fields.insert("mask".to_owned(), json!(path));
                }
            }
            Some(LabelKind::Class) | None => {}
        }
        fields.shift_remove("id");
        Ok(fields)
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
