//! What is known of one value while shapes are inferred.

use super::Expr;
use crate::{DataType, Dim, Tensor, ValueType};
use std::sync::Arc;

/// Values of more elements than this are not followed: shapes, axes, window sizes and grids of
/// positions are smaller, weights larger.
pub(crate) const MAX_ELEMENTS: usize = 4096;

/// One element of a value that is followed.
#[derive(Debug, Clone)]
pub(crate) enum Element {
    /// An integer, or a boolean as 0 or 1.
    Int(Expr),
    /// A float.
    Real(f64),
    /// Nothing is known of it.
    Unknown,
}

impl Element {
    /// As an integer, unknown when it is not one.
    pub(crate) fn int(&self) -> Expr {
        match self {
            Element::Int(e) => e.clone(),
            _ => Expr::Unknown,
        }
    }

    /// A float as an operation in this type leaves it: computed here in 64 bits, rounded to its own 32.
    /// Narrower types are not followed.
    pub(crate) fn rounded(x: f64, data_type: Option<DataType>) -> Element {
        match data_type {
            Some(DataType::Float) => Element::Real(f64::from(x as f32)),
            Some(DataType::Double) => Element::Real(x),
            _ => Element::Unknown,
        }
    }

    /// As a float.
    pub(crate) fn real(&self) -> Option<f64> {
        match self {
            Element::Int(e) => e.known().map(|n| n as f64),
            Element::Real(x) => Some(*x),
            Element::Unknown => None,
        }
    }
}

/// Type, shape and, for small values, elements. Everything may be missing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fact {
    pub(crate) data_type: Option<DataType>,
    pub(crate) shape: Option<Vec<Expr>>,
    /// Elements in row-major order; only with a shape that is known and has that many.
    pub(crate) elements: Option<Arc<[Element]>>,
}

impl Fact {
    /// A value of this type and shape.
    pub(crate) fn new(data_type: Option<DataType>, shape: Option<Vec<Expr>>) -> Fact {
        Fact { data_type, shape, elements: None }
    }

    /// What the type of `value` says; sizes without a name become anonymous symbols.
    pub(crate) fn from_type(t: &ValueType, value: &str) -> Fact {
        let dim = |(axis, dim): (usize, &Dim)| Expr::from_dim(dim, value, axis);
        Fact::new(Some(t.data_type), t.shape.as_ref().map(|s| s.iter().enumerate().map(dim).collect()))
    }

    /// A constant, with its elements when they are few.
    pub(crate) fn from_tensor(tensor: &Tensor) -> Fact {
        let shape = tensor.dims().iter().map(|d| Expr::from(*d)).collect();
        Fact::new(Some(tensor.data_type()), Some(shape)).with_elements(elements(tensor))
    }

    /// With these elements, if they are there and as many as the shape says.
    pub(crate) fn with_elements(mut self, elements: Option<Vec<Element>>) -> Fact {
        let count = self.dims().and_then(|d| d.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
        self.elements = elements.filter(|e| Some(e.len()) == count && e.len() <= MAX_ELEMENTS).map(Into::into);
        self
    }

    /// The shape when every size is a number.
    pub(crate) fn dims(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(|e| e.known().and_then(|n| usize::try_from(n).ok())).collect()
    }

    /// As a public type; `None` without an element type.
    pub(crate) fn to_type(&self) -> Option<ValueType> {
        let shape = self.shape.as_ref().map(|s| s.iter().map(Expr::to_dim).collect());
        Some(ValueType { data_type: self.data_type?, shape })
    }
}

fn elements(tensor: &Tensor) -> Option<Vec<Element>> {
    fn list<T: crate::Element>(tensor: &Tensor, element: impl Fn(T) -> Element) -> Option<Vec<Element>> {
        Some(tensor.to_vec::<T>()?.into_iter().map(element).collect())
    }
    if tensor.len() > MAX_ELEMENTS {
        return None;
    }
    let int = |n: i64| Element::Int(Expr::Known(n));
    match tensor.data_type() {
        DataType::Int64 => list::<i64>(tensor, int),
        DataType::Int32 => list::<i32>(tensor, |n| int(n.into())),
        DataType::Int16 => list::<i16>(tensor, |n| int(n.into())),
        DataType::Int8 => list::<i8>(tensor, |n| int(n.into())),
        DataType::Uint8 => list::<u8>(tensor, |n| int(n.into())),
        DataType::Bool => Some(tensor.bytes().iter().map(|b| int(i64::from(*b != 0))).collect()),
        DataType::Float => list::<f32>(tensor, |x| Element::Real(x.into())),
        DataType::Double => list::<f64>(tensor, Element::Real),
        _ => None,
    }
}
