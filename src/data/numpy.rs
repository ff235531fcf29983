//! How numpy arrays of bytes look in a pickle, for every protocol that numpy has written them in.

use std::ops::Range;

use super::pickle::{Id, Pickle, PickleError, Value};

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

impl<'a> Pickle<'a> {
    /// The numpy array of bytes at `key`, row by row.
    pub(crate) fn array(&self, key: &str) -> Result<ByteArray, PickleError> {
        let wrong = || PickleError::Kind { key: key.to_string(), expected: "a numpy array of bytes in row order" };
        self.byte_array(self.entry(key)?).ok_or_else(wrong)
    }

    fn byte_array(&self, id: Id) -> Option<ByteArray> {
        let Value::Call { callable, arguments, state } = self.value(id) else { return None };
        match (self.global(*callable)?, state) {
            // ndarray.__reduce__: an empty array, then its state (version, shape, dtype, column order?, bytes).
            (("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"), Some(state)) => {
                let [_, shape, dtype, column_order, data] = self.tuple(*state)? else { return None };
                if !self.is_byte_type(*dtype) || !matches!(self.value(*column_order), Value::Bool(false)) {
                    return None;
                }
                Some(ByteArray { shape: self.shape(*shape)?, data: self.data(*data)? })
            }
            // Protocol 5: a buffer, its dtype, shape and order.
            (("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer"), None) => {
                let [data, dtype, shape, order] = self.tuple(*arguments)? else { return None };
                if !self.is_byte_type(*dtype) || self.characters(*order)? != b"C" {
                    return None;
                }
                Some(ByteArray { shape: self.shape(*shape)?, data: self.data(*data)? })
            }
            _ => None,
        }
    }

    fn global(&self, id: Id) -> Option<(&'a str, &'a str)> {
        let Value::Global(module, name) = self.value(id) else { return None };
        let text = |range: &Range<usize>| std::str::from_utf8(self.bytes.get(range.clone())?).ok();
        Some((text(module)?, text(name)?))
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Whether a recorded `numpy.dtype('u1', ...)` or `numpy.dtype('uint8')`.
    fn is_byte_type(&self, id: Id) -> bool {
        let Value::Call { callable, arguments, .. } = self.value(id) else { return false };
        let name = self.tuple(*arguments).and_then(|items| self.characters(*items.first()?));
        self.global(*callable) == Some(("numpy", "dtype")) && matches!(name, Some(b"u1" | b"|u1" | b"uint8"))
    }

    fn shape(&self, id: Id) -> Option<Vec<usize>> {
        let dims = self.tuple(id)?.iter().map(|dim| match self.value(*dim) {
            Value::Int(dim) => usize::try_from(*dim).ok(),
            _ => None,
        });
        dims.collect()
    }

    /// Bytes as they are, or behind `_codecs.encode(text, "latin1")`: how Python 3 writes them for protocol 2.
    fn data(&self, id: Id) -> Option<ArrayData> {
        match self.value(id) {
            Value::Bytes(range) => Some(ArrayData::InPlace(range.clone())),
            Value::Call { callable, arguments, state: None } => {
                match (self.global(*callable)?, self.tuple(*arguments)?) {
                    (("_codecs", "encode"), [text, coding]) if self.characters(*coding)? == b"latin1" => {
                        let text = std::str::from_utf8(self.characters(*text)?).ok()?;
                        let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).ok());
                        Some(ArrayData::Copied(bytes.collect::<Option<Vec<u8>>>()?))
                    }
                    // A mutable copy of a bytes object.
                    (("builtins" | "__builtin__", "bytearray"), [bytes]) => self.data_in_place(*bytes),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn data_in_place(&self, id: Id) -> Option<ArrayData> {
        match self.value(id) {
            Value::Bytes(range) => Some(ArrayData::InPlace(range.clone())),
            _ => None,
        }
    }
}
