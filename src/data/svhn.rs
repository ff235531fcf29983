//! SVHN's cropped digits: `train_32x32.mat`, `test_32x32.mat`, `extra_32x32.mat`.
//!
//! `X` is a 32x32x3xN array of bytes, `y` holds N labels from 1 to 10 of which 10 means the digit 0.

use std::path::Path;

use super::archive::{ArchiveError, at, packing, unpacked};
use super::matlab::{self, Array, Values};
use super::pixel_csv::stem;
use super::records::{Arrangement, Dims, RecordFile, Records, numbers_as_classes};
use super::{DataError, Limits};

/// Widest image that is taken for a cropped digit.
const MAX_SIDE: u64 = 4096;

/// Reads one `.mat` file.
pub(super) fn open(path: &Path, limits: &Limits) -> Result<Records, DataError> {
    let file = std::io::BufReader::with_capacity(1 << 16, unpacked(path, limits.archive_bytes)?);
    let arrays = matlab::read(file, limits.archive_bytes).map_err(|error| at(path)(error.into()))?;
    from_arrays(&stem(path), arrays).map_err(at(path))
}

fn from_arrays(name: &str, arrays: Vec<Array>) -> Result<Records, ArchiveError> {
    let (mut images, mut digits) = (None, None);
    for array in arrays {
        match array.name.as_str() {
            "X" => images = Some(array),
            "y" => digits = Some(array),
            _ => {}
        }
    }
    let images = images.ok_or(ArchiveError::Missing { name: "X" })?;
    let wrong =
        |found: &[u64]| ArchiveError::Dims { found: found.to_vec(), expected: "bytes of [height, width, 3, N]" };
    let (Values::Bytes(pixels), &[height, width, 3, count]) = (images.values, images.dims.as_slice()) else {
        return Err(wrong(&images.dims));
    };
    if height == 0 || width == 0 || height > MAX_SIDE || width > MAX_SIDE {
        return Err(wrong(&images.dims));
    }
    let dims = Dims { height: height as usize, width: width as usize, channels: 3 };
    let stride = dims.height * dims.width * 3;
    let count = count as usize;
    let labels = match digits {
        None => None,
        Some(array) => Some(labels(&array.values)?),
    };
    let file = RecordFile { name: name.to_string(), labels, count, pixels, stride };
    Records::new(vec![file], dims, Arrangement::ColumnMajor, numbers_as_classes(10))
}

fn labels(values: &Values) -> Result<Vec<u32>, ArchiveError> {
    let digit = |(index, value): (usize, f64)| match value {
        10.0 => Ok(0),
        value if value.fract() == 0.0 && (0.0..10.0).contains(&value) => Ok(value as u32),
        value => Err(ArchiveError::Label { index, found: value as i64, classes: 11 }),
    };
    match values {
        Values::Bytes(bytes) => bytes
            .beginning(u64::MAX)
            .map_err(packing)?
            .iter()
            .map(|byte| f64::from(*byte))
            .enumerate()
            .map(digit)
            .collect(),
        Values::Numbers(numbers) => numbers.iter().copied().enumerate().map(digit).collect(),
    }
}
