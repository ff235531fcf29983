//! The images of a data set with what people said of them, in the place of what the data set says.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{DataError, Dataset, Dropped, Image, MarkedBox, Size, Source, TableProblem};

/// What is said of an image whose label is more than a class.
#[derive(Debug, Clone, PartialEq)]
pub enum Description {
    /// Its boxes, in pixels of the stored image.
    Boxes(Vec<MarkedBox>),
    /// Its classes, by name.
    Classes(Vec<String>),
    /// The file of its mask.
    Mask(PathBuf),
}

impl Description {
    /// It as the fields of a list.
    fn fields(&self) -> Map<String, Value> {
        match self {
            Description::Boxes(boxes) => {
                let corners = boxes.iter().map(|marked| json!(marked.corners)).collect();
                let labels = boxes.iter().map(|marked| json!(marked.class)).collect();
                let mut fields = Map::from_iter([("boxes".to_owned(), corners), ("labels".to_owned(), labels)]);
                let flags: [(&str, Vec<bool>); 3] = [
                    ("crowd", boxes.iter().map(|marked| marked.flags.crowd).collect()),
                    ("ignore", boxes.iter().map(|marked| marked.flags.ignore).collect()),
                    ("difficult", boxes.iter().map(|marked| marked.flags.difficult).collect()),
                ];
                let said = flags.into_iter().filter(|(_, flags)| flags.contains(&true));
                fields.extend(said.map(|(name, flags)| (name.to_owned(), json!(flags))));
                fields
            }
            Description::Classes(classes) => Map::from_iter([("labels".to_owned(), json!(classes))]),
            Description::Mask(path) => Map::from_iter([("mask".to_owned(), json!(path))]),
        }
    }
}

/// The same images with other descriptions.
struct Described {
    inner: Dataset,
    /// Of each image, where something is said of it.
    said: Vec<Option<Description>>,
    classes: Vec<String>,
}

impl Dataset {
    /// The same images with these descriptions, one an image, instead of what the data set says of them. Classes of boxes count in
    /// `classes`.
    pub fn described(&self, said: Vec<Option<Description>>, classes: &[String]) -> Dataset {
        Dataset::new(Described { inner: self.clone(), said, classes: classes.to_vec() })
    }
}

impl Described {
    fn of(&self, index: usize) -> Option<&Description> {
        self.said.get(index)?.as_ref()
    }
}

impl Source for Described {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn id(&self, index: usize) -> String {
        self.inner.id(index)
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn stamp(&self, index: usize) -> u64 {
        Source::stamp(&self.inner, index)
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.inner.path(index)
    }

    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        Some(self.of(index)?.fields())
    }

    fn beside(&self, index: usize, written: &str) -> Result<PathBuf, TableProblem> {
        match self.of(index) {
            Some(Description::Mask(mask)) if mask == Path::new(written) => Ok(mask.clone()),
            _ => self.inner.beside(index, written),
        }
    }

    fn size(&self, index: usize) -> Result<Size, DataError> {
        self.inner.size(index)
    }

    fn marked(&self, index: usize) -> Option<Vec<MarkedBox>> {
        match self.of(index)? {
            Description::Boxes(boxes) => Some(boxes.clone()),
            Description::Classes(_) | Description::Mask(_) => None,
        }
    }

    fn dropped(&self) -> Dropped {
        Dropped::default()
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        self.inner.load(index)
    }
}
