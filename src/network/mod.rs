//! A model as it is read: its image input, values given for its other inputs, its hash, whether it can be differentiated.
//!
//! Files come in many forms: raw bytes in, several inputs. What is downstream sees one image input; what the outputs mean is
//! for the task to say.

mod aside;
mod given;
mod input;
mod operators;

pub use aside::Aside;
pub use given::{GivenInput, GivenInputError};
pub use operators::Obstacle;

use crate::data::{Preprocess, Range, Recipe, RecipeError, Size};
use isal_onnx::{DataType, Model, Scope};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a file is no network to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The model file is not sound.
    #[error("`{}`", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: isal_onnx::Error,
    },
    /// A sound model that does not take images.
    #[error("`{}`: {reason}", path.display())]
    NoImages {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        reason: String,
    },
    /// A model that can be run but not differentiated.
    #[error("`{}` {obstacle}", path.display())]
    NotDifferentiable {
        /// The file.
        path: PathBuf,
        /// What stands in the way, and what to export instead.
        obstacle: Obstacle,
    },
    /// A value for an input that does not fit it.
    #[error("`{}`: input `{name}`: {source}", path.display())]
    Given {
        /// The file.
        path: PathBuf,
        /// The input.
        name: String,
        /// What does not fit.
        source: GivenInputError,
    },
    /// A model with values for its further inputs could not be put aside for the runtime.
    #[error("cannot write a temporary model")]
    Temporary {
        /// Why.
        source: std::io::Error,
    },
}

impl NetworkError {
    /// That the model at `path` is not sound.
    pub fn model(path: &Path, source: isal_onnx::Error) -> NetworkError {
        NetworkError::Model { path: path.to_path_buf(), source }
    }
}

/// A checked model with one image input.
#[derive(Debug, Clone)]
pub struct Network {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The model as read, complete; values given for inputs are constants in it.
    pub model: Model,
    /// SHA-256 of its content, external data and given values included.
    pub sha256: String,
    /// Sizes of the image input's four axes, where fixed.
    pub input: Vec<Option<usize>>,
    /// Element type of the image input: a float type, or `Uint8` for raw bytes.
    pub input_type: DataType,
    /// Values given for other inputs than the images.
    pub given: Vec<GivenInput>,
    /// The model that a runtime opens, where it is not the file at `path`.
    baked: Option<Arc<Aside>>,
}

impl Network {
    /// Reads and checks a model; `inputs` are values for those besides the images.
    ///
    /// # Errors
    /// What is wrong with the file; a model without a four-axis image input; a value that does not fit its input.
    pub fn read(path: &Path, inputs: &[GivenInput]) -> Result<Network, NetworkError> {
        let mut model = Model::read(path).map_err(|source| NetworkError::model(path, source))?;
        if inputs.is_empty() {
            return Self::of(model, path);
        }
        model.graph.lift_constants();
        for given in inputs {
            given.bake(&mut model).map_err(|source| NetworkError::Given {
                path: path.to_path_buf(),
                name: given.name.clone(),
                source,
            })?;
        }
        let baked = Some(Arc::new(Aside::write(&model, path)?));
        let sha256 = model.sha256();
        let read = Self::lifted(model, sha256, path)?;
        Ok(Network { baked, given: inputs.to_vec(), ..read })
    }

    /// [`Network::read`] of a model that has been read from `path`.
    ///
    /// # Errors
    /// As [`Network::read`].
    pub fn of(mut model: Model, path: &Path) -> Result<Network, NetworkError> {
        let sha256 = model.sha256();
        model.graph.lift_constants();
        Self::lifted(model, sha256, path)
    }

    fn lifted(model: Model, sha256: String, path: &Path) -> Result<Network, NetworkError> {
        let path = path.to_path_buf();
        match input::of_images(&model.graph) {
            Ok((input, input_type)) => {
                Ok(Network { path, model, sha256, input, input_type, given: Vec::new(), baked: None })
            }
            Err(reason) => Err(NetworkError::NoImages { path, reason }),
        }
    }

    /// The file that a runtime opens: the one that was read, or one in which the given values are constants.
    pub fn file(&self) -> &Path {
        self.baked.as_ref().map_or(&self.path, |baked| baked.path())
    }

    /// Refuses a model of which one of these values cannot be differentiated: quantised, or with a runtime's own operators.
    ///
    /// # Errors
    /// [`NetworkError::NotDifferentiable`].
    pub fn check_differentiable<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Result<(), NetworkError> {
        match values.into_iter().find_map(|value| operators::obstacle(&self.model.graph, value)) {
            Some(obstacle) => Err(NetworkError::NotDifferentiable { path: self.path.clone(), obstacle }),
            None => Ok(()),
        }
    }

    /// The parameters that a scope chooses, by name.
    ///
    /// # Errors
    /// A scope that chooses none.
    pub fn parameters(&self, scope: &Scope) -> Result<Vec<String>, NetworkError> {
        self.model.graph.parameters(scope).map_err(|source| NetworkError::model(&self.path, source))
    }

    /// The recipe for this model's input; see [`Recipe::resolve`]. A model of raw bytes scales them itself, so its
    /// recipe gives the bytes as they are.
    ///
    /// # Errors
    /// A recipe that contradicts itself or the model.
    pub fn recipe(&self, preprocess: &Preprocess, sample: Option<Size>) -> Result<Recipe, RecipeError> {
        if self.input_type != DataType::Uint8 {
            return Recipe::resolve(preprocess, &self.input, sample);
        }
        let other = |values: &Option<Vec<f32>>, neutral: f32| {
            values.as_ref().is_some_and(|values| values.iter().any(|value| *value != neutral))
        };
        let scaled = [
            ("range", preprocess.range == Some(Range::Unit)),
            ("mean", other(&preprocess.mean, 0.0)),
            ("std", other(&preprocess.std, 1.0)),
        ];
        if let Some((key, _)) = scaled.into_iter().find(|(_, is)| *is) {
            return Err(RecipeError::RawBytes { key });
        }
        let raw = Preprocess { range: Some(Range::Byte), ..preprocess.clone() };
        Recipe::resolve(&raw, &self.input, sample)
    }
}
