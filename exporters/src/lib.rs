//! Vision models and their losses born as ONNX graphs, and weights in and out of them.
//!
//! [`build`] makes a network of the [`zoo`] with freshly drawn weights under PyTorch's parameter names, so
//! that a state dict saved from PyTorch fits by name ([`weights`]). [`Head`] draws the last layer of any classifier anew. [`seeded`] makes weights out of a seed and a name. [`losses`] has the
//! built-in tasks, each as a loss graph and a decode graph, [`detection`] detectors and theirs. [`serving`] lays models out for serving stacks. Nothing here runs a model or trains one.

pub mod detection;
mod error;
mod head;
mod lenet;
pub mod losses;
mod mobilenet;
mod network;
pub mod pickle;
mod resnet;
pub mod seeded;
pub mod serving;
mod vit;
pub mod weights;
mod zoo;

pub use error::{Error, Mismatch, Result};
pub use head::Head;
pub use zoo::{Entry, ModelOptions, build, models, zoo};
