//! What an export of a tool says of images, whatever the tool.

use super::{AnnotationToolError, cvat, label_studio};
use std::path::Path;

/// What people said of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its class.
    Label(String),
    /// To leave it out: nobody can say, or it is of no use.
    Skip,
    /// Nothing yet.
    Nothing,
    /// Something that is no class of an image, in words.
    Unfit(String),
}

/// An image of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The sample's id, where the export has what was sent with the image.
    pub id: Option<String>,
    /// Name of the image's file as the tool has it: a path or what is left of an address.
    pub file: String,
    /// What people said.
    pub answer: Answer,
}

/// Reads an export by the ending of its file: Label Studio's `.json`, CVAT's `.xml`; `None` for any other file, which is a list or a
/// folder.
///
/// # Errors
/// [`AnnotationToolError::NotAnExport`]; a file that cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<Answered>>, AnnotationToolError> {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase()).unwrap_or_default();
    let parse = match ending.to_str() {
        Some("json") => label_studio::read,
        Some("xml") => cvat::read,
        _ => return Ok(None),
    };
    let text = std::fs::read_to_string(path).map_err(AnnotationToolError::io("read", path))?;
    parse(path, text.trim_start_matches('\u{feff}')).map(Some)
}
