//! How far float32 may be off in the LeNet of 28x28 pixels that these tests score with.

use isal_onnx::testing::rounding::gamma;

/// Of the largest class score or influence. The products that follow each other from a pixel to a class score, and again in its
/// derivative: kernels of 25 and of 6 x 25 weights, layers of 400, 120 and 84 features. Two computations round twice that.
pub const ROUNDING: f64 = 2.0 * gamma(2 * (25 + 150 + 400 + 120 + 84));
