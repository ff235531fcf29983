//! Embeddings on disk: a safetensors file a range of a set, with all that its numbers depend on.

use super::ScoringError;
use crate::durable::{self, DurableError};
use ndarray::{Array2, Axis};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

const KEY: &str = "isal.embedding";
const POSITIONS: &str = "positions";

/// The images of a range that can be used.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Part {
    /// Positions in the data set.
    pub(super) positions: Vec<usize>,
    /// A row an image of each value that is read.
    pub(super) values: Vec<Array2<f32>>,
}

impl Part {
    /// Puts the rows of a batch behind.
    pub(super) fn add(&mut self, positions: &[usize], values: Vec<Array2<f32>>) {
        self.positions.extend(positions);
        if self.values.is_empty() {
            self.values = values;
            return;
        }
        for (all, more) in self.values.iter_mut().zip(values) {
            // Of one model and one recipe: rows are as wide in every batch.
            let _ = all.append(Axis(0), more.view());
        }
    }
}

/// The parts of a set.
pub(super) struct Kept {
    folder: PathBuf,
    key: String,
}

impl Kept {
    /// In `folder`; parts with another key are not read.
    pub(super) fn open(folder: &Path, key: String) -> Result<Kept, ScoringError> {
        std::fs::create_dir_all(folder).map_err(|source| DurableError::Io {
            doing: "create the folder",
            path: folder.to_path_buf(),
            source,
        })?;
        let key = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Kept { folder: folder.to_path_buf(), key })
    }

    fn path(&self, range: &Range<usize>) -> PathBuf {
        self.folder.join(format!("{:09}-{:09}.safetensors", range.start, range.end))
    }

    /// A finished part of so many values; what is broken or another's is computed anew.
    pub(super) fn read(&self, range: &Range<usize>, values: usize) -> Option<Part> {
        let bytes = std::fs::read(self.path(range)).ok()?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
        if metadata.metadata().as_ref()?.get(KEY)? != &self.key {
            return None;
        }
        let tensors = SafeTensors::deserialize(&bytes).ok()?;
        let positions = tensors.tensor(POSITIONS).ok().filter(|view| view.dtype() == Dtype::U64)?;
        let positions: Vec<usize> =
            positions.data().as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes) as usize).collect();
        let value = |number: usize| {
            let view = tensors.tensor(&number.to_string()).ok().filter(|view| view.dtype() == Dtype::F32)?;
            let [rows, width] = *view.shape() else { return None };
            let numbers = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            Array2::from_shape_vec((rows, width), numbers).ok().filter(|_| rows == positions.len())
        };
        let values = (0..values).map(value).collect::<Option<Vec<_>>>();
        // Of a range without a usable image there is nothing but that.
        let values = if positions.is_empty() { Vec::new() } else { values? };
        Some(Part { positions, values })
    }

    /// Keeps a finished part.
    pub(super) fn write(&self, range: &Range<usize>, part: &Part) -> Result<(), ScoringError> {
        let path = self.path(range);
        let positions: Vec<u8> = part.positions.iter().flat_map(|position| (*position as u64).to_le_bytes()).collect();
        let mut tensors = vec![(POSITIONS.to_owned(), Dtype::U64, vec![part.positions.len()], positions)];
        for (number, value) in part.values.iter().enumerate() {
            let bytes = value.iter().flat_map(|x| x.to_le_bytes()).collect();
            tensors.push((number.to_string(), Dtype::F32, value.shape().to_vec(), bytes));
        }
        let unwritable = |error: safetensors::SafeTensorError| DurableError::Io {
            doing: "write",
            path: path.clone(),
            source: std::io::Error::other(error),
        };
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect();
        let metadata = HashMap::from([(KEY.to_owned(), self.key.clone())]);
        let bytes = safetensors::serialize(views.map_err(unwritable)?, Some(metadata)).map_err(unwritable)?;
        Ok(durable::write_bytes(&path, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_part_is_read_back_by_the_one_that_wrote_it_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kept = Kept::open(folder.path(), "a".to_owned()).expect("opened");
        let mut part = Part::default();
        part.add(&[3, 5], vec![array![[1.0, 2.0], [3.0, 4.0]], array![[0.5], [0.25]]]);
        part.add(&[6], vec![array![[5.0, 6.0]], array![[f32::NAN]]]);
        part.values[1][[2, 0]] = -1.0;
        kept.write(&(3..7), &part).expect("written");
        assert_eq!(kept.read(&(3..7), 2), Some(part));
        assert_eq!(kept.read(&(3..7), 3), None, "a value that is not there");
        assert_eq!(kept.read(&(3..8), 2), None);
        assert_eq!(Kept::open(folder.path(), "b".to_owned()).expect("opened").read(&(3..7), 2), None);
        std::fs::write(kept.path(&(3..7)), b"broken").expect("written");
        assert_eq!(kept.read(&(3..7), 2), None);
        kept.write(&(7..9), &Part::default()).expect("written");
        assert_eq!(kept.read(&(7..9), 2), Some(Part::default()));
    }
}
