//! The task as data: a loss graph, a decode graph, and what of a model they read.
//!
//! Nothing in the plugin or in the solvers knows what a class or a box is: a loss graph takes values of the model and annotations
//! of the images, by name, and gives the loss of each image; a decode graph gives the annotations that the model believes
//! ([`isal_exporters::losses`] has the contract and the built-in pairs).

mod beside;
mod bind;
mod error;
mod exported;
mod model;
mod of_file;

use crate::hex::hex;
pub(crate) use beside::text_beside;
pub use beside::{Wanted, beside};
pub(crate) use bind::shown;
pub use bind::{Bound, Found, built_in, own};
pub use error::TaskError;
pub use exported::{exported, image_size};
pub use model::{ClassScores, ModelError, ModelOptions, TaskModel};
pub use of_file::{of_file, preprocess_of_file};

use isal_exporters::detection::PSEUDO_SCORE;
use isal_exporters::losses::{self, LossOptions, OUTPUTS, Pair, SoftmaxCrossEntropy};
use isal_onnx::influence::TaskGraphs;
use isal_onnx::{Dim, Model, Tensor, ValueInfo, ValueType};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// Annotation of a classifier: a weight for each class, `[N, C]`; one-hot for a label.
pub const CLASS_WEIGHTS: &str = losses::WEIGHTS;

/// Inputs of a task's graphs, each with the name of the model's value that it is.
pub type Bindings = Vec<(String, String)>;

/// Name of the built-in task of one class an image.
pub const SINGLE_LABEL: &str = "softmax-cross-entropy";
/// Name of the task of graphs that a user brings.
pub const OWN: &str = "own";

/// A pair of graphs bound to a model.
#[derive(Debug, Clone)]
pub struct Task {
    /// Name of the built-in task, or [`OWN`].
    pub name: String,
    /// What the decode graph takes for the label, for people.
    pub pseudo_labels: String,
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
    /// `sum_c w_c (-log softmax(o)_c)`. The pseudo-label is the arg-max, or with `top_k` above 1 the so many likeliest classes,
    /// each with its probability as weight; of all classes that expectation is zero, so one is left out at least.
    ///
    /// # Errors
    /// No class at all; an opset that there is no graph for.
    pub fn single_label(logits: &str, classes: usize, top_k: usize, opset: i64) -> isal_exporters::Result<Self> {
        let top_k = top_k.min(classes.saturating_sub(1)).max(1);
        let loss = losses::Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy { top_k, ..SoftmaxCrossEntropy::default() });
        let graphs = losses::build(&loss, &LossOptions { outputs: &[Dim::from("N"), Dim::from(classes)], opset })?;
        let bindings = vec![(OUTPUTS.to_owned(), logits.to_owned())];
        let pseudo_labels = match top_k {
            1 => "arg-max".to_owned(),
            k => format!("expected gradient over the {k} most likely classes"),
        };
        Ok(Task { name: loss.name().to_owned(), pseudo_labels, graphs, bindings })
    }

    /// The same with another score that a detection must be above for a pseudo-label: the value [`PSEUDO_SCORE`] of the decode graph.
    ///
    /// # Errors
    /// [`TaskError::NoThreshold`].
    pub fn with_pseudo_score(mut self, score: f32) -> Result<Task, TaskError> {
        let Some(value) = self.graphs.decode.graph.initializers.get_mut(PSEUDO_SCORE) else {
            return Err(TaskError::NoThreshold { task: self.name, value: PSEUDO_SCORE });
        };
        *value = Tensor::new(value.dims(), &vec![score; value.len()]);
        self.pseudo_labels = format!("{} above a score of {score}", self.pseudo_labels);
        Ok(self)
    }

    /// The graphs, to build a model of.
    pub fn parts(&self) -> TaskGraphs<'_> {
        TaskGraphs { loss: &self.graphs.loss, decode: &self.graphs.decode, bindings: &self.bindings, classes: None }
    }

    /// The values of the model that the graphs read.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.bindings.iter().map(|(_, value)| value.as_str())
    }

    /// What the loss graph takes of an image: those of its inputs that the decode graph gives.
    pub fn annotations(&self) -> impl Iterator<Item = &ValueInfo> {
        let decoded = &self.graphs.decode.graph.outputs;
        let given = |input: &&ValueInfo| decoded.iter().any(|output| output.name == input.name);
        self.graphs.loss.graph.inputs.iter().filter(given)
    }

    /// What the model believes besides: `[N]` each.
    pub fn beliefs(&self) -> impl Iterator<Item = &ValueInfo> {
        let row = |t: &ValueType| t.shape.as_ref().is_none_or(|dims| dims.len() == 1);
        let taken = |output: &ValueInfo| self.graphs.loss.graph.inputs.iter().any(|input| input.name == output.name);
        let outputs = self.graphs.decode.graph.outputs.iter();
        outputs.filter(move |output| !taken(output) && output.value_type.as_ref().is_some_and(row))
    }

    /// It in a line: its name, what it reads of the model, and a hash of both graphs.
    pub fn text(&self) -> String {
        let bound: Vec<String> = self.bindings.iter().map(|(input, value)| format!("{input} = {value}")).collect();
        format!("{} ({}; {})", self.name, bound.join(", "), &self.sha256()[..16])
    }

    /// What the loss, and with it `s`, depends on besides the model: the values that the loss graph reads, and its hash.
    pub fn loss_text(&self) -> String {
        let reads = |input: &str| self.graphs.loss.graph.inputs.iter().any(|known| known.name == input);
        let bound =
            self.bindings.iter().filter(|(input, _)| reads(input)).map(|(input, value)| format!("{input} = {value}"));
        format!("{} ({}; {})", self.name, bound.collect::<Vec<_>>().join(", "), &self.graphs.loss.sha256()[..16])
    }

    /// A hash of both graphs and of what they read.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.graphs.loss.sha256());
        hash.update(self.graphs.decode.sha256());
        for (input, value) in &self.bindings {
            hash.update((input.len() as u64).to_le_bytes());
            hash.update(input);
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        hex(hash.finalize())
    }
}
