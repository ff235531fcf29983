//! Annotations of a whole number a pixel, out of a mask that a field names.

use super::fields::{Fields, declared};
use super::{AnnotationError, Setting};
use crate::data::{Dataset, Limits, Mask, nearest};
use crate::influence::Annotation;
use isal_onnx::{Dim, ValueInfo};
use ndarray::Axis;

/// Labels `[1, H, W]` of the image at `index`: those of the mask at the path `written`, seen as its image is. `check` looks at
/// every label and says what is wrong with it.
pub(super) fn read(
    setting: &Setting,
    data: &Dataset,
    index: usize,
    (fields, written): (&Fields, &str),
    annotation: &ValueInfo,
    check: impl Fn(i64) -> Result<(), String>,
) -> Result<Annotation, AnnotationError> {
    let id = || fields.id.clone();
    let path = data.beside(index, written).map_err(|source| AnnotationError::File {
        id: id(),
        path: written.into(),
        source: Box::new(source),
    })?;
    let failed = |source| AnnotationError::File { id: id(), path: path.clone(), source };
    let mask = Mask::read(&path, &Limits::default()).map_err(|source| failed(Box::new(source)))?;
    let labels = mask.seen_through(&setting.recipe).map_err(|source| failed(Box::new(source)))?;
    labels.iter().try_for_each(|label| check(*label)).map_err(|wrong| failed(wrong.into()))?;
    let sizes: Vec<Option<usize>> = declared(annotation).0.iter().map(Dim::known).collect();
    // A model may give a smaller map than its input.
    let labels = match sizes[..] {
        [Some(height), Some(width)] if labels.dim() != (height, width) => nearest(labels.view(), height, width),
        _ => labels,
    };
    Ok(Annotation::Whole(labels.insert_axis(Axis(0)).into_dyn()))
}
