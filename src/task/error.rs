//! Why a task and a model do not go together.

use std::path::PathBuf;

/// Why graphs are no task, or none of this model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A file that is no sound model.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: isal_onnx::Error,
    },
    /// A threshold for pseudo-labels where the decode graph has none.
    #[error(
        "the decode graph of the task `{task}` has no value `{value}`, the score that a pseudo box must be above: those of built-in \
         detection have one, and your own may"
    )]
    NoThreshold {
        /// The task.
        task: String,
        /// The value that is missing.
        value: &'static str,
    },
    /// A `[task]` table that says nothing to go by.
    #[error("`{}`: {reason}", path.display())]
    Beside {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No built-in task of that name, or not for outputs of that shape.
    #[error(transparent)]
    BuiltIn(#[from] isal_exporters::Error),
    /// A loss graph with another output than the loss of each image.
    #[error("the loss graph gives {found}, expected one output of floats [N], the loss of each image")]
    NoLoss {
        /// What it gives.
        found: String,
    },
    /// An annotation that the two graphs see differently.
    #[error("the annotation `{name}` is {decoded} out of the decode graph and {wanted} into the loss graph")]
    Annotation {
        /// The annotation.
        name: String,
        /// As the decode graph gives it.
        decoded: String,
        /// As the loss graph takes it.
        wanted: String,
    },
    /// A belief that a score table would take for something else.
    #[error(
        "the decode graph gives a belief called `{name}`, which is the name of a column of every score table; call it otherwise"
    )]
    Belief {
        /// Its name.
        name: String,
    },
    /// A binding of an input that neither graph has, or that is an annotation.
    #[error("`{input}` is no input to bind: the task's graphs read {inputs}")]
    NoInput {
        /// The input that was named.
        input: String,
        /// Those there are.
        inputs: String,
    },
    /// An input for which there is no value.
    #[error(
        "the task reads `{input}` {wanted}, and the model has no value of that name: bind one with `--bind {input}=VALUE`; its outputs are {outputs}"
    )]
    Unbound {
        /// The input.
        input: String,
        /// Its type and shape.
        wanted: String,
        /// The model's outputs.
        outputs: String,
    },
    /// A detector whose input does not say how large images are.
    #[error(
        "`{task}` places its locations by the size of the images, and no input of the model says height and width: {inputs}; export it for images of one size"
    )]
    ImageSize {
        /// The task.
        task: String,
        /// The model's inputs.
        inputs: String,
    },
    /// A value that the model does not have.
    #[error("`{input}` is bound to `{value}`, which the model does not have; its outputs are {outputs}")]
    NoValue {
        /// The input.
        input: String,
        /// The value that was named.
        value: String,
        /// The model's outputs.
        outputs: String,
    },
    /// A value of another type or shape.
    #[error("the task reads `{input}` {wanted}, and the model's value `{value}` is {found}")]
    Shape {
        /// The input.
        input: String,
        /// Its type and shape.
        wanted: String,
        /// The model's value.
        value: String,
        /// Its type and shape.
        found: String,
    },
    /// Graphs of different operator sets.
    #[error(
        "the model is of opset {model} and the {graph} graph of opset {found}: export it again with `opset_version={model}`"
    )]
    Opset {
        /// Of the model.
        model: i64,
        /// `loss` or `decode`.
        graph: &'static str,
        /// Its opset.
        found: i64,
    },
    /// A loss without a derivative in the values it reads.
    #[error("the loss graph cannot be differentiated")]
    NotDifferentiable(#[source] isal_onnx::Error),
}
