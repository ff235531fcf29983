//! What a solver needs of whatever differentiates the model.
//!
//! The libtorch plugin is one implementation (`crate::plugin`), a dense model with an exact Hessian
//! (in the tests) another. Solvers are written against the trait alone.

use super::Annotations;
use ndarray::{Array2, ArrayView4};

/// A parameter that takes part in the influence, in the engine's order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Parameter {
    /// Initializer name in the model.
    pub name: String,
    /// Its dims.
    pub shape: Vec<usize>,
}

/// Which curvature matrix a product is taken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curvature {
    /// Second derivatives of the loss; not positive semi-definite away from a minimum.
    Hessian,
    /// `J^T H_out J` with `H_out` the Hessian of the loss in the outputs; positive semi-definite where the loss is convex
    /// in them.
    GaussNewton,
    /// `sum_n J_n^T g_n g_n^T J_n` with `g_n` the gradient of the loss in the outputs: positive semi-definite whatever the
    /// loss, and gone where the data is fitted to zero loss.
    EmpiricalFisher,
}

/// Outputs of a batch and their derivative along a parameter direction.
#[derive(Debug, Clone)]
pub struct Jvp {
    /// Model outputs `o`, `[N, C]`.
    pub outputs: Array2<f32>,
    /// `o' = J_theta o . s`, `[N, C]`.
    pub tangents: Array2<f32>,
}

/// Why an engine could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The plugin answered with an error of its own.
    #[error("plugin call `{call}` failed: {message}")]
    Plugin {
        /// The ABI function.
        call: &'static str,
        /// Its message.
        message: String,
    },
    /// Numbers that are NaN or infinite, where the weights, the images or the loss make such.
    #[error("{message}: the weights, the images or the loss itself are at fault")]
    NotFinite {
        /// What is not finite.
        message: String,
    },
    /// A batch, target or vector of the wrong shape.
    #[error("{what}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// What had the wrong shape.
        what: &'static str,
        /// The shape that was asked for.
        expected: Vec<usize>,
        /// The shape that was given.
        found: Vec<usize>,
    },
}

/// Gradients and curvature products of one loaded model over the parameters in its scope.
///
/// The loss of an image is a function of what the model makes of it and of its annotations; which function is the engine's
/// business. Every result is a **sum** over the batch, never a mean, so that batches add up whatever their sizes.
///
/// Vectors live where the engine keeps them (a device, perhaps); all have the layout of
/// [`GradientEngine::parameters`], flattened and joined in that order.
pub trait GradientEngine {
    /// A vector over the parameters in scope.
    type Vector;

    /// The parameters in scope, in the order vectors hold them.
    fn parameters(&self) -> &[Parameter];

    /// Number of entries of a vector.
    fn dimension(&self) -> usize {
        self.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// Model outputs `[N, C]` for images `[N, C, H, W]` in the model's own layout.
    fn forward(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>, EngineError>;

    /// Sum over the batch of the loss, and of its gradient.
    fn gradient(
        &mut self,
        images: ArrayView4<f32>,
        annotations: &Annotations,
    ) -> Result<(f64, Self::Vector), EngineError>;

    /// Sum over the batch of curvature times `v`. No damping is added.
    fn curvature_product(
        &mut self,
        curvature: Curvature,
        images: ArrayView4<f32>,
        annotations: &Annotations,
        v: &Self::Vector,
    ) -> Result<Self::Vector, EngineError>;

    /// Outputs and their derivative along `s`, sample by sample.
    fn jvp(&mut self, images: ArrayView4<f32>, s: &Self::Vector) -> Result<Jvp, EngineError>;

    /// The zero vector.
    fn zeros(&mut self) -> Result<Self::Vector, EngineError>;
    /// A copy of `v`.
    fn copy(&mut self, v: &Self::Vector) -> Result<Self::Vector, EngineError>;
    /// `a . b`, accumulated in float64.
    fn dot(&mut self, a: &Self::Vector, b: &Self::Vector) -> Result<f64, EngineError>;
    /// `y <- y + alpha x`.
    fn axpy(&mut self, alpha: f64, x: &Self::Vector, y: &mut Self::Vector) -> Result<(), EngineError>;
    /// `x <- alpha x`.
    fn scale(&mut self, alpha: f64, x: &mut Self::Vector) -> Result<(), EngineError>;
    /// The entries of `v`.
    fn download(&mut self, v: &Self::Vector) -> Result<Vec<f32>, EngineError>;
    /// A vector of these entries.
    fn upload(&mut self, entries: &[f32]) -> Result<Self::Vector, EngineError>;
}
