//! A source, or part of one, under the positions that batches and scores speak of.

use crate::hex::hex;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use serde_json::{Map, Value};

use super::{DataError, Dropped, Image, MarkedBox, OpenOptions, Size, Source, TableProblem, masked, open};

/// A collection of images: a [`Source`], or some positions of one. Cheap to clone.
#[derive(Clone)]
pub struct Dataset {
    source: Arc<dyn Source>,
    indices: Option<Arc<[usize]>>,
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset").field("len", &self.len()).field("classes", &self.source.classes()).finish()
    }
}

impl From<Arc<dyn Source>> for Dataset {
    fn from(source: Arc<dyn Source>) -> Self {
        Dataset { source, indices: None }
    }
}

impl Dataset {
    /// Everything in a source.
    pub fn new(source: impl Source + 'static) -> Self {
        Dataset { source: Arc::new(source), indices: None }
    }

    /// Opens whatever data set lies at `path`; see [`open`].
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, DataError> {
        Ok(open(path, options)?.into())
    }

    /// [`Dataset::open`] of data to work with: an error where every image should have a file of its own and none is there.
    ///
    /// # Errors
    /// As [`open`], and [`DataError::Lost`].
    pub fn open_present(path: &Path, options: &OpenOptions) -> Result<Self, DataError> {
        let dataset = Self::open(path, options)?;
        match dataset.lost() {
            Some(first) => Err(DataError::Lost { path: path.to_path_buf(), files: dataset.len(), first }),
            None => Ok(dataset),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.as_ref().map_or_else(|| self.source.len(), |indices| indices.len())
    }

    /// Positions of at most `most` images, spread evenly over the set.
    pub fn spread(&self, most: usize) -> Vec<usize> {
        let every = self.len().div_ceil(most.max(1)).max(1);
        (0..self.len()).step_by(every).collect()
    }

    /// Positions of `count` images, or of all where there are fewer, as evenly over the set as they go.
    pub fn evenly(&self, count: usize) -> Vec<usize> {
        let (images, count) = (self.len(), count.min(self.len()));
        (0..count).map(|place| place * images / count).collect()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where position `index` is in the source; past its end where there is none.
    fn at(&self, index: usize) -> usize {
        match &self.indices {
            None => index,
            Some(indices) => indices.get(index).copied().unwrap_or(usize::MAX),
        }
    }

    /// A stable name, unique in the collection; empty past the end.
    pub fn id(&self, index: usize) -> String {
        self.source.id(self.at(index))
    }

    /// The class as a position in [`Dataset::classes`].
    pub fn label(&self, index: usize) -> Option<u32> {
        self.source.label(self.at(index))
    }

    /// All labels in order.
    pub fn labels(&self) -> Vec<Option<u32>> {
        (0..self.len()).map(|index| self.label(index)).collect()
    }

    /// Class names in the order of the labels; may be empty.
    pub fn classes(&self) -> &[String] {
        self.source.classes()
    }

    /// Whether the labels are numbers, whose classes nothing names.
    pub fn numbered(&self) -> bool {
        self.source.numbered()
    }

    /// The file of one image alone, where there is one.
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        self.source.path(self.at(index))
    }

    /// What the data set says of the image besides where it is; see [`OpenOptions::fields`].
    pub fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        self.source.fields(self.at(index))
    }

    /// The file that a path in the fields of an image means.
    ///
    /// # Errors
    /// A path that may not be named; a data set without a folder of its own.
    pub fn beside(&self, index: usize, written: &str) -> Result<PathBuf, TableProblem> {
        self.source.beside(self.at(index), written)
    }

