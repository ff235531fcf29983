//! `isal train` and `isal score pool` for tasks other than one class an image, on pictures that are composed of real digits.
//!
//! Needs the plugin, ONNX Runtime and the digits of `make setup`.

#[path = "../score_pool/digits.rs"]
#[allow(dead_code, reason = "shared with tests that write whole digits")]
mod digits;

#[path = "../solvers/dense.rs"]
#[allow(dead_code, reason = "shared with tests of the solvers")]
mod dense;

#[path = "../view/client.rs"]
#[allow(dead_code, reason = "it is of the tests of pages too")]
mod client;

mod compose;
mod detector;
mod hostile;
mod multi_label;
mod own;
mod place;
mod regression;
mod retraining;
mod scenes;
mod segmentation;
mod segmenter;
mod threshold;
mod to_label;
