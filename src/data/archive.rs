//! What archives have in common: bounded reading, and the ways in which one can be wrong.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use isal_exporters::pickle::PickleError;

use super::DataError;
use super::matlab::MatlabError;
use super::pixels::{Pixels, Spool, SpoolError};

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// More unpacked bytes than the limit.
    #[error("it unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// It cannot be unpacked.
    #[error("unpacking failed: {message}")]
    Packing {
        /// What the unpacker says.
        message: String,
    },
    /// Another number of bytes than the header or the format asks for.
    #[error("{member} has {found} bytes, expected {expected}")]
    Length {
        /// The part of the archive.
        member: String,
        /// Bytes there are.
        found: u64,
        /// What was expected.
        expected: Expected,
    },
    /// An IDX file whose header is none.
    #[error("the IDX header begins with {found:02x?}, expected {expected:02x?}")]
    IdxMagic {
        /// First four bytes.
        found: Vec<u8>,
        /// What they should be.
        expected: [u8; 4],
    },
    /// Images and labels that do not pair.
    #[error("there are {images} images and {labels} labels")]
    Count {
        /// Images.
        images: usize,
        /// Labels.
        labels: usize,
    },
    /// A label outside its range.
    #[error("image {index} has the label {found}, expected one of 0..{classes}")]
    Label {
        /// Position of the image.
        index: usize,
        /// Its label.
        found: i64,
        /// Number of classes.
        classes: usize,
    },
    /// Dims that are no image's.
    #[error("an array of {found:?} values holds no images, expected {expected}")]
    Dims {
        /// Its dims.
        found: Vec<u64>,
        /// What was expected.
        expected: &'static str,
    },
    /// A part that must be there.
    #[error("it has no `{name}`")]
    Missing {
        /// The part.
        name: &'static str,
    },
    /// A tar archive of something else.
    #[error("it is no CIFAR archive: it holds `{}`", names.join("`, `"))]
    NotCifar {
        /// Some of its names.
        names: Vec<String>,
    },
    /// A Python pickle.
    #[error("it is not the pickle that is expected")]
    Pickle(#[from] PickleError),
    /// A MATLAB file.
    #[error("it is not the MATLAB file that is expected")]
    Matlab(#[from] MatlabError),
    /// No room for what is in it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// How many bytes there should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Exactly so many.
    Exactly(u64),
    /// A multiple of one of these, and not none.
    MultipleOf(u64, u64),
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Exactly(n) => write!(f, "{n}"),
            Expected::MultipleOf(a, b) if a == b => write!(f, "a multiple of {a}"),
            Expected::MultipleOf(a, b) => write!(f, "a multiple of {a} or {b}"),
        }
    }
}

/// For `map_err` where only the path is missing.
pub(crate) fn at(path: &Path) -> impl Fn(ArchiveError) -> DataError + '_ {
    move |source| DataError::Archive { path: path.to_path_buf(), source: Box::new(source) }
}

/// Whether a name ends in `.gz` or `.tgz`.
fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz") || ending.eq_ignore_ascii_case("tgz"))
}

/// The file's bytes as a stream, without gzip if its name says so, ending in an error past `limit`.
pub(crate) fn unpacked(path: &Path, limit: u64) -> Result<Box<dyn Read>, DataError> {
    let file = BufReader::new(File::open(path).map_err(DataError::io(path))?);
    Ok(if is_gzip(path) {
        Box::new(Bounded { inner: MultiGzDecoder::new(file), left: limit, limit })
    } else {
        Box::new(Bounded { inner: file, left: limit, limit })
    })
}

/// All of [`unpacked`].
pub(crate) fn read_unpacked(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    unpacked(path, limit)?.read_to_end(&mut bytes).map_err(|error| at(path)(packing(error)))?;
    Ok(bytes)
}

/// All of [`unpacked`], left on disk.
pub(crate) fn unpacked_pixels(path: &Path, limit: u64) -> Result<Pixels, DataError> {
    let pixels = pixels_after(path, unpacked(path, limit)?, 0, u64::MAX)?;
    if pixels.len() > limit { Err(at(path)(ArchiveError::TooLarge { limit })) } else { Ok(pixels) }
}

/// What follows the first `passed` bytes of `stream`, which is [`unpacked`] so far, `most` bytes at most: where it lies, if
/// the file is not packed.
pub(crate) fn pixels_after(path: &Path, stream: impl Read, passed: u64, most: u64) -> Result<Pixels, DataError> {
    if is_gzip(path) {
        return Spool::all(stream.take(most), packing).map_err(at(path));
    }
    let file = File::open(path).map_err(DataError::io(path))?;
    let len = file.metadata().map_err(DataError::io(path))?.len().saturating_sub(passed);
    Ok(Pixels::in_file(file, passed, len.min(most)))
}

/// The error of a bounded or packed stream.
pub(crate) fn packing(error: std::io::Error) -> ArchiveError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<LimitReached>()) {
        Some(LimitReached(limit)) => ArchiveError::TooLarge { limit: *limit },
        None => ArchiveError::Packing { message: error.to_string() },
    }
}

#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes")]
struct LimitReached(u64);

/// A reader that fails, and does not merely end, at its limit.
pub(crate) struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Bounded<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Bounded { inner, left: limit, limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(std::io::Error::other(LimitReached(self.limit))),
        }
        Ok(read)
    }
}
