//! What the decode graph of a task gives, out of a model that holds it: the pseudo-label and the beliefs.

use super::Scored;
use crate::influence::{Annotation, Annotations};
use crate::runtime::{RuntimeError, Session};
use crate::scores::{BeliefColumn, BeliefKind};
use isal_onnx::Model;
use isal_onnx::influence::{BELIEF, PSEUDO_LABEL, decoded_as};
use ndarray::{ArrayD, ArrayView4, Axis, Ix1};

/// The outputs of a model that are a task's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decoded {
    beliefs: Vec<BeliefColumn>,
    annotations: Vec<Pseudo>,
    /// Beliefs of more than a number an image, and the outputs that they are.
    details: Vec<(Pseudo, String)>,
    /// Names of the outputs: those of the annotations, then those of the beliefs.
    outputs: Vec<String>,
}

/// An annotation that a model believes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pseudo {
    name: String,
    whole: bool,
}

impl Decoded {
    /// Those among the outputs of `model`.
    pub fn of(model: &Model) -> Decoded {
        let mut decoded = Decoded::default();
        let mut of_beliefs = Vec::new();
        for output in &model.graph.outputs {
            let declared = output.value_type.as_ref();
            let whole = declared.is_some_and(|t| !t.data_type.is_float());
            let rank = declared.and_then(|t| t.shape.as_ref()).map(Vec::len);
            let named = |prefix: &str| decoded_as(&output.name, prefix).map(str::to_owned);
            if let Some(name) = named(PSEUDO_LABEL) {
                decoded.annotations.push(Pseudo { name, whole });
                decoded.outputs.push(output.name.clone());
            } else if let Some(name) = named(BELIEF).filter(|_| rank.is_none_or(|rank| rank == 1)) {
                let kind = if whole { BeliefKind::Whole } else { BeliefKind::Number };
                decoded.beliefs.push(BeliefColumn { name, kind });
                of_beliefs.push(output.name.clone());
            } else if let Some(name) = named(BELIEF) {
                decoded.details.push((Pseudo { name, whole }, output.name.clone()));
            }
        }
        decoded.outputs.extend(of_beliefs);
        decoded
    }

    /// Whether an output is one of them.
    pub(super) fn has(&self, output: &str) -> bool {
        self.outputs.iter().chain(self.details.iter().map(|(_, name)| name)).any(|name| name == output)
    }

    /// Whether an annotation of this name is believed.
    pub(super) fn believes(&self, name: &str) -> bool {
        self.annotations.iter().any(|annotation| annotation.name == name)
    }

    /// The beliefs as columns of a score table.
    pub fn columns(&self) -> &[BeliefColumn] {
        &self.beliefs
    }

    /// The outputs that scores are made of: the beliefs, and the influence behind them where there is an output of it.
    pub(super) fn wanted<'a>(&'a self, influence: Option<&'a str>) -> Vec<&'a str> {
        let beliefs = self.outputs.iter().skip(self.annotations.len());
        beliefs.map(String::as_str).chain(influence).collect()
    }

    /// The scores of a batch out of the outputs of [`Decoded::wanted`], as `model` gave them.
    pub(super) fn scored(
        &self,
        model: &str,
        arrays: Vec<ArrayD<f32>>,
        influence: Option<&str>,
        images: usize,
    ) -> Result<Scored, RuntimeError> {
        let mut columns = columns(model, arrays, &self.wanted(influence), images)?;
        let influence = influence.and_then(|_| columns.pop());
        Ok(Scored { beliefs: transposed(&columns, images), influence })
    }

    /// Runs a batch: its beliefs, and the influence where there is an output of it.
    pub(super) fn score(
        &self,
        session: &mut Session,
        images: ArrayView4<f32>,
        influence: Option<&str>,
    ) -> Result<Scored, RuntimeError> {
        let wanted = self.wanted(influence);
        let count = images.len_of(Axis(0));
        if wanted.is_empty() {
            // A task of which nothing is to be said of an image.
            return Ok(Scored { beliefs: vec![Vec::new(); count], influence: None });
        }
        let arrays = session.run(images, &wanted)?;
        self.scored(session.model(), arrays, influence, count)
    }

    /// Runs a batch: the annotations that the model believes, and its beliefs.
    pub(super) fn all(
        &self,
        session: &mut Session,
        images: ArrayView4<f32>,
    ) -> Result<(Annotations, Vec<Vec<f64>>), RuntimeError> {
        let count = images.len_of(Axis(0));
        let wanted: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        let mut arrays = session.run(images, &wanted)?;
        let (annotations, beliefs) = wanted.split_at(self.annotations.len());
        let columns = columns(session.model(), arrays.split_off(annotations.len()), beliefs, count)?;
        let annotations = self.annotations.iter().zip(arrays).map(|(pseudo, array)| pseudo.filled(array));
        Ok((of_images(session, count, annotations.collect())?, transposed(&columns, count)))
    }

    /// Runs a batch: the annotations that the model believes, and its beliefs of more than a number an image.
    pub(super) fn with_details(
        &self,
        session: &mut Session,
        images: ArrayView4<f32>,
    ) -> Result<Annotations, RuntimeError> {
        let count = images.len_of(Axis(0));
        let of_annotations = self.annotations.iter().zip(&self.outputs);
        let wanted: Vec<(&Pseudo, &String)> =
            of_annotations.chain(self.details.iter().map(|(pseudo, output)| (pseudo, output))).collect();
        let names: Vec<&str> = wanted.iter().map(|(_, output)| output.as_str()).collect();
        let arrays = session.run(images, &names)?;
        let filled = wanted.iter().zip(arrays).map(|((pseudo, _), array)| pseudo.filled(array));
        of_images(session, count, filled.collect())
    }
}

impl Pseudo {
    fn filled(&self, array: ArrayD<f32>) -> (String, Annotation) {
        let array = match self.whole {
            true => Annotation::Whole(array.mapv(|x| x as i64)),
            false => Annotation::Float(array),
        };
        (self.name.clone(), array)
    }
}

fn of_images(session: &Session, count: usize, arrays: Vec<(String, Annotation)>) -> Result<Annotations, RuntimeError> {
    Annotations::new(count, arrays).map_err(|error| RuntimeError::Signature {
        model: session.model().to_owned(),
        reason: format!("the decode graph does not give an annotation an image: {error}"),
    })
}

/// Outputs of one number an image.
fn columns(
    model: &str,
    arrays: Vec<ArrayD<f32>>,
    names: &[&str],
    images: usize,
) -> Result<Vec<Vec<f64>>, RuntimeError> {
    arrays.into_iter().zip(names).map(|(array, name)| row(model, array, name, images)).collect()
}

/// A row an image of columns.
fn transposed(columns: &[Vec<f64>], images: usize) -> Vec<Vec<f64>> {
    let row = |n: usize| columns.iter().map(|column| column.get(n).copied().unwrap_or(f64::NAN)).collect();
    (0..images).map(row).collect()
}

/// An output of one number an image.
fn row(model: &str, array: ArrayD<f32>, name: &str, images: usize) -> Result<Vec<f64>, RuntimeError> {
    let shape = array.shape().to_vec();
    match array.into_dimensionality::<Ix1>() {
        Ok(numbers) if numbers.len() == images => Ok(numbers.iter().map(|x| f64::from(*x)).collect()),
        _ => Err(RuntimeError::Signature {
            model: model.to_owned(),
            reason: format!("`{name}` has shape {shape:?}, expected [{images}], a number an image"),
        }),
    }
}
