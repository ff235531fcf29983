//! What is known before anything is computed: the model, its preprocessing, its classes, where its numbers come from.

use super::{ReferenceSet, ScoreOptions, ScoringError};
use crate::classifier::Classifier;
use crate::data::{Dataset, Recipe, Size, Split, common_classes};
use crate::influence::{Contraction, PseudoLabels};
use crate::scores::SIGN;
use indexmap::IndexMap;
use sha2::{Digest as _, Sha256};

/// Everything up to the sweep: what will score, and where its numbers come from.
pub(super) struct Prepared {
    pub(super) classifier: Classifier,
    pub(super) recipe: Recipe,
    pub(super) classes: Vec<String>,
    pub(super) pseudo_labels: PseudoLabels,
    pub(super) provenance: IndexMap<String, String>,
}

pub(super) fn prepare(options: &ScoreOptions) -> Result<Prepared, ScoringError> {
    let classifier = Classifier::read(&options.model, options.output.as_deref())?;
    let sample = options.pool.dataset().load(0).ok().map(|image| Size { height: image.height(), width: image.width() });
    let recipe = Recipe::resolve(&options.preprocess, &classifier.input, sample)?;
    let classes = class_names(options, &classifier)?;
    let pseudo_labels = PseudoLabels::top(options.expected_top_k);
    let provenance = IndexMap::from([
        ("sign".to_owned(), SIGN.to_owned()),
        ("isal".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("model".to_owned(), options.model.display().to_string()),
        ("model sha256".to_owned(), classifier.sha256.clone()),
        (
            "class scores".to_owned(),
            format!("{} ({:?}), {} classes", classifier.output, classifier.kind, classifier.classes),
        ),
        ("preprocessing".to_owned(), recipe_text(&recipe)),
        ("pool sha256".to_owned(), options.pool.dataset().fingerprint()),
        ("batch size".to_owned(), options.batch_size.to_string()),
    ]);
    Ok(Prepared { classifier, recipe, classes, pseudo_labels, provenance })
}

/// Names of the classes in the order of the model's outputs: those it carries, else those of the labelled images.
fn class_names(options: &ScoreOptions, classifier: &Classifier) -> Result<Vec<String>, ScoringError> {
    if let Some(names) = &classifier.class_names {
        return Ok(names.clone());
    }
    let mut known: Vec<&Dataset> = options.labelled.iter().map(Split::dataset).collect();
    if let ReferenceSet::Given(reference) = &options.reference {
        known.push(reference);
    }
    let named = common_classes(&known);
    match named.len() {
        0 => Ok((0..classifier.classes).map(|c| c.to_string()).collect()),
        found if found == classifier.classes => Ok(named),
        found => Err(ScoringError::Classes { found, expected: classifier.classes }),
    }
}

impl Prepared {
    pub(super) fn contraction(&self) -> Contraction {
        Contraction { output: self.classifier.kind, pseudo_labels: self.pseudo_labels, per_class: false }
    }
}

fn recipe_text(recipe: &Recipe) -> String {
    serde_json::to_string(recipe).unwrap_or_else(|_| format!("{recipe:?}"))
}

/// Hash of a data set together with the preprocessing it is seen through.
pub(super) fn data_sha256(dataset: &Dataset, recipe: &Recipe) -> String {
    let digest = Sha256::new().chain_update(dataset.fingerprint()).chain_update(recipe_text(recipe)).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
