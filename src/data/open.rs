//! Recognising what lies at a path.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{at, packing, unpacked};
use super::boxes::{coco, voc, yolo};
use super::decode::{Decoding, Limits};
use super::error::{Found, TableProblem};
use super::harvest::{HarvestPool, is_harvest};
use super::list_form::{self, Form};
use super::{DataError, Source, cifar, folder, idx, manifest, masked, pixel_csv, svhn};

/// How a data set is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// What an image or an archive may cost.
    pub limits: Limits,
    /// Which part of a data set that comes in parts: `train`, `test`, `extra`, ... A path that ends in `#PART` says it
    /// too, and wins.
    pub part: Option<String>,
    /// Whether CIFAR-100 has its 20 coarse labels instead of the 100 fine ones.
    pub coarse_labels: bool,
    /// Keep what a list says of each image besides its path, for tasks other than one class an image; nothing is a class then.
    pub fields: bool,
    /// Decode the JPEGs of folders and lists at a fraction of their size; see [`Decoding::jpeg_least_side`].
    pub jpeg_least_side: Option<u32>,
    /// Whether a box that is none (empty, outside of its image, no numbers) is an error instead of being dropped and counted.
    pub strict_boxes: bool,
    /// Whether of an image without a file of labels in YOLO's form nothing is known; else it shows nothing, as its trainers have it.
    pub unmarked_is_unknown: bool,
    /// Whether a COCO category may have the id 0.
    pub category_zero: bool,
}

const KNOWN: &str = "a folder of images, flat or one subfolder a class; a list of images (`.csv`, \
                     `.tsv`, `.txt`, `.lst` or `.jsonl` with a `path` and perhaps a `label`); boxes of COCO (`.json`), Pascal VOC \
                     (a folder with `JPEGImages` and `Annotations`, or XML beside the images) and YOLO (`data.yaml`, or a folder \
                     with `images` and `labels`); a table of pixels and a label (`.csv`); CIFAR-10 and CIFAR-100, binary or Python, packed or \
                     not; SVHN (`.mat`); IDX as MNIST has it (`NAME-images-idx3-ubyte`); a harvest of `isal serve`";

/// Subfolders that are parts of a data set, not classes, when there is nothing else beside them.
const PART_FOLDERS: &[&str] = &[
    "train",
    "training",
    "test",
    "testing",
    "val",
    "valid",
    "validation",
    "pool",
    "unlabelled",
    "unlabeled",
    "labelled",
    "labeled",
    "reference",
];

/// Most that the first line of a table may hold: wide tables of pixels have some thousands of columns.
const MAX_FIRST_LINE: u64 = 16 << 20;

impl OpenOptions {
    /// How image files are decoded.
    pub(super) fn decoding(&self) -> Decoding {
        Decoding { limits: self.limits, jpeg_least_side: self.jpeg_least_side }
    }

    /// The part to open of those there are: the one asked for, or the only one.
    pub(super) fn choose_part<'a>(
        &self,
        path: &Path,
        parts: impl Iterator<Item = &'a str>,
    ) -> Result<String, DataError> {
        let parts: BTreeSet<&str> = parts.collect();
        let chosen = match &self.part {
            Some(wanted) => parts.get(wanted.as_str()).copied(),
            None => parts.first().copied().filter(|_| parts.len() == 1),
        };
        chosen.map(str::to_string).ok_or_else(|| DataError::Part {
            path: path.to_path_buf(),
            parts: parts.into_iter().map(str::to_string).collect(),
            wanted: self.part.clone(),
        })
    }
}

/// Opens the data set at `path`, whatever its format.
///
/// A data set in parts (training and test data in one folder or archive) needs [`OpenOptions::part`] or a path that ends
/// in `#train`: no part is taken by guess.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Arc<dyn Source>, DataError> {
    if !path.exists()
        && let Some((whole, part)) = path.to_str().and_then(|text| text.rsplit_once('#'))
    {
        let options = OpenOptions { part: Some(part.to_string()), ..options.clone() };
        return open_whole(Path::new(whole), &options);
    }
    open_whole(path, options)
}

