//! A model file together with the task it is for: what is scored, trained or given an influence graph.

use super::{Bindings, SINGLE_LABEL, Task, TaskError, Wanted};
use crate::classifier::{Classifier, ClassifierError, OutputKind};
use crate::data::OpenOptions;
use crate::network::{GivenInput, Network, NetworkError};
use isal_exporters::{detection, losses};
use isal_onnx::{Dim, ValueType};
use std::path::Path;

/// What is told about a model besides its file.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// The task, and what of the model it reads; one class an image where not given.
    pub task: Option<(Wanted, Bindings)>,
    /// Output with the class scores of a classifier, where the model has several.
    pub class_scores: Option<String>,
    /// Values of inputs besides the images.
    pub inputs: Vec<GivenInput>,
    /// Of a detector, the score that a detection must be above for a pseudo-label, where it is not the task's own.
    pub noised_score_thresh: Option<f32>,
    /// Of a classifier, how many likely classes the pseudo-label is of; 0 and 1: the likeliest.
    pub top_k: usize,
}

/// Why a file and a task are no model to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The model itself.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A model that is no classifier, where no task was named.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The task.
    #[error("the task does not fit `{}`: {source}", path.display())]
    Task {
        /// The model.
        path: std::path::PathBuf,
        /// What is wrong.
        source: Box<TaskError>,
    },
}

/// The class scores of a classifier, as its file gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassScores {
    /// The output.
    pub output: String,
    /// What it holds.
    pub kind: OutputKind,
}

/// A network with its task.
#[derive(Debug, Clone)]
pub struct TaskModel {
    /// The network.
    pub network: Network,
    /// The task, bound to its values.
    pub task: Task,
    /// How many classes the task tells apart; 0 where it has none.
    pub classes: usize,
    /// Its class scores, where it is a classifier by itself.
    pub class_scores: Option<ClassScores>,
}

impl ModelOptions {
    /// The name of the built-in task; `None` of graphs that a user brings.
    pub fn built_in(&self) -> Option<&str> {
        match &self.task {
            None => Some(SINGLE_LABEL),
            Some((Wanted::BuiltIn(name), _)) => Some(name),
            Some((Wanted::Own { .. }, _)) => None,
        }
    }

    /// Whether images have one class each, which any data set says; of other tasks a list says more of an image.
    pub fn is_single_label(&self) -> bool {
        match &self.task {
            None => true,
            Some((wanted, _)) => *wanted == Wanted::single_label(),
        }
    }

    /// Opening of data sets with what this task needs of them.
    pub fn opening(&self, options: OpenOptions) -> OpenOptions {
        OpenOptions { fields: !self.is_single_label(), ..options }
    }
}

impl TaskModel {
    /// Reads the model and binds its task.
    ///
    /// # Errors
    /// [`ModelError`]: what is wrong with the file, or why the task is none of this model.
    pub fn read(path: &Path, options: &ModelOptions) -> Result<TaskModel, ModelError> {
        let network = Network::read(path, &options.inputs)?;
        let failed = |source: TaskError| ModelError::Task { path: path.to_path_buf(), source: Box::new(source) };
        match &options.task {
            Some((wanted, bindings)) if !(options.is_single_label() && bindings.is_empty()) => {
                let (task, _) = wanted.bind(&network.model, bindings).map_err(failed)?;
                let task = with_threshold(task, options).map_err(failed)?;
                let classes = classes(&task);
                Ok(TaskModel { network, task, classes, class_scores: None })
            }
            _ => {
                let classifier = Classifier::of(network, options.class_scores.as_deref())?;
                let Classifier { network, output, kind, logits, classes } = classifier;
                let task = Task::single_label(&logits, classes, options.top_k, network.model.opset())
                    .map_err(|source| failed(source.into()))?;
                let task = with_threshold(task, options).map_err(failed)?;
                Ok(TaskModel { network, task, classes, class_scores: Some(ClassScores { output, kind }) })
            }
        }
    }

    /// Refuses a model that the loss cannot be differentiated through.
    ///
    /// # Errors
    /// [`NetworkError::NotDifferentiable`].
    pub fn check_differentiable(&self) -> Result<(), NetworkError> {
        self.network.check_differentiable(self.task.values())
    }
}

fn with_threshold(task: Task, options: &ModelOptions) -> Result<Task, TaskError> {
    match options.noised_score_thresh {
        Some(score) => task.with_pseudo_score(score),
        None => Ok(task),
    }
}

/// Classes along an axis of the first value that a built-in task reads: axis 1, or where a detector has them.
fn classes(task: &Task) -> usize {
    let dims = |t: &ValueType| t.shape.clone().filter(|dims| dims.len() > 1);
    let read = task.graphs.decode.graph.inputs.first().and_then(|input| dims(input.value_type.as_ref()?));
    let detects = detection::task(&task.name);
    let of_classes = losses::find(&task.name).is_ok_and(|entry| entry.defaults.has_classes());
    let axis = |dims: Vec<Dim>| dims.get(detects.map_or(1, |task| task.class_axis)).cloned();
    let counted = read.filter(|_| of_classes || detects.is_some()).and_then(axis).and_then(|dim| dim.known());
    counted.unwrap_or(0).saturating_sub(detects.map_or(0, |task| task.background))
}
