//! The proof that a written graph runs: every output finite, and the model's own outputs as they were.

use super::InfluenceGraphError;
use crate::runtime::Session;
use isal_onnx::{DataType, Graph};
use ndarray::{ArrayD, ArrayView4};
use std::path::Path;

/// Largest difference, relative to the largest value, that is rounding: a runtime may fuse operators of the larger graph
/// otherwise than the model's. The plugin and ONNX Runtime stay under it over torchvision's families.
const ROUNDING: f64 = 1e-4;
/// The same where the mean of a step ahead and a step back stands in for the prediction.
const MEAN: f64 = 1e-2;

/// What a run of the written file showed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Proof {
    /// ONNX Runtime's version.
    pub onnxruntime: String,
    /// Images it was run on.
    pub images: usize,
    /// Whether these are of the sample, or noise.
    pub of_sample: bool,
    /// Whether the model's own outputs have the very bits the model gives.
    pub bit_for_bit: bool,
    /// Largest difference of one of them, relative to its largest value.
    pub difference: f64,
}

/// Names of the outputs that hold float32.
pub(super) fn float_outputs(graph: &Graph) -> Vec<&str> {
    let float = |o: &&isal_onnx::ValueInfo| o.value_type.as_ref().is_some_and(|t| t.data_type == DataType::Float);
    graph.outputs.iter().filter(float).map(|o| o.name.as_str()).collect()
}

/// What the model's own outputs may do in the written graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// Stay as they are.
    Kept,
    /// Be the mean of two passes.
    Mean,
    /// Be those of other weights.
    Shifted,
}

/// Runs the model and the file at `path` on a batch, given as either takes it, and compares; gives the bits' equality and the
/// largest difference.
pub(super) fn compare(
    path: &Path,
    plain: &mut Session,
    written: &mut Session,
    [batch, shown]: [ArrayView4<f32>; 2],
    (outputs, added): (&[&str], &[&str]),
    own: Own,
) -> Result<(bool, f64), InfluenceGraphError> {
    let images = batch.shape().first().copied().unwrap_or(0);
    let all: Vec<&str> = outputs.iter().chain(added).copied().collect();
    let (before, after) = (plain.run(batch, outputs)?, written.run(shown, &all)?);
    for (name, values) in all.iter().zip(&after) {
        if !values.iter().all(|x| x.is_finite()) {
            let output = (*name).to_owned();
            return Err(InfluenceGraphError::NotFinite { output, path: path.to_path_buf(), images });
        }
    }
    let (mut alike, mut largest) = (true, 0.0_f64);
    for ((name, before), after) in outputs.iter().zip(&before).zip(&after) {
        let (same, difference) = apart(before, after);
        let tolerance = match own {
            Own::Kept => ROUNDING,
            Own::Mean => MEAN,
            Own::Shifted => f64::INFINITY,
        };
        if difference.is_nan() || difference > tolerance {
            let output = (*name).to_owned();
            return Err(InfluenceGraphError::OutputsMoved { output, path: path.to_path_buf(), difference, tolerance });
        }
        alike &= same;
        largest = largest.max(difference);
    }
    Ok((alike, largest))
}

/// Whether two arrays have the same bits, and their largest difference over the first one's largest value.
fn apart(a: &ArrayD<f32>, b: &ArrayD<f32>) -> (bool, f64) {
    if a.shape() != b.shape() {
        return (false, f64::NAN);
    }
    let same = a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits());
    let scale = a.iter().fold(f64::MIN_POSITIVE, |scale, x| scale.max(f64::from(x.abs())));
    let largest = a.iter().zip(b).fold(0.0_f64, |most, (x, y)| most.max((f64::from(*x) - f64::from(*y)).abs()));
    (same, largest / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr1;

    #[test]
    fn bits_and_differences_are_told_apart() {
        let a = arr1(&[2.0f32, 0.0, -1.0]).into_dyn();
        assert_eq!(apart(&a, &a), (true, 0.0));
        assert_eq!(apart(&a, &arr1(&[2.0f32, -0.0, -1.0]).into_dyn()), (false, 0.0));
        assert_eq!(apart(&a, &arr1(&[2.0f32, 0.5, -1.0]).into_dyn()), (false, 0.25));
        assert!(apart(&a, &arr1(&[2.0f32]).into_dyn()).1.is_nan());
    }
}
