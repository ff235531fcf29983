//! What an export of a tool says of images, whatever the tool.

use super::form::Words;
use super::{AnnotationToolError, cvat, label_studio};
use crate::data::BoxFlags;
use crate::families::LabelKind;
use std::path::{Path, PathBuf};

/// What people said of an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Its class.
    Label(String),
    /// Its classes, sorted; none of them is an answer too.
    Classes(Vec<String>),
    /// Its boxes; no box is an answer too.
    Boxes(Vec<ToolBox>),
    /// The file of its mask.
    Mask(PathBuf),
    /// To leave it out: nobody can say, or it is of no use.
    Skip,
    /// Nothing that can be told from not having looked: the export lists the image, and no mark in it.
    Unmarked,
    /// Nothing yet.
    Nothing,
    /// Something that is no label of the kind that was asked for, in words.
    Unfit(String),
}

/// A box of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolBox {
    /// Its class.
    pub label: String,
    /// Left, top, right and bottom, in pixels of the stored image or as fractions of it.
    pub corners: [f64; 4],
    /// Whether they are fractions.
    pub fractions: bool,
    /// What else is said of it.
    pub flags: BoxFlags,
}

/// An image of an export.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The sample's id, where the export has what was sent with the image.
    pub id: Option<String>,
    /// Name of the image's file as the tool has it: a path or what is left of an address.
    pub file: String,
    /// Its width and height, where the export says them of an image with boxes.
    pub size: Option<[u32; 2]>,
    /// What people said.
    pub answer: Answer,
}

/// Reads an export by the ending of its file: Label Studio's `.json`, CVAT's `.xml`; `None` for any other file, which is a data set, a
/// list or a folder. `kind` is what people were asked for.
///
/// # Errors
/// [`AnnotationToolError::NotAnExport`]; a file that cannot be read.
pub fn read(path: &Path, kind: LabelKind, words: Words) -> Result<Option<Vec<Answered>>, AnnotationToolError> {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase()).unwrap_or_default();
    let of_tools = match ending.to_str() {
        Some("json" | "xml") => std::fs::read_to_string(path).map_err(AnnotationToolError::io("read", path))?,
        _ => return Ok(None),
    };
    let text = of_tools.trim_start_matches('\u{feff}');
    match ending.to_str() {
        // An object is COCO's, a list Label Studio's.
        Some("json") if kind == LabelKind::Boxes && text.trim_start().starts_with('{') => Ok(None),
        Some("json") => label_studio::read(path, text, kind).map(Some),
        _ => cvat::read(path, text, kind, words).map(Some),
    }
}
