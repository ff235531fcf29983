//! How to load a model.

use crate::{Bytes, ElementKind};

/// An input of the loss graph that is a value of the model.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Input of the loss graph.
    pub input: Bytes,
    /// Value of the model: an output, or an inner value.
    pub value: Bytes,
}

/// What to load and how to run it.
///
/// The task is the loss graph: an ONNX model whose inputs are values of the model, by [`Load::bindings`], and annotations
/// (every other input), and whose one output is the loss `[N]` of each image, differentiable in the model's values. Without one
/// the model can be run and its first output differentiated along a direction, and nothing else.
///
/// Values that the property `isal.held` of either graph names, separated by commas, have no derivative.
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
    /// The bytes of the loss graph's ONNX file, whose data is within; empty for none.
    pub loss: Bytes,
    /// Which of its inputs are values of the model. The first output is differentiated when there is no loss graph.
    pub bindings: *const Binding,
    /// How many.
    pub binding_count: usize,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: Bytes,
    /// Float kind to compute in: [`ElementKind::F32`] or [`ElementKind::F64`].
    pub kind: ElementKind,
    /// Threads an operator may use on the CPU; 0 leaves it to the plugin.
    pub threads: u32,
}
