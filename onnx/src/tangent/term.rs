//! A value in a rule's formula. Arithmetic on terms emits nodes.

use super::emitter::Emitter;
use crate::{Attribute, DataType, Value};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A value with its element type.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    pub(super) emitter: &'a Emitter,
    pub(super) value: Value,
    pub(super) data_type: DataType,
}

impl<'a> Term<'a> {
    fn of(self, value: Value) -> Term<'a> {
        Term { value, ..self }
    }

    /// The operator on this value.
    pub(crate) fn op(self, op: &str) -> Term<'a> {
        self.with(op, &[], vec![])
    }

    /// The operator on this value and others, with attributes.
    pub(crate) fn with(self, op: &str, others: &[Term<'a>], attributes: Vec<(&str, Attribute)>) -> Term<'a> {
        let inputs: Vec<Option<Value>> = [self].iter().chain(others).map(|t| Some(t.value)).collect();
        self.of(self.emitter.node(op, &inputs, attributes, 1)[0])
    }

    /// A number of the same type.
    pub(crate) fn scalar(self, x: f64) -> Term<'a> {
        self.of(self.emitter.scalar(self.data_type, x))
    }

    /// Numbers of the same type, under a name that tells them from all others.
    pub(super) fn table(self, name: &str, dims: &[usize], values: impl FnOnce() -> Vec<f64>) -> Term<'a> {
        self.of(self.emitter.table(self.data_type, name, dims, values))
    }

    /// A list of integers.
    pub(crate) fn ints(self, values: &[i64]) -> Term<'a> {
        Term { value: self.emitter.ints(values), data_type: DataType::Int64, ..self }
    }

    fn compare(self, op: &str, other: Term<'a>) -> Term<'a> {
        Term { data_type: DataType::Bool, ..self.with(op, &[other], vec![]) }
    }

    /// Where it is greater than `x`.
    pub(crate) fn above(self, x: f64) -> Term<'a> {
        self.compare("Greater", self.scalar(x))
    }

    /// Where it is less than `x`.
    pub(crate) fn below(self, x: f64) -> Term<'a> {
        self.compare("Less", self.scalar(x))
    }

    /// Where it is greater than another value.
    pub(crate) fn greater(self, other: Term<'a>) -> Term<'a> {
        self.compare("Greater", other)
    }

    /// Where it is less than another value.
    pub(crate) fn less(self, other: Term<'a>) -> Term<'a> {
        self.compare("Less", other)
    }

    /// Where it equals another value.
    pub(crate) fn equal(self, other: Term<'a>) -> Term<'a> {
        self.compare("Equal", other)
    }

    /// Where both are true.
    pub(crate) fn and(self, other: Term<'a>) -> Term<'a> {
        self.compare("And", other)
    }

    /// Where this is true the one, elsewhere the other.
    pub(crate) fn choose(self, yes: Term<'a>, no: Term<'a>) -> Term<'a> {
        if self.emitter.opset >= 9 {
            let inputs = [Some(self.value), Some(yes.value), Some(no.value)];
            return yes.of(self.emitter.node("Where", &inputs, vec![], 1)[0]);
        }
        // Where came with opset 9.
        let mask = self.cast(yes.data_type);
        mask * yes + (1.0 - mask) * no
    }

    /// In another element type.
    pub(crate) fn cast(self, to: DataType) -> Term<'a> {
        if self.data_type == to {
            return self;
        }
        let attributes = vec![("to", Attribute::Int(i64::from(to.number())))];
        Term { data_type: to, ..self.with("Cast", &[], attributes) }
    }

    /// The terms it is the sum of.
    pub(crate) fn terms(self) -> impl Iterator<Item = Term<'a>> {
        self.emitter.terms(self.value).into_iter().map(move |value| self.of(value))
    }

    /// Its square.
    pub(crate) fn squared(self) -> Term<'a> {
        self * self
    }

    /// A reduction over `axes`, kept as size 1.
    pub(crate) fn reduced(self, op: &str, axes: &[i64]) -> Term<'a> {
        self.reduce(op, axes, true)
    }

    /// A reduction over `axes`. The axes are an input of ReduceSum from opset 13, of the others from 18.
    pub(crate) fn reduce(self, op: &str, axes: &[i64], keep: bool) -> Term<'a> {
        let moved = if op == "ReduceSum" { 13 } else { 18 };
        let keep = ("keepdims", Attribute::Int(i64::from(keep)));
        if self.emitter.opset >= moved {
            self.with(op, &[self.ints(axes)], vec![keep])
        } else {
            self.with(op, &[], vec![("axes", Attribute::Ints(axes.to_vec())), keep])
        }
    }

    /// With more axes of size 1, at these places of the result. The axes are an attribute before opset 13.
    pub(crate) fn unsqueezed(self, axes: &[i64]) -> Term<'a> {
        match self.emitter.opset {
            ..13 => self.with("Unsqueeze", &[], vec![("axes", axes.to_vec().into())]),
            _ => self.with("Unsqueeze", &[self.ints(axes)], vec![]),
        }
    }

    /// Its element type.
    pub(crate) fn data_type(self) -> DataType {
        self.data_type
    }

    /// Under other dims, as Reshape reads them.
    pub(crate) fn reshaped(self, dims: &[i64]) -> Term<'a> {
        self.with("Reshape", &[self.ints(dims)], vec![])
    }

    /// Its dims.
    pub(crate) fn dims(self) -> Term<'a> {
        Term { data_type: DataType::Int64, ..self.op("Shape") }
    }
}

macro_rules! arithmetic {
    ($trait:ident, $method:ident, $op:literal) => {
        impl<'a> $trait for Term<'a> {
            type Output = Term<'a>;
            fn $method(self, other: Term<'a>) -> Term<'a> {
                self.with($op, &[other], vec![])
            }
        }
        impl<'a> $trait<f64> for Term<'a> {
            type Output = Term<'a>;
            fn $method(self, x: f64) -> Term<'a> {
                self.with($op, &[self.scalar(x)], vec![])
            }
        }
        impl<'a> $trait<Term<'a>> for f64 {
            type Output = Term<'a>;
            fn $method(self, other: Term<'a>) -> Term<'a> {
                other.scalar(self).with($op, &[other], vec![])
            }
        }
    };
}
arithmetic!(Add, add, "Add");
arithmetic!(Sub, sub, "Sub");
arithmetic!(Mul, mul, "Mul");
arithmetic!(Div, div, "Div");

impl<'a> Neg for Term<'a> {
    type Output = Term<'a>;
    fn neg(self) -> Term<'a> {
        self.op("Neg")
    }
}
