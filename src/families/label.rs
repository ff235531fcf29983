//! What kind of label people give an image of a task, and what a model believes that label is.

use super::FoundBox;

/// What people say of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelKind {
    /// One class.
    Class,
    /// Any number of classes.
    Classes,
    /// Boxes, each of a class.
    Boxes,
    /// A class for each pixel, as an image file.
    Mask,
}

impl LabelKind {
    /// It in words: an image has ... here.
    pub fn in_words(self) -> &'static str {
        match self {
            LabelKind::Class => "one class",
            LabelKind::Classes => "any number of classes",
            LabelKind::Boxes => "boxes",
            LabelKind::Mask => "a mask",
        }
    }
}

/// What a model believes of an image, as far as annotation tools show it.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Guess {
    /// Nothing, or nothing that they show.
    #[default]
    Nothing,
    /// Its class, counted from 0.
    Class(usize),
    /// Its classes, counted from 0.
    Classes(Vec<usize>),
    /// Pseudo boxes, in pixels of the stored image.
    Boxes(Vec<FoundBox>),
}