    /// Rows and columns of an image as it is stored, upright.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn size(&self, index: usize) -> Result<Size, DataError> {
        if index >= self.len() {
            return Err(DataError::Position { index, len: self.len() });
        }
        self.source.size(self.at(index))
    }

    /// The boxes that the data set says of the image, where it is one of boxes and says something.
    pub fn marked(&self, index: usize) -> Option<Vec<MarkedBox>> {
        self.source.marked(self.at(index))
    }

    /// Boxes of the whole data set that were left out because they are none.
    pub fn dropped(&self) -> Dropped {
        self.source.dropped()
    }

    /// Whether its classes are of what the fields of an image name, not of the images.
    pub fn has_classes_of_fields(&self) -> bool {
        !self.classes().is_empty() && self.label(0).is_none() && self.fields(0).is_some()
    }

    /// Where the first image should be, if every image has a file of its own and none of these is there.
    pub fn lost(&self) -> Option<PathBuf> {
        let is_lost = |index| self.path(index).is_some_and(|path| std::fs::symlink_metadata(path).is_err());
        (!self.is_empty() && (0..self.len()).all(is_lost)).then(|| self.path(0)).flatten()
    }

    /// Decodes one image.
    pub fn load(&self, index: usize) -> Result<Image, DataError> {
        if index >= self.len() {
            return Err(DataError::Position { index, len: self.len() });
        }
        self.source.load(self.at(index))
    }

    /// The images at these positions, in this order.
    pub fn subset(&self, positions: &[usize]) -> Result<Self, DataError> {
        let len = self.len();
        let indices = positions
            .iter()
            .map(|&index| if index < len { Ok(self.at(index)) } else { Err(DataError::Position { index, len }) })
            .collect::<Result<Arc<[usize]>, _>>()?;
        Ok(Dataset { source: Arc::clone(&self.source), indices: Some(indices) })
    }

    /// The parts one after the other. Ids must not repeat, and parts that name classes must name the same.
    pub fn concat(parts: &[Dataset]) -> Result<Self, DataError> {
        let mut ids = HashSet::new();
        for part in parts {
            for index in 0..part.len() {
                let id = part.id(index);
                if ids.contains(&id) {
                    return Err(DataError::DuplicateId { id });
                }
                ids.insert(id);
            }
        }
        let classes = parts.iter().map(Dataset::classes).find(|classes| !classes.is_empty()).unwrap_or(&[]).to_vec();
        let differs = |part: &&Dataset| !part.classes().is_empty() && part.classes() != classes;
        if let Some(part) = parts.iter().find(differs) {
            return Err(DataError::ClassesDiffer { first: classes, other: part.classes().to_vec() });
        }
        let mut ends = Vec::with_capacity(parts.len());
        let mut end = 0_usize;
        for part in parts {
            end += part.len();
            ends.push(end);
        }
        Ok(Dataset::new(Concat { parts: parts.to_vec(), ends, classes }))
    }

    /// The same images with labels counted in `classes`, matched by name; numbers as lists give them count in `classes`
    /// already.
    ///
    /// A folder of few labels may lack whole classes, which would shift the numbers of those after them; this puts
    /// them where the model has them. A class that is not in the list is an error.
    pub fn with_classes(&self, classes: &[String]) -> Result<Self, DataError> {
        if self.classes() == classes {
            return Ok(self.clone());
        }
        let own = self.classes();
        let map: Vec<Option<u32>> = if self.numbered() && own.len() <= classes.len() {
            (0..).take(own.len()).map(Some).collect()
        } else {
            let place = |class: &String| classes.iter().position(|c| c == class).map(|place| place as u32);
            own.iter().map(place).collect()
        };
        let unknown: Vec<String> =
            own.iter().zip(&map).filter(|(_, place)| place.is_none()).map(|(class, _)| class.clone()).collect();
        if !unknown.is_empty() {
            return Err(DataError::UnknownClasses { unknown, expected: classes.to_vec() });
        }
        let map = map.into_iter().flatten().collect();
        Ok(self.mapped(map, classes))
    }

    /// SHA-256 over what the data are: number of images, class names, and of every image in order its id, its label and the
    /// [`Source::stamp`] of what is stored; where fields are kept, also these and the files that they name. It is the same for a
    /// copy of the data on another machine, and another where a file was changed in place; what that costs, and what little can
    /// pass unseen, stands in `src/data/stamp.rs`.
    pub fn fingerprint(&self) -> String {
        /// Images whose numbers are taken at a time.
        const CHUNK: usize = 4096;
        let mut hash = Sha256::new();
        hash_text(&mut hash, "isal data 2");
        hash.update((self.len() as u64).to_le_bytes());
        hash.update((self.classes().len() as u64).to_le_bytes());
        self.classes().iter().for_each(|class| hash_text(&mut hash, class));
        for start in (0..self.len()).step_by(CHUNK) {
            let range = start..self.len().min(start + CHUNK);
            let of_image = |index| {
                let named = self.fields(index).map(|fields| masked::stamp_of_fields(self, index, &fields));
                (Source::stamp(self, index), named)
            };
            let stamps: Vec<(u64, Option<u64>)> = range.clone().into_par_iter().map(of_image).collect();
            for (index, (stamp, named)) in range.zip(stamps) {
                hash_text(&mut hash, &self.id(index));
                hash.update(self.label(index).map_or(-1, i64::from).to_le_bytes());
                hash.update(stamp.to_le_bytes());
                if let Some(named) = named {
                    hash.update(named.to_le_bytes());
                    // Read again: the fields of a whole chunk may be gigabytes.
                    let fields = self.fields(index).unwrap_or_default();
                    hash_text(&mut hash, &Value::Object(fields).to_string());
                }
            }
        }
        hex(hash.finalize())
    }
}

