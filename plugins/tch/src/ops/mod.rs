//! The operators libtorch computes: one row an operator, one file a family.
//!
//! A forward takes the node's inputs and gives its outputs, in order; an output the node does not name may be there
//! too. Every forward is built of libtorch calls that can be differentiated twice in reverse mode and, besides, in
//! forward mode, so the interpreter needs no rule of its own for any operator. Shapes, attributes and sizes come from a
//! file that is not trusted: what is wrong is an [`OpError`], never a panic.

mod activation;
mod attention;
mod binary;
mod broadcast;
mod cast;
mod col2im;
#[cfg(test)]
mod conformance;
mod constant;
mod conv;
mod dropout;
mod einsum;
mod error;
mod fused;
mod gather;
#[cfg(test)]
mod gradients;
#[cfg(test)]
mod hostile;
mod input;
mod linear;
#[cfg(test)]
mod listing;
mod logic;
mod loss;
mod normalization;
mod pool;
mod reduce;
mod region;
mod resize;
mod sample;
mod scatter;
mod select;
mod shape;
mod site;
mod slice;
mod softmax;
mod suppression;
mod unary;
mod window;

pub use constant::constant;
pub use error::{MAX_ELEMENTS, OpError};
pub use site::Site;
use tch::Tensor;

/// Computes a node's outputs from its inputs; an input that is left out is `None`.
pub type Forward = fn(&Site, &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError>;

/// An operator of the standard domain.
pub struct Op {
    /// Its name, as ONNX spells it.
    pub name: &'static str,
    /// How it is computed, for every opset from 7 on.
    pub forward: Forward,
}

const FAMILIES: &[&[Op]] = &[
    activation::OPS,
    attention::OPS,
    binary::OPS,
    cast::OPS,
    col2im::OPS,
    constant::OPS,
    conv::OPS,
    dropout::OPS,
    einsum::OPS,
    gather::OPS,
    linear::OPS,
    logic::OPS,
    loss::OPS,
    normalization::OPS,
    pool::OPS,
    reduce::OPS,
    region::OPS,
    resize::OPS,
    sample::OPS,
    scatter::OPS,
    select::OPS,
    shape::OPS,
    slice::OPS,
    softmax::OPS,
    suppression::OPS,
    unary::OPS,
];

/// The operator of this name; only the standard domain has any.
pub fn find(domain: &str, op_type: &str) -> Option<&'static Op> {
    if !matches!(domain, "" | "ai.onnx") {
        return None;
    }
    all().find(|op| op.name == op_type)
}

/// Every operator, family by family.
pub fn all() -> impl Iterator<Item = &'static Op> {
    FAMILIES.iter().copied().flatten()
}
