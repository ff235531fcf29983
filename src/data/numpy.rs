//! How numpy arrays of bytes look in a pickle, for every protocol that numpy has written them in.

use std::ops::Range;

use isal_exporters::pickle::{Id, Pickle, PickleError, Value};

/// A numpy array of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ByteArray {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: ArrayData,
}

/// Where the array's bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ArrayData {
    /// In the pickle itself.
    InPlace(Range<usize>),
    /// Written as text, one character a byte, and turned back.
    Copied(Vec<u8>),
}

/// The numpy array of bytes at `key`, row by row.
pub(crate) fn array(pickle: &Pickle, key: &str) -> Result<ByteArray, PickleError> {
    let wrong = || PickleError::Kind { key: key.to_string(), expected: "a numpy array of bytes in row order" };
    byte_array(pickle, pickle.entry(key)?).ok_or_else(wrong)
}

fn byte_array(pickle: &Pickle, id: Id) -> Option<ByteArray> {
    let Value::Call { callable, arguments, state, .. } = pickle.value(id) else { return None };
    match (pickle.global(*callable)?, state) {
        // ndarray.__reduce__: an empty array, then its state (version, shape, dtype, column order?, bytes).
        (("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"), Some(state)) => {
            let [_, shape, dtype, column_order, buffer] = pickle.tuple(*state)? else { return None };
            if !is_byte_type(pickle, *dtype) || !matches!(pickle.value(*column_order), Value::Bool(false)) {
                return None;
            }
            Some(ByteArray { shape: pickle.sizes(*shape)?, data: data(pickle, *buffer)? })
        }
        // Protocol 5: a buffer, its dtype, shape and order.
        (("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer"), None) => {
            let [buffer, dtype, shape, order] = pickle.tuple(*arguments)? else { return None };
            if !is_byte_type(pickle, *dtype) || pickle.characters(*order)? != b"C" {
                return None;
            }
            Some(ByteArray { shape: pickle.sizes(*shape)?, data: data(pickle, *buffer)? })
        }
        _ => None,
    }
}

/// Whether a recorded `numpy.dtype('u1', ...)` or `numpy.dtype('uint8')`.
fn is_byte_type(pickle: &Pickle, id: Id) -> bool {
    let Value::Call { callable, arguments, .. } = pickle.value(id) else { return false };
    let name = pickle.tuple(*arguments).and_then(|items| pickle.characters(*items.first()?));
    pickle.global(*callable) == Some(("numpy", "dtype")) && matches!(name, Some(b"u1" | b"|u1" | b"uint8"))
}

/// Bytes as they are, or behind `_codecs.encode(text, "latin1")`: how Python 3 writes them for protocol 2.
fn data(pickle: &Pickle, id: Id) -> Option<ArrayData> {
    match pickle.value(id) {
        Value::Bytes(range) => Some(ArrayData::InPlace(range.clone())),
        Value::Call { callable, arguments, state: None, .. } => {
            match (pickle.global(*callable)?, pickle.tuple(*arguments)?) {
                (("_codecs", "encode"), [text, coding]) if pickle.characters(*coding)? == b"latin1" => {
                    let text = std::str::from_utf8(pickle.characters(*text)?).ok()?;
                    let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).ok());
                    Some(ArrayData::Copied(bytes.collect::<Option<Vec<u8>>>()?))
                }
                // A mutable copy of a bytes object.
                (("builtins" | "__builtin__", "bytearray"), [bytes]) => data_in_place(pickle, *bytes),
                _ => None,
            }
        }
        _ => None,
    }
}

fn data_in_place(pickle: &Pickle, id: Id) -> Option<ArrayData> {
    match pickle.value(id) {
        Value::Bytes(range) => Some(ArrayData::InPlace(range.clone())),
        _ => None,
    }
}
