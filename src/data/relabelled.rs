//! The images of a data set with labels from elsewhere, such as those that people gave.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{DataError, Dataset, Image, Source, TableProblem};

/// The same images, each with the label that it was given, or none.
struct WithLabels {
    inner: Dataset,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
}

impl Dataset {
    /// The same images with these labels, one an image and counted in `classes`, instead of their own. Images beyond the end of
    /// `labels` have none.
    pub fn with_labels(&self, labels: Vec<Option<u32>>, classes: &[String]) -> Dataset {
        let source: Arc<dyn Source> = Arc::new(WithLabels { inner: self.clone(), labels, classes: classes.to_vec() });
        source.into()
    }
}

impl Source for WithLabels {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn id(&self, index: usize) -> String {
        self.inner.id(index)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
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
        self.inner.fields(index)
    }

    fn beside(&self, index: usize, written: &str) -> Result<PathBuf, TableProblem> {
        self.inner.beside(index, written)
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        self.inner.load(index)
    }
}
