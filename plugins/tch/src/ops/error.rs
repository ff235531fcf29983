//! Why a forward could not be computed. The interpreter adds the node, the operator and the opset.

use std::borrow::Cow;
use tch::TchError;

/// Most elements a single tensor may have (8 GiB in float32). Sizes that a model computes or states are held
/// against this before libtorch is asked, since a host that overcommits memory kills the process instead of
/// refusing the allocation.
pub const MAX_ELEMENTS: i64 = 1 << 31;

/// Most places along one axis, or samples of regions, that are listed on the host to be looked up.
pub(super) const MAX_LISTED: i64 = 1 << 24;

/// Why an operator gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// A required input is not there.
    #[error("input {index} (`{name}`) is missing")]
    MissingInput {
        /// Position of the input.
        index: usize,
        /// Its name in the operator's definition.
        name: &'static str,
    },
    /// An input of the wrong rank, size, type or value.
    #[error("`{name}`: expected {expected}, found {found}")]
    Input {
        /// Name of the input in the operator's definition.
        name: &'static str,
        /// What is taken.
        expected: Cow<'static, str>,
        /// What was given.
        found: String,
    },
    /// A required attribute is not there.
    #[error("attribute `{name}` is missing")]
    MissingAttribute {
        /// Name of the attribute.
        name: &'static str,
    },
    /// An attribute of the wrong kind, length or value.
    #[error("attribute `{name}`: expected {expected}, found {found}")]
    Attribute {
        /// Name of the attribute.
        name: &'static str,
        /// What is taken.
        expected: Cow<'static, str>,
        /// What was given.
        found: String,
    },
    /// A result with more elements than [`MAX_ELEMENTS`], or with a negative size.
    #[error("the result would have the dims {dims:?}; sizes must be 0 or more and at most {limit} elements in all")]
    Size {
        /// The dims.
        dims: Vec<i64>,
        /// The most elements taken.
        limit: i64,
    },
    /// Element type that libtorch has no arithmetic for.
    #[error("element type `{data_type:?}` has no form in libtorch")]
    DataType {
        /// The ONNX type.
        data_type: isal_onnx::DataType,
    },
    /// Something the operator's definition has and this forward does not.
    #[error("{feature} is not implemented (found {found})")]
    Unsupported {
        /// The part of the definition.
        feature: &'static str,
        /// What asked for it.
        found: String,
    },
    /// libtorch refused; the first line of its message.
    #[error("libtorch: {message}")]
    Torch {
        /// What it said.
        message: String,
    },
}

impl From<TchError> for OpError {
    fn from(error: TchError) -> Self {
        let text = match error {
            TchError::Torch(text) => text,
            other => other.to_string(),
        };
        // The rest is a C++ stack trace.
        OpError::Torch { message: text.lines().next().unwrap_or_default().to_owned() }
    }
}

/// Checks the dims of a result that is about to be made.
///
/// # Errors
/// [`OpError::Size`] when one is negative or there are too many elements.
pub(super) fn check_size(dims: &[i64]) -> Result<(), OpError> {
    let elements = dims.iter().try_fold(1i64, |n, d| if *d < 0 { None } else { n.checked_mul(*d) });
    // A zero among huge sizes makes an empty tensor, but libtorch still multiplies the others for its strides.
    let without_zeros = dims.iter().filter(|d| **d != 0).try_fold(1i64, |n, d| n.checked_mul(*d));
    match (elements, without_zeros) {
        (Some(n), Some(_)) if n <= MAX_ELEMENTS => Ok(()),
        _ => Err(OpError::Size { dims: dims.to_vec(), limit: MAX_ELEMENTS }),
    }
}

/// Checks the length of a list that is about to be made on the host.
///
/// # Errors
/// [`OpError::Size`] when it is negative or over [`MAX_LISTED`].
pub(super) fn check_listed(dims: &[i64]) -> Result<(), OpError> {
    let length = dims.iter().try_fold(1i64, |n, d| if *d < 0 { None } else { n.checked_mul(*d) });
    match length {
        Some(n) if n <= MAX_LISTED => Ok(()),
        _ => Err(OpError::Size { dims: dims.to_vec(), limit: MAX_LISTED }),
    }
}
