//! The images of a data set under longer ids, so that two sets whose ids repeat can be one.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{DataError, Dataset, Image, Source, TableProblem};

/// The same images, each with a text in front of its id.
struct Prefixed {
    inner: Dataset,
    prefix: String,
}

impl Dataset {
    /// The same images with `prefix` in front of every id.
    pub fn prefixed(&self, prefix: &str) -> Dataset {
        let source: Arc<dyn Source> = Arc::new(Prefixed { inner: self.clone(), prefix: prefix.to_owned() });
        source.into()
    }
}

impl Source for Prefixed {
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
        self.inner.label(index)
    }

    fn classes(&self) -> &[String] {
        self.inner.classes()
    }

    fn numbered(&self) -> bool {
        self.inner.numbered()
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
