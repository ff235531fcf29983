//! What must be known of a classifier before it is run, trained or differentiated: its input, its class scores, the names
//! of its classes, its hash.
//!
//! Files come in many forms: raw bytes in, several inputs, class scores `[N, C, 1, 1]` or behind a Softmax. What is
//! downstream sees one image input and logits `[N, C]`.

mod given;
mod input;
mod names;
mod operators;
mod scores;

pub use given::{GivenInput, GivenInputError};
pub use names::{CLASS_NAMES, ClassNames, class_names};
pub use operators::Obstacle;

use crate::data::{Preprocess, Range, Recipe, RecipeError, Size};
use crate::influence::{OutputKind, PseudoLabels};
use isal_onnx::influence::InfluenceOptions;
use isal_onnx::{DataType, Model};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a file is no classifier to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// The model file is not sound.
    #[error("`{}`", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: isal_onnx::Error,
    },
    /// A sound model that is no image classifier.
    #[error("`{}`: {reason}", path.display())]
    NotAClassifier {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        reason: String,
    },
    /// A classifier that can be run but not differentiated.
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
    /// The names of the classes cannot be settled.
    #[error("{reason}")]
    ClassNames {
        /// What was found and expected, and what to do.
        reason: String,
    },
    /// A model with values for its further inputs could not be put aside for the runtime.
    #[error("cannot write a temporary model")]
    Temporary {
        /// Why.
        source: std::io::Error,
    },
}

/// What is told about a model besides its file.
#[derive(Debug, Clone, Default)]
pub struct ClassifierOptions {
    /// Output with the class scores, where the model has several.
    pub output: Option<String>,
    /// Values of inputs besides the images.
    pub inputs: Vec<GivenInput>,
}

/// A checked classification model: one image input, one output of class scores.
#[derive(Debug, Clone)]
pub struct Classifier {
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
    /// Output that holds the class scores: `[N, classes]`, perhaps with more axes of one.
    pub output: String,
    /// Whether that output is logits or probabilities.
    pub kind: OutputKind,
    /// Value `[N, classes]` the loss is taken of: the output, or what goes into the final Softmax, without axes of one.
    pub logits: String,
    /// Number of classes.
    pub classes: usize,
    /// Values given for other inputs than the images.
    pub given: Vec<GivenInput>,
    /// The model that a runtime opens, where it is not the file at `path`.
    baked: Option<Arc<given::Baked>>,
}

impl Classifier {
    /// Reads and checks a model. `output` names the class scores where the model has several outputs.
    ///
    /// # Errors
    /// What is wrong with the file; a model without a four-axis image input or class scores.
    pub fn read(path: &Path, output: Option<&str>) -> Result<Classifier, ClassifierError> {
        let options = ClassifierOptions { output: output.map(str::to_owned), inputs: Vec::new() };
        Self::read_with(path, &options)
    }

    /// [`Classifier::read`] with values for further inputs.
    ///
    /// # Errors
    /// As [`Classifier::read`]; a value that does not fit its input.
    pub fn read_with(path: &Path, options: &ClassifierOptions) -> Result<Classifier, ClassifierError> {
        let mut model =
            Model::read(path).map_err(|source| ClassifierError::Model { path: path.to_path_buf(), source })?;
        if options.inputs.is_empty() {
            return Self::of(model, path, options.output.as_deref());
        }
        model.graph.lift_constants();
        for given in &options.inputs {
            given.bake(&mut model).map_err(|source| ClassifierError::Given {
                path: path.to_path_buf(),
                name: given.name.clone(),
                source,
            })?;
        }
        let baked = Some(Arc::new(given::Baked::write(&model, path)?));
        let sha256 = model.sha256();
        let read = Self::lifted(model, sha256, path, options.output.as_deref())?;
        Ok(Classifier { baked, given: options.inputs.clone(), ..read })
    }

