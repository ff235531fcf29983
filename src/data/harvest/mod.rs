//! A harvest: requests that a server kept because labelling them is worth most, in one embedded database.
//!
//! `FOLDER/harvest.redb` holds the requests of every model that gives influences: those of lowest influence, and a random sample of
//! the others ([`Part`]). What lies in it is what clients sent: files of images byte for byte, or numbers with their type and shape
//! ([`Form`]). [`open`](super::open) reads it as a data set. Servers write to it while others read: a view is of one moment, and
//! a killed server leaves what its last transaction wrote.
//!
//! Bytes of an image lie in pieces of nearly a page of the database, which would otherwise take twice their size.

mod image;
mod npy;
mod pool;
mod store;

use crate::hex::hex;
pub use image::image;
pub use npy::npy;
pub(super) use pool::{HarvestPool, is_harvest};
pub use store::{Change, Store, View};

use super::Recipe;
use redb::StorageError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::PathBuf;

/// The database in the folder of a harvest.
pub const FILE: &str = "harvest.redb";

/// Why a harvest cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HarvestError {
    /// No harvest in this folder.
    #[error("`{}` is no harvest: it has no `{FILE}`", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("`{}`: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: Box<redb::Error>,
    },
    /// Another program's database, or that of another version.
    #[error("`{}` is a database of `{found}`, expected `{expected}`", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says that it is.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// No requests of this model.
    #[error("`{}` holds nothing of the model `{model}`, but of {known}", path.display())]
    UnknownModel {
        /// The file.
        path: PathBuf,
        /// The model.
        model: String,
        /// The models that there are.
        known: String,
    },
}

impl HarvestError {
    /// Whether the database or the system failed, and not the request.
    pub fn is_failure(&self) -> bool {
        match self {
            HarvestError::Io { .. } => true,
            HarvestError::Database { source, .. } => {
                !matches!(**source, redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_))
            }
            _ => false,
        }
    }
}

/// SHA-256 of what was sent: its form and its bytes. Equal requests are kept once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of bytes in a form.
    pub fn of(form: &Form, bytes: &[u8]) -> Hash {
        let mut hash = Sha256::new();
        hash.update(form.name().as_bytes());
        for size in form.shape() {
            hash.update((*size as u64).to_le_bytes());
        }
        hash.update([0]);
        hash.update(bytes);
        Hash(hash.finalize().into())
    }
}

/// The first sixteen hexadecimal digits.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0[..8]))
    }
}

/// Why a request is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Its influence is among the lowest: labelling it is expected to lower the reference loss most.
    Lowest,
    /// It is in the random sample of the others, to compare with.
    Sample,
}

impl Part {
    /// Both.
    pub const ALL: [Part; 2] = [Part::Lowest, Part::Sample];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Part::Lowest => "lowest",
            Part::Sample => "sample",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the bytes of a request are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// An image file: JPEG, PNG and the like, as it was sent.
    Encoded,
    /// Numbers, low byte first.
    Numbers {
        /// Their type in the words of the Open Inference Protocol: `UINT8`, `FP32`, ...
        datatype: String,
        /// Sizes of the axes of one row.
        shape: Vec<usize>,
    },
}

impl Form {
    const ENCODED: &str = "image";

    fn name(&self) -> &str {
        match self {
            Form::Encoded => Form::ENCODED,
            Form::Numbers { datatype, .. } => datatype,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Form::Encoded => &[],
            Form::Numbers { shape, .. } => shape,
        }
    }

    fn read(name: &str, shape: Vec<usize>) -> Form {
        match name {
            Form::ENCODED => Form::Encoded,
            datatype => Form::Numbers { datatype: datatype.to_owned(), shape },
        }
    }
}

/// As it stands in a list: `image`, or `FP32 [3, 32, 32]`.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Encoded => f.write_str(Form::ENCODED),
            Form::Numbers { datatype, shape } => write!(f, "{datatype} {shape:?}"),
        }
    }
}

/// What is known of a request that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Why it is kept.
    pub part: Part,
    /// Its influence, by the graph `graph`. More negative = labelling it is expected to lower the reference loss more.
    pub influence: f32,
    /// Its random number: those with the lowest are the sample.
    pub priority: u64,
    /// The number of the influence graph that answered it, among those of its model.
    pub graph: u64,
    /// When it was first seen, in milliseconds since 1970.
    pub since_ms: u64,
    /// What its bytes are.
    pub form: Form,
    /// How many there are.
    pub bytes: u64,
}

/// An influence graph whose requests are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// SHA-256 of the model file's content.
    pub sha256: String,
    /// The version as which it was served.
    pub version: u64,
    /// Which graph was served last: that of the highest turn. Influences of different graphs are not compared; those of the last one
    /// come first.
    pub turn: u64,
    /// How images become its input, where that is known.
    pub recipe: Option<Recipe>,
}

/// For `map_err` on what the database does.
fn database<E: Into<redb::Error>>(path: &std::path::Path) -> impl Fn(E) -> HarvestError + '_ {
    move |source| HarvestError::Database { path: path.to_path_buf(), source: Box::new(source.into()) }
}

/// A database that holds what it should not.
fn corrupt(path: &std::path::Path, what: String) -> HarvestError {
    database(path)(StorageError::Corrupted(what))
}
