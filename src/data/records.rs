//! Images of one size: what CIFAR, SVHN, IDX and digit tables become.
//!
//! One byte a sample, as unpacked from the archive, on disk; decoding a record only puts its samples in order.

use super::archive::ArchiveError;
use super::pixels::Pixels;
use super::{DataError, Image, Source, stamp};

/// How the samples of one record are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// Row, column, channel.
    Interleaved,
    /// Channel, row, column.
    Planar,
    /// Channel, column, row: MATLAB's.
    ColumnMajor,
}

/// Dims of every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dims {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Dims {
    /// The 32x32 colour images of CIFAR and SVHN.
    pub(crate) const SMALL_COLOUR: Dims = Dims { height: 32, width: 32, channels: 3 };

    fn samples(self) -> usize {
        self.height * self.width * self.channels
    }
}

/// Records of one file: image `i` begins at `i * stride` of `pixels`.
pub(crate) struct RecordFile {
    /// What the ids begin with.
    pub(crate) name: String,
    pub(crate) labels: Option<Vec<u32>>,
    pub(crate) count: usize,
    pub(crate) pixels: Pixels,
    pub(crate) stride: usize,
}

/// Images of one size from an archive.
pub struct Records {
    files: Vec<RecordFile>,
    /// Position after the last image of each file.
    ends: Vec<usize>,
    dims: Dims,
    arrangement: Arrangement,
    classes: Vec<String>,
}

impl Records {
    /// Joins files of records. Every record must lie within its pixels and every label within `classes`.
    pub(crate) fn new(
        files: Vec<RecordFile>,
        dims: Dims,
        arrangement: Arrangement,
        classes: Vec<String>,
    ) -> Result<Self, ArchiveError> {
        let mut ends = Vec::with_capacity(files.len());
        let mut end = 0_usize;
        for file in &files {
            if let Some(labels) = &file.labels {
                if labels.len() != file.count {
                    return Err(ArchiveError::Count { images: file.count, labels: labels.len() });
                }
                let wrong = labels.iter().position(|label| *label as usize >= classes.len());
                if let Some((index, label)) = wrong.and_then(|index| Some((index, labels.get(index)?))) {
                    let (found, classes) = (i64::from(*label), classes.len());
                    return Err(ArchiveError::Label { index, found, classes });
                }
            }
            let needed = file
                .count
                .checked_sub(1)
                .map_or(Some(0), |last| last.checked_mul(file.stride)?.checked_add(dims.samples()));
            if needed.is_none_or(|needed| needed as u64 > file.pixels.len()) {
                return Err(ArchiveError::Length {
                    member: file.name.clone(),
                    found: file.pixels.len(),
                    expected: super::archive::Expected::Exactly(needed.unwrap_or(usize::MAX) as u64),
                });
            }
            end += file.count;
            ends.push(end);
        }
        Ok(Records { files, ends, dims, arrangement, classes })
    }

    /// The samples of an image as they are stored.
    fn samples(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let missing = || DataError::Position { index, len: Source::len(self) };
        let (file, record) = self.at(index).ok_or_else(missing)?;
        let mut samples = vec![0; self.dims.samples()];
        file.pixels
            .read((record * file.stride) as u64, &mut samples)
            .map_err(|source| DataError::Io { path: self.id(index).into(), source })?;
        Ok(samples)
    }

    fn image(&self, index: usize, pixels: Vec<u8>) -> Result<Image, DataError> {
        let Dims { height, width, channels } = self.dims;
        Image::new(height, width, channels, pixels)
            .map_err(|error| DataError::Decode { id: self.id(index), source: error.into() })
    }

    fn at(&self, index: usize) -> Option<(&RecordFile, usize)> {
        let i = self.ends.partition_point(|&end| end <= index);
        let file = self.files.get(i)?;
        Some((file, index - (self.ends.get(i)? - file.count)))
    }
}

/// `train/00012`: five digits, more where the number has more.
pub(crate) fn numbered(name: &str, index: usize) -> String {
    format!("{name}/{index:05}")
}

/// `0`, `1`, ... for labels that nothing names.
pub(crate) fn numbers_as_classes(count: usize) -> Vec<String> {
    (0..count).map(|label| label.to_string()).collect()
}

impl Source for Records {
    fn numbered(&self) -> bool {
        self.classes == numbers_as_classes(self.classes.len())
    }

    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn id(&self, index: usize) -> String {
        self.at(index).map(|(file, index)| numbered(&file.name, index)).unwrap_or_default()
    }

    fn label(&self, index: usize) -> Option<u32> {
        let (file, index) = self.at(index)?;
        file.labels.as_ref()?.get(index).copied()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn stamp(&self, index: usize) -> u64 {
        self.samples(index).map_or(0, |samples| stamp::of_bytes(&samples))
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        let samples = self.samples(index)?;
        let Dims { height, width, channels } = self.dims;
        // Samples of a channel come in runs; in the image, those of a run are `apart`.
        let (run, apart) = match self.arrangement {
            Arrangement::Interleaved => return self.image(index, samples),
            Arrangement::Planar => (height * width, channels),
            Arrangement::ColumnMajor => (height, width * channels),
        };
        let mut pixels = vec![0; samples.len()];
        for (c, plane) in samples.chunks_exact(height * width).enumerate() {
            for (x, run) in plane.chunks_exact(run).enumerate() {
                let places = pixels.iter_mut().skip(x * channels + c).step_by(apart);
                places.zip(run).for_each(|(to, sample)| *to = *sample);
            }
        }
        self.image(index, pixels)
    }
}
