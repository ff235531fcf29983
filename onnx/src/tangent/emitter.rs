//! Where rules put their nodes.

use super::{Target, Term};
use crate::{Attribute, Builder, DataType, Tensor, Value, ops};
use std::cell::RefCell;
use std::collections::HashMap;

/// The graph in the making, shared by every term of a formula.
pub(crate) struct Emitter {
    state: RefCell<State>,
    pub(super) opset: i64,
    pub(super) target: Target,
}

struct State {
    builder: Builder,
    /// Scalars, and vectors of one number, by type, bits and length: each is there once.
    numbers: HashMap<(DataType, u64, Option<usize>), Value>,
    /// Tables by type and name: each is there once.
    tables: HashMap<(DataType, String), Value>,
    /// The two terms of each sum a rule has made.
    sums: HashMap<Value, [Value; 2]>,
    /// Why what a rule asked for cannot be had.
    failure: Option<String>,
}

impl Emitter {
    pub(super) fn new(builder: Builder, opset: i64, target: Target) -> Emitter {
        let state =
            State { builder, numbers: HashMap::new(), tables: HashMap::new(), sums: HashMap::new(), failure: None };
        Emitter { state: RefCell::new(state), opset, target }
    }

    pub(super) fn into_builder(self) -> Builder {
        self.state.into_inner().builder
    }

    pub(super) fn scope(&self, scope: &str) {
        self.state.borrow_mut().builder.scope(scope);
    }

    pub(super) fn take_failure(&self) -> Option<String> {
        self.state.borrow_mut().failure.take()
    }

    /// Runs `f` on the builder.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Builder) -> R) -> R {
        f(&mut self.state.borrow_mut().builder)
    }

    /// A node with `count` outputs.
    pub(super) fn node(
        &self,
        op: &str,
        inputs: &[Option<Value>],
        attributes: Vec<(&str, Attribute)>,
        count: usize,
    ) -> Vec<Value> {
        let mut state = self.state.borrow_mut();
        // Before these versions the operator took integers or booleans alone, or fewer shapes.
        let since = match op {
            "Equal" => 11,
            _ => ops::find(op).map_or(0, |spec| spec.since),
        };
        if self.opset < since {
            let reason = format!("its tangent takes `{op}`, which came with opset {since}");
            state.failure.get_or_insert(reason);
        }
        let given = inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let mut node = state.builder.node(op, inputs.iter().take(given).copied());
        for (name, value) in attributes {
            node = node.attr(name, value);
        }
        let values = node.values(count);
        if let ("Add", [Some(a), Some(b)], [sum]) = (op, inputs, values.as_slice()) {
            state.sums.insert(*sum, [*a, *b]);
        }
        values
    }

    /// A number in the type of the values it goes with.
    pub(super) fn scalar(&self, data_type: DataType, x: f64) -> Value {
        self.number(data_type, x, None)
    }

    /// A vector of `count` times the same number.
    pub(super) fn vector(&self, data_type: DataType, x: f64, count: usize) -> Value {
        self.number(data_type, x, Some(count))
    }

    fn number(&self, data_type: DataType, x: f64, count: Option<usize>) -> Value {
        let State { builder, numbers, .. } = &mut *self.state.borrow_mut();
        *numbers.entry((data_type, x.to_bits(), count)).or_insert_with(|| match count {
            None => builder.constant("scalar", Tensor::floats(data_type, &[], &[x])),
            Some(count) => builder.constant("vector", Tensor::floats(data_type, &[count], &vec![x; count])),
        })
    }

    /// Numbers under a name that tells them from all others of the type.
    pub(super) fn table(
        &self,
        data_type: DataType,
        name: &str,
        dims: &[usize],
        values: impl FnOnce() -> Vec<f64>,
    ) -> Value {
        let State { builder, tables, .. } = &mut *self.state.borrow_mut();
        let make = || builder.constant(name, Tensor::floats(data_type, dims, &values()));
        *tables.entry((data_type, name.to_owned())).or_insert_with(make)
    }

    /// The terms that `value` is the sum of, itself alone where no rule has added it up.
    pub(super) fn terms(&self, value: Value) -> Vec<Value> {
        let pair = self.state.borrow().sums.get(&value).copied();
        pair.map_or_else(|| vec![value], |pair| pair.into_iter().flat_map(|term| self.terms(term)).collect())
    }

    /// Zeros of known dims.
    pub(super) fn zeros(&self, data_type: DataType, dims: &[usize]) -> Option<Value> {
        let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        let bytes = vec![0; data_type.byte_len(count)?];
        let tensor = Tensor::from_bytes("zeros", dims.to_vec(), data_type, bytes).ok()?;
        Some(self.with(|b| b.constant("zeros", tensor)))
    }

    /// A list of integers, as axes and shapes are given.
    pub(super) fn ints(&self, values: &[i64]) -> Value {
        self.with(|b| b.constant("ints", Tensor::new([values.len()], values)))
    }

    pub(super) fn term(&self, value: Value, data_type: DataType) -> Term<'_> {
        Term { emitter: self, value, data_type }
    }
}