/// One list of classes for data sets of the same task that may each lack some: the list that holds all others, if there is
/// one; else all numbers up to the highest where every class is a number, and all names sorted where not.
///
/// A model knows its own classes best; this is for when nothing else says them. [`Dataset::with_classes`] applies it.
pub fn common_classes(datasets: &[&Dataset]) -> Vec<String> {
    let all: BTreeSet<&String> = datasets.iter().flat_map(|dataset| dataset.classes()).collect();
    if let Some(whole) = datasets.iter().map(|dataset| dataset.classes()).find(|classes| classes.len() == all.len()) {
        return whole.to_vec();
    }
    let numbers: Option<Vec<u32>> = all.iter().map(|class| class.parse().ok()).collect();
    match numbers.and_then(|numbers| numbers.into_iter().max()) {
        Some(highest) => (0..=highest).map(|number| number.to_string()).collect(),
        None => all.into_iter().cloned().collect(),
    }
}

/// Length first, so that two texts never run into each other.
fn hash_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

impl Source for Dataset {
    fn len(&self) -> usize {
        self.len()
    }

    fn id(&self, index: usize) -> String {
        self.id(index)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.label(index)
    }

    fn classes(&self) -> &[String] {
        self.classes()
    }

    fn numbered(&self) -> bool {
        self.numbered()
    }

    fn stamp(&self, index: usize) -> u64 {
        self.source.stamp(self.at(index))
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.path(index)
    }

    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        self.fields(index)
    }

    fn beside(&self, index: usize, written: &str) -> Result<PathBuf, TableProblem> {
        self.beside(index, written)
    }

    fn size(&self, index: usize) -> Result<Size, DataError> {
        self.size(index)
    }

    fn marked(&self, index: usize) -> Option<Vec<MarkedBox>> {
        self.marked(index)
    }

    fn dropped(&self) -> Dropped {
        self.dropped()
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        self.load(index)
    }
}

/// Several data sets in a row. `ends[i]` is the position after the last of part `i`.
struct Concat {
    parts: Vec<Dataset>,
    ends: Vec<usize>,
    classes: Vec<String>,
}

impl Concat {
    fn part(&self, index: usize) -> Option<(&Dataset, usize)> {
        let i = self.ends.partition_point(|&end| end <= index);
        let part = self.parts.get(i)?;
        Some((part, index - (self.ends.get(i)? - part.len())))
    }
}

impl Source for Concat {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn id(&self, index: usize) -> String {
        self.part(index).map(|(part, index)| part.id(index)).unwrap_or_default()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.part(index).and_then(|(part, index)| part.label(index))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn numbered(&self) -> bool {
        self.parts.iter().all(Dataset::numbered)
    }

    fn stamp(&self, index: usize) -> u64 {
        self.part(index).map(|(part, index)| part.stamp(index)).unwrap_or(0)
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.part(index).and_then(|(part, index)| part.path(index))
    }

    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        self.part(index).and_then(|(part, index)| part.fields(index))
    }

    fn beside(&self, index: usize, written: &str) -> Result<PathBuf, TableProblem> {
        let no_image = || TableProblem::NoFolder { path: written.chars().take(200).collect() };
        self.part(index).ok_or_else(no_image).and_then(|(part, index)| part.beside(index, written))
    }

    fn size(&self, index: usize) -> Result<Size, DataError> {
        let (part, index) = self.part(index).ok_or(DataError::Position { index, len: Source::len(self) })?;
        part.size(index)
    }

    fn marked(&self, index: usize) -> Option<Vec<MarkedBox>> {
        self.part(index).and_then(|(part, index)| part.marked(index))
    }

    fn dropped(&self) -> Dropped {
        self.parts.iter().fold(Dropped::default(), |all, part| all.and(part.dropped()))
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        let (part, index) = self.part(index).ok_or(DataError::Position { index, len: Source::len(self) })?;
        part.load(index)
    }
}