fn open_whole(path: &Path, options: &OpenOptions) -> Result<Arc<dyn Source>, DataError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(unrecognised(path, Found::Nothing)),
        Err(source) => return Err(DataError::Io { path: path.to_path_buf(), source }),
    };
    if metadata.is_dir() {
        open_folder(path, options)
    } else if metadata.is_file() {
        open_file(path, options)
    } else {
        Err(unrecognised(path, Found::Special))
    }
}

/// What lies in a folder itself: the files that could be of an archive, and the folders; sorted. Images, of which there may be
/// very many, are not among them.
fn top_level(path: &Path) -> Result<(Vec<String>, Vec<String>), DataError> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(path).map_err(DataError::io(path))? {
        let entry = entry.map_err(DataError::io(path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => kind.is_file(),
            _ => entry.path().is_file(),
        };
        if !is_file {
            folders.push(name);
        } else if !folder::has_image_ending(Path::new(&name)) {
            files.push(name);
        }
    }
    files.sort_unstable();
    folders.sort_unstable();
    Ok((files, folders))
}

/// The first few names in a folder, for messages.
fn first_names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.truncate(5);
    names
}

fn open_folder(path: &Path, options: &OpenOptions) -> Result<Arc<dyn Source>, DataError> {
    let (files, folders) = top_level(path)?;
    if is_harvest(&files) {
        return Ok(Arc::new(HarvestPool::open(path, options.part.as_deref(), options.decoding())?));
    }
    if files.iter().any(|name| cifar::part(name).is_some()) {
        return Ok(Arc::new(cifar::open_folder(path, options)?));
    }
    if let Some(inner) = folders.iter().find(|name| cifar::FOLDERS.contains(&name.as_str())) {
        return open_folder(&path.join(inner), options);
    }
    let idx_images = files.iter().filter(|name| idx::is_images(name));
    let idx_files: Vec<(String, PathBuf)> = idx_images.map(|name| (idx_part(name), path.join(name))).collect();
    if !idx_files.is_empty() {
        return Ok(Arc::new(idx::open(&one_part(path, &idx_files, options)?, &options.limits)?));
    }
    let svhn = files.iter().filter_map(|name| Some((name.strip_suffix("_32x32.mat")?.to_string(), path.join(name))));
    let svhn_files: Vec<(String, PathBuf)> = svhn.collect();
    if !svhn_files.is_empty() {
        return Ok(Arc::new(svhn::open(&one_part(path, &svhn_files, options)?, &options.limits)?));
    }
    if voc::is_voc(&folders) {
        return Ok(Arc::new(voc::open(path, options)?));
    }
    if let Some(inner) = voc::inner(path, &folders) {
        return open_folder(&inner, options);
    }
    if let Some(description) = yolo::description(&files) {
        return Ok(Arc::new(yolo::open_description(&path.join(description), options)?));
    }
    let visible: Vec<&String> = folders.iter().filter(|name| !name.starts_with('.')).collect();
    if yolo::is_yolo(&visible) {
        return Ok(Arc::new(yolo::open_folder(path, options)?));
    }
    if files.iter().any(|name| name.ends_with(".xml")) && holds_images(path)? {
        return Ok(Arc::new(voc::open_beside(path, options)?));
    }
    if options.fields && options.part.is_none() && masked::has_masks(&visible) {
        let images = masked::open(path, options.decoding())?;
        if images.is_empty() {
            let inner = path.join(masked::IMAGES);
            let found = Found::Folder(first_names(&inner));
            return Err(unrecognised(&inner, found));
        }
        return Ok(Arc::new(images));
    }
    let is_part = |name: &&String| PART_FOLDERS.contains(&name.to_ascii_lowercase().as_str());
    let in_parts = !visible.is_empty() && visible.iter().all(is_part);
    if in_parts || options.part.is_some() {
        let parts: Vec<(String, PathBuf)> = visible.iter().map(|name| (name.to_string(), path.join(name))).collect();
        let path = one_part(path, &parts, options)?;
        return open_folder(&path, &OpenOptions { part: None, ..options.clone() });
    }
    let images = folder::open(path, options.decoding())?;
    if images.is_empty() {
        return Err(unrecognised(path, Found::Folder(first_names(path))));
    }
    Ok(Arc::new(images))
}

fn idx_part(name: &str) -> String {
    let (part, prefix) = idx::part(name);
    part.map_or(prefix, str::to_string)
}

