//! The paired influence graph for a sweep: its step is chosen on images of the pool against the exact derivative.

use super::evaluate::{Evaluator, influences};
use super::step::{Judge, choose};
use super::{InfluenceGraphError, STEPS, direction, provenance};
use crate::classifier::Classifier;
use crate::influence::{Contraction, PseudoLabels, SolvedVector};
use crate::observe::Observer;
use crate::runtime::{Library, SessionOptions};
use crate::sweep::InfluenceGraph;
use isal_onnx::influence::{Difference, InfluenceMetadata, Paired, paired};
use ndarray::Array4;
use std::path::Path;

/// What the graph is built from and checked on.
#[derive(Debug)]
pub struct Sample<'a> {
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
    /// [`InfluenceGraphError::Step`] when no step ranks the sample as the exact derivative does.
    pub fn build(
        &self,
        path: &Path,
        library: &Library,
        session_options: SessionOptions,
        contraction: Contraction,
        observer: &dyn Observer,
    ) -> Result<(InfluenceGraph, InfluenceMetadata), InfluenceGraphError> {
        let s = direction(self.vector)?;
        let options = self.classifier.influence_options(self.pseudo_labels);
        let model = |relative_step: f64| {
            let how = Paired { relative_step, difference: Difference::OneSided };
            paired(&self.classifier.model, std::slice::from_ref(&s), &options, how)
                .map_err(|source| InfluenceGraphError::model(&self.classifier.path, source))
        };
        let evaluator = Evaluator::new(library, session_options)?;
        let fixed = self.classifier.input.first().copied().flatten();
        let judge = Judge::Exact { influences: vec![self.exact.clone()], by: "the exact influences".to_owned() };
        let tried = |step| influences(&mut evaluator.open(&model(step)?)?, self.images.view(), fixed, 1);
        let chosen = choose(&STEPS, &judge, tried, observer)?.accepted(&judge)?;
        let mut built = model(chosen.step)?;
        provenance::of_vectors(self.classifier, std::slice::from_ref(self.vector), self.pseudo_labels)
            .store(&mut built);
        provenance::of_agreement(&chosen.agreement, &judge, self.exact.len()).store(&mut built);
        built.write(path).map_err(|source| InfluenceGraphError::model(path, source))?;
        let metadata = InfluenceMetadata::of(&built).unwrap_or_default();
        let session = evaluator.open_file(path)?;
        Ok((InfluenceGraph { session, output: self.classifier.output.clone(), contraction }, metadata))
    }
}

/// The properties of a graph at `path` that was built for this model, vector and pseudo-labels.
pub fn saved(
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
