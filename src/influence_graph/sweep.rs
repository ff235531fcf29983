//! The influence graph for a sweep, held on images of the pool against the exact derivative.

use super::evaluate::{Evaluator, influences};
use super::step::{Agreement, Judge, Unproven, choose};
use super::{InfluenceGraphError, PairedDifference, STEPS, direction, provenance};
use crate::influence::SolvedVector;
use crate::network::Network;
use crate::observe::Observer;
use crate::runtime::{Library, SessionOptions};
use crate::sweep::InfluenceGraph;
use crate::task::Task;
use isal_onnx::Model;
use isal_onnx::influence::{Difference, Direction, InfluenceMetadata, Paired, TangentOptions, paired, tangent};
use ndarray::Array4;
use std::path::Path;

/// Which graph a sweep runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepForm {
    /// The network at two weight settings, its step chosen on the sample.
    Paired {
        /// Which difference is taken.
        difference: PairedDifference,
    },
    /// The exact derivative, or that along a direction cut to so many singular vectors a layer.
    Tangent {
        /// `None`: exact.
        rank: Option<usize>,
    },
}

/// What the graph is built from and checked on.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The model.
    pub network: &'a Network,
    /// Its task.
    pub task: &'a Task,
    /// The solved vector.
    pub vector: &'a SolvedVector,
    /// Which graph.
    pub form: SweepForm,
    /// Preprocessed pool images.
    pub images: Array4<f32>,
    /// Their exact influences.
    pub exact: Vec<f64>,
    /// What becomes of a graph that does not rank them so.
    pub unproven: Unproven,
}

impl Sample<'_> {
    /// Builds the graph, writes it to `path`, and opens it; gives its properties besides. A paired graph has the step that
    /// does best. The execution provider of `session_options` is settled: a tangent graph is made for it.
    ///
    /// # Errors
    /// [`InfluenceGraphError::Step`] when no step ranks the sample as the exact derivative does;
    /// [`InfluenceGraphError::Tangent`] when an exact tangent graph does not. A graph of low rank is taken as it is: how well
    /// it agrees is in its properties.
    pub fn build(
        &self,
        path: &Path,
        library: &Library,
        session_options: SessionOptions,
        observer: &dyn Observer,
    ) -> Result<(InfluenceGraph, InfluenceMetadata), InfluenceGraphError> {
        let s = direction(self.vector)?;
        let evaluator = Evaluator::new(library, session_options)?;
        let judge = Judge::Exact { influences: vec![self.exact.clone()], by: "the exact influences".to_owned() };
        let tried = |built: &Model| influences(&mut evaluator.open(built)?, self.images.view(), 1);
        let (mut built, agreement, found) = match self.form {
            SweepForm::Paired { difference } => {
                let influences = |difference, step| tried(&self.paired(&s, difference, step)?);
                let candidates = difference.candidates_of_sweep();
                let chosen = choose(candidates, &STEPS, &judge, influences, observer)?;
                (self.paired(&s, chosen.difference, chosen.step)?, chosen.agreement, chosen.accepted(&judge))
            }
            SweepForm::Tangent { rank } => {
                let built = self.tangent(&s, TangentOptions { rank, target: evaluator.target() })?;
                let agreement = Agreement::between(&tried(&built)?, &vec![self.exact.clone()]);
                let found = if rank.is_none() { agreement.of_exact(&judge) } else { Ok(()) };
                (built, agreement, found)
            }
        };
        let unproven = self.unproven.judge(found, observer)?;
        provenance::of_vectors(self.network, self.task, std::slice::from_ref(self.vector)).store(&mut built);
        provenance::of_agreement(&agreement, &judge, self.exact.len(), unproven).store(&mut built);
        built.write(path).map_err(|source| InfluenceGraphError::model(path, source))?;
        let metadata = InfluenceMetadata::of(&built).unwrap_or_default();
        Ok((InfluenceGraph::open(library, &built, path, session_options)?, metadata))
    }

    fn paired(&self, s: &Direction, difference: Difference, relative_step: f64) -> Result<Model, InfluenceGraphError> {
        let how = Paired { relative_step, difference };
        paired(&self.network.model, std::slice::from_ref(s), &self.task.parts(), how)
            .map_err(|source| InfluenceGraphError::model(&self.network.path, source))
    }

    fn tangent(&self, s: &Direction, how: TangentOptions) -> Result<Model, InfluenceGraphError> {
        tangent(&self.network.model, std::slice::from_ref(s), &self.task.parts(), how)
            .map_err(|source| InfluenceGraphError::model(&self.network.path, source))
    }
}

/// The graph at `path`, where it was built for this model, vector and form, and its properties.
pub fn saved(
    path: &Path,
    network: &Network,
    vector: &SolvedVector,
    form: SweepForm,
) -> Option<(Model, InfluenceMetadata)> {
    let model = Model::read(path).ok()?;
    let metadata = InfluenceMetadata::of(&model)?;
    let same_form = match form {
        SweepForm::Paired { difference } => {
            let one_of =
                |found: &str| difference.candidates_of_sweep().iter().any(|candidate| candidate.name() == found);
            metadata.get("form") == Some("paired") && metadata.get("difference").is_some_and(one_of)
        }
        SweepForm::Tangent { rank } => {
            let rank = rank.map_or_else(|| "exact".to_owned(), |rank| rank.to_string());
            metadata.get("form") == Some("tangent") && metadata.get("rank") == Some(&rank)
        }
    };
    let same = same_form
        && metadata.get("model sha256") == Some(&network.sha256)
        && metadata.get("s sha256") == Some(&vector.sha256());
    same.then_some((model, metadata))
}
