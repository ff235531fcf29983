//! What an influence graph carries in its metadata, so that the file alone is enough to score a pool with.
//!
//! Properties under `isal.influence.` besides those that say how the graph was made: `classes` (a JSON list in the order
//! of the class scores), `preprocessing` (the resolved recipe as JSON), `class scores kind`, and where `s` comes from.

use super::engines::describe_vector;
use super::prepared::{Prepared, provenance, recipe_text};
use super::{ScoreOptions, ScoringError};
use crate::classifier::Classifier;
use crate::data::{Preprocess, Recipe};
use crate::influence::{OutputKind, PseudoLabels, SolvedVector};
use isal_onnx::Model;
use isal_onnx::influence::InfluenceMetadata;
use std::path::Path;

/// What an influence graph of this model and vector is to carry. Stored in the *model*, whose metadata every graph built
/// from it keeps.
pub(super) fn properties(prepared: &Prepared, vector: &SolvedVector) -> InfluenceMetadata {
    let mut properties = describe_vector(vector);
    properties.insert("classes".into(), serde_json::json!(prepared.classes).to_string());
    properties.insert("preprocessing".into(), recipe_text(&prepared.recipe));
    properties.insert("class scores".into(), prepared.classifier.output.clone());
    properties.insert("class scores kind".into(), kind_text(prepared.classifier.kind).into());
    InfluenceMetadata(properties)
}

/// Whether a graph has them all. What the form itself writes (scope, solver, lambda) follows from the vector's hash.
pub(super) fn holds(found: &InfluenceMetadata, wanted: &InfluenceMetadata) -> bool {
    let compared = ["classes", "preprocessing", "class scores", "class scores kind", "s sha256"];
    compared.iter().all(|key| found.get(key).is_some() && found.get(key) == wanted.get(key))
}

fn kind_text(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Logits => "logits",
        OutputKind::Probabilities => "probabilities",
    }
}

/// An influence graph, read.
pub(super) struct Carried {
    pub(super) prepared: Prepared,
    pub(super) metadata: InfluenceMetadata,
}

impl Carried {
    /// Reads an influence graph and all that it carries.
    ///
    /// # Errors
    /// [`ScoringError::NotAnInfluenceGraph`] with what is missing or contradicts itself.
    pub(super) fn read(path: &Path, options: &ScoreOptions) -> Result<Carried, ScoringError> {
        let refused = |reason: String| ScoringError::NotAnInfluenceGraph { path: path.to_path_buf(), reason };
        let model = Model::read(path)
            .map_err(|source| crate::classifier::ClassifierError::Model { path: path.to_path_buf(), source })?;
        let metadata = InfluenceMetadata::of(&model).ok_or_else(|| {
            refused("is no influence graph: it has no metadata property `isal.influence.form`".to_owned())
        })?;
        let property = |key: &str| {
            let lacks =
                || refused(format!("lacks the metadata property `isal.influence.{key}`, so it cannot be used alone"));
            metadata.get(key).ok_or_else(lacks)
        };
        let mut classifier = Classifier::of(model, path, Some(property("class scores")?))?;
        classifier.kind = match property("class scores kind")? {
            "logits" => OutputKind::Logits,
            "probabilities" => OutputKind::Probabilities,
            other => return Err(refused(format!("has class scores of the unknown kind `{other}`"))),
        };
        // What the graph computes beside the model hides a final Softmax where the outputs are means of two passes.
        classifier.sha256 = property("model sha256")?.to_owned();
        let classes: Vec<String> = serde_json::from_str(property("classes")?)
            .map_err(|e| refused(format!("has a property `isal.influence.classes` that is no list of names: {e}")))?;
        if classes.len() != classifier.classes {
            let (found, expected) = (classes.len(), classifier.classes);
            return Err(refused(format!("carries {found} class names for {expected} class scores")));
        }
        let text = property("preprocessing")?;
        let recipe: Recipe = serde_json::from_str(text)
            .map_err(|e| refused(format!("has a property `isal.influence.preprocessing` that is no recipe: {e}")))?;
        let resolved = classifier.recipe(&spelt_out(&recipe), Some(recipe.size))?;
        if resolved != recipe {
            return Err(refused("carries preprocessing that does not fit its own input".to_owned()));
        }
        let top_k: usize = property("top k")?
            .parse()
            .map_err(|_| refused("has a property `isal.influence.top k` that is no number".to_owned()))?;
        let source = ("influence graph", path.display().to_string());
        let provenance = provenance(source, &classifier, text, options);
        let pseudo_labels = PseudoLabels::top(top_k);
        Ok(Carried { prepared: Prepared { classifier, recipe, classes, pseudo_labels, provenance }, metadata })
    }
}

/// A resolved recipe as a table in which nothing is left open.
fn spelt_out(recipe: &Recipe) -> Preprocess {
    Preprocess {
        channels: Some(recipe.channels),
        layout: Some(recipe.layout),
        resize: Some(recipe.resize),
        filter: Some(recipe.filter),
        crop: recipe.crop,
        range: Some(recipe.range),
        mean: Some(recipe.mean.clone()),
        std: Some(recipe.std.clone()),
        alpha: Some(recipe.alpha),
    }
}
