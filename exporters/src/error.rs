//! Why a model could not be built or filled.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be built or filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is not in the zoo.
    #[error("no model `{name}` in the zoo; there are {}", list(known))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// Every name there is.
        known: Vec<&'static str>,
    },
    /// An option outside what the model takes.
    #[error("model `{model}`: `{option}` is {found}, expected {expected}")]
    Option {
        /// The model.
        model: &'static str,
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: String,
    },
    /// Metadata of a structure-only model that cannot be followed.
    #[error("seeded weights: `{what}`: {reason}")]
    Seeded {
        /// The metadata key, or the entry of `isal.seeded`.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Names in back-ticks, joined by commas.
fn list(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|n| format!("`{}`", n.as_ref())).collect::<Vec<_>>().join(", ")
}
