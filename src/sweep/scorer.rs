//! What turns a batch of images into scores.

use super::{Decoded, SweepError};
use crate::inference_client::{ClientError, Waiting};
use crate::influence::{Annotations, EngineError};
use crate::network::{Aside, Network, NetworkError};
use crate::observe::Observer;
use crate::plugin::{PluginEngine, PluginVector};
use crate::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use crate::scores::BeliefColumn;
use crate::task::Task;
use isal_onnx::Model;
use isal_onnx::influence::{INFLUENCE, prediction};
use ndarray::{ArrayD, ArrayView4};
use std::path::Path;

/// Scores of a batch, one entry an image.
#[derive(Debug, Clone)]
pub struct Scored {
    /// What the model believes: a number for each of [`Scorer::columns`].
    pub beliefs: Vec<Vec<f64>>,
    /// Influence, from scorers that have one.
    pub influence: Option<Vec<f64>>,
}

/// Anything that scores a batch of preprocessed images, `[N, C, H, W]` or `[N, H, W, C]` as the model takes them.
pub trait Scorer {
    /// What the beliefs are.
    fn columns(&self) -> &[BeliefColumn];

    /// Scores the batch.
    ///
    /// # Errors
    /// [`SweepError`] when the model cannot be run on it.
    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError>;

    /// Batches that may be under way at a time.
    fn under_way(&self) -> usize {
        1
    }

    /// Begins to score a batch. What computes here is done when this returns; a server need not be.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    fn begin(&mut self, images: ArrayView4<f32>) -> Result<Pending, SweepError> {
        Ok(Pending::Ready(self.score(images)?))
    }
}

/// Makes the scores of a batch of the outputs that a server gave.
pub type FromOutputs = Box<dyn FnOnce(Vec<ArrayD<f32>>) -> Result<Scored, SweepError> + Send>;

/// The scores of a batch that was begun.
pub enum Pending {
    /// They are there.
    Ready(Scored),
    /// They come.
    Coming {
        /// The outputs that they are made of.
        outputs: Waiting<Vec<ArrayD<f32>>>,
        /// Makes them.
        scores: FromOutputs,
    },
}

impl Pending {
    /// Waits for them; `None` where the observer asks to stop.
    ///
    /// # Errors
    /// Whatever the scorer meets.
    pub fn wait(self, observer: &dyn Observer) -> Result<Option<Scored>, SweepError> {
        match self {
            Pending::Ready(scored) => Ok(Some(scored)),
            Pending::Coming { outputs, scores } => match outputs.wait(observer) {
                Ok(outputs) => scores(outputs).map(Some),
                Err(ClientError::Interrupted) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// Pseudo-labels and beliefs alone, by ONNX Runtime.
#[derive(Debug)]
pub struct Predictor {
    session: Session,
    decoded: Decoded,
    /// What the session reads.
    _file: Aside,
}

impl Predictor {
    /// The network with the task's decode graph behind it.
    ///
    /// # Errors
    /// A task that does not fit the network; a temporary file that cannot be written; ONNX Runtime's.
    pub fn open(
        library: &Library,
        network: &Network,
        task: &Task,
        options: SessionOptions,
    ) -> Result<Predictor, SweepError> {
        let model =
            prediction(&network.model, &task.parts()).map_err(|source| NetworkError::model(&network.path, source))?;
        Self::of(library, model, &network.path, options)
    }

    /// What is left of an influence graph, or of any model that holds a decode graph, when nothing but that is wanted: a
    /// runtime computes every output that a file has.
    ///
    /// # Errors
    /// As [`Predictor::open`].
    pub fn of(
        library: &Library,
        mut model: Model,
        path: &Path,
        options: SessionOptions,
    ) -> Result<Predictor, SweepError> {
        model.graph.outputs.retain(|output| output.name != INFLUENCE);
        let decoded = Decoded::of(&model);
        model.graph.outputs.retain(|output| decoded.has(&output.name));
        model.graph.prune();
        let file = Aside::write(&model, path)?;
        Ok(Predictor { session: Session::open(library, file.path(), options)?, decoded, _file: file })
    }

    /// What the model believes of a batch: its annotations.
    ///
    /// # Errors
    /// [`SweepError`] when the model cannot be run on it.
    pub fn decode(&mut self, images: ArrayView4<f32>) -> Result<Annotations, SweepError> {
        Ok(self.decoded.all(&mut self.session, images)?.0)
    }

    /// The same, with what the decode graph gives besides: more than a number an image, such as a score for each box.
    ///
    /// # Errors
    /// As [`Predictor::decode`].
    pub fn believed(&mut self, images: ArrayView4<f32>) -> Result<Annotations, SweepError> {
        Ok(self.decoded.with_details(&mut self.session, images)?)
    }

    /// The execution provider that runs it.
    pub fn provider(&self) -> ExecutionProvider {
        self.session.provider()
    }

    /// Whether what it believes are `boxes` with `labels`.
    pub(super) fn finds_boxes(&self) -> bool {
        ["boxes", "labels"].iter().all(|name| self.decoded.believes(name))
    }
}

impl Scorer for Predictor {
    fn columns(&self) -> &[BeliefColumn] {
        self.decoded.columns()
    }

    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        Ok(self.decoded.score(&mut self.session, images, None)?)
    }
}

/// Beliefs and influence in one run of an influence graph, by ONNX Runtime alone.
#[derive(Debug)]
pub struct InfluenceGraph {
    session: Session,
    decoded: Decoded,
}

impl InfluenceGraph {
    /// Opens the influence graph `model`, which is the file at `path`.
    ///
    /// # Errors
    /// ONNX Runtime's.
    pub fn open(
        library: &Library,
        model: &Model,
        path: &Path,
        options: SessionOptions,
    ) -> Result<InfluenceGraph, SweepError> {
        Ok(InfluenceGraph { session: Session::open(library, path, options)?, decoded: Decoded::of(model) })
    }

    /// The execution provider that runs it.
    pub fn provider(&self) -> ExecutionProvider {
        self.session.provider()
    }
}

impl Scorer for InfluenceGraph {
    fn columns(&self) -> &[BeliefColumn] {
        self.decoded.columns()
    }

    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        Ok(self.decoded.score(&mut self.session, images, Some(INFLUENCE))?)
    }
}

/// Beliefs by ONNX Runtime, and influence by the plugin's batched directional derivative of the loss along `s`.
pub struct Native<'a> {
    /// The model with its parameters in scope.
    pub engine: &'a PluginEngine,
    /// `s`, the solved inverse-Hessian-vector product.
    pub s: PluginVector,
    /// What decodes pseudo-labels and beliefs.
    pub predictor: &'a mut Predictor,
}

impl Scorer for Native<'_> {
    fn columns(&self) -> &[BeliefColumn] {
        self.predictor.columns()
    }

    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        let (annotations, beliefs) = self.predictor.decoded.all(&mut self.predictor.session, images)?;
        let influence = influences(self.engine, images, &annotations, &self.s)?;
        Ok(Scored { beliefs, influence: Some(influence) })
    }
}

/// The influence of each image under these annotations: what its loss would have fallen by along `s`.
///
/// # Errors
/// The plugin's.
pub fn influences(
    engine: &PluginEngine,
    images: ArrayView4<f32>,
    annotations: &Annotations,
    s: &PluginVector,
) -> Result<Vec<f64>, EngineError> {
    let (_, along) = engine.loss_derivatives(images, annotations, s)?;
    Ok(along.into_iter().map(|derivative| -derivative).collect())
}
