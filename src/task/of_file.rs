//! What a model file and the `.toml` beside it say: the task, and how the model sees images.

use super::{Bindings, ModelOptions, TaskError, Wanted, beside, exported, image_size};
use crate::data::{Pad, Preprocess, PreprocessError, Resize, Size};
use isal_onnx::Model;
use std::path::Path;

/// The task of the table beside a model, else that of a detector as its training program exported it; `None` where neither says one.
///
/// # Errors
/// As [`beside()`]. What is wrong with the model itself is said when it is read for good.
pub fn of_file(model: &Path) -> Result<Option<(Wanted, Bindings)>, TaskError> {
    if let Some(found) = beside(model)? {
        return Ok(Some(found));
    }
    let found = Model::read(model).ok().and_then(|model| exported(&model));
    Ok(found.map(|(name, bindings)| (Wanted::BuiltIn(name.to_owned()), bindings)))
}

/// The preprocessing of the table beside a model of this task, else that of a detector as its training program exported it.
///
/// # Errors
/// A file that cannot be read or is no such table.
pub fn preprocess_of_file(model: &Path, task: &ModelOptions) -> Result<Preprocess, PreprocessError> {
    let beside = Preprocess::beside(model)?;
    match !task.is_single_label() && beside == Preprocess::default() {
        true => Ok(as_exported(model).unwrap_or(beside)),
        false => Ok(beside),
    }
}

/// How a network that ultralytics' package exported for detection sees images: a letterbox of the size that it says.
fn as_exported(model: &Path) -> Option<Preprocess> {
    let model = Model::read(model).ok()?;
    exported(&model)?;
    let [height, width] = image_size(&model)?;
    let resize = Some(Resize::Within { within: Size { height, width } });
    Some(Preprocess { resize, pad: Some(Pad::LETTERBOX), ..Preprocess::default() })
}
