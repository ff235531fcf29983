//! What turns a batch of images into scores.

use super::SweepError;
use crate::influence::{Belief, Contraction, GradientEngine};
use crate::runtime::{RuntimeError, Session, without_axes_of_one};
use isal_onnx::influence::INFLUENCE;
use ndarray::{ArrayView4, Ix1};

/// Scores of a batch, one entry an image.
#[derive(Debug, Clone)]
pub struct Scored {
    /// What the model believes.
    pub beliefs: Vec<Belief>,
    /// Influence, from scorers that have one.
    pub influence: Option<Vec<f64>>,
}

/// Anything that scores a batch of preprocessed images, `[N, C, H, W]` or `[N, H, W, C]` as the model takes them.
pub trait Scorer {
    /// Scores the batch.
    ///
    /// # Errors
    /// [`SweepError`] when the model cannot be run on it.
    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError>;
}

/// Predictions alone, by ONNX Runtime: for strategies that need no influence.
#[derive(Debug)]
pub struct Predictor {
    /// The model.
    pub session: Session,
    /// Name of the output that holds the class scores.
    pub output: String,
    /// How outputs are read.
    pub contraction: Contraction,
}

impl Scorer for Predictor {
    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        let outputs = self.session.class_scores(images, &self.output)?;
        Ok(Scored { beliefs: self.contraction.beliefs(outputs.view())?, influence: None })
    }
}

/// Predictions and influence in one run of an influence graph, by ONNX Runtime alone.
#[derive(Debug)]
pub struct InfluenceGraph {
    /// The influence graph.
    pub session: Session,
    /// Name of the output that holds the class scores.
    pub output: String,
    /// How outputs are read as beliefs.
    pub contraction: Contraction,
}

impl Scorer for InfluenceGraph {
    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        let refused =
            |session: &Session, reason: String| RuntimeError::Signature { model: session.model().to_owned(), reason };
        let mut arrays = self.session.run(images, &[&self.output, INFLUENCE])?;
        let (Some(influence), Some(outputs)) = (arrays.pop(), arrays.pop()) else {
            return Err(refused(&self.session, "it gave no outputs".to_owned()).into());
        };
        let shapes = format!("{:?} and {:?}", outputs.shape(), influence.shape());
        let (Some(outputs), Ok(influence)) = (without_axes_of_one(outputs), influence.into_dimensionality::<Ix1>())
        else {
            let reason = format!("class scores and influence have shapes {shapes}, expected [N, C] and [N]");
            return Err(refused(&self.session, reason).into());
        };
        let beliefs = self.contraction.beliefs(outputs.view())?;
        Ok(Scored { beliefs, influence: Some(influence.iter().map(|i| f64::from(*i)).collect()) })
    }
}

/// Predictions and influence by the plugin's batched directional derivative along `s`.
pub struct Native<'a, E: GradientEngine> {
    /// The model with its parameters in scope.
    pub engine: &'a mut E,
    /// `s`, the solved inverse-Hessian-vector product.
    pub s: E::Vector,
    /// How outputs and their derivatives become scores.
    pub contraction: Contraction,
}

impl<E: GradientEngine> Scorer for Native<'_, E> {
    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        let scores = self.contraction.score_images(self.engine, images, &self.s)?;
        Ok(Scored { beliefs: scores.beliefs, influence: Some(scores.influence) })
    }
}
