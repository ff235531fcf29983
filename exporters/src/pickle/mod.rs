//! The part of Python's pickle format that data sets and weights are written in, read without running anything.
//!
//! A pickle is a program for a stack machine. This one knows the instructions that build numbers, texts, bytes, lists,
//! tuples and dictionaries (protocols 2 to 5); a call of a Python function or class is *recorded*, never made, and it is
//! for the reader of a kind of file to recognise the recorded calls that it knows (a numpy array, a tensor of PyTorch).
//! Values are kept in one table and refer to each other by number, so a pickle that shares values a billion times over
//! costs no more than its own bytes; text and bytes stay where they are in the file. A value may contain itself.

mod machine;

use std::ops::Range;

/// What is wrong with a pickle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// It does not begin with a protocol from 2 to 5.
    #[error("it begins with {found:02x?}, expected 80 and a protocol from 02 to 05")]
    Protocol {
        /// The first two bytes.
        found: Vec<u8>,
    },
    /// The data ends inside an instruction.
    #[error("it ends at byte {offset}, before its end")]
    Truncated {
        /// Where.
        offset: usize,
    },
    /// An instruction that neither data sets nor weights use.
    #[error("the instruction {opcode:#04x} at byte {offset} is not read")]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// Where.
        offset: usize,
    },
    /// An instruction whose operands are not there.
    #[error("the instruction {opcode:#04x} at byte {offset} finds no operands")]
    Operands {
        /// The instruction.
        opcode: u8,
        /// Where.
        offset: usize,
    },
    /// More values than any data set or model has.
    #[error("it builds more than {limit} values")]
    TooManyValues {
        /// The limit.
        limit: usize,
    },
    /// The value is not a dictionary with this key.
    #[error("it has no entry `{key}`")]
    Key {
        /// The key.
        key: String,
    },
    /// An entry of the wrong kind.
    #[error("its entry `{key}` is not {expected}")]
    Kind {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// A value by its place in the table.
pub type Id = usize;

/// A value, the values in it by their places, texts and bytes by where they stand in the file.
#[derive(Debug, Clone)]
pub enum Value {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Bytes, or a text of Python 2.
    Bytes(Range<usize>),
    /// A text.
    Text(Range<usize>),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A dictionary in the order of its making.
    Dict(Vec<(Id, Id)>),
    /// A function or class by its module and name.
    Global(Range<usize>, Range<usize>),
    /// What the program that wrote the pickle keeps elsewhere, by what it calls it.
    Persistent(Id),
    /// A call that was not made.
    Call {
        /// The function or class.
        callable: Id,
        /// Its arguments.
        arguments: Id,
        /// The state that would have been set on the result.
        state: Option<Id>,
        /// Entries that would have been set in the result, as in a dictionary.
        items: Vec<(Id, Id)>,
    },
    /// Anything that no data set needs looked at (floats, large integers).
    Other,
}

/// A pickle that was read.
#[derive(Debug)]
pub struct Pickle<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the beginning of `bytes`.
    ///
    /// # Errors
    /// [`PickleError`]; nothing in the bytes causes a panic, and what is allocated is bounded by their number.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PickleError> {
        if !matches!(bytes, [0x80, 2..=5, ..]) {
            return Err(PickleError::Protocol { found: bytes.iter().take(2).copied().collect() });
        }
        let (values, root) = machine::run(bytes)?;
        Ok(Pickle { bytes, values, root })
    }

    /// The bytes that texts and bytes stand in.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The value that the pickle is.
    pub fn root(&self) -> Id {
        self.root
    }

    /// A value by its place.
    pub fn value(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Other)
    }

    /// The characters of a text or of Python 2's string.
    pub fn characters(&self, id: Id) -> Option<&'a [u8]> {
        match self.value(id) {
            Value::Text(range) | Value::Bytes(range) => self.bytes.get(range.clone()),
            _ => None,
        }
    }

    /// A text that is UTF-8.
    pub fn text(&self, id: Id) -> Option<&'a str> {
        std::str::from_utf8(self.characters(id)?).ok()
    }

    /// Module and name of a function or class.
    pub fn global(&self, id: Id) -> Option<(&'a str, &'a str)> {
        let Value::Global(module, name) = self.value(id) else { return None };
        let text = |range: &Range<usize>| std::str::from_utf8(self.bytes.get(range.clone())?).ok();
        Some((text(module)?, text(name)?))
    }

    /// The items of a tuple.
    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The sizes of a tuple of whole numbers that are not negative.
    pub fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.tuple(id)?.iter().map(|size| self.size(*size)).collect()
    }

    /// A whole number that is not negative.
    pub fn size(&self, id: Id) -> Option<usize> {
        match self.value(id) {
            Value::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        }
    }

    /// The entry `key` of the dictionary that the pickle is; the last one, as in Python.
    ///
    /// # Errors
    /// [`PickleError`] where it is something else.
    pub fn entry(&self, key: &str) -> Result<Id, PickleError> {
        let missing = || PickleError::Key { key: key.to_string() };
        let Value::Dict(entries) = self.value(self.root) else { return Err(missing()) };
        let found = entries.iter().rev().find(|(k, _)| self.characters(*k) == Some(key.as_bytes()));
        found.map(|(_, value)| *value).ok_or_else(missing)
    }

    /// The whole numbers of the list at `key`.
    ///
    /// # Errors
    /// [`PickleError`] where it is something else.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>, PickleError> {
        let wrong = || PickleError::Kind { key: key.to_string(), expected: "a list of whole numbers" };
        let Value::List(items) = self.value(self.entry(key)?) else { return Err(wrong()) };
        items
            .iter()
            .map(|item| match self.value(*item) {
                Value::Int(value) => Ok(*value),
                _ => Err(wrong()),
            })
            .collect()
    }

    /// The texts of the list at `key`.
    ///
    /// # Errors
    /// [`PickleError`] where it is something else.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, PickleError> {
        let wrong = || PickleError::Kind { key: key.to_string(), expected: "a list of texts" };
        let Value::List(items) = self.value(self.entry(key)?) else { return Err(wrong()) };
        items
            .iter()
            .map(|item| Ok(String::from_utf8_lossy(self.characters(*item).ok_or_else(wrong)?).into_owned()))
            .collect()
    }
}
