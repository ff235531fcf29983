//! What is known before anything is computed: the model, its preprocessing, its classes, where its numbers come from.

use super::usable::first_usable;
use super::{ModelSource, ReferenceSet, ScoreOptions, ScoringError};
use crate::classifier::{Classifier, class_names};
use crate::data::{Dataset, Image, Recipe, Size, Split};
use crate::influence::{Contraction, OutputKind, PseudoLabels};
use crate::observe::Observer;
use crate::scores::SIGN;
use indexmap::IndexMap;
use sha2::{Digest as _, Sha256};

/// Provenance: images a batch.
pub(super) const BATCH_SIZE: &str = "batch size";
/// Provenance: pixels that the shorter side of a JPEG keeps, where they are decoded at a fraction of their size.
pub(super) const JPEG_LEAST_SIDE: &str = "jpeg least side";

/// Everything up to the sweep: what will score, and where its numbers come from.
pub(super) struct Prepared {
    pub(super) classifier: Classifier,
    pub(super) recipe: Recipe,
    pub(super) classes: Vec<String>,
    pub(super) pseudo_labels: PseudoLabels,
    pub(super) provenance: IndexMap<String, String>,
}

/// Reads a classifier.
pub(super) fn prepare(
    from: &ModelSource,
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<Prepared, ScoringError> {
    let classifier = Classifier::read_with(&from.model, &from.classifier)?;
    let size = |_, image: Image| Ok(Size { height: image.height(), width: image.width() });
    let sample = first_usable("pool", options.pool.dataset(), observer, size)?;
    let recipe = classifier.recipe(&from.preprocess, sample)?;
    let names =
        class_names(&classifier, from.class_names.as_deref(), &of_known_class(from), Some(options.pool.dataset()))?;
    names.say(observer);
    let pseudo_labels = PseudoLabels::top(from.expected_top_k);
    let model = ("model", from.model.display().to_string());
    let mut provenance = provenance(model, &classifier, &recipe_text(&recipe), options);
    for given in &classifier.given {
        provenance.insert(format!("input {}", given.name), given.text.clone());
    }
    provenance.insert("class names".into(), names.source);
    Ok(Prepared { classifier, recipe, classes: names.names, pseudo_labels, provenance })
}

/// The first lines of every provenance; `source` says which file was read.
pub(super) fn provenance(
    source: (&str, String),
    classifier: &Classifier,
    preprocessing: &str,
    options: &ScoreOptions,
) -> IndexMap<String, String> {
    let class_scores = format!("{} ({:?}), {} classes", classifier.output, classifier.kind, classifier.classes);
    [
        ("sign", SIGN.to_owned()),
        ("isal", env!("CARGO_PKG_VERSION").to_owned()),
        source,
        ("model sha256", classifier.sha256.clone()),
        ("class scores", class_scores),
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

impl Prepared {
    /// Of the plugin's outputs: its model ends at the logits, whatever the file's own output is.
    pub(super) fn contraction_of_logits(&self) -> Contraction {
        Contraction { output: OutputKind::Logits, ..self.contraction() }
    }

    pub(super) fn contraction(&self) -> Contraction {
        Contraction { output: self.classifier.kind, pseudo_labels: self.pseudo_labels, per_class: false }
    }
}

/// A recipe as provenance holds it, and as an influence graph carries it.
pub(super) fn recipe_text(recipe: &Recipe) -> String {
    serde_json::to_string(recipe).unwrap_or_else(|_| format!("{recipe:?}"))
}

/// Hash of a data set together with the preprocessing it is seen through.
pub(super) fn data_sha256(dataset: &Dataset, recipe: &Recipe) -> String {
    let digest = Sha256::new().chain_update(dataset.fingerprint()).chain_update(recipe_text(recipe)).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
