//! The paired graph: the network at theta and a small step along `s` away, side by side.
//!
//! Both copies share the input and every node that no parameter in scope reaches. One-sided, the model's own outputs stay
//! as they are, bit for bit, and `o' = (f(theta + eps s) - f(theta)) / eps`; central,
//! `o' = (f(theta + eps s) - f(theta - eps s)) / (2 eps)` and the mean of both stands in for the prediction. Cost: one
//! more pass a direction, or two.
//!
//! The step is relative, `||eps s|| / ||theta||` over the parameters in scope: too long and kinks of Relu and MaxPool
//! are crossed, too short and float32 rounds it away. It is for float32 weights alone.

use super::direction::measure;
use super::frame::{Derivatives, Frame};
use super::{Direction, Form, InfluenceMetadata, TaskGraphs};
use crate::tangent::Target;
use crate::twin::{Kinks, Twins, typed};
use crate::{DataType, Error, Graph, Model, Result, Tensor};
use std::collections::HashMap;

/// Which difference is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Difference {
    /// Against the model itself, whose outputs stay bit for bit.
    OneSided,
    /// Between a step ahead and a step back; more exact, one more pass.
    Central,
    /// Against the model itself, whose outputs stay bit for bit, the copy held on the model's own side of every kink: what is
    /// left is the bend of the smooth parts, at the price of a mask for every kinked operator. An operator without a rule is
    /// not held.
    Held,
}

impl Difference {
    /// As it is written in metadata and options.
    pub fn name(self) -> &'static str {
        match self {
            Difference::OneSided => "one-sided",
            Difference::Central => "central",
            Difference::Held => "held",
        }
    }
}

/// How the pair is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// `||eps s|| / ||theta||` over the parameters in scope.
    pub relative_step: f64,
    /// Which difference.
    pub difference: Difference,
}

/// Builds the paired influence graph of `model` and its task for each of `directions`.
///
/// Its outputs are the model's own, the pseudo-label, the beliefs and [`INFLUENCE`](super::INFLUENCE). The loss is not run at two
/// settings and subtracted, which float32 would drown: its own tangent is taken along the difference of the values that it
/// reads.
///
/// # Errors
/// A direction that names no float32 initializer, or whose block has other dims, or that is zero; values that no
/// parameter reaches; an output already called as one of ours; a task that does not fit, as [`TaskGraphs`] says.
pub fn paired(model: &Model, directions: &[Direction], task: &TaskGraphs<'_>, how: Paired) -> Result<Model> {
    let (frame, b) = Frame::open(model, task);
    frame.check(directions)?;
    let kinks = if how.difference == Difference::Held { Kinks::Held } else { Kinks::Free };
    let typed = typed(model, kinks)?;
    let twins = Twins::new(b, &typed, kinks);
    let mut tangents = Vec::new();
    let mut centre = None;
    for (number, direction) in directions.iter().enumerate() {
        let eps = step(&model.graph, direction, how.relative_step)?;
        let tail = if number == 0 { String::new() } else { number.to_string() };
        let targets = frame.targets();
        let ahead = twins.add(ahead_of(&model.graph, direction, eps), &format!("ahead{tail}"), &targets);
        let moving = frame.moving(&ahead)?;
        let (others, divisor) = match how.difference {
            Difference::OneSided | Difference::Held => (HashMap::new(), eps),
            Difference::Central => {
                let back = twins.add(ahead_of(&model.graph, direction, -eps), &format!("back{tail}"), &targets);
                centre.get_or_insert((ahead.clone(), back.clone()));
                (back, 2.0 * eps)
            }
        };
        tangents.push(twins.with(|b| -> Result<Derivatives> {
            let factor = b.constant("per_step", Tensor::scalar((1.0 / divisor) as f32));
            let mut along = Derivatives::new();
            for (name, ahead) in moving {
                let other = match others.get(name) {
                    Some(back) => *back,
                    None => frame.value(b, name)?,
                };
                let apart = b.op("Sub", [ahead, other]);
                along.insert(name.to_owned(), b.op("Mul", [apart, factor]));
            }
            Ok(along)
        })?);
    }
    let mut b = twins.into_builder();
    let mut means = HashMap::new();
    if let Some((ahead, back)) = &centre {
        b.scope("mean");
        for name in frame.targets() {
            if let (Some(ahead), Some(back), false) = (ahead.get(name), back.get(name), means.contains_key(name)) {
                let half = b.constant("half", Tensor::scalar(0.5f32));
                let sum = b.op("Add", [*ahead, *back]);
                means.insert(name.to_owned(), b.op("Mul", [sum, half]));
            }
        }
    }
    let mut metadata = InfluenceMetadata::default();
    metadata.0.insert("form".into(), Form::Paired.to_string());
    metadata.0.insert("difference".into(), how.difference.name().into());
    metadata.0.insert("relative step".into(), format!("{:e}", how.relative_step));
    frame.close(b, &tangents, means, Target::Any, metadata)
}

/// `eps` for which `eps s` has the relative length asked for.
pub(super) fn step(graph: &Graph, direction: &Direction, relative: f64) -> Result<f64> {
    let norms = measure(graph, direction)?;
    let narrow = direction.keys().find_map(|name| {
        let weight = graph.initializers.get(name)?;
        (weight.data_type() != DataType::Float).then(|| (name, weight.data_type()))
    });
    if let Some((name, data_type)) = narrow {
        let reason = format!("{data_type:?} weights round a small step away; take the tangent form");
        return Err(Error::Tensor { name: name.clone(), reason });
    }
    let eps = relative * norms.weights / norms.along;
    if eps.is_finite() && eps > 0.0 {
        return Ok(eps);
    }
    let reason = format!("a step of {relative:e} along a direction of norm {:e} has no length", norms.along);
    Err(Error::Graph { graph: graph.name.clone(), reason })
}

/// `theta + eps s` of one parameter, summed in float64; `None` where either is not float32.
fn moved(theta: &Tensor, s: &Tensor, eps: f64) -> Option<Tensor> {
    let (weights, along) = (theta.to_vec::<f32>()?, s.to_vec::<f32>()?);
    let sum = weights.iter().zip(&along).map(|(theta, s)| (f64::from(*theta) + eps * f64::from(*s)) as f32);
    Some(Tensor::new(theta.dims(), &sum.collect::<Vec<f32>>()))
}

/// `theta + eps s` by name.
pub(super) fn ahead_of(graph: &Graph, direction: &Direction, eps: f64) -> Vec<(String, Tensor)> {
    let one =
        |(name, block): (&String, &Tensor)| Some((name.clone(), moved(graph.initializers.get(name)?, block, eps)?));
    direction.iter().filter_map(one).collect()
}
