//! Where a forward runs: the node with its attributes, the opset, and the settings of the run.

use super::OpError;
use isal_onnx::{Attribute, Node};
use tch::{Device, Kind, Tensor};

/// The node that is evaluated and the settings it is evaluated under.
pub struct Site<'a> {
    /// The node.
    pub node: &'a Node,
    /// Version of the standard operator set the model imports.
    pub opset: i64,
    /// Whether batch statistics and dropout are in force, as during training.
    pub training: bool,
    /// Float kind of the run: floats that a node makes out of nothing, and casts to any float type, get it.
    pub kind: Kind,
    /// Where tensors live.
    pub device: Device,
}

fn describe(attribute: &Attribute) -> String {
    match attribute {
        Attribute::Float(v) => format!("the float {v}"),
        Attribute::Int(v) => format!("the integer {v}"),
        Attribute::String(v) => format!("the string `{}`", String::from_utf8_lossy(v)),
        Attribute::Tensor(_) => "a tensor".to_owned(),
        Attribute::Graph(_) => "a graph".to_owned(),
        Attribute::Floats(v) => format!("{} floats", v.len()),
        Attribute::Ints(v) => format!("the integers {v:?}"),
        Attribute::Strings(v) => format!("{} strings", v.len()),
        Attribute::Tensors(v) => format!("{} tensors", v.len()),
        Attribute::Graphs(v) => format!("{} graphs", v.len()),
        Attribute::Other(_) => "a kind of its own".to_owned(),
    }
}

macro_rules! attribute {
    ($(#[$doc:meta])* $name:ident, $variant:ident($v:ident) => $value:expr, $type:ty, $expected:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// [`OpError::Attribute`] when the node has it in another kind.
        pub fn $name(&self, name: &'static str) -> Result<Option<$type>, OpError> {
            match self.node.attributes.get(name) {
                None => Ok(None),
                Some(Attribute::$variant($v)) => Ok(Some($value)),
                Some(other) => {
                    Err(OpError::Attribute { name, expected: $expected.into(), found: describe(other) })
                }
            }
        }
    };
}

impl<'a> Site<'a> {
    attribute!(
        /// An integer attribute.
        int, Int(v) => *v, i64, "an integer");
    attribute!(
        /// A float attribute.
        float, Float(v) => f64::from(*v), f64, "a float");
    attribute!(
        /// A list of integers.
        ints, Ints(v) => v.as_slice(), &'a [i64], "a list of integers");
    attribute!(
        /// A list of floats.
        floats, Floats(v) => v.as_slice(), &'a [f32], "a list of floats");
    attribute!(
        /// A tensor attribute.
        tensor, Tensor(v) => v, &'a isal_onnx::Tensor, "a tensor");

    /// A string attribute.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when the node has it in another kind, or not as UTF-8.
    pub fn string(&self, name: &'static str) -> Result<Option<&'a str>, OpError> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::String(v)) => std::str::from_utf8(v).map(Some).map_err(|_| OpError::Attribute {
                name,
                expected: "UTF-8".into(),
                found: format!("the bytes {v:?}"),
            }),
            Some(other) => Err(OpError::Attribute { name, expected: "a string".into(), found: describe(other) }),
        }
    }

    /// An integer attribute that stands for a yes (not 0) or no.
    ///
    /// # Errors
    /// As [`Site::int`].
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, OpError> {
        Ok(self.int(name)?.map_or(default, |v| v != 0))
    }

    /// An attribute that the operator cannot do without.
    ///
    /// # Errors
    /// [`OpError::MissingAttribute`].
    pub fn required<T>(&self, name: &'static str, value: Option<T>) -> Result<T, OpError> {
        value.ok_or(OpError::MissingAttribute { name })
    }

    /// A float tensor of the run's kind, on its device.
    pub(super) fn floats_tensor(&self, values: &[f64], dims: &[i64]) -> Result<Tensor, OpError> {
        Ok(Tensor::f_from_slice(values)?.f_to_kind(self.kind)?.f_to_device(self.device)?.f_reshape(dims)?)
    }

    /// An int64 tensor on the run's device.
    pub(super) fn ints_tensor(&self, values: &[i64], dims: &[i64]) -> Result<Tensor, OpError> {
        Ok(Tensor::f_from_slice(values)?.f_to_device(self.device)?.f_reshape(dims)?)
    }
}
