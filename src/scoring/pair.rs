//! The paired influence graph for a sweep: its step is chosen on images of the pool against the exact derivative.

use super::ScoringError;
use crate::classifier::{Classifier, ClassifierError};
use crate::durable;
use crate::influence::{Contraction, PseudoLabels, SolvedVector, spearman};
use crate::observe::Observer;
use crate::runtime::{Library, Session, SessionOptions};
use crate::sweep::{InfluenceGraph, Scorer};
use isal_onnx::Tensor;
use isal_onnx::influence::{Difference, Direction, InfluenceMetadata, Paired, paired};
use ndarray::Array4;
use std::path::Path;

/// Relative steps that are tried: from where kinks are crossed to where float32 rounds a step away.
const STEPS: [f64; 7] = [1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6];
/// Rank agreement with the exact influences that a step must reach.
const AGREEMENT: f64 = 0.999;

/// How well the chosen step does on the sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agreement {
    /// `||eps s|| / ||theta||`.
    pub step: f64,
    /// Spearman correlation with the exact influences.
    pub spearman: f64,
    /// Largest error over the largest exact influence.
    pub worst: f64,
}

/// A solved vector as a direction of the model's initializers.
///
/// # Errors
/// A vector whose length is not that of its parameters.
pub(super) fn direction(vector: &SolvedVector) -> Result<Direction, ScoringError> {
    let blocks = vector.blocks(&vector.s).map_err(|e| ScoringError::Artefact(Box::new(e)))?;
    Ok(blocks.into_iter().map(|(p, block)| (p.name.clone(), Tensor::new(p.shape.clone(), block))).collect())
}

/// What the graph is built from and checked on.
pub(super) struct Sample<'a> {
    /// The model.
    pub classifier: &'a Classifier,
    /// The solved vector.
    pub vector: &'a SolvedVector,
    /// Which labels stand in.
    pub pseudo_labels: PseudoLabels,
    /// Preprocessed pool images.
    pub images: Array4<f32>,
    /// Their exact influences.
    pub exact: Vec<f64>,
}

impl Sample<'_> {
    /// Tries every step, writes the graph of the best one to `path`, and opens it; gives its properties besides.
    ///
    /// # Errors
    /// [`ScoringError::PairedStep`] when no step ranks the sample as the exact derivative does.
    pub(super) fn build(
        &self,
        path: &Path,
        library: &Library,
        session_options: SessionOptions,
        contraction: Contraction,
        observer: &dyn Observer,
    ) -> Result<(InfluenceGraph, InfluenceMetadata), ScoringError> {
        let s = direction(self.vector)?;
        let options = self.classifier.influence_options(self.pseudo_labels);
        let model = |step: f64| {
            let how = Paired { relative_step: step, difference: Difference::OneSided };
            paired(&self.classifier.model, std::slice::from_ref(&s), &options, how).map_err(|source| {
                ScoringError::from(ClassifierError::Model { path: self.classifier.path.clone(), source })
            })
        };
        let open = |path: &Path| -> Result<InfluenceGraph, ScoringError> {
            let session = Session::open(library, path, session_options)?;
            Ok(InfluenceGraph { session, output: self.classifier.output.clone(), contraction })
        };
        let scratch = tempfile::tempdir().map_err(|source| durable::DurableError::Io {
            doing: "create a temporary folder in",
            path: std::env::temp_dir(),
            source,
        })?;
        observer.begin("choosing the step", STEPS.len() as u64, "steps");
        let mut best: Option<Agreement> = None;
        for step in STEPS {
            let trial = scratch.path().join("trial.onnx");
            write(&model(step)?, &trial)?;
            let found = open(&trial)?.score(self.images.view())?.influence.unwrap_or_default();
            let agreement = Agreement {
                step,
                spearman: spearman(&found, &self.exact).unwrap_or(f64::NAN),
                worst: worst(&found, &self.exact),
            };
            // A NaN compares as no better.
            if best.is_none_or(|b| agreement.spearman > b.spearman || b.spearman.is_nan()) {
                best = Some(agreement);
            }
            observer.advance(1);
        }
        observer.end();
        let chosen = best.ok_or(ScoringError::NoScores { images: self.exact.len() })?;
        if chosen.spearman.is_nan() || chosen.spearman < AGREEMENT {
            return Err(ScoringError::PairedStep { step: chosen.step, spearman: chosen.spearman, wanted: AGREEMENT });
        }
        let mut built = model(chosen.step)?;
        let mut metadata = InfluenceMetadata::default();
        for (key, value) in [
            ("model sha256", self.classifier.sha256.clone()),
            ("s sha256", self.vector.sha256()),
            ("sign", crate::scores::SIGN.to_owned()),
            ("top k", options.top_k.to_string()),
            ("class scores", self.classifier.output.clone()),
            ("scope", self.vector.provenance.scope.clone()),
            ("solver", self.vector.provenance.solve.options.solver().to_owned()),
            ("lambda", format!("{:e}", self.vector.provenance.solve.lambda)),
            ("reference sha256", self.vector.provenance.reference_sha256.clone()),
            (
                "agreement",
                format!("Spearman {:.6}, worst error {:.2e} of the largest influence", chosen.spearman, chosen.worst),
            ),
        ] {
            metadata.0.insert(key.to_owned(), value);
        }
        metadata.store(&mut built);
        write(&built, path)?;
        let metadata = InfluenceMetadata::of(&built).unwrap_or_default();
        Ok((open(path)?, metadata))
    }
}

/// The properties of a graph at `path` that was built for this model, vector and pseudo-labels.
pub(super) fn saved(
    path: &Path,
    classifier: &Classifier,
    vector: &SolvedVector,
    pseudo_labels: PseudoLabels,
) -> Option<InfluenceMetadata> {
    let metadata = InfluenceMetadata::of(&isal_onnx::Model::read(path).ok()?)?;
    let top_k = classifier.influence_options(pseudo_labels).top_k.to_string();
    let same = metadata.get("model sha256") == Some(&classifier.sha256)
        && metadata.get("s sha256") == Some(&vector.sha256())
        && metadata.get("top k") == Some(&top_k);
    same.then_some(metadata)
}

fn write(model: &isal_onnx::Model, path: &Path) -> Result<(), ScoringError> {
    Ok(model.write(path).map_err(|source| ClassifierError::Model { path: path.to_path_buf(), source })?)
}

/// Largest error over the largest exact value; infinite where a value is missing or not a number.
fn worst(found: &[f64], exact: &[f64]) -> f64 {
    if found.len() != exact.len() {
        return f64::INFINITY;
    }
    let scale = exact.iter().fold(f64::MIN_POSITIVE, |scale, e| scale.max(e.abs()));
    let error = found.iter().zip(exact).fold(0.0_f64, |worst, (f, e)| {
        let error = (f - e).abs();
        if error.is_nan() { f64::INFINITY } else { worst.max(error) }
    });
    error / scale
}
