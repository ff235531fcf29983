//! Why images could not be chosen jointly.

/// Why images could not be chosen jointly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JointError {
    /// No class scores, or none at all to go by.
    #[error("this rule goes by the model's class scores, and there are none of the {set} images")]
    NoBeliefs {
        /// Which images.
        set: &'static str,
    },
    /// A set that the rule needs.
    #[error("this rule needs {set} images, and there are none that can be used")]
    Empty {
        /// Which images.
        set: &'static str,
    },
    /// Sets that do not go together.
    #[error("the {set} images have {found} {what} each, the candidates {expected}")]
    Width {
        /// Which images.
        set: &'static str,
        /// Features or class scores.
        what: &'static str,
        /// How many they have.
        found: usize,
        /// How many the candidates have.
        expected: usize,
    },
    /// NaN or infinity.
    #[error("{images} of {of} {set} images have features or class scores that are no numbers")]
    NotFinite {
        /// Which images.
        set: &'static str,
        /// How many of them.
        images: usize,
        /// How many there are.
        of: usize,
    },
    /// An option that makes no sense.
    #[error("`{option}` is {found}, expected {expected}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Numbers that leave float64.
    #[error(
        "the design matrix is not positive definite: features of a scale of {scale} are too large or too small for a damping of {damping}"
    )]
    Singular {
        /// Largest feature.
        scale: String,
        /// The damping.
        damping: String,
    },
    /// Covariances that leave float64.
    #[error(
        "the covariances of the labelled images are not positive definite with a noise of {noise}: take a larger `noise`"
    )]
    Covariance {
        /// The noise.
        noise: String,
    },
    /// The observer asked to stop.
    #[error("interrupted while images were chosen")]
    Interrupted,
}
