//! The images of a data set under other labels, such as those that people gave, or under longer ids.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{DataError, Dataset, Dropped, Image, MarkedBox, Size, Source, TableProblem};

/// What the labels of the images are.
enum Labels {
    /// Their own.
    Own,
    /// These, one an image.
    Given(Vec<Option<u32>>),
    /// For each of their own the one at its place.
    Mapped(Vec<u32>),
}

/// The same images, seen otherwise.
struct Relabelled {
    inner: Dataset,
    labels: Labels,
    classes: Vec<String>,
    numbered: bool,
    /// In front of every id.
    prefix: String,
}

impl Dataset {
    /// The same images with these labels, one an image and counted in `classes`, instead of their own. Images beyond the end of
    /// `labels` have none.
    pub fn with_labels(&self, labels: Vec<Option<u32>>, classes: &[String]) -> Dataset {
        self.relabelled(Labels::Given(labels), classes, false)
    }

    /// The same images under another list of classes; `map[old label]` is the new one.
    pub(super) fn mapped(&self, map: Vec<u32>, classes: &[String]) -> Dataset {
        let numbered =
            self.numbered() && classes.iter().enumerate().all(|(number, class)| *class == number.to_string());
        self.relabelled(Labels::Mapped(map), classes, numbered)
    }

    /// The same images with `prefix` in front of every id, so that two sets whose ids repeat can be one.
    pub fn prefixed(&self, prefix: &str) -> Dataset {
        let (inner, classes) = (self.clone(), self.classes().to_vec());
        let numbered = self.numbered();
        Dataset::new(Relabelled { inner, labels: Labels::Own, classes, numbered, prefix: prefix.to_owned() })
    }

    fn relabelled(&self, labels: Labels, classes: &[String], numbered: bool) -> Dataset {
        let (inner, classes) = (self.clone(), classes.to_vec());
        Dataset::new(Relabelled { inner, labels, classes, numbered, prefix: String::new() })
    }
}

impl Source for Relabelled {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn id(&self, index: usize) -> String {
        match self.inner.id(index) {
            // Past the end.
            id if id.is_empty() => id,
            id => format!("{}{id}", self.prefix),
        }
    }

    fn label(&self, index: usize) -> Option<u32> {
        match &self.labels {
            Labels::Own => self.inner.label(index),
            Labels::Given(labels) => labels.get(index).copied().flatten(),
            Labels::Mapped(map) => {
                let label = self.inner.label(index)?;
                // A source without class names has numbers alone, which stay.
                Some(map.get(label as usize).copied().unwrap_or(label))
            }
        }
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn numbered(&self) -> bool {
        self.numbered
    }

    fn stamp(&self, index: usize) -> u64 {
        Source::stamp(&self.inner, index)
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.inner.path(index)
    }

    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        let mut fields = self.inner.fields(index)?;
        if let (Labels::Mapped(map), Some(Value::Array(labels))) = (&self.labels, fields.get_mut("labels")) {
            for label in labels {
                let new = label.as_u64().and_then(|old| map.get(usize::try_from(old).ok()?));
                new.into_iter().for_each(|new| *label = Value::from(*new));
            }
        }
        Some(fields)
    }

    fn beside(&self, index: usize, written: &str) -> Result<PathBuf, TableProblem> {
        self.inner.beside(index, written)
    }

    fn size(&self, index: usize) -> Result<Size, DataError> {
        self.inner.size(index)
    }

    fn marked(&self, index: usize) -> Option<Vec<MarkedBox>> {
        let mut marked = self.inner.marked(index)?;
        if let Labels::Mapped(map) = &self.labels {
            marked.iter_mut().for_each(|of| of.class = map.get(of.class as usize).copied().unwrap_or(of.class));
        }
        Some(marked)
    }

    fn dropped(&self) -> Dropped {
        self.inner.dropped()
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        self.inner.load(index)
    }
}
