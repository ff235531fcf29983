//! Influence inside ONNX: a graph whose one forward run gives the predictions and each sample's influence.
//!
//! With outputs `o = f(u, theta)` and their derivative `o' = J_theta f . s` along a solved vector `s`, the influence
//! of a sample is a contraction of the two (`contraction`); no backward pass is needed. Reachability and contraction
//! are shared; the back ends differ only in how they have `o'`: [`paired`] runs the network at two weight settings a
//! small step along `s` apart, which needs no rule an operator.
//!
//! Only operators of the standard domain are emitted, at the model's own opset.

mod contraction;
mod metadata;
mod paired;
mod reach;

pub use metadata::{Form, InfluenceMetadata};
pub use paired::{Difference, Paired, paired};
pub use reach::{Reach, reach};

use crate::Tensor;
use indexmap::IndexMap;

/// A direction in parameter space: a float32 block for each parameter that takes part, by initializer name.
pub type Direction = IndexMap<String, Tensor>;

/// Name of the output with each sample's influence, `[N]`, or `[N, D]` for D directions.
pub const INFLUENCE: &str = "influence";
/// Name of the output with the influence under each class as label, `[N, C]` (`[N, D, C]` for D directions).
pub const INFLUENCE_PER_CLASS: &str = "influence_per_class";

/// What the influence graph computes from class scores and their derivatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfluenceOptions {
    /// Value that holds the logits, `[N, classes]`: an output, or what goes into a final Softmax.
    pub logits: String,
    /// Number of classes.
    pub classes: usize,
    /// 1: the arg-max pseudo-label. More: the expected gradient over the most likely classes, at most `classes - 1`.
    pub top_k: usize,
    /// Whether [`INFLUENCE_PER_CLASS`] is wanted besides.
    pub per_class: bool,
}
