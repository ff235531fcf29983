//! Why files for a serving stack could not be written.

use crate::classifier::ClassifierError;
use crate::durable::DurableError;
use crate::network::NetworkError;
use isal_exporters::serving::ServingError;
use std::path::PathBuf;

/// Why files for a serving stack could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// There is a model of that name in the repository.
    #[error(
        "`{}` exists already: `--new-version` adds a version beside those that are there, `--name` gives it another name",
        folder.display()
    )]
    ModelExists {
        /// Its folder.
        folder: PathBuf,
    },
    /// Something is in the place of a folder that was to be written.
    #[error("`{}` exists already", folder.display())]
    Exists {
        /// The place.
        folder: PathBuf,
    },
    /// A new version of a model that is not there.
    #[error("`{}` is no model of a repository (it has no config.pbtxt), so it takes no new version", folder.display())]
    NoModel {
        /// Its folder.
        folder: PathBuf,
    },
    /// A new version that is served otherwise than those that are there.
    #[error(
        "`{}` says otherwise than the new version needs (line {line}: `{found}`, needed `{expected}`): clients of the earlier versions would break; give it another `--name`",
        path.display()
    )]
    OtherConfig {
        /// The file.
        path: PathBuf,
        /// The first line that differs, counted from 1.
        line: usize,
        /// What it says.
        found: String,
        /// What the new version needs.
        expected: String,
    },
    /// A file in the place of another kind of file.
    #[error("`{}` given as `--{option}` {found}, expected {expected}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The option it was given as.
        option: &'static str,
        /// What it is.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An influence graph or a shadow of another model.
    #[error(
        "`{}` was made from another model than `{}`: from one of SHA-256 {found}, and this one has {expected}",
        path.display(),
        model.display()
    )]
    OtherModel {
        /// The influence graph or shadow.
        path: PathBuf,
        /// The model.
        model: PathBuf,
        /// The hash it was made from.
        found: String,
        /// The model's own.
        expected: String,
    },
    /// An influence graph that lacks what a bundle is made of.
    #[error("`{}` lacks the metadata property `isal.influence.{key}`", path.display())]
    Lacks {
        /// The file.
        path: PathBuf,
        /// The property.
        key: &'static str,
    },
    /// A folder that is no repository.
    #[error("`{}` has no model with a config.pbtxt in it: `isal export triton` writes a repository", folder.display())]
    NoRepository {
        /// The folder.
        folder: PathBuf,
    },
    /// A name, an option or a tensor that the stack would refuse.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// A model.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The names of the classes.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// Writing.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A file or a folder.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl DeployError {
    pub(super) fn io(doing: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> DeployError {
        move |source| DeployError::Io { doing, path: path.to_path_buf(), source }
    }
}
