//! The C ABI between `isal` and a plugin that differentiates ONNX models.
//!
//! A plugin is a shared library with one exported symbol, [`ENTRY`], a function without arguments that
//! returns a [`Table`] of function pointers valid for the life of the process. `isal_plugin.h` beside
//! this crate says the same in C; a test compiles it and compares every size and offset.
//!
//! What holds for every call:
//! - It returns a [`Status`] and, when that is not [`Status::OK`], writes why into the caller's
//!   [`Message`]. No panic and no exception crosses the boundary.
//! - Handles ([`Model`], [`Vector`], [`Arrays`]) are numbers that the plugin looks up, never pointers: one
//!   that was freed, or never given out, is answered with [`Status::HANDLE`].
//! - What goes in is read only during the call. What comes out as a pointer belongs to the plugin and lives
//!   as long as the handle it came from (for [`Table::describe`]: as long as the process).
//! - Lengths are explicit; text is UTF-8 without a terminating zero.
//! - Calls may come from any thread; calls on one model run one after the other.
//!
//! A batch is a list of named arrays: the model's input and, for whatever takes the loss, the annotations that the loss graph
//! asks for ([`Load`]); the first axis of each is the batch. Every sum over a batch is a sum, never a mean.
//!
//! Deliberately absent: anything with behaviour. This crate has types and constants alone, so that a plugin
//! in another language needs the header and nothing else.

mod array;
mod bytes;
mod description;
mod load;
mod status;
mod table;
mod train;

pub use array::{Array, ElementKind, NamedArray, Role};
pub use bytes::{Bytes, slice, texts};
pub use description::{Description, ModelInfo, Value};
pub use load::{Binding, Load};
pub use status::{Message, Status};
pub use table::{Arrays, Curvature, Entry, Model, Table, Vector};
pub use train::{Decay, TrainStep};

/// Version of this ABI. A host refuses a table of another version.
pub const ISAL_PLUGIN_ABI_VERSION: u32 = 3;

/// Name of the exported symbol, of type [`Entry`].
pub const ENTRY: &str = "isal_plugin_table";
