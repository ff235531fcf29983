//! Models and influence graphs in the layouts of serving stacks: Triton's repository, KServe's manifest, a bundle for plain
//! ONNX Runtime.
//!
//! What a stack wants to be told is `isal_exporters::serving`'s. What is here: which files go together, the names of the
//! classes, a README for whoever calls the model, and that a folder is wholly there or not at all and nothing is replaced in
//! silence.

mod bundle;
mod error;
mod folder;
mod given;
mod kserve;
mod readme;
mod triton;

pub use bundle::{Bundle, BundleOptions, bundle};
pub use error::DeployError;
pub use given::{GivenFiles, Part};
pub use kserve::{KserveOptions, Manifest, kserve};
pub use triton::{ServedModel, TritonExport, TritonRepository, triton};
