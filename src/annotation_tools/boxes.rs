//! YOLO and Pascal VOC: a new folder with the images and what the model believes of them, as `isal data convert` writes one.

use super::AnnotationToolError;
use super::form::{Placed, ToLabel};
use crate::data::{BoxFlags, BoxForm, DataError, Dataset, Image, MarkedBox, Size, Source, convert};
use crate::families::FoundBox;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Writes the images with their pseudo boxes into the new folder `out`; images without a file of their own lie in `images`.
///
/// # Errors
/// [`AnnotationToolError::Sorted`] where there is such a folder already; what cannot be written.
pub(super) fn write(
    to_label: &ToLabel,
    placed: &[Placed],
    images: &Path,
    form: BoxForm,
    out: &Path,
) -> Result<(), AnnotationToolError> {
    if out.symlink_metadata().is_ok() {
        return Err(AnnotationToolError::Sorted { folder: out.to_path_buf() });
    }
    let believed = |placed: &Placed| Believed {
        id: placed.file.clone(),
        path: to_label.pool.path(placed.chosen.position).unwrap_or_else(|| images.join(&placed.file)),
        size: placed.size,
        boxes: placed.chosen.boxes(to_label.classes).iter().map(|(_, found)| marked(found)).collect(),
    };
    let images = placed.iter().map(believed).collect();
    let dataset = Dataset::new(BelievedImages { images, classes: to_label.classes.to_vec() });
    let failed = |source| AnnotationToolError::Boxes { folder: out.to_path_buf(), source: Box::new(source) };
    convert(&dataset, form, out).map(drop).map_err(failed)
}

/// A pseudo box as one that a data set marks.
pub(super) fn marked(found: &FoundBox) -> MarkedBox {
    MarkedBox { corners: found.corners, class: found.class as u32, area: None, flags: BoxFlags::default() }
}

/// An image under the name that it has in the folder to label.
struct Believed {
    id: String,
    path: PathBuf,
    size: Size,
    boxes: Vec<MarkedBox>,
}

/// Images with the boxes that a model believes.
struct BelievedImages {
    images: Vec<Believed>,
    classes: Vec<String>,
}

impl Source for BelievedImages {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn id(&self, index: usize) -> String {
        self.images.get(index).map(|image| image.id.clone()).unwrap_or_default()
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn stamp(&self, _: usize) -> u64 {
        0
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        Some(self.images.get(index)?.path.clone())
    }

    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        let Size { height, width } = self.images.get(index)?.size;
        Some(Map::from_iter([("height".to_owned(), json!(height)), ("width".to_owned(), json!(width))]))
    }

    fn marked(&self, index: usize) -> Option<Vec<MarkedBox>> {
        Some(self.images.get(index)?.boxes.clone())
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        Err(DataError::Position { index, len: self.images.len() })
    }
}