/// Whether there are images in the folder itself.
fn holds_images(path: &Path) -> Result<bool, DataError> {
    for entry in std::fs::read_dir(path).map_err(DataError::io(path))? {
        if folder::has_image_ending(Path::new(&entry.map_err(DataError::io(path))?.file_name())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The file of the chosen part.
fn one_part(path: &Path, parts: &[(String, PathBuf)], options: &OpenOptions) -> Result<PathBuf, DataError> {
    let chosen = options.choose_part(path, parts.iter().map(|(part, _)| part.as_str()))?;
    let found = parts.iter().find(|(part, _)| *part == chosen).map(|(_, path)| path.clone());
    found.ok_or_else(|| DataError::Part { path: path.to_path_buf(), parts: vec![], wanted: Some(chosen) })
}

fn open_file(path: &Path, options: &OpenOptions) -> Result<Arc<dyn Source>, DataError> {
    let limits = &options.limits;
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let stream = || unpacked(path, limits.archive_bytes);
    if [".csv", ".tsv", ".txt", ".lst"].iter().any(|ending| plain.ends_with(ending)) {
        return open_text(path, plain.ends_with(".csv"), options);
    }
    if plain.ends_with(".jsonl") || plain.ends_with(".ndjson") {
        return Ok(Arc::new(manifest::read_json_lines(path, stream()?, options)?));
    }
    if plain.ends_with(".json") {
        return Ok(Arc::new(coco::read(path, stream()?, options)?));
    }
    if plain.ends_with(".yaml") || plain.ends_with(".yml") {
        return Ok(Arc::new(yolo::open_description(path, options)?));
    }
    if plain.ends_with(".tar") || name.ends_with(".tgz") {
        return Ok(Arc::new(cifar::open_tar(path, options)?));
    }
    if plain.ends_with(".mat") {
        return Ok(Arc::new(svhn::open(path, limits)?));
    }
    if idx::is_images(&name) {
        return Ok(Arc::new(idx::open(path, limits)?));
    }
    let mut start = Vec::new();
    stream()?.take(16).read_to_end(&mut start).map_err(|error| at(path)(packing(error)))?;
    if plain.ends_with(".bin") || cifar::is_python_batch(&start) {
        return Ok(Arc::new(cifar::open_file(path, options)?));
    }
    Err(unrecognised(path, Found::File(start)))
}

/// A list of images; where it `may_be_pixels` and names none, a table of pixels.
fn open_text(path: &Path, may_be_pixels: bool, options: &OpenOptions) -> Result<Arc<dyn Source>, DataError> {
    let stream = || unpacked(path, options.limits.archive_bytes);
    let at_first = |problem| DataError::Table { path: path.to_path_buf(), line: 1, problem };
    let mut start = first_lines(path, stream()?)?;
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Err(at_first(TableProblem::Utf16));
    }
    let text = String::from_utf8_lossy(&start);
    let mut lines = text.trim_start_matches('\u{feff}').split(['\n', '\r']).filter(|line| !line.trim().is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let form = Form::of(first, path.parent().unwrap_or(Path::new("")));
    match form {
        Some(form) => Ok(Arc::new(manifest::read(path, stream()?, &form, options)?)),
        None if may_be_pixels && list_form::holds_numbers(first, second) => {
            Ok(Arc::new(pixel_csv::read(path, stream()?)?))
        }
        // A text of words may be anything.
        None if !may_be_pixels && first.split_whitespace().count() < 2 => {
            start.truncate(16);
            Err(unrecognised(path, Found::File(start)))
        }
        None => Err(at_first(list_form::no_list(first))),
    }
}

/// The first two lines with something in them, or as much of them as they may have.
fn first_lines(path: &Path, reader: impl Read) -> Result<Vec<u8>, DataError> {
    let mut lines = Vec::new();
    let mut bounded = BufReader::new(reader).take(2 * MAX_FIRST_LINE);
    let mut found = 0;
    while found < 2 {
        let before = lines.len();
        if bounded.read_until(b'\n', &mut lines).map_err(|error| at(path)(packing(error)))? == 0 {
            break;
        }
        found += usize::from(!lines[before..].trim_ascii().is_empty());
    }
    Ok(lines)
}

fn unrecognised(path: &Path, found: Found) -> DataError {
    DataError::Unrecognised { path: path.to_path_buf(), found, known: KNOWN }
}
