//! What every collection of images can do, whatever its format.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{DataError, Dropped, Image, MarkedBox, Size, TableProblem};

/// A collection of images with random access.
///
/// Opening one reads names, labels and offsets; pixels are decoded by [`Source::load`], which may be called
/// from many threads at once. Positions run from 0 to `len() - 1` in an order that depends on the data alone.
pub trait Source: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A stable name, unique in the collection: the relative path with `/`, or `train/00012`. Empty past the end.
    fn id(&self, index: usize) -> String;

    /// The class as a position in [`Source::classes`]; `None` where the image is unlabelled.
    fn label(&self, index: usize) -> Option<u32>;

    /// Class names in the order of the labels; empty where nothing names them.
    fn classes(&self) -> &[String];

    /// Whether the labels are numbers, as lists may give them, whose classes nothing names.
    fn numbered(&self) -> bool {
        false
    }

    /// A number that changes when the stored image does, and is the same for a copy of the data elsewhere. It may be of a part
    /// of the bytes.
    fn stamp(&self, index: usize) -> u64;

    /// The file of this image alone, where there is one.
    fn path(&self, index: usize) -> Option<PathBuf> {
        let _ = index;
        None
    }

    /// What the data set says of the image besides where it is, by name, if it keeps that: see
    /// [`OpenOptions::fields`](super::OpenOptions::fields).
    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        let _ = index;
        None
    }

    /// The file that a path in the fields means, by the rules of the paths of lists; it need not be there.
    ///
    /// # Errors
    /// A path that may not be named; a data set without a folder of its own.
    fn beside(&self, index: usize, written: &str) -> Result<PathBuf, TableProblem> {
        let _ = index;
        Err(TableProblem::NoFolder { path: written.chars().take(200).collect() })
    }

    /// Rows and columns of the image as it is stored, upright; [`Source::load`] may give fewer, see
    /// [`OpenOptions::jpeg_least_side`](super::OpenOptions::jpeg_least_side).
    ///
    /// # Errors
    /// As [`Source::load`].
    fn size(&self, index: usize) -> Result<Size, DataError> {
        let image = self.load(index)?;
        Ok(Size { height: image.height(), width: image.width() })
    }

    /// The boxes that the data set says of the image, where it is one of boxes and says something.
    fn marked(&self, index: usize) -> Option<Vec<MarkedBox>> {
        let _ = index;
        None
    }

    /// Boxes that were left out because they are none.
    fn dropped(&self) -> Dropped {
        Dropped::default()
    }

    /// Decodes one image.
    fn load(&self, index: usize) -> Result<Image, DataError>;
}
