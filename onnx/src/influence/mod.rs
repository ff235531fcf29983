//! Influence inside ONNX: a graph whose one forward run gives the predictions and each sample's influence.
//!
//! With values `o = f(u, theta)` and their derivative `o' = J_theta f . s` along a solved vector `s`, the influence of a sample is
//! minus the derivative of its loss along `o'` (`task`); no backward pass is needed. Reachability, task and outputs are shared
//! (`frame`); the two forms differ only in how they have `o'`: [`paired()`] runs the network at two weight settings a small step
//! along `s` apart, which needs no rule an operator; [`tangent()`] differentiates it.
//!
//! Only operators of the standard domain are emitted, at the model's own opset.

mod classes;
mod direction;
mod features;
mod frame;
mod low_rank;
mod metadata;
mod paired;
mod shadow;
mod tangent;
mod task;

pub use crate::reach::{Reach, reach};
pub use classes::ClassOutputs;
pub use direction::Direction;
pub use features::last_layer;
pub use metadata::{Form, InfluenceMetadata};
pub use paired::{Difference, Paired, paired};
pub use shadow::{Shadow, shadow};
pub use tangent::{TangentOptions, tangent};
pub use task::{BELIEF, PSEUDO_LABEL, TaskGraphs, decoded_as, prediction};

/// Name of the output with each sample's influence, `[N]`, or `[N, D]` for D directions. The more negative, the more
/// labelling the sample is expected to lower the reference loss.
pub const INFLUENCE: &str = "influence";
/// Name of the output with the influence under each class as label, `[N, C]` (`[N, D, C]` for D directions).
pub const INFLUENCE_PER_CLASS: &str = "influence_per_class";
/// Name of the output with the gradient of the loss by the logits under the arg-max label, softmax minus one-hot,
/// `[N, C]`. A sample's gradient embedding is its outer product with [`EMBEDDING_FEATURES`].
pub const EMBEDDING_RESIDUAL: &str = "gradient_embedding_residual";
/// Name of the output with what goes into the last dense layer, `[N, F]`.
pub const EMBEDDING_FEATURES: &str = "gradient_embedding_features";
