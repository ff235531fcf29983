//! The task as data: a loss graph, a decode graph, and what of a model they read.
//!
//! Nothing in the plugin or in the solvers knows what a class or a box is: a loss graph takes values of the model and annotations
//! of the images, by name, and gives the loss of each image; a decode graph gives the annotations that the model believes
//! ([`isal_exporters::losses`] has the contract and the built-in pairs).

mod beside;
mod bind;
mod error;

pub use beside::{Wanted, beside};
pub(crate) use bind::shown;
pub use bind::{Bound, Found, built_in, own};
pub use error::TaskError;

use isal_exporters::losses::{self, LossOptions, OUTPUTS, Pair, SoftmaxCrossEntropy};
use isal_onnx::{Dim, Model};
use std::path::Path;

/// Annotation of a classifier: a weight for each class, `[N, C]`; one-hot for a label.
pub const CLASS_WEIGHTS: &str = losses::WEIGHTS;

/// Inputs of a task's graphs, each with the name of the model's value that it is.
pub type Bindings = Vec<(String, String)>;

/// A pair of graphs bound to a model.
#[derive(Debug, Clone)]
pub struct Task {
    /// The loss of each image, and what the model believes of it.
    pub graphs: Pair,
    /// Inputs of the graphs that are values of the model, outputs or inner ones, each with that value's name. Every other input
    /// of the loss graph is an annotation.
    pub bindings: Bindings,
}

/// Reads a user's loss and decode graphs.
///
/// # Errors
/// [`TaskError::Read`].
pub fn read(loss: &Path, decode: &Path) -> Result<Pair, TaskError> {
    let graph = |path: &Path| Model::read(path).map_err(|source| TaskError::Read { path: path.to_owned(), source });
    Ok(Pair { loss: graph(loss)?, decode: graph(decode)? })
}

impl Task {
    /// One label an image: softmax cross-entropy of the value `logits`, `[N, classes]`, under the annotation [`CLASS_WEIGHTS`]:
    /// `sum_c w_c (-log softmax(o)_c)`.
    ///
    /// # Errors
    /// No class at all.
    pub fn single_label(logits: &str, classes: usize) -> isal_exporters::Result<Self> {
        let loss = losses::Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy::default());
        let graphs = losses::build(&loss, &LossOptions::new(&[Dim::from("N"), Dim::from(classes)]))?;
        Ok(Task { graphs, bindings: vec![(OUTPUTS.to_owned(), logits.to_owned())] })
    }
}
