//! Why a model could not be built or filled.

use crate::weights::TorchError;
use isal_onnx::DataType;
use safetensors::Dtype;
use std::fmt;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be built or filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is not in the zoo.
    #[error("no model `{name}` in the zoo; there are {}", list(known))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// Every name there is.
        known: Vec<&'static str>,
    },
    /// A name that is no built-in task's.
    #[error("no loss `{name}` is built in; there are {}", list(known))]
    UnknownLoss {
        /// The name asked for.
        name: String,
        /// Every name there is.
        known: Vec<&'static str>,
    },
    /// An option outside what the loss takes.
    #[error("loss `{task}`: `{option}` is {found}, expected {expected}")]
    LossOption {
        /// The task.
        task: &'static str,
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: String,
    },
    /// Metadata of a model that say nothing sound of its anchors.
    #[error("the model's property `{key}` is {found}, expected {expected}")]
    Anchors {
        /// The property.
        key: &'static str,
        /// What it says.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// An option outside what the model takes.
    #[error("model `{model}`: `{option}` is {found}, expected {expected}")]
    Option {
        /// The model.
        model: &'static str,
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: String,
    },
    /// Metadata of a structure-only model that cannot be followed.
    #[error("seeded weights: `{what}`: {reason}")]
    Seeded {
        /// The metadata key, or the entry of `isal.seeded`.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Bytes that are not safetensors, or tensors that cannot be written as such.
    #[error("safetensors: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A file of PyTorch's that is not read.
    #[error("PyTorch's file: {0}")]
    Torch(#[from] TorchError),
    /// A model whose last layer cannot be replaced.
    #[error("the last layer cannot be replaced: {reason}")]
    Head {
        /// Why.
        reason: String,
    },
    /// Weights that are not those of the model.
    #[error("the weights do not fit the model: {}", misfit(missing, unexpected, mismatched))]
    Weights {
        /// Weights of the model that the file lacks.
        missing: Vec<String>,
        /// Tensors of the file that the model has no place for.
        unexpected: Vec<String>,
        /// Tensors of another shape or type than the model's.
        mismatched: Vec<Mismatch>,
    },
}

/// A tensor found in place of a weight of another shape or type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Name of the weight.
    pub name: String,
    /// Dims in the model.
    pub expected: Vec<usize>,
    /// Element type in the model.
    pub expected_type: DataType,
    /// Dims in the file.
    pub found: Vec<usize>,
    /// Element type in the file.
    pub found_type: Dtype,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { name, expected, expected_type, found, found_type } = self;
        write!(f, "`{name}` is {found_type:?} {found:?}, expected {expected_type:?} {expected:?}")
    }
}

/// What does not fit, a kind after the other; of a long list the first ten and the number of the rest.
fn misfit(missing: &[String], unexpected: &[String], mismatched: &[Mismatch]) -> String {
    let some = |items: Vec<String>| match items.get(..10) {
        Some(first) if items.len() > 10 => format!("{} and {} more", first.join(", "), items.len() - 10),
        _ => items.join(", "),
    };
    let quoted = |names: &[String]| names.iter().map(|n| format!("`{n}`")).collect();
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("missing {}", some(quoted(missing))));
    }
    if !unexpected.is_empty() {
        parts.push(format!("unexpected {}", some(quoted(unexpected))));
    }
    if !mismatched.is_empty() {
        parts.push(some(mismatched.iter().map(Mismatch::to_string).collect()));
    }
    parts.join("; ")
}

/// Names in back-ticks, joined by commas.
fn list(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|n| format!("`{}`", n.as_ref())).collect::<Vec<_>>().join(", ")
}