    /// [`Classifier::read`] of a model that has been read from `path`.
    ///
    /// # Errors
    /// As [`Classifier::read`].
    pub fn of(mut model: Model, path: &Path, output: Option<&str>) -> Result<Classifier, ClassifierError> {
        let sha256 = model.sha256();
        model.graph.lift_constants();
        Self::lifted(model, sha256, path, output)
    }

    fn lifted(
        mut model: Model,
        sha256: String,
        path: &Path,
        output: Option<&str>,
    ) -> Result<Classifier, ClassifierError> {
        let refused = |reason: String| ClassifierError::NotAClassifier { path: path.to_path_buf(), reason };
        let (input, input_type) = input::of_images(&model.graph).map_err(refused)?;
        let found = scores::find(&model, output).map_err(refused)?;
        let logits = found.logits(&mut model.graph);
        Ok(Classifier {
            path: path.to_path_buf(),
            model,
            sha256,
            input,
            input_type,
            output: found.output,
            kind: found.kind,
            logits,
            classes: found.classes,
            given: Vec::new(),
            baked: None,
        })
    }

    /// The file that a runtime opens: the one that was read, or one in which the given values are constants.
    pub fn file(&self) -> &Path {
        self.baked.as_ref().map_or(&self.path, |baked| baked.path())
    }

    /// Refuses a model whose logits cannot be differentiated: quantised, or with a runtime's own operators.
    ///
    /// # Errors
    /// [`ClassifierError::NotDifferentiable`].
    pub fn check_differentiable(&self) -> Result<(), ClassifierError> {
        match operators::obstacle(&self.model.graph, &self.logits) {
            Some(obstacle) => Err(ClassifierError::NotDifferentiable { path: self.path.clone(), obstacle }),
            None => Ok(()),
        }
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

    /// What an influence graph of this classifier computes.
    pub fn influence_options(&self, pseudo_labels: PseudoLabels) -> InfluenceOptions {
        InfluenceOptions {
            logits: self.logits.clone(),
            classes: self.classes,
            top_k: match pseudo_labels {
                PseudoLabels::ArgMax => 1,
                expected => expected.effective(self.classes).max(2),
            },
            per_class: false,
            embedding: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isal_exporters::ModelOptions;
    use isal_onnx::{Node, ValueInfo};

    fn lenet() -> Model {
        let options = ModelOptions { input: [1, 28, 28], classes: 10, seed: 0, opset: 17, batch_norm: false };
        isal_exporters::build("lenet", &options).expect("built")
    }

    fn written(model: &Model) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.onnx");
        model.write(&path).expect("written");
        (folder, path)
    }

    #[test]
    fn a_softmax_at_the_end_is_seen_through() {
        let mut model = lenet();
        let (_keep, path) = written(&model);
        let plain = Classifier::read(&path, None).expect("read");
        assert_eq!((plain.kind, plain.classes, plain.logits.as_str()), (OutputKind::Logits, 10, "logits"));
        assert_eq!(plain.input[1..], [Some(1), Some(28), Some(28)]);

        let output = model.graph.outputs[0].clone();
        model.graph.nodes.push(Node::new("Softmax", "last", ["logits"], ["probabilities"]));
        model.graph.outputs = vec![ValueInfo { name: "probabilities".into(), ..output }];
        let (_keep, path) = written(&model);
        let soft = Classifier::read(&path, None).expect("read");
        assert_eq!((soft.kind, soft.logits.as_str()), (OutputKind::Probabilities, "logits"));
    }

    #[test]
    fn a_model_that_is_no_classifier_is_refused_with_what_it_has() {
        let mut model = lenet();
        model.graph.outputs[0].value_type = None;
        model.graph.value_types.clear();
        let (_keep, path) = written(&model);
        assert_eq!(Classifier::read(&path, None).expect("its shapes follow").classes, 10);
        let message = Classifier::read(&path, Some("boxes")).expect_err("no such output").to_string();
        assert!(message.contains("`logits`"), "{message}");
    }
}
