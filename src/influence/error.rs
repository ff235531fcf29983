//! Why an influence could not be computed. Variants hold the values; the text says what to change.

use super::engine::{Curvature, EngineError};

/// An error of the solvers, the batches they iterate or the scores.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InfluenceError {
    /// The engine that differentiates the model failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The source of images failed.
    #[error("cannot read a batch")]
    Data(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A set that must hold samples holds none.
    #[error("the {set} set holds no sample")]
    Empty {
        /// Which set.
        set: &'static str,
    },
    /// An index past the end of a set.
    #[error("sample {index} was asked for, the set holds {samples}")]
    Index {
        /// The index.
        index: usize,
        /// Size of the set.
        samples: usize,
    },
    /// A class label the model has no output for.
    #[error("sample {sample} has label {label}, the model has {classes} classes")]
    Label {
        /// Position in the set.
        sample: usize,
        /// Its label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Arrays that do not fit together.
    #[error("{what}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// What had the wrong shape.
        what: &'static str,
        /// The shape that was asked for.
        expected: Vec<usize>,
        /// The shape that was given.
        found: Vec<usize>,
    },
    /// An option outside its range.
    #[error("option `{option}` is {found}, expected {expected}")]
    Option {
        /// The option's name as configuration files spell it.
        option: &'static str,
        /// What was given.
        found: f64,
        /// The range in words.
        expected: &'static str,
    },
    /// No solver of this name.
    #[error("no solver is called `{name}`, expected one of {known:?}")]
    UnknownSolver {
        /// The name given.
        name: String,
        /// Every name there is.
        known: Vec<&'static str>,
    },
    /// A NaN or an infinity where a number was needed.
    #[error(
        "{what} holds NaN or infinity (step {step}); look for it in the model's outputs on these images, \
         or for weights that have diverged in training"
    )]
    NonFinite {
        /// The quantity.
        what: &'static str,
        /// Solver step, 0 before the first.
        step: usize,
    },
    /// Every reference sample has gradient zero, so every influence is zero.
    #[error(
        "the reference gradient is zero: the model fits the reference set exactly, or no parameter in scope reaches its output"
    )]
    ZeroGradient,
    /// The matrix is zero, so a damping relative to its largest eigenvalue means nothing.
    #[error(
        "the {curvature:?} curvature is zero on {samples} samples (the model is saturated there), so no \
         damping can be derived from it; give `damping = {{ fixed = .. }}`"
    )]
    ZeroCurvature {
        /// Which matrix.
        curvature: Curvature,
        /// Samples it was taken over.
        samples: usize,
    },
    /// Conjugate gradient found a direction of non-positive curvature.
    #[error(
        "the damped {curvature:?} matrix is not positive definite: at iteration {iteration} it has an eigenvalue of at \
         most {eigenvalue:.4e} with lambda {lambda:.4e}; {other}, or give `damping = {{ fixed = {suggested:.4e} }}` or more",
        other = match curvature {
            // The loss is not convex in what it reads of the model.
            Curvature::GaussNewton => "take the empirical Fisher matrix (`cg-fisher`), which is never indefinite",
            _ => "take the Gauss-Newton matrix (`cg-gauss-newton`), which is indefinite for no loss that is convex",
        }
    )]
    NotPositiveDefinite {
        /// Which matrix.
        curvature: Curvature,
        /// The damping that was not enough.
        lambda: f64,
        /// An upper bound of the smallest eigenvalue of the damped matrix.
        eigenvalue: f64,
        /// A damping that would lift the eigenvalue found to its own size above zero.
        suggested: f64,
        /// Iteration of the discovery.
        iteration: usize,
    },
    /// The iteration limit came before the residual was acceptable.
    #[error(
        "`{solver}` stopped after {iterations} iterations with a residual of {residual:.3e}, more than the {accepted:.3e} that is \
         accepted, at lambda {lambda:.4e}; give more iterations or a larger damping"
    )]
    NotConverged {
        /// The solver.
        solver: &'static str,
        /// `||(H + lambda I) s - v|| / ||v||`.
        residual: f64,
        /// What would have been let through.
        accepted: f64,
        /// Iterations used.
        iterations: usize,
        /// The damping.
        lambda: f64,
    },
    /// LiSSA grew past every bound that a convergent recursion obeys.
    #[error(
        "`lissa` diverged at step {step} with scale {scale:.4e} and damping {damping:.4e}: along the vector the curvature is \
         {eigenvalue:.4e}; give a `scale` of {suggested:.4e} or more{also}",
        also = if *.eigenvalue < 0.0 { ", or `curvature = \"gauss-newton\"`, whose matrix is never indefinite" } else { "" }
    )]
    Diverged {
        /// Step of the discovery, counted over all repeats.
        step: usize,
        /// The divisor of the curvature.
        scale: f64,
        /// The damping of the recursion (lambda / scale).
        damping: f64,
        /// Rayleigh quotient of the curvature along the diverging vector.
        eigenvalue: f64,
        /// A scale with which this direction would have contracted.
        suggested: f64,
    },
    /// Outputs declared probabilities that are none.
    #[error(
        "the outputs of sample {sample} of the batch were declared probabilities but sum to {sum:.4}; declare them logits"
    )]
    NotProbabilities {
        /// Position in the batch.
        sample: usize,
        /// Sum of its outputs.
        sum: f64,
    },
    /// The observer asked to stop.
    #[error("stopped on request")]
    Cancelled,
}
