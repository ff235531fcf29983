//! Why an image's annotation cannot be used.

use std::path::PathBuf;

/// Why an annotation cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationError {
    /// An image that the data set says nothing of.
    #[error("`{id}` has no {what}: {how}")]
    Missing {
        /// The image.
        id: String,
        /// What is missing.
        what: String,
        /// How it is given.
        how: String,
    },
    /// A value that is no such annotation.
    #[error("`{id}`: `{field}` is {found}, expected {expected}")]
    Value {
        /// The image.
        id: String,
        /// The field.
        field: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// A file that an annotation names.
    #[error("`{id}`: `{}`", path.display())]
    File {
        /// The image.
        id: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl AnnotationError {
    /// That a field of the image holds something else.
    pub(super) fn value(
        id: &str,
        field: &str,
        found: &serde_json::Value,
        expected: impl Into<String>,
    ) -> AnnotationError {
        let text = found.to_string();
        let found = if text.chars().count() > 60 { text.chars().take(60).chain("...".chars()).collect() } else { text };
        AnnotationError::Value { id: id.to_owned(), field: field.to_owned(), found, expected: expected.into() }
    }
}
