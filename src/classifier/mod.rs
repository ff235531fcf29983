//! What must be known of a classifier besides its network: its class scores and the names of its classes.
//!
//! Class scores come as `[N, C, 1, 1]` or behind a Softmax. What is downstream sees logits `[N, C]`.

mod kind;
mod names;
mod scores;

pub use kind::OutputKind;
pub(crate) use kind::probabilities;
pub use names::{CLASS_NAMES, ClassNames, class_names, names_of_fields};

use crate::network::{Network, NetworkError};
use std::path::{Path, PathBuf};

/// Why a file is no classifier to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// The model itself.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A sound model that is no image classifier.
    #[error("`{}`: {reason}", path.display())]
    NotAClassifier {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        reason: String,
    },
    /// The names of the classes cannot be settled.
    #[error("{reason}")]
    ClassNames {
        /// What was found and expected, and what to do.
        reason: String,
    },
}

/// A checked classification model: one image input, one output of class scores.
#[derive(Debug, Clone)]
pub struct Classifier {
    /// The model.
    pub network: Network,
    /// Output that holds the class scores: `[N, classes]`, perhaps with more axes of one.
    pub output: String,
    /// Whether that output is logits or probabilities.
    pub kind: OutputKind,
    /// Value `[N, classes]` the loss is taken of: the output, or what goes into the final Softmax, without axes of one.
    pub logits: String,
    /// Number of classes.
    pub classes: usize,
}

impl Classifier {
    /// Reads and checks a model. `output` names the class scores where the model has several outputs.
    ///
    /// # Errors
    /// What is wrong with the file; a model without a four-axis image input or class scores.
    pub fn read(path: &Path, output: Option<&str>) -> Result<Classifier, ClassifierError> {
        Self::of(Network::read(path, &[])?, output)
    }

    /// [`Classifier::read`] of a model that has been read.
    ///
    /// # Errors
    /// A model without class scores.
    pub fn of(mut network: Network, output: Option<&str>) -> Result<Classifier, ClassifierError> {
        match scores::find(&network.model, output) {
            Ok(found) => {
                let logits = found.logits(&mut network.model.graph);
                Ok(Classifier { network, output: found.output, kind: found.kind, logits, classes: found.classes })
            }
            Err(reason) => Err(ClassifierError::NotAClassifier { path: network.path, reason }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isal_exporters::ModelOptions;
    use isal_onnx::{Model, Node, ValueInfo};

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
        assert_eq!(plain.network.input[1..], [Some(1), Some(28), Some(28)]);

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
