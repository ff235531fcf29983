//! Running graphs that are tried, batch by batch: a whole sample at once would not fit where images are large.

use super::InfluenceGraphError;
use super::step::Columns;
use crate::durable::DurableError;
use crate::runtime::{ExecutionProvider, Library, RuntimeError, Session, SessionOptions};
use isal_onnx::Model;
use isal_onnx::influence::INFLUENCE;
use isal_onnx::tangent::Target;
use ndarray::{ArrayView2, ArrayView4, Axis};
use std::path::Path;

/// Images a run.
const BATCH: usize = 32;

/// A folder for graphs that are tried, and ONNX Runtime to try them on.
pub(super) struct Evaluator<'a> {
    library: &'a Library,
    options: SessionOptions,
    folder: tempfile::TempDir,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(library: &'a Library, options: SessionOptions) -> Result<Self, InfluenceGraphError> {
        let folder = tempfile::tempdir().map_err(|source| DurableError::Io {
            doing: "create a temporary folder in",
            path: std::env::temp_dir(),
            source,
        })?;
        Ok(Evaluator { library, options, folder })
    }

    /// What these sessions run on.
    pub(super) fn target(&self) -> Target {
        target(self.options.provider)
    }

    /// Opens a model that is at hand.
    pub(super) fn open(&self, model: &Model) -> Result<Session, InfluenceGraphError> {
        let path = self.folder.path().join("trial.onnx");
        model.write(&path).map_err(|source| InfluenceGraphError::model(&path, source))?;
        self.open_file(&path)
    }

    /// Opens a model file.
    pub(super) fn open_file(&self, path: &Path) -> Result<Session, InfluenceGraphError> {
        Ok(Session::open(self.library, path, self.options)?)
    }
}

/// What a tangent graph is made for that this execution provider, which is settled, will run.
pub fn target(settled: ExecutionProvider) -> Target {
    match settled {
        ExecutionProvider::Cpu => Target::Cpu,
        _ => Target::Any,
    }
}

/// The sample in batches.
pub(super) fn batches<'a>(images: ArrayView4<'a, f32>) -> impl Iterator<Item = ArrayView4<'a, f32>> {
    let count = images.len_of(Axis(0));
    (0..count).step_by(BATCH).map(move |from| {
        let mut batch = images;
        batch.slice_axis_inplace(Axis(0), (from..(from + BATCH).min(count)).into());
        batch
    })
}

/// Influences of a sample by an influence graph of `directions` directions.
pub(super) fn influences(
    session: &mut Session,
    images: ArrayView4<f32>,
    directions: usize,
) -> Result<Columns, InfluenceGraphError> {
    let mut columns: Columns = vec![Vec::new(); directions];
    for batch in batches(images) {
        let found = session.run(batch, &[INFLUENCE])?.pop().unwrap_or_default();
        let (rows, shape) = (batch.shape().first().copied().unwrap_or(0), found.shape().to_vec());
        let matrix = found.into_shape_with_order((rows, directions)).map_err(|_| RuntimeError::Signature {
            model: session.model().to_owned(),
            reason: format!("`{INFLUENCE}` has shape {shape:?}, expected {rows} images and {directions} directions"),
        })?;
        append(&mut columns, matrix.view());
    }
    Ok(columns)
}

fn append(columns: &mut Columns, rows: ArrayView2<f32>) {
    for (column, values) in columns.iter_mut().zip(rows.axis_iter(Axis(1))) {
        column.extend(values.iter().map(|x| f64::from(*x)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    #[test]
    fn a_sample_comes_in_batches() {
        let images = Array4::from_shape_fn((70, 1, 1, 1), |(n, ..)| n as f32);
        let found: Vec<(usize, f32)> = batches(images.view()).map(|b| (b.shape()[0], b[[0, 0, 0, 0]])).collect();
        assert_eq!(found, [(32, 0.0), (32, 32.0), (6, 64.0)]);
    }
}
