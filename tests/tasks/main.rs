//! Tasks as graphs: what they read of a model, and influence graphs of them on ONNX Runtime, against the plugin's forward-mode
//! derivative in float64: two derivations of `-(d loss / d theta) . s` under the pseudo-label, with no code in common but the
//! loss graph.
#![allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]

mod exported;
mod influence;
mod place;
mod show;
mod solved;
