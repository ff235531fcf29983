//! What a plugin and a loaded model say of themselves.

use crate::{Bytes, ElementKind};

/// What a plugin is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Short name (`tch`).
    pub name: Bytes,
    /// Version of the plugin.
    pub version: Bytes,
    /// Library it stands on, with its version (`libtorch 2.13.0`).
    pub backend: Bytes,
    /// Devices it can run on now (`cpu`, `cuda:0`).
    pub devices: *const Bytes,
    /// How many.
    pub device_count: usize,
    /// Operators it has a forward for, sorted: the bare name in the standard domain, else `domain::Name`.
    pub ops: *const Bytes,
    /// How many.
    pub op_count: usize,
    /// Threads an operator uses by default.
    pub threads: usize,
}

/// A named value of a model with its type.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Value {
    /// Its name.
    pub name: Bytes,
    /// Size of each axis; -1 where the model does not fix one.
    pub dims: *const i64,
    /// Number of axes; 0 with `ranked` 0 when not even that is known.
    pub rank: usize,
    /// Whether the rank is known: 0 or 1.
    pub ranked: u32,
    /// Element kind as the model declares it; 0 when it does not.
    pub kind: ElementKind,
}

/// What a loaded model is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ModelInfo {
    /// Parameters in scope, in the order vectors hold them.
    pub parameters: *const Value,
    /// How many.
    pub parameter_count: usize,
    /// Outputs of the graph, in its order; behind them the inner values that the loss is taken of.
    pub outputs: *const Value,
    /// How many.
    pub output_count: usize,
    /// Positions among the outputs of the values that the loss is taken of, in the order of the bindings.
    pub bound: *const usize,
    /// How many.
    pub bound_count: usize,
    /// Inputs of the loss graph that a batch has to bring.
    pub annotations: *const Value,
    /// How many.
    pub annotation_count: usize,
    /// The input.
    pub input: Value,
    /// Entries of a vector: elements of all parameters in scope.
    pub dimension: usize,
}
