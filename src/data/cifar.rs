//! CIFAR-10 and CIFAR-100 as published: the binary and the Python archives, packed (`.tar.gz`) or not.
//!
//! Binary: records of one label byte (CIFAR-100: coarse, then fine) and 3072 bytes, red, green and blue planes of 32x32.
//! Python: pickled dictionaries with `data` (a numpy array of N x 3072 bytes, the same planes) and `labels`, or
//! `fine_labels` and `coarse_labels`. Class names come from the meta file where there is one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use isal_exporters::pickle::Pickle;

use super::archive::{ArchiveError, Bounded, Expected, at, packing, read_unpacked, unpacked, unpacked_pixels};
use super::numpy::{self, ArrayData};
use super::pixel_csv::stem;
use super::pixels::{Pixels, Spool};
use super::records::{Arrangement, Dims, RecordFile, Records, numbers_as_classes};
use super::{DataError, OpenOptions};

/// Bytes of one image.
const IMAGE: usize = 3 * 32 * 32;

/// Folders that hold a CIFAR data set inside another folder.
pub(super) const FOLDERS: &[&str] =
    &["cifar-10-batches-bin", "cifar-100-binary", "cifar-10-batches-py", "cifar-100-python"];

const META: &[&str] = &["batches.meta.txt", "batches.meta", "fine_label_names.txt", "coarse_label_names.txt", "meta"];

/// The part that a member of the archive belongs to.
pub(super) fn part(name: &str) -> Option<&'static str> {
    let stem = name.strip_suffix(".bin").unwrap_or(name);
    match stem {
        "test_batch" | "test" => Some("test"),
        "train" => Some("train"),
        _ => {
            let number = stem.strip_prefix("data_batch_")?;
            (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some("train")
        }
    }
}

/// The meta files, by name.
type Meta = BTreeMap<String, Vec<u8>>;

/// The batches of one part, and the meta files, by name.
#[derive(Default)]
struct Members {
    batches: BTreeMap<String, Pixels>,
    meta: Meta,
}

/// Opens a folder that holds the members.
pub(super) fn open_folder(folder: &Path, options: &OpenOptions) -> Result<Records, DataError> {
    let mut present = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        if let Some(name) = entry.file_name().to_str().filter(|_| entry.path().is_file()) {
            present.push(name.to_string());
        }
    }
    let parts = present.iter().filter_map(|name| part(name));
    let wanted = options.choose_part(folder, parts)?;
    let limit = options.limits.archive_bytes;
    let mut members = Members::default();
    for name in present {
        let path = folder.join(&name);
        if META.contains(&name.as_str()) {
            members.meta.insert(name, read_unpacked(&path, limit)?);
        } else if part(&name) == Some(wanted.as_str()) {
            members.batches.insert(name, unpacked_pixels(&path, limit)?);
        }
    }
    records(members, options.coarse_labels).map_err(at(folder))
}

/// Opens one member; class names come from the meta file beside it.
pub(super) fn open_file(path: &Path, options: &OpenOptions) -> Result<Records, DataError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let limit = options.limits.archive_bytes;
    let mut members = Members::default();
    for meta in META {
        let beside = path.with_file_name(meta);
        if beside.is_file() {
            members.meta.insert((*meta).to_string(), read_unpacked(&beside, limit)?);
        }
    }
    members.batches.insert(name, unpacked_pixels(path, limit)?);
    records(members, options.coarse_labels).map_err(at(path))
}

/// Whether a file that no name betrays may be a Python batch: a pickle with an entry `data` early on.
pub(super) fn is_python_batch(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}

/// Opens a tar archive, gzipped or not. Nothing is written under a name of the archive's choosing; members are known by their
/// last name alone.
pub(super) fn open_tar(path: &Path, options: &OpenOptions) -> Result<Records, DataError> {
    let limit = options.limits.archive_bytes;
    let mut archive = tar::Archive::new(unpacked(path, limit)?);
    let failed = |error: std::io::Error| at(path)(packing(error));
    let mut members = Members::default();
    let mut parts: Vec<&'static str> = Vec::new();
    let mut names = Vec::new();
    for entry in archive.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let inside = entry.path_bytes().into_owned();
        let name = inside.rsplit(|byte| *byte == b'/').next().and_then(|name| std::str::from_utf8(name).ok());
        let Some(name) = name.map(str::to_string) else { continue };
        if names.len() < 5 {
            names.push(name.clone());
        }
        let belongs_to = part(&name);
        parts.extend(belongs_to.filter(|part| !parts.contains(part)));
        let wanted = belongs_to.is_some_and(|part| options.part.as_deref().unwrap_or(part) == part);
        let mut member = Bounded::new(entry, limit);
        if META.contains(&name.as_str()) {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).map_err(failed)?;
            members.meta.insert(name, bytes);
        } else if wanted {
            members.batches.insert(name, Spool::all(member, packing).map_err(at(path))?);
        }
    }
    if parts.is_empty() {
        return Err(at(path)(ArchiveError::NotCifar { names }));
    }
    options.choose_part(path, parts.into_iter())?;
    records(members, options.coarse_labels).map_err(at(path))
}

