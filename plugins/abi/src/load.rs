//! How to load a model.

use crate::{Bytes, ElementKind};

/// What is minimised.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Loss(pub i32);

impl Loss {
    /// `sum_c w_c * (-log softmax(o)_c)` with target weights `w`, over an output `o` of shape `[N, C]`.
    pub const SOFTMAX_CROSS_ENTROPY: Loss = Loss(0);
}

/// What to load and how to run it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The bytes of an ONNX file.
    pub model: Bytes,
    /// Folder that external data is looked for in; empty when all data is in the bytes.
    pub folder: Bytes,
    /// Initializers that take part, in the order vectors shall hold them.
    pub parameters: *const Bytes,
    /// How many.
    pub parameter_count: usize,
    /// Output that the loss is taken of; empty for the first.
    pub loss_output: Bytes,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: Bytes,
    /// Float kind to compute in: [`ElementKind::F32`] or [`ElementKind::F64`].
    pub kind: ElementKind,
    /// The loss.
    pub loss: Loss,
    /// Threads an operator may use on the CPU; 0 leaves it to the plugin.
    pub threads: u32,
    /// 0.
    pub reserved: u32,
}
