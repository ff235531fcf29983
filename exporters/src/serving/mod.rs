//! What a serving stack wants beside a model, read off the model alone: Triton's configuration, KServe's manifest.
//!
//! Everything here is text made of an ONNX graph's inputs and outputs. Which files are written, and where, is for the caller.

mod kserve;
mod name;
mod triton;

pub use kserve::{InferenceService, Requests};
pub use name::check_name;
pub use triton::{InstanceKind, LABELS, TensorConfig, TritonConfig, TritonOptions};

use isal_onnx::DataType;

/// Why a model cannot be laid out for a serving stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServingError {
    /// A name that is no folder's or no URL's everywhere.
    #[error("`{name}` cannot be the name of a served model: expected {expected}")]
    Name {
        /// The name.
        name: String,
        /// What may be one.
        expected: &'static str,
    },
    /// An input or output without a type, or whose number of axes is open.
    #[error("`{value}` has no {what} in the file, and the configuration has to state it")]
    Untyped {
        /// The input or output.
        value: String,
        /// `type` or `shape`.
        what: &'static str,
    },
    /// An element type that the protocol has no name for.
    #[error("`{value}` holds {data_type:?}, which the inference protocol has no type for")]
    DataType {
        /// The input or output.
        value: String,
        /// Its element type.
        data_type: DataType,
    },
    /// An option outside what it may be.
    #[error("`{option}` is {found}, expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}
