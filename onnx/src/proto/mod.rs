//! Between protocol-buffer messages and the typed model, both ways.
//!
//! Decoding takes a message apart and leaves what the typed form does not hold in a `rest` message;
//! encoding puts both together again.

pub(crate) mod attribute;
pub(crate) mod function;
pub(crate) mod graph;
pub(crate) mod model;
pub(crate) mod node;
pub(crate) mod tensor;
pub(crate) mod value;
pub(crate) mod wire;
