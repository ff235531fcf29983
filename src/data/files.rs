//! Images in files of their own, with ids and labels: what folders and manifests become.
//!
//! A pool may have very many, and all of them are listed for as long as it is open: names are kept as [`Names`], and what
//! a file system can say again is not kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::decode::{DecodeError, Decoding, decode_as, size_of};
use super::error::TableProblem;
use super::manifest::meant;
use super::names::Names;
use super::{DataError, Image, Size, Source, stamp};

/// Where the files are and what they are called.
pub(crate) struct Listing {
    /// Where relative paths begin.
    pub(crate) root: PathBuf,
    /// The path of every file, relative to `root` or absolute.
    pub(crate) paths: Names,
    /// Its id, where not all ids are those paths.
    pub(crate) ids: Option<Names>,
    /// Paths of the files whose name is no UTF-8, by position; `paths` has them with replacement characters.
    pub(crate) odd: BTreeMap<usize, PathBuf>,
    /// Their classes.
    pub(crate) labels: Labels,
    /// What a list says of each besides, as JSON, where that is kept.
    pub(crate) fields: Option<Names>,
}

/// Classes of images in a row.
pub(crate) enum Labels {
    /// None is labelled.
    Absent,
    /// The images of class `c` end before position `ends[c]`, where those of the next begin.
    InBlocks(Vec<usize>),
    /// One an image; [`Labels::NONE`] where it has none.
    Each(Vec<u32>),
}

impl Labels {
    /// No label among those of [`Labels::Each`].
    pub(crate) const NONE: u32 = u32::MAX;

    fn get(&self, index: usize) -> Option<u32> {
        match self {
            Labels::Absent => None,
            Labels::InBlocks(ends) => {
                let class = ends.partition_point(|end| *end <= index);
                u32::try_from(class).ok().filter(|_| class < ends.len())
            }
            Labels::Each(labels) => labels.get(index).copied().filter(|label| *label != Labels::NONE),
        }
    }
}

/// Image files, each decoded when it is asked for.
pub struct Files {
    listing: Listing,
    classes: Vec<String>,
    decoding: Decoding,
}

impl Files {
    /// These files, in this order; no id may occur twice.
    pub(crate) fn new(mut listing: Listing, classes: Vec<String>, decoding: Decoding) -> Result<Self, DataError> {
        listing.paths.shrink();
        listing.ids.iter_mut().for_each(Names::shrink);
        listing.fields.iter_mut().for_each(Names::shrink);
        let files = Files { listing, classes, decoding };
        match files.ids().repeated() {
            Some(id) => Err(DataError::DuplicateId { id }),
            None => Ok(files),
        }
    }

    fn ids(&self) -> &Names {
        self.listing.ids.as_ref().unwrap_or(&self.listing.paths)
    }
}

impl Source for Files {
    fn len(&self) -> usize {
        self.listing.paths.len()
    }

    fn id(&self, index: usize) -> String {
        self.ids().get(index).unwrap_or_default()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.listing.labels.get(index)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn numbered(&self) -> bool {
        // Folders are names, be they digits; a list of names has them sorted, and so never all numbers from 0 on.
        let number = |(number, class): (usize, &String)| *class == number.to_string();
        matches!(self.listing.labels, Labels::Each(_)) && self.classes.iter().enumerate().all(number)
    }

    fn stamp(&self, index: usize) -> u64 {
        let stored = self.path(index).map_or(0, |path| stamp::of_file(&path));
        // Other pixels come out of the same file.
        self.decoding.jpeg_least_side.map_or(stored, |side| stamp::seen_at(stored, side))
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        match self.listing.odd.get(&index) {
            Some(path) => Some(path.clone()),
            None => Some(self.listing.root.join(self.listing.paths.get(index)?)),
        }
    }

    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        serde_json::from_str(&self.listing.fields.as_ref()?.get(index)?).ok()
    }

    fn beside(&self, _: usize, written: &str) -> Result<PathBuf, TableProblem> {
        Ok(self.listing.root.join(&*meant(&self.listing.root, written)?))
    }

    fn size(&self, index: usize) -> Result<Size, DataError> {
        let path = self.path(index).ok_or(DataError::Position { index, len: Source::len(self) })?;
        let whole = Decoding::from(self.decoding.limits);
        match path.metadata().is_ok_and(|metadata| metadata.is_file()).then(|| size_of(&path)).flatten() {
            Some(size) => Ok(size),
            None => load_file(&path, || self.id(index), &whole)
                .map(|image| Size { height: image.height(), width: image.width() }),
        }
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        let path = self.path(index).ok_or(DataError::Position { index, len: Source::len(self) })?;
        load_file(&path, || self.id(index), &self.decoding)
    }
}

/// Reads and decodes one image file; `id` is for messages.
pub(crate) fn load_file(path: &Path, id: impl Fn() -> String, decoding: &Decoding) -> Result<Image, DataError> {
    let limits = &decoding.limits;
    let failed = |source| DataError::Decode { id: id(), source };
    let metadata = std::fs::metadata(path).map_err(DataError::io(path))?;
    // Opening a named pipe would wait for a writer for ever.
    if !metadata.is_file() {
        return Err(failed(DecodeError::NotAFile));
    }
    if metadata.len() > limits.file_bytes {
        return Err(failed(DecodeError::FileTooLarge { bytes: metadata.len(), limit: limits.file_bytes }));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    let file = File::open(path).map_err(DataError::io(path))?;
    // The file may have grown since.
    file.take(limits.file_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(DataError::io(path))?;
    decode_as(&bytes, decoding).map_err(failed)
}
