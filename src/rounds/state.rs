//! What a run leaves on disk: which images were labelled when, and what each round's model was worth.
//!
//! `run.json` says what the run is, `round-NN/labeled.json` which images are labelled at the beginning of a round; the
//! second is what makes a round begin, so that nothing is counted twice wherever a run is killed.

use super::RoundsError;
use crate::durable;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Name and version of the form of `round-NN/labeled.json`.
const LABELED: &str = "isal-labeled/1";

/// The images that were labelled for a round, besides those of the rounds before.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Labeled {
    schema: String,
    /// Ids, in the order in which they were selected.
    pub(super) ids: Vec<String>,
}

/// What a round was worth.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Round {
    /// Counted from 0.
    pub round: usize,
    /// Labelled images that its model was trained on.
    pub labeled: usize,
    /// Mean loss on the test images, where it is a number.
    pub test_loss: Option<f64>,
    /// Share of the test images that is classified rightly, where images have one class each.
    pub test_accuracy: Option<f64>,
    /// Wall time of the training, in seconds.
    pub train_s: f64,
    /// Wall time of scoring and selecting, in seconds; absent in the last round, which selects nothing, and of one that was
    /// killed meanwhile.
    pub score_s: Option<f64>,
}

/// Where the files of a run are.
#[derive(Debug, Clone)]
pub(super) struct Layout<'a>(pub(super) &'a Path);

impl Layout<'_> {
    /// The folder of a round.
    pub(super) fn round(&self, round: usize) -> PathBuf {
        self.0.join(format!("round-{round:02}"))
    }

    /// What the run is.
    pub(super) fn run(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Every round that has ended.
    pub(super) fn curve(&self) -> PathBuf {
        self.0.join("curve.json")
    }

    /// A drawing of it.
    pub(super) fn picture(&self) -> PathBuf {
        self.0.join("curve.svg")
    }

    fn labeled_file(&self, round: usize) -> PathBuf {
        self.round(round).join("labeled.json")
    }

    /// The images that were labelled for `round`, where that is settled.
    pub(super) fn labeled(&self, round: usize) -> Result<Option<Vec<String>>, RoundsError> {
        let path = self.labeled_file(round);
        match read::<Labeled>(&path)? {
            Some(found) if found.schema != LABELED => {
                Err(RoundsError::Schema { path, found: found.schema, expected: LABELED })
            }
            found => Ok(found.map(|found| found.ids)),
        }
    }

    /// Settles which images are labelled for `round`.
    pub(super) fn settle(&self, round: usize, ids: Vec<String>) -> Result<(), RoundsError> {
        let folder = self.round(round);
        std::fs::create_dir_all(&folder).map_err(|source| RoundsError::Read { path: folder, source })?;
        write(&self.labeled_file(round), &Labeled { schema: LABELED.to_owned(), ids })
    }
}

/// A file's object, or nothing where there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RoundsError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RoundsError::Read { path: path.to_path_buf(), source }),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| RoundsError::Json { path: path.to_path_buf(), source })
}

/// Writes an object as a file, all or nothing.
pub(super) fn write(path: &Path, value: &impl serde::Serialize) -> Result<(), RoundsError> {
    let json = serde_json::to_vec_pretty(value);
    let json = json.map_err(|source| RoundsError::Json { path: path.to_path_buf(), source })?;
    Ok(durable::write_bytes(path, &json)?)
}
