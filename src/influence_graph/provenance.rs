//! What an influence graph says of where it comes from, in its metadata properties.
//!
//! Of several vectors a property lists one value each, in the order of the directions, or one value where all agree.

use super::step::{Agreement, Judge};
use crate::influence::SolvedVector;
use crate::network::Network;
use crate::scores::SIGN;
use crate::task::Task;
use isal_onnx::influence::InfluenceMetadata;

/// The properties that follow from the model and the vectors.
pub(super) fn of_vectors(network: &Network, task: &Task, vectors: &[SolvedVector]) -> InfluenceMetadata {
    let each = |value: &dyn Fn(&SolvedVector) -> String| {
        let values: Vec<String> = vectors.iter().map(value).collect();
        match values.first() {
            Some(first) if values.iter().all(|v| v == first) => first.clone(),
            _ => values.join(", "),
        }
    };
    let mut metadata = InfluenceMetadata::default();
    for (key, value) in [
        ("isal", env!("CARGO_PKG_VERSION").to_owned()),
        ("sign", SIGN.to_owned()),
        ("model sha256", network.sha256.clone()),
        ("task", task.text()),
        ("pseudo-labels", task.pseudo_labels.clone()),
        ("directions", vectors.len().to_string()),
        ("s sha256", vectors.iter().map(SolvedVector::sha256).collect::<Vec<_>>().join(", ")),
        ("scope", each(&|v| v.provenance.scope.clone())),
        ("solver", each(&|v| v.provenance.solve.options.solver().to_owned())),
        ("lambda", each(&|v| format!("{:e}", v.provenance.solve.lambda))),
        ("residual", each(&|v| format!("{:.3e}", v.provenance.solve.residual))),
        ("labelled sha256", each(&|v| v.provenance.labelled_sha256.clone())),
        ("labelled images", each(&|v| v.provenance.labelled_samples.to_string())),
        ("curvature images", each(&|v| v.provenance.curvature_images())),
        ("reference sha256", each(&|v| v.provenance.reference_sha256.clone())),
        ("reference images", each(&|v| v.provenance.reference_samples.to_string())),
        ("reference loss", each(&|v| format!("{:.6}", v.provenance.reference_loss))),
    ] {
        metadata.0.insert(key.to_owned(), value);
    }
    metadata
}

/// The properties that say how good the influences are, and what speaks against them where they are used all the same.
pub(super) fn of_agreement(
    agreement: &Agreement,
    judge: &Judge,
    images: usize,
    unproven: Option<String>,
) -> InfluenceMetadata {
    let mut metadata = InfluenceMetadata::default();
    for (key, value) in [
        ("agreement", agreement.to_string()),
        ("spearman", agreement.spearman.to_string()),
        ("worst error", format!("{:e}", agreement.worst)),
        ("agreement with", format!("{} on {images} images", judge.name())),
    ] {
        metadata.0.insert(key.to_owned(), value);
    }
    if let Some(reason) = unproven {
        metadata.0.insert("unproven".to_owned(), reason);
    }
    metadata
}
