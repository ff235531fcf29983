//! What is known before anything is computed: the model, its preprocessing, its classes, where its numbers come from.

use super::usable::first_usable;
use super::{ModelSource, ReferenceSet, ScoreOptions, ScoringError};
use crate::classifier::{class_names, names_of_fields};
use crate::data::{Dataset, Image, Recipe, Size, Split};
use crate::families::{self, Family, LabelKind, Setting};
use crate::hex::hex;
use crate::network::Network;
use crate::observe::Observer;
use crate::scores::SIGN;
use crate::task::{Task, TaskModel};
use indexmap::IndexMap;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Provenance: the task, as [`Task::text`] says it.
pub(super) const TASK: &str = "task";
/// Provenance: images a batch.
pub(super) const BATCH_SIZE: &str = "batch size";
/// Provenance: pixels that the shorter side of a JPEG keeps, where they are decoded at a fraction of their size.
pub(super) const JPEG_LEAST_SIDE: &str = "jpeg least side";

/// Everything up to the sweep: what will score, and where its numbers come from.
pub(super) struct Prepared {
    pub(super) network: Network,
    pub(super) recipe: Recipe,
    /// How annotations are read and beliefs are shown.
    pub(super) family: Arc<dyn Family>,
    /// What people say of an image of the task.
    pub(super) label_kind: Option<LabelKind>,
    /// Names of the classes; empty where the task has none.
    pub(super) classes: Vec<String>,
    pub(super) provenance: IndexMap<String, String>,
}

/// Reads a model with its task.
pub(super) fn prepare(
    from: &ModelSource,
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<(Prepared, Task), ScoringError> {
    let TaskModel { network, task, classes, .. } = TaskModel::read(&from.model, &from.task)?;
    let size = |_, image: Image| Ok(Size { height: image.height(), width: image.width() });
    let sample = first_usable("pool", options.pool.dataset(), observer, size)?;
    let recipe = network.recipe(&from.preprocess, sample)?;
    let model = ("model", from.model.display().to_string());
    let mut provenance = provenance(model, &network, &task.text(), &recipe_text(&recipe), options);
    for given in &network.given {
        provenance.insert(format!("input {}", given.name), given.text.clone());
    }
    let names = match classes {
        0 => names_of_fields(&of_known_class(from)),
        classes => {
            // The folders of images are classes of a task of one class an image alone.
            let (labelled, pool) = match from.task.is_single_label() {
                true => (of_known_class(from), Some(options.pool.dataset())),
                false => (of_known_class(from).into_iter().filter(|data| data.has_classes_of_fields()).collect(), None),
            };
            let names = class_names(&network, classes, from.class_names.as_deref(), &labelled, pool)?;
            names.say(observer);
            provenance.insert("class names".into(), names.source.clone());
            Some(names)
        }
    };
    if let Some(labelled) = &from.labelled {
        families::say_dropped("labelled", labelled.dataset(), observer);
    }
    if let ReferenceSet::Given(reference) = &from.reference {
        families::say_dropped("reference", reference, observer);
    }
    let setting = Setting::of(&task, recipe.clone(), names);
    let classes = setting.classes.clone();
    let label_kind = families::label_kind(&task.name, &setting.annotations);
    let family = families::of(&task.name, setting);
    Ok((Prepared { network, recipe, family, label_kind, classes, provenance }, task))
}

/// The first lines of every provenance; `source` says which file was read.
pub(super) fn provenance(
    source: (&str, String),
    network: &Network,
    task: &str,
    preprocessing: &str,
    options: &ScoreOptions,
) -> IndexMap<String, String> {
    [
        ("sign", SIGN.to_owned()),
        ("isal", env!("CARGO_PKG_VERSION").to_owned()),
        source,
        ("model sha256", network.sha256.clone()),
        (TASK, task.to_owned()),
        ("preprocessing", preprocessing.to_owned()),
        ("pool sha256", options.pool.dataset().fingerprint()),
        // The place in the order; the sweep fills it in.
        (BATCH_SIZE, String::new()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .chain(options.jpeg_least_side.map(|side| (JPEG_LEAST_SIDE.to_owned(), side.to_string())))
    .collect()
}

/// The data sets whose folders are classes, the surest first.
fn of_known_class(from: &ModelSource) -> Vec<&Dataset> {
    let mut known: Vec<&Dataset> = from.labelled.iter().map(Split::dataset).collect();
    if let ReferenceSet::Given(reference) = &from.reference {
        known.push(reference);
    }
    known
}

/// A recipe as provenance holds it, and as an influence graph carries it.
pub(super) fn recipe_text(recipe: &Recipe) -> String {
    serde_json::to_string(recipe).unwrap_or_else(|_| format!("{recipe:?}"))
}

/// Hash of a data set together with the preprocessing it is seen through.
pub(super) fn data_sha256(dataset: &Dataset, recipe: &Recipe) -> String {
    hex(Sha256::new().chain_update(dataset.fingerprint()).chain_update(recipe_text(recipe)).finalize())
}
