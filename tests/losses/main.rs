//! The built-in tasks as ONNX Runtime computes them: losses, their derivatives, and what the model is taken to believe.
//!
//! Losses and gradients in float64 are PyTorch's (`tests/fixtures/losses.py`); for random shapes they are the formulas, in
//! float64. The derivative of the loss along a move of the outputs (`isal_onnx::tangent::of_inputs`) is the number that
//! influence is made of. Needs ONNX Runtime (`make setup`).

mod decode;
mod foreign;
mod formulas;
mod graph;
mod place;
mod pytorch;
mod sure;
mod tangent;
