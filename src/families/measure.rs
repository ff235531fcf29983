//! How right a model is on images whose annotations are known.

use crate::influence::Annotations;
use serde_json::{Map, Value};

/// Adds up, batch by batch, how right a model is.
pub trait Measure {
    /// What is measured: `accuracy`, `mean IoU`.
    fn name(&self) -> &'static str;

    /// Annotations of a batch, and what the model believes they are; both padded.
    fn add(&mut self, known: &Annotations, believed: &Annotations);

    /// What they came to.
    fn fit(&self) -> Fit;
}

/// How right a model is on annotated images.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Fit {
    /// Images looked at.
    pub images: usize,
    /// What is measured, as [`Measure::name`] has it.
    pub measure: String,
    /// What it came to; `None` of no images.
    pub value: Option<f64>,
    /// It as a sentence, where nothing seems wrong.
    pub finding: Option<String>,
    /// What is wrong, where something is, without the full stop.
    pub warning: Option<String>,
    /// What the measure says besides.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}
