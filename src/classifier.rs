//! What must be known of a classifier before it is run, trained or differentiated: its input, its class scores, its hash.

use crate::influence::{OutputKind, PseudoLabels};
use isal_onnx::influence::InfluenceOptions;
use isal_onnx::{Dim, Graph, Model};
use std::path::{Path, PathBuf};

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
}

/// A checked classification model: one image input, one output of class scores.
#[derive(Debug, Clone)]
pub struct Classifier {
    /// The file.
    pub path: PathBuf,
    /// The model as read, complete.
    pub model: Model,
    /// SHA-256 of its content, external data included.
    pub sha256: String,
    /// Sizes of the image input's four axes, where fixed.
    pub input: Vec<Option<usize>>,
    /// Output that holds the class scores, `[N, classes]`.
    pub output: String,
    /// Whether that output is logits or probabilities.
    pub kind: OutputKind,
    /// Value the loss is taken of: the output, or what goes into the final Softmax.
    pub logits: String,
    /// Number of classes.
    pub classes: usize,
    /// Names of the classes in the order of the scores, where the model's metadata hold them (`isal train` writes them).
    pub class_names: Option<Vec<String>>,
}

/// Metadata property with the class names, a JSON list in the order of the class scores.
pub const CLASS_NAMES: &str = "isal.classes";

impl Classifier {
    /// Reads and checks a model. `output` names the class scores where the model has several outputs.
    ///
    /// # Errors
    /// What is wrong with the file; a model without a four-axis image input or class scores.
    pub fn read(path: &Path, output: Option<&str>) -> Result<Classifier, ClassifierError> {
        let model = Model::read(path).map_err(|source| ClassifierError::Model { path: path.to_path_buf(), source })?;
        Self::of(model, path, output)
    }

    /// [`Classifier::read`] of a model that has been read from `path`.
    ///
    /// # Errors
    /// As [`Classifier::read`].
    pub fn of(mut model: Model, path: &Path, output: Option<&str>) -> Result<Classifier, ClassifierError> {
        let sha256 = model.sha256();
        model.graph.lift_constants();
        let refused = |reason: String| ClassifierError::NotAClassifier { path: path.to_path_buf(), reason };
        // Files need not say the shapes of their outputs.
        let untyped = model.graph.outputs.iter().any(|o| o.value_type.as_ref().is_none_or(|t| t.shape.is_none()));
        let inferred = untyped.then(|| {
            let mut typed = model.clone();
            typed.infer_shapes().ok().map(|()| typed.graph)
        });
        let inferred = inferred.flatten();
        let graph = inferred.as_ref().unwrap_or(&model.graph);
        let input = image_input(graph).map_err(refused)?;
        let (output, classes) = class_scores(graph, output).map_err(refused)?;
        let (kind, logits) = match final_softmax(graph, &output) {
            Some(before) => (OutputKind::Probabilities, before),
            None => (OutputKind::Logits, output.clone()),
        };
        let class_names = model
            .metadata
            .get(CLASS_NAMES)
            .and_then(|text| serde_json::from_str::<Vec<String>>(text).ok())
            .filter(|names| names.len() == classes);
        Ok(Classifier { path: path.to_path_buf(), sha256, class_names, input, output, kind, logits, classes, model })
    }
}

impl Classifier {
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

fn image_input(graph: &Graph) -> Result<Vec<Option<usize>>, String> {
    let [input] = graph.inputs.as_slice() else {
        let names: Vec<&str> = graph.inputs.iter().map(|i| i.name.as_str()).collect();
        return Err(format!("expected one input of images, found {}: `{}`", names.len(), names.join("`, `")));
    };
    let found = input.value_type.as_ref();
    let shape = found.and_then(|t| t.shape.as_ref()).filter(|shape| shape.len() == 4);
    let Some(shape) = shape else {
        let text = found.map_or_else(|| "no type".to_owned(), ToString::to_string);
        return Err(format!("input `{}` is {text}, expected images [N, C, H, W] or [N, H, W, C]", input.name));
    };
    if let Some(data_type) = found.map(|t| t.data_type).filter(|t| *t != isal_onnx::DataType::Float) {
        return Err(format!("input `{}` is {data_type:?}, expected Float", input.name));
    }
    Ok(shape.iter().map(Dim::known).collect())
}

/// The class scores: the output asked for, or the first of two axes whose second is known.
fn class_scores(graph: &Graph, wanted: Option<&str>) -> Result<(String, usize), String> {
    let described = || {
        graph
            .outputs
            .iter()
            .map(|o| match &o.value_type {
                Some(t) => format!("`{}` {t}", o.name),
                None => format!("`{}`", o.name),
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    let classes = |value: &isal_onnx::ValueInfo| match value.value_type.as_ref()?.shape.as_deref()? {
        [_, classes] => classes.known(),
        _ => None,
    };
    let found = match wanted {
        Some(name) => graph.outputs.iter().find(|o| o.name == name),
        None => graph.outputs.iter().find(|o| classes(o).is_some()),
    };
    let output = found.ok_or_else(|| format!("no output of class scores [N, classes] among {}", described()))?;
    let classes = classes(output).filter(|n| *n >= 2).ok_or_else(|| {
        format!("expected class scores [N, classes] with at least two classes, found {}", described())
    })?;
    Ok((output.name.clone(), classes))
}

/// What goes into the Softmax that makes `output`, where one does, over its last axis.
fn final_softmax(graph: &Graph, output: &str) -> Option<String> {
    let node = graph.nodes.get(graph.producer(output)?)?;
    let over_classes = matches!(node.int("axis"), None | Some(-1 | 1));
    (node.op_type == "Softmax" && node.domain.is_empty() && over_classes).then(|| node.input(0).map(str::to_owned))?
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