fn records(Members { batches, meta }: Members, coarse: bool) -> Result<Records, ArchiveError> {
    let hundred_meta = meta.keys().any(|name| name == "meta" || name.ends_with("label_names.txt"));
    let mut files = Vec::new();
    let mut hundred = false;
    for (name, pixels) in batches {
        let python = is_python_batch(&pixels.beginning(2).map_err(packing)?) && !name.ends_with(".bin");
        let (file, from_hundred) = if python {
            python_file(&name, pixels, coarse)?
        } else {
            binary_file(&name, pixels, coarse, hundred_meta)?
        };
        hundred |= from_hundred;
        files.push(file);
    }
    let count = match (hundred, coarse) {
        (false, _) => 10,
        (true, true) => 20,
        (true, false) => 100,
    };
    let classes = class_names(&meta, hundred, coarse)?.unwrap_or_else(|| numbers_as_classes(count));
    if classes.len() != count {
        return Err(ArchiveError::Count { images: count, labels: classes.len() });
    }
    Records::new(files, Dims::SMALL_COLOUR, Arrangement::Planar, classes)
}

/// Records of a binary file, and whether it is CIFAR-100's.
fn binary_file(
    name: &str,
    pixels: Pixels,
    coarse: bool,
    hundred_meta: bool,
) -> Result<(RecordFile, bool), ArchiveError> {
    let length = pixels.len();
    let divides = |labels: usize| length > 0 && length.is_multiple_of((labels + IMAGE) as u64);
    // The names decide; where they do not, the length does, and where it is a multiple of both, the meta file.
    let hundred = match name {
        "train.bin" | "test.bin" => true,
        _ if part(name).is_some() => false,
        _ => divides(2) && (hundred_meta || !divides(1)),
    };
    let labels_a_record = if hundred { 2 } else { 1 };
    if !divides(labels_a_record) {
        let one = (labels_a_record + IMAGE) as u64;
        let other = if part(name).is_some() { one } else { IMAGE as u64 + 2 };
        let expected = Expected::MultipleOf(one, other);
        return Err(ArchiveError::Length { member: name.to_string(), found: length, expected });
    }
    let stride = labels_a_record + IMAGE;
    let label_at = usize::from(hundred && !coarse);
    let labels: Vec<u32> = pixels.every(label_at, stride).map_err(packing)?.into_iter().map(u32::from).collect();
    let (name, count) = (stem(Path::new(name)), labels.len());
    let pixels = pixels.part(labels_a_record as u64, length);
    Ok((RecordFile { name, labels: Some(labels), count, pixels, stride }, hundred))
}

/// Images of a pickled batch, and whether it is CIFAR-100's.
fn python_file(name: &str, pixels: Pixels, coarse: bool) -> Result<(RecordFile, bool), ArchiveError> {
    let bytes = pixels.beginning(u64::MAX).map_err(packing)?;
    let pickle = Pickle::read(&bytes)?;
    let array = numpy::array(&pickle, "data")?;
    let hundred = pickle.entry("labels").is_err();
    let key = match (hundred, coarse) {
        (false, _) => "labels",
        (true, true) => "coarse_labels",
        (true, false) => "fine_labels",
    };
    let labels = pickle.integers(key)?;
    let &[count, IMAGE] = array.shape.as_slice() else {
        let found = array.shape.iter().map(|dim| *dim as u64).collect();
        return Err(ArchiveError::Dims { found, expected: "[N, 3072]" });
    };
    let labels = labels.into_iter().enumerate().map(|(index, found)| {
        u32::try_from(found).map_err(|_| ArchiveError::Label { index, found, classes: if hundred { 100 } else { 10 } })
    });
    let labels = Some(labels.collect::<Result<Vec<u32>, _>>()?);
    let pixels = match array.data {
        ArrayData::InPlace(range) => pixels.part(range.start as u64, range.len() as u64),
        ArrayData::Copied(bytes) => Spool::all(&bytes[..], packing)?,
    };
    let expected = count.checked_mul(IMAGE).map_or(u64::MAX, |length| length as u64);
    let found = pixels.len();
    if found != expected {
        return Err(ArchiveError::Length { member: "data".into(), found, expected: Expected::Exactly(expected) });
    }
    Ok((RecordFile { name: stem(Path::new(name)), labels, count, pixels, stride: IMAGE }, hundred))
}

/// Class names of the meta files, if there are any for this kind.
fn class_names(meta: &Meta, hundred: bool, coarse: bool) -> Result<Option<Vec<String>>, ArchiveError> {
    let (text, pickle, key) = match (hundred, coarse) {
        (false, _) => ("batches.meta.txt", "batches.meta", "label_names"),
        (true, true) => ("coarse_label_names.txt", "meta", "coarse_label_names"),
        (true, false) => ("fine_label_names.txt", "meta", "fine_label_names"),
    };
    if let Some(bytes) = meta.get(text) {
        let text = String::from_utf8_lossy(bytes);
        let names = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return Ok(Some(names.map(str::to_string).collect()));
    }
    match meta.get(pickle) {
        Some(bytes) => Ok(Some(Pickle::read(bytes)?.texts(key)?)),
        None => Ok(None),
    }
}
