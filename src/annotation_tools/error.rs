//! Why images could not be handed to an annotation tool, or its export not read.

use crate::data::{ConvertError, DataError};
use crate::durable::DurableError;
use std::path::PathBuf;

/// Why images could not be handed to an annotation tool, or its export not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationToolError {
    /// A form of boxes for a task without boxes.
    #[error(
        "`{form}` is a form of boxes, and the task `{task}` has none; `image-folder` has images sorted by class, as classifiers of that family read them"
    )]
    NoBoxes {
        /// The form.
        form: &'static str,
        /// The task.
        task: String,
    },
    /// A form of classes for a task that has another kind of label.
    #[error("`{form}` has no form for labels of the task `{task}`; `csv` lists its images")]
    NoForm {
        /// The form.
        form: &'static str,
        /// The task.
        task: String,
    },
    /// A selected image that the pool does not have.
    #[error("`{id}` was selected, and the pool has no image of that id")]
    Lost {
        /// Its id.
        id: String,
    },
    /// An image that cannot be decoded.
    #[error("image `{id}`")]
    Image {
        /// Its id.
        id: String,
        /// Why.
        source: Box<DataError>,
    },
    /// Boxes that cannot be written as files of a form.
    #[error("cannot write boxes to `{}`", folder.display())]
    Boxes {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: Box<ConvertError>,
    },
    /// A file that is no export of a tool.
    #[error("`{}` is no {expected}: {reason}", path.display())]
    NotAnExport {
        /// The file.
        path: PathBuf,
        /// What it was read as.
        expected: &'static str,
        /// What was found.
        reason: String,
    },
    /// Folders that an earlier selection wrote.
    #[error("`{}` is there already, and people may have labelled images in it: move it away, or take another folder with `-o`", folder.display())]
    Sorted {
        /// The folder.
        folder: PathBuf,
    },
    /// The file system.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Writing.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl AnnotationToolError {
    pub(super) fn io(doing: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| AnnotationToolError::Io { doing, path: path.to_path_buf(), source }
    }
}
