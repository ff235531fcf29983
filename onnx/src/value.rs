//! Types and shapes of the values that flow along a graph's edges.

use crate::DataType;
use std::fmt;

/// One dimension of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A size known when the model was written.
    Known(usize),
    /// A named size: equal names within one graph mean equal sizes (`N`, `batch_size`).
    Symbol(String),
    /// A size nothing is known about.
    Unknown,
}

impl Dim {
    /// The size, when it is known.
    pub fn known(&self) -> Option<usize> {
        match self {
            Dim::Known(n) => Some(*n),
            _ => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbol(s) => f.write_str(s),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Known(n)
    }
}

impl From<&str> for Dim {
    fn from(s: &str) -> Self {
        Dim::Symbol(s.to_owned())
    }
}

/// Element type and shape of a tensor value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueType {
    /// Element type.
    pub data_type: DataType,
    /// Shape; `None` when even the rank is unknown.
    pub shape: Option<Vec<Dim>>,
}

impl ValueType {
    /// A tensor type of known rank.
    pub fn new(data_type: DataType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        ValueType { data_type, shape: Some(shape.into_iter().map(Into::into).collect()) }
    }

    /// Every dimension, when all are known.
    pub fn dims(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::known).collect()
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.data_type)?;
        match &self.shape {
            None => f.write_str(" [..]"),
            Some(shape) => {
                f.write_str(" [")?;
                for (i, dim) in shape.iter().enumerate() {
                    write!(f, "{}{dim}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A named value with its type: a graph input or output, or an inner value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// Name, unique within the graph.
    pub name: String,
    /// Type, when the model or shape inference gives one. Sequences, maps and optionals have none.
    pub value_type: Option<ValueType>,
}

impl ValueInfo {
    /// A typed tensor value.
    pub fn new(name: impl Into<String>, value_type: ValueType) -> Self {
        ValueInfo { name: name.into(), value_type: Some(value_type) }
    }
}
