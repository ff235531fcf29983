//! Reads, checks, types and writes ONNX models.
//!
//! [`Model::read`] takes a file or bytes that nobody vouches for, checks them, and gives a typed
//! [`Graph`]: nodes in topological order, values with element types and (symbolic) shapes,
//! initializers as plain little-endian bytes. Everything else in the workspace works on that graph.
//!
//! Deliberately absent: any runtime. This crate neither runs a model nor knows of images or gradients.

mod attribute;
mod error;
mod graph;
mod model;
mod tensor;
mod value;

pub use attribute::Attribute;
pub use error::{Error, Result};
pub use graph::{Graph, Node};
pub use model::Model;
pub use tensor::{DataType, Element, Tensor};
pub use value::{Dim, ValueInfo, ValueType};
