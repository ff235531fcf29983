//! The libtorch plugin: gradients and curvature products of ONNX graphs.
//!
//! [`Engine`] interprets a typed graph operator by operator ([`ops`] has the forwards) under libtorch's automatic
//! differentiation; `boundary` offers it through the C ABI of `isal-plugin-abi`. Evaluation mode uses the stored
//! statistics of BatchNormalization, training mode those of the batch. The loss is a graph of
//! its own ([`loss`]): no task is known here by name. Every result is a sum over the batch.
//!
//! Deliberately absent: solvers, data, files other than the model. They live with the caller.

mod batch;
mod boundary;
mod curvature;
mod derivative;
pub mod device;
mod engine;
mod failure;
pub mod layout;
mod level;
pub mod loss;
mod numerics;
pub mod ops;
mod prepare;
pub mod program;
pub mod settings;
pub mod state;
mod train;
mod vector;
mod workers;

pub use batch::Batch;
pub use boundary::isal_plugin_table;
pub use derivative::Jvp;
pub use engine::{Engine, Options, Outputs, Task};
pub use failure::{Failure, MissingOp};
pub use numerics::Numerics;
pub use train::Step;
pub use vector::Vector;
