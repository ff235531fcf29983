//! A folder with `images` and `masks`: segmentation data, each image with the mask of its name.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::TableProblem;
use super::files::Files;
use super::manifest::meant;
use super::{DataError, Decoding, Image, Source, folder, stamp};

/// The subfolder of the images.
pub(super) const IMAGES: &str = "images";
const MASKS: &str = "masks";

/// Whether these subfolders, the visible ones, make such a folder.
pub(super) fn has_masks(folders: &[&String]) -> bool {
    folders.len() == 2 && [IMAGES, MASKS].iter().all(|name| folders.iter().any(|folder| *folder == name))
}

/// Opens the folder at `root`.
pub(super) fn open(root: &Path, decoding: Decoding) -> Result<Masked, DataError> {
    Ok(Masked { root: root.to_path_buf(), images: folder::open(&root.join(IMAGES), decoding)? })
}

/// The images of such a folder; the field `mask` of each is `masks/STEM.png`, whether it is there or not.
pub struct Masked {
    root: PathBuf,
    images: Files,
}

impl Source for Masked {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn id(&self, index: usize) -> String {
        self.images.id(index)
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn stamp(&self, index: usize) -> u64 {
        self.images.stamp(index)
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.images.path(index)
    }

    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        let id = self.id(index);
        let mask = Path::new(MASKS).join(Path::new(&id).with_extension("png"));
        (!id.is_empty()).then(|| Map::from_iter([("mask".to_owned(), mask.display().to_string().into())]))
    }

    fn beside(&self, _: usize, written: &str) -> Result<PathBuf, TableProblem> {
        Ok(self.root.join(&*meant(&self.root, written)?))
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        self.images.load(index)
    }
}

/// A number that changes when a file that the fields of an image name does; 0 where they name none.
pub(super) fn stamp_of_fields(source: &dyn Source, index: usize, fields: &Map<String, Value>) -> u64 {
    let named = fields.values().filter_map(|value| source.beside(index, value.as_str()?).ok());
    let files = named.filter(|path| path.is_file());
    files.map(|path| stamp::of_file(&path)).fold(0, |all, one| all.rotate_left(1) ^ one)
}
