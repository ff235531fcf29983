//! Reads, checks, types and writes ONNX models.
//!
//! [`Model::read`] takes an untrusted file or bytes, checks them, and gives a typed
//! [`Graph`]: nodes in topological order, values with element types and (symbolic) shapes,
//! initializers as plain little-endian bytes. Everything else in the workspace works on that graph.
//!
//! Deliberately absent: any runtime. This crate neither runs a model nor knows of images or gradients.

#[cfg(target_endian = "big")]
compile_error!("tensor bytes are used in place, so the machine must be little-endian");

mod attribute;
mod builder;
mod check;
mod constants;
mod display;
mod error;
mod file;
mod graph;
mod hash;
pub mod influence;
mod inline;
mod limits;
mod model;
pub mod ops;
mod order;
mod parameters;
mod proto;
mod prune;
mod reach;
mod scope;
mod shape;
pub mod tangent;
mod tensor;
#[cfg(feature = "testing")]
pub mod testing;
mod twin;
mod value;

pub use attribute::Attribute;
pub use builder::{Builder, NodeBuilder, Value};
pub use error::{Error, Result};
pub use file::write::{ExternalData, WriteOptions};
pub use graph::{Graph, Node};
pub use limits::{Limits, ReadOptions};
pub use model::Model;
pub use parameters::Parameter;
pub use scope::Scope;
pub use shape::Expr;
pub use tensor::{DataType, Element, Tensor};
pub use twin::{Kinks, twins};
pub use value::{Dim, ValueInfo, ValueType};
