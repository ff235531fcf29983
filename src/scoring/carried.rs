//! What an influence graph carries in its metadata, so that the file alone is enough to score a pool with.
//!
//! Properties under `isal.influence.` besides those that say how the graph was made: `task`, `classes` (a JSON list in the
//! order of the model's), `preprocessing` (the resolved recipe as JSON), `pseudo-labels`, and where `s` comes from. Pseudo-labels
//! and beliefs are outputs.

use super::engines::describe_vector;
use super::prepared::{Prepared, TASK, provenance, recipe_text};
use super::{ScoreOptions, ScoringError};
use crate::data::Recipe;
use crate::families::{self, Family, LabelKind, Setting};
use crate::influence::SolvedVector;
use crate::influence_graph::PREPROCESSING_INSIDE;
use crate::network::{Network, NetworkError};
use crate::task::Task;
use isal_onnx::influence::{InfluenceMetadata, PSEUDO_LABEL, decoded_as};
use isal_onnx::{Model, ValueInfo};
use std::path::Path;
use std::sync::Arc;

/// What an influence graph of this model and vector is to carry. Stored in the *model*, whose metadata every graph built
/// from it keeps.
pub(super) fn properties(prepared: &Prepared, task: &Task, vector: &SolvedVector) -> InfluenceMetadata {
    let mut properties = describe_vector(vector);
    properties.insert("classes".into(), serde_json::json!(prepared.classes).to_string());
    properties.insert("preprocessing".into(), recipe_text(&prepared.recipe));
    properties.insert(TASK.into(), task.text());
    properties.insert("pseudo-labels".into(), task.pseudo_labels.clone());
    InfluenceMetadata(properties)
}

/// Whether a graph has them all. What the form itself writes (scope, solver, lambda) follows from the vector's hash.
pub(super) fn holds(found: &InfluenceMetadata, wanted: &InfluenceMetadata) -> bool {
    let compared = ["classes", "preprocessing", TASK, "s sha256"];
    compared.iter().all(|key| found.get(key).is_some() && found.get(key) == wanted.get(key))
}

/// An influence graph, read, for these options.
pub(super) struct Carried {
    pub(super) prepared: Prepared,
    pub(super) metadata: InfluenceMetadata,
}

impl Carried {
    /// Reads an influence graph and all that it carries.
    ///
    /// # Errors
    /// As [`Contents::read`].
    pub(super) fn read(path: &Path, options: &ScoreOptions) -> Result<Carried, ScoringError> {
        let Contents { network, recipe, preprocessing, family, label_kind, classes, task, metadata } =
            Contents::read(path)?;
        let source = ("influence graph", path.display().to_string());
        let provenance = provenance(source, &network, &task, &preprocessing, options);
        Ok(Carried { prepared: Prepared { network, recipe, family, label_kind, classes, provenance }, metadata })
    }
}

/// What an influence graph carries.
pub(super) struct Contents {
    pub(super) network: Network,
    pub(super) recipe: Recipe,
    /// The recipe as the graph has it.
    preprocessing: String,
    /// How beliefs are shown.
    pub(super) family: Arc<dyn Family>,
    /// What people say of an image of the task.
    label_kind: Option<LabelKind>,
    /// Names of the classes.
    pub(super) classes: Vec<String>,
    /// The task, in a line.
    pub(super) task: String,
    pub(super) metadata: InfluenceMetadata,
}

impl Contents {
    /// Reads an influence graph and all that it carries.
    ///
    /// # Errors
    /// [`ScoringError::NotAnInfluenceGraph`] with what is missing or contradicts itself.
    pub(super) fn read(path: &Path) -> Result<Contents, ScoringError> {
        let refused = |reason: String| ScoringError::NotAnInfluenceGraph { path: path.to_path_buf(), reason };
        let model = Model::read(path).map_err(|source| NetworkError::model(path, source))?;
        let metadata = InfluenceMetadata::of(&model).ok_or_else(|| {
            refused("is no influence graph: it has no metadata property `isal.influence.form`".to_owned())
        })?;
        if metadata.get(TASK).is_none() && metadata.get("class scores").is_some() {
            let again =
                "was written by an earlier version: make it again, by `isal score pool` or `isal export influence`";
            return Err(refused(again.to_owned()));
        }
        let property = |key: &str| {
            let lacks =
                || refused(format!("lacks the metadata property `isal.influence.{key}`, so it cannot be used alone"));
            metadata.get(key).ok_or_else(lacks)
        };
        let task = property(TASK)?.to_owned();
        let mut network = Network::of(model, path)?;
        network.sha256 = property("model sha256")?.to_owned();
        let classes: Vec<String> = serde_json::from_str(property("classes")?)
            .map_err(|e| refused(format!("has a property `isal.influence.classes` that is no list of names: {e}")))?;
        if metadata.get("preprocessing").is_none() && metadata.get(PREPROCESSING_INSIDE).is_some() {
            return Err(refused(
                "resizes and crops by itself, so that images of different sizes cannot share a batch here: take the graph as it \
                 is without `--with-preprocessing`"
                    .to_owned(),
            ));
        }
        let preprocessing = property("preprocessing")?.to_owned();
        let recipe: Recipe = serde_json::from_str(&preprocessing)
            .map_err(|e| refused(format!("has a property `isal.influence.preprocessing` that is no recipe: {e}")))?;
        let resolved = network.recipe(&recipe.spelt_out(), Some(recipe.size))?;
        if resolved != recipe {
            return Err(refused("carries preprocessing that does not fit its own input".to_owned()));
        }
        let believed = network.model.graph.outputs.iter().filter_map(|output| {
            let name = decoded_as(&output.name, PSEUDO_LABEL)?.to_owned();
            Some(ValueInfo { name, ..output.clone() })
        });
        let annotations: Vec<ValueInfo> = believed.collect();
        // A row of a number a class says how many there are.
        let mut rows =
            annotations.iter().filter_map(|annotation| match annotation.value_type.as_ref()?.shape.as_deref()? {
                [_, each] => each.known().filter(|_| !classes.is_empty()),
                _ => None,
            });
        if let Some(expected) = rows.next().filter(|expected| *expected != classes.len()) {
            let found = classes.len();
            return Err(refused(format!("carries {found} class names for {expected} classes")));
        }
        let setting = Setting {
            annotations,
            classes: classes.clone(),
            class_order: "the influence graph".to_owned(),
            recipe: recipe.clone(),
        };
        let label_kind = families::label_kind(families::named_in(&task), &setting.annotations);
        let family = families::of(families::named_in(&task), setting);
        Ok(Contents { network, recipe, preprocessing, family, label_kind, classes, task, metadata })
    }
}
