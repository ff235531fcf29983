//! Whether the plugin and ONNX Runtime compute the same network, asked before a sweep and not after.

use super::ScoringError;
use crate::plugin::PluginEngine;
use crate::runtime::Session;
use isal_onnx::Model;
use ndarray::{ArrayView4, ArrayViewD};

/// Largest difference of two values, relative to the scale of the first, that is rounding and nothing else.
/// Measured over the torchvision families it stays under 1e-4; ten times that is a different network.
const TOLERANCE: f64 = 1e-3;

/// The model with the values that the engine's loss reads as its only outputs.
pub(super) fn ending_at(model: &Model, engine: &PluginEngine) -> Model {
    model.ending_at(engine.bound().map(|value| value.name.as_str()))
}

/// Runs a batch through both and compares every value that the loss reads.
///
/// # Errors
/// [`ScoringError::Disagreement`] with the difference; whatever either says.
pub(super) fn check(
    engine: &PluginEngine,
    session: &mut Session,
    images: ArrayView4<f32>,
) -> Result<f64, ScoringError> {
    let names: Vec<String> = session.outputs().to_vec();
    let theirs = session.run(images, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let ours = engine.forward_all(images)?;
    let mut worst = 0.0_f64;
    for (name, theirs) in names.iter().zip(&theirs) {
        let difference = match ours.iter().find(|array| array.name == *name) {
            Some(ours) => relative_difference(ours.values.view(), theirs.view()),
            None => f64::NAN,
        };
        if difference.is_nan() || difference > TOLERANCE {
            return Err(ScoringError::Disagreement { value: name.clone(), difference, tolerance: TOLERANCE });
        }
        worst = worst.max(difference);
    }
    Ok(worst)
}

/// Largest absolute difference over the largest absolute value; NaN when the shapes differ or a value is NaN.
fn relative_difference(a: ArrayViewD<f32>, b: ArrayViewD<f32>) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn differences_are_relative_to_the_scale_and_nan_never_passes() {
        let a = array![[100.0_f32, 0.0], [1.0, 2.0]].into_dyn();
        let mut b = a.clone();
        b[[0, 1]] = 0.01;
        assert!((relative_difference(a.view(), b.view()) - 1e-4).abs() < 1e-9);
        b[[1, 1]] = f32::NAN;
        assert!(relative_difference(a.view(), b.view()).is_nan());
        assert!(relative_difference(a.view(), array![[1.0_f32]].into_dyn().view()).is_nan());
    }
}
