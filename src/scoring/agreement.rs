//! Whether the plugin and ONNX Runtime compute the same network, asked before a sweep and not after.

use super::ScoringError;
use crate::influence::{GradientEngine, InfluenceError, OutputKind, probabilities};
use crate::runtime::Session;
use ndarray::{Array2, ArrayView2, ArrayView4};

/// Largest difference of two outputs, relative to the scale of the first, that is rounding and nothing else.
/// Measured over the torchvision families it stays under 1e-4; ten times that is a different network.
const TOLERANCE: f64 = 1e-3;

/// Runs a batch through both and compares.
///
/// # Errors
/// [`ScoringError::Disagreement`] with the difference; whatever either says.
pub fn check<E: GradientEngine>(
    engine: &mut E,
    session: &mut Session,
    images: ArrayView4<f32>,
    output: &str,
    kind: OutputKind,
) -> Result<f64, ScoringError> {
    let ours = engine.forward(images)?;
    let ours = match kind {
        OutputKind::Logits => ours,
        OutputKind::Probabilities => softmax(ours.view())?,
    };
    let theirs = session.class_scores(images, output)?;
    let difference = relative_difference(ours.view(), theirs.view());
    if difference.is_nan() || difference > TOLERANCE {
        return Err(ScoringError::Disagreement { difference, tolerance: TOLERANCE });
    }
    Ok(difference)
}

/// Largest absolute difference over the largest absolute value; NaN when the shapes differ or a value is NaN.
fn relative_difference(a: ArrayView2<f32>, b: ArrayView2<f32>) -> f64 {
    if a.shape() != b.shape() {
        return f64::NAN;
    }
    let mut largest = 0.0_f64;
    let mut scale = f64::MIN_POSITIVE;
    for (x, y) in a.iter().zip(b.iter()) {
        let apart = (f64::from(*x) - f64::from(*y)).abs();
        if apart.is_nan() {
            return f64::NAN;
        }
        largest = largest.max(apart);
        scale = scale.max(f64::from(y.abs()));
    }
    largest / scale
}

/// [`probabilities`] of every row, as float32 like the model's own.
fn softmax(logits: ArrayView2<f32>) -> Result<Array2<f32>, InfluenceError> {
    let mut p = Array2::zeros(logits.dim());
    for (n, (mut row, o)) in p.outer_iter_mut().zip(logits.outer_iter()).enumerate() {
        let values = probabilities(OutputKind::Logits, o, n)?;
        row.iter_mut().zip(values).for_each(|(entry, p)| *entry = p as f32);
    }
    Ok(p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn differences_are_relative_to_the_scale_and_nan_never_passes() {
        let a = array![[100.0_f32, 0.0], [1.0, 2.0]];
        let mut b = a.clone();
        b[[0, 1]] = 0.01;
        assert!((relative_difference(a.view(), b.view()) - 1e-4).abs() < 1e-9);
        b[[1, 1]] = f32::NAN;
        assert!(relative_difference(a.view(), b.view()).is_nan());
        assert!(relative_difference(a.view(), array![[1.0_f32]].view()).is_nan());
    }
}
