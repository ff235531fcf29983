//! A harvest as a data set: every request of every model that is an image, without labels, by model and hash.
//!
//! What is there when it is opened is copied into a file without a name in the folder for temporary files, so that a server may go on
//! writing while a pool is scored for hours.

use super::image::image;
use super::{FILE, Form, Graph, HarvestError, Hash, Row, View};
use crate::data::pixels::{Pixels, Spool};
use crate::data::{ArchiveError, DataError, DecodeError, Decoding, Image, Source, stamp};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Whether a folder with these files is a harvest.
pub(in crate::data) fn is_harvest(files: &[String]) -> bool {
    files.iter().any(|name| name == FILE)
}

/// The images of a harvest.
pub(in crate::data) struct HarvestPool {
    path: PathBuf,
    entries: Vec<Entry>,
    graphs: HashMap<(String, u64), Graph>,
    bytes: Pixels,
    decoding: Decoding,
}

struct Entry {
    model: String,
    hash: Hash,
    row: Row,
    /// Where in the copy its bytes begin.
    at: u64,
}

impl HarvestPool {
    /// The requests of all models in `folder`, or of the model `model`.
    pub(in crate::data) fn open(
        folder: &Path,
        model: Option<&str>,
        decoding: Decoding,
    ) -> Result<HarvestPool, DataError> {
        let view = View::open(folder)?;
        let mut found: Vec<(String, Hash, Row)> = Vec::new();
        view.each(|of, hash, row| {
            found.push((of.to_owned(), hash, row));
            Ok::<(), HarvestError>(())
        })?;
        if let Some(model) = model {
            let mut known: Vec<String> = found.iter().map(|(of, ..)| format!("`{of}`")).collect();
            known.dedup();
            found.retain(|(of, ..)| of == model);
            if found.is_empty() {
                let (path, model, known) = (view.path().to_path_buf(), model.to_owned(), known.join(", "));
                return Err(HarvestError::UnknownModel { path, model, known }.into());
            }
        }
        let (mut entries, mut at) = (Vec::with_capacity(found.len()), 0);
        let refused = |source| DataError::Archive {
            path: view.path().to_path_buf(),
            source: Box::new(ArchiveError::from(source)),
        };
        let mut spool = Spool::new().map_err(refused)?;
        for (model, hash, row) in found {
            let bytes = view.bytes(&model, hash)?;
            spool.add(&bytes).map_err(refused)?;
            let row = Row { bytes: bytes.len() as u64, ..row };
            entries.push(Entry { model, hash, at, row });
            at += bytes.len() as u64;
        }
        let graphs = view.graphs()?.into_iter().map(|(model, number, graph)| ((model, number), graph)).collect();
        let bytes = spool.finish().map_err(refused)?;
        Ok(HarvestPool { path: view.path().to_path_buf(), entries, graphs, bytes, decoding })
    }
}

impl Source for HarvestPool {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn id(&self, index: usize) -> String {
        let Some(entry) = self.entries.get(index) else { return String::new() };
        let ending = if entry.row.form == Form::Encoded { "image" } else { "numbers" };
        format!("{}/{}.{ending}", entry.model, entry.hash)
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn stamp(&self, index: usize) -> u64 {
        // The hash is of all its bytes.
        let start = self.entries.get(index).and_then(|entry| entry.hash.0.first_chunk::<8>());
        let stored = start.map_or(0, |start| u64::from_le_bytes(*start));
        // Other pixels come out of the same file.
        self.decoding.jpeg_least_side.map_or(stored, |side| stamp::seen_at(stored, side))
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        let entry = self.entries.get(index).ok_or(DataError::Position { index, len: self.entries.len() })?;
        let failed = |source| DataError::Decode { id: self.id(index), source };
        if entry.row.bytes > self.decoding.limits.file_bytes {
            let (bytes, limit) = (entry.row.bytes, self.decoding.limits.file_bytes);
            return Err(failed(DecodeError::FileTooLarge { bytes, limit }));
        }
        let mut bytes = vec![0; usize::try_from(entry.row.bytes).unwrap_or(0)];
        self.bytes.read(entry.at, &mut bytes).map_err(DataError::io(&self.path))?;
        let graph = self.graphs.get(&(entry.model.clone(), entry.row.graph));
        let recipe = graph.and_then(|graph| graph.recipe.as_ref());
        image(&entry.row.form, bytes, recipe, &self.decoding).map_err(failed)
    }
}
