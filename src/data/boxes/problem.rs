//! What is wrong with a file of boxes, or with a box.

use std::fmt;

/// Why a box is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not four numbers.
    NotNumbers,
    /// No pixel in it.
    Empty,
    /// All of it outside of the image.
    Outside,
}

/// A box that is none.
#[derive(Debug, Clone, PartialEq)]
pub struct DroppedBox {
    /// Id of its image.
    pub image: String,
    /// Its numbers, as the file has them.
    pub numbers: [f64; 4],
    /// Why.
    pub why: Malformed,
}

impl fmt::Display for DroppedBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DroppedBox { image, numbers: [a, b, c, d], why } = self;
        let why = match why {
            Malformed::NotNumbers => "is not four numbers",
            Malformed::Empty => "is empty",
            Malformed::Outside => "is outside of the image",
        };
        write!(f, "`{image}`: the box [{a}, {b}, {c}, {d}] {why}")
    }
}

/// The boxes of a data set that were left out because they are none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dropped {
    /// How many.
    pub boxes: usize,
    /// The first of them.
    pub first: Vec<DroppedBox>,
}

impl Dropped {
    /// Lines that say it, at most some of them; none where nothing was dropped.
    pub fn lines(&self, most: usize) -> Vec<String> {
        if self.boxes == 0 {
            return Vec::new();
        }
        let mut lines = vec![format!("{} boxes are left out, because they are none:", self.boxes)];
        lines.extend(self.first.iter().take(most).map(|dropped| format!("  {dropped}")));
        let shown = self.first.len().min(most);
        if shown < self.boxes {
            lines.push(format!("  ... and {} more", self.boxes - shown));
        }
        lines
    }

    /// With those of another data set.
    pub(crate) fn and(mut self, more: Dropped) -> Dropped {
        self.boxes += more.boxes;
        self.first.extend(more.first);
        self.first.truncate(super::SHOWN);
        self
    }
}

/// What is wrong with a file of boxes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BoxProblem {
    /// Not of its format at all.
    #[error("{0}")]
    Syntax(String),
    /// JSON of something else.
    #[error("it is no COCO file of boxes: it has no `{missing}`")]
    NotCoco {
        /// What is missing.
        missing: &'static str,
    },
    /// A category under the number of the background.
    #[error(
        "the category `{name}` has the id 0, which stands for the background: ids of COCO begin at 1; `isal data convert FILE --to \
         coco -o FOLDER` numbers them so"
    )]
    CategoryZero {
        /// Its name.
        name: String,
    },
    /// Something that must be there once.
    #[error("{what} `{which}` occurs twice")]
    Twice {
        /// What.
        what: &'static str,
        /// Its name or number.
        which: String,
    },
    /// A box of an image that the file does not list.
    #[error(
        "annotation {annotation} is of image {image}, which is not among the {images} `images`: are they of another data set?"
    )]
    UnknownImage {
        /// Counted from 1.
        annotation: usize,
        /// Its image.
        image: i64,
        /// Images there are.
        images: usize,
    },
    /// A class that the file does not list.
    #[error("{place} has the class {found}, expected one of {expected}")]
    UnknownClass {
        /// Where.
        place: String,
        /// The class.
        found: String,
        /// The classes there are, in words.
        expected: String,
    },
    /// A box without numbers.
    #[error("annotation {annotation} has no `bbox`: it is a file of captions or the like")]
    NoBox {
        /// Counted from 1.
        annotation: usize,
    },
    /// Fractions where pixels are expected.
    #[error(
        "its boxes are fractions of the image (the largest coordinate is {largest}), expected pixels: YOLO's text files have fractions"
    )]
    Fractions {
        /// The largest coordinate.
        largest: f64,
    },
    /// Pixels where fractions are expected.
    #[error(
        "line {line} has the coordinate {found}, expected fractions of the image, from 0 to 1: pixels are for COCO and Pascal VOC"
    )]
    Pixels {
        /// Counted from 1.
        line: usize,
        /// The coordinate.
        found: f64,
    },
    /// A line that is no box.
    #[error("line {line} has {found} columns, expected a class and four numbers (or the corners of an outline)")]
    Columns {
        /// Counted from 1.
        line: usize,
        /// Columns.
        found: usize,
    },
    /// Something that is no number.
    #[error("{place}: `{found}` is no {expected}")]
    Number {
        /// Where.
        place: String,
        /// The text.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An element that must be there.
    #[error("an `{within}` has no `{missing}`")]
    Element {
        /// The element around it.
        within: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// A larger file than any that a person or program writes.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Names of classes that are none.
    #[error("`names` {reason}")]
    Names {
        /// What is wrong.
        reason: String,
    },
    /// A part without its path.
    #[error("it names no folder or list under `{part}`")]
    NoPart {
        /// The part.
        part: String,
    },
    /// A box that is none, where that is not allowed.
    #[error("{0}")]
    Malformed(DroppedBox),
}
