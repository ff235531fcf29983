//! Embeddings on disk, found by image: a folder for what reads them, in it a safetensors file a batch of images.
//!
//! An image is known by its id and by what tells whether its file changed, so that a set may be divided otherwise, or grow, and
//! nothing is computed twice.

use super::ScoringError;
use crate::data::{Dataset, Source};
use crate::durable::{self, DurableError};
use crate::hex::hex;
use ndarray::Array2;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const KEYS: &str = "keys";

/// Which image: the beginning of a hash.
pub(super) type Key = u128;

/// The image at a position.
pub(super) fn key(dataset: &Dataset, position: usize) -> Key {
    let hash = Sha256::new().chain_update(Source::stamp(dataset, position).to_le_bytes());
    let digest = hash.chain_update(dataset.id(position)).finalize();
    digest.iter().take(16).fold(0, |key, byte| key << 8 | Key::from(*byte))
}

/// Rows of some images: one an image of each value that is read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Rows {
    /// Which images.
    pub(super) keys: Vec<Key>,
    /// `[N, F]` of each value.
    pub(super) values: Vec<Array2<f32>>,
}

/// What was embedded so far.
pub(super) struct Kept {
    folder: PathBuf,
    values: usize,
    parts: Vec<PathBuf>,
    /// The part and the row of each image.
    places: HashMap<Key, (usize, usize)>,
}

impl Kept {
    /// In a folder of its own under `folder` for what reads so many `values`, as `reading` says. Files that are broken are left
    /// alone and not read.
    pub(super) fn open(folder: &Path, reading: &str, values: usize) -> Result<Kept, ScoringError> {
        let name = hex(&Sha256::digest(reading)[..8]);
        let folder = folder.join(name);
        let io = |doing, source| DurableError::Io { doing, path: folder.clone(), source };
        durable::make_folder(&folder)?;
        let entries = std::fs::read_dir(&folder).map_err(|source| io("list", source))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
        files.sort();
        let mut kept = Kept { folder, values, parts: Vec::new(), places: HashMap::new() };
        for path in files {
            if let Some(rows) = kept.read(&path) {
                kept.add(path, &rows.keys);
            }
        }
        Ok(kept)
    }

    fn add(&mut self, path: PathBuf, keys: &[Key]) {
        let part = self.parts.len();
        self.parts.push(path);
        self.places.extend(keys.iter().enumerate().map(|(row, key)| (*key, (part, row))));
    }

    /// Whether an image was embedded before.
    pub(super) fn holds(&self, key: Key) -> bool {
        self.places.contains_key(&key)
    }

    /// Keeps more rows.
    pub(super) fn write(&mut self, rows: &Rows) -> Result<(), ScoringError> {
        if rows.keys.is_empty() {
            return Ok(());
        }
        let digest = Sha256::digest(rows.keys.iter().flat_map(|key| key.to_le_bytes()).collect::<Vec<u8>>());
        let name = hex(&digest[..8]);
        let path = self.folder.join(format!("{name}.safetensors"));
        let keys: Vec<u8> = rows.keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        let mut tensors = vec![(KEYS.to_owned(), Dtype::U8, vec![rows.keys.len(), 16], keys)];
        for (number, value) in rows.values.iter().enumerate() {
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
        let bytes = safetensors::serialize(views.map_err(unwritable)?, None).map_err(unwritable)?;
        durable::write_bytes(&path, &bytes)?;
        self.add(path, &rows.keys);
        Ok(())
    }

    /// A whole part.
    fn read(&self, path: &Path) -> Option<Rows> {
        let bytes = std::fs::read(path).ok()?;
        let tensors = SafeTensors::deserialize(&bytes).ok()?;
        let keys = tensors.tensor(KEYS).ok().filter(|view| view.dtype() == Dtype::U8)?;
        let keys: Vec<Key> = keys.data().as_chunks::<16>().0.iter().map(|bytes| Key::from_le_bytes(*bytes)).collect();
        let value = |number: usize| {
            let view = tensors.tensor(&number.to_string()).ok().filter(|view| view.dtype() == Dtype::F32)?;
            let [rows, width] = *view.shape() else { return None };
            let numbers = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            Array2::from_shape_vec((rows, width), numbers).ok().filter(|_| rows == keys.len())
        };
        let values = (0..self.values).map(value).collect::<Option<Vec<_>>>()?;
        Some(Rows { keys, values })
    }

    /// The rows of these images, in their order, without those that are not kept; with each its place among `keys`. A part at
    /// a time is in memory besides.
    ///
    /// # Errors
    /// A part that could be read before and cannot any more.
    pub(super) fn rows(&self, keys: &[Key]) -> Result<(Vec<usize>, Vec<Array2<f32>>), ScoringError> {
        let mut wanted: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.parts.len()];
        let mut there = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            if let Some((part, row)) = self.places.get(key) {
                wanted[*part].push((there.len(), *row));
                there.push(place);
            }
        }
        let mut values: Vec<Array2<f32>> = Vec::new();
        for (path, wanted) in self.parts.iter().zip(&wanted).filter(|(_, wanted)| !wanted.is_empty()) {
            let lost = || DurableError::Io {
                doing: "read",
                path: path.clone(),
                source: std::io::ErrorKind::InvalidData.into(),
            };
            let part = self.read(path).ok_or_else(lost)?;
            if values.is_empty() {
                values = part.values.iter().map(|value| Array2::zeros((there.len(), value.ncols()))).collect();
            }
            for (to, from) in values.iter_mut().zip(&part.values) {
                if to.ncols() != from.ncols() {
                    return Err(lost().into());
                }
                for (place, row) in wanted {
                    to.row_mut(*place).assign(&from.row(*row));
                }
            }
        }
        Ok((there, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn rows_are_found_again_by_image_in_any_order_by_the_same_reader_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = |reading: &str, values| Kept::open(folder.path(), reading, values).expect("opened");
        let mut kept = open("a", 2);
        let rows = |keys: &[Key]| Rows {
            keys: keys.to_vec(),
            values: vec![
                Array2::from_shape_fn((keys.len(), 2), |(i, j)| keys[i] as f32 + j as f32 / 2.0),
                Array2::from_shape_fn((keys.len(), 1), |(i, _)| -(keys[i] as f32)),
            ],
        };
        kept.write(&rows(&[3, 1])).expect("written");
        kept.write(&rows(&[7])).expect("written");
        kept.write(&Rows::default()).expect("nothing to write");
        for kept in [kept, open("a", 2)] {
            assert!(kept.holds(3) && !kept.holds(2));
            let (places, values) = kept.rows(&[7, 2, 1, 3]).expect("read");
            assert_eq!(places, [0, 2, 3]);
            assert_eq!(values, [array![[7.0, 7.5], [1.0, 1.5], [3.0, 3.5]], array![[-7.0], [-1.0], [-3.0]]]);
        }
        assert!(!open("b", 2).holds(3));
        assert!(!open("a", 3).holds(3), "a value that is not there");
        for part in open("a", 2).parts {
            std::fs::write(part, b"broken").expect("written");
        }
        assert!(!open("a", 2).holds(3));
    }
}
