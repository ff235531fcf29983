//! A built-in task for some outputs, and its numbers.

pub use crate::graph::{Graph, library};
use isal_exporters::losses::{self, LossOptions, Pair};
use isal_onnx::{Dim, Tensor};

/// A pair for outputs of these dims but for the batch.
pub fn pair(loss: &losses::Loss, dims: &[usize], opset: i64) -> Pair {
    let outputs: Vec<Dim> = std::iter::once(Dim::from("N")).chain(dims[1..].iter().map(|d| (*d).into())).collect();
    losses::build(loss, &LossOptions { outputs: &outputs, opset }).unwrap_or_else(|e| panic!("{e}"))
}

/// A tensor's numbers, wide.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    match tensor.to_vec::<i64>() {
        Some(whole) => whole.into_iter().map(|x| x as f64).collect(),
        None => tensor.to_float64().expect("floats"),
    }
}
