//! What a model of a task other than one class an image is worth on the test images, by ONNX Runtime.

use crate::classifier::{class_names, names_of_fields};
use crate::data::Size;
use crate::families::{self, LabelKind, Setting};
use crate::rounds::RoundsError;
use crate::rounds::going::Going;
use crate::rounds::state::{Figure, Share};
use crate::runtime::{Library, SessionOptions};
use crate::scoring::{ScoringError, measure};
use crate::sweep::Predictor;
use crate::task::{self, ModelError, ModelOptions, TaskModel};
use std::path::Path;

/// The measure of the task of a round's model; `None` where that is accuracy, or no share.
///
/// # Errors
/// A model that does not fit the test images; ONNX Runtime's; that the observer asked to stop.
pub(in crate::rounds) fn figure(going: &Going, round: usize) -> Result<Option<Figure>, RoundsError> {
    if going.label_kind == Some(LabelKind::Class) {
        return Ok(None);
    }
    let failed = |source: ScoringError| RoundsError::Measure { round, source: Box::new(source) };
    measured(going, &going.layout().model(round)).map_err(failed)
}

/// The same of the model at `path`.
///
/// # Errors
/// As [`figure`].
pub(super) fn measured(going: &Going, path: &Path) -> Result<Option<Figure>, ScoringError> {
    let task = task::of_file(path)
        .map_err(|source| ModelError::Task { path: path.to_path_buf(), source: Box::new(source) })?;
    let options = ModelOptions { task, ..ModelOptions::default() };
    let preprocess = task::preprocess_of_file(path, &options)?;
    let TaskModel { network, task, classes, .. } = TaskModel::read(path, &options)?;
    let test = going.test.dataset();
    let sample = test.load(0).ok().map(|image| Size { height: image.height(), width: image.width() });
    let recipe = network.recipe(&preprocess, sample)?;
    let names = match classes {
        0 => names_of_fields(&[test]),
        classes => Some(class_names(&network, classes, None, &[test], None)?),
    };
    let family = families::of(&task.name, Setting::of(&task, recipe.clone(), names));
    if family.measure().is_none_or(|measure| Share::of(measure.name()).is_none()) {
        return Ok(None);
    }
    let test = family.as_the_model_counts(test)?;
    let library = Library::load(going.execution.onnxruntime.as_deref())?;
    let session = SessionOptions { provider: going.execution.provider, threads: going.execution.threads };
    let mut predictor = Predictor::open(&library, &network, &task, session)?;
    let threads = going.execution.threads;
    let fit = measure("measuring", (&test, &recipe), family.as_ref(), &mut predictor, threads, going.observer)?;
    let figure = |fit: families::Fit| Some(Figure { measure: Share::of(&fit.measure)?, value: fit.value? });
    Ok(fit.and_then(figure))
}
