//! IDX, the format of MNIST and its relatives, plain or gzipped.
//!
//! Four bytes (two zeros, the type 8 for bytes, the number of dims), the dims as big-endian 32-bit numbers, then the
//! bytes. Images have three dims (N, rows, columns), labels one. The labels of `NAME-images-idx3-ubyte` lie beside it
//! in `NAME-labels-idx1-ubyte`; without such a file the images are a pool without labels.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::archive::{ArchiveError, Expected, at, packing, pixels_after, unpacked};
use super::records::{Arrangement, Dims, RecordFile, Records, numbers_as_classes};
use super::{DataError, Limits};

/// Bytes of the magic, and of each dim.
const HEADER_WORD: u64 = 4;

/// Whether a file name is that of IDX images.
pub(super) fn is_images(name: &str) -> bool {
    name.contains("images") && name.contains("idx3")
}

/// The part of a data set that a file name says, `train` or `test`, and what ids begin with.
pub(super) fn part(name: &str) -> (Option<&'static str>, String) {
    let prefix = name.split("images").next().unwrap_or_default().trim_end_matches(['-', '_', '.']);
    let part = match prefix {
        _ if prefix.contains("train") => Some("train"),
        _ if prefix.contains("t10k") || prefix.contains("test") => Some("test"),
        _ => None,
    };
    (part, if prefix.is_empty() { "images".to_string() } else { prefix.to_string() })
}

/// Reads the images at `path` and the labels beside them.
pub(super) fn open(path: &Path, limits: &Limits) -> Result<Records, DataError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (found, length, stream) = header::<3>(path, limits)?;
    let [count, height, width] = found;
    if height == 0 || width == 0 {
        let found = found.map(|dim| dim as u64).to_vec();
        return Err(at(path)(ArchiveError::Dims { found, expected: "[N, height, width]" }));
    }
    let labels = match labels_beside(path, &name) {
        None => None,
        Some(path) => Some(labels(&path, limits)?),
    };
    let pixels = pixels_after(path, stream, HEADER_WORD * (1 + 3), length + 1)?;
    whole(path, pixels.len(), length)?;
    let highest = labels.iter().flatten().max().map_or(0, |label| *label as usize + 1);
    let file = RecordFile { name: part(&name).1, labels, count, pixels, stride: height * width };
    let dims = Dims { height, width, channels: 1 };
    Records::new(vec![file], dims, Arrangement::Interleaved, numbers_as_classes(highest)).map_err(at(path))
}

/// The labels in an IDX file.
fn labels(path: &Path, limits: &Limits) -> Result<Vec<u32>, DataError> {
    let (_, length, stream) = header::<1>(path, limits)?;
    let mut bytes = Vec::new();
    stream.take(length + 1).read_to_end(&mut bytes).map_err(|error| at(path)(packing(error)))?;
    whole(path, bytes.len() as u64, length)?;
    Ok(bytes.into_iter().map(u32::from).collect())
}

/// Dims of an IDX file, how many bytes they ask for, and these bytes.
type Header<const DIMS: usize> = ([usize; DIMS], u64, Box<dyn Read>);

fn header<const DIMS: usize>(path: &Path, limits: &Limits) -> Result<Header<DIMS>, DataError> {
    let limit = limits.archive_bytes;
    let mut stream = unpacked(path, limit)?;
    let mut take = |words: u64| {
        let mut bytes = Vec::new();
        stream.by_ref().take(HEADER_WORD * words).read_to_end(&mut bytes).map_err(|error| at(path)(packing(error)))?;
        Ok::<_, DataError>(bytes)
    };
    let magic = take(1)?;
    let expected = [0, 0, 8, DIMS as u8];
    if magic != expected {
        return Err(at(path)(ArchiveError::IdxMagic { found: magic, expected }));
    }
    let after_magic = take(DIMS as u64)?;
    let words = after_magic.as_chunks::<4>().0;
    if words.len() != DIMS {
        let (member, found) = ("the header".to_string(), HEADER_WORD + after_magic.len() as u64);
        let expected = Expected::Exactly(HEADER_WORD * (1 + DIMS as u64));
        return Err(at(path)(ArchiveError::Length { member, found, expected }));
    }
    let mut dims = [0; DIMS];
    for (dim, word) in dims.iter_mut().zip(words) {
        *dim = u32::from_be_bytes(*word) as usize;
    }
    let length = dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim as u64));
    let length = length.filter(|length| *length <= limit).ok_or_else(|| at(path)(ArchiveError::TooLarge { limit }))?;
    Ok((dims, length, stream))
}

/// Refuses an array with other than the bytes that its header asks for. One byte more than there should be is looked for, and
/// tells a longer file from a right one.
fn whole(path: &Path, found: u64, length: u64) -> Result<(), DataError> {
    if found == length {
        return Ok(());
    }
    let (member, expected) = ("the array".to_string(), Expected::Exactly(length));
    Err(at(path)(ArchiveError::Length { member, found, expected }))
}

/// The label file of an image file, packed or not.
fn labels_beside(path: &Path, name: &str) -> Option<PathBuf> {
    let plain = name.strip_suffix(".gz").unwrap_or(name).replace("images", "labels").replace("idx3", "idx1");
    [plain.clone(), format!("{plain}.gz")]
        .into_iter()
        .map(|name| path.with_file_name(name))
        .find(|candidate| candidate != path && candidate.is_file())
}
