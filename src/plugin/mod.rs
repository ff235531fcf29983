//! The client of a gradient plugin: finds the shared library, speaks its C ABI, and offers it as a
//! [`GradientEngine`](crate::influence::GradientEngine).
//!
//! libtorch is linked by the plugin alone, which is opened at run time: without one, everything but the solving for
//! `s`, native scoring and training works, and [`PluginError`] says what is missing. Handles are freed when their
//! owners are dropped. This folder has all the `unsafe` of the crate.

mod arrays;
mod engine;
mod error;
mod library;
mod state;
mod vector;

pub use arrays::NamedArray;
pub use engine::{LoadOptions, PluginEngine, Precision, ValueSignature};
pub use error::PluginError;
pub(crate) use library::wait_passively;
pub use library::{Description, Plugin};
pub use state::{Role, StateArray, TrainStep};
pub use vector::PluginVector;
