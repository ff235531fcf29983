//! The tangent graph: the network with its exact derivative along `s` beside it.
//!
//! Nothing is rounded away and no kink is crossed, so it also works in float16 and bfloat16, and checks the paired graph;
//! it needs a rule for every operator on the way. The direction enters scaled to the length of the weights, so that
//! tangents are of the size of the values they belong to, and the derivatives of what the loss reads are scaled back in float32.

use super::direction::measure;
use super::frame::{Derivatives, Frame};
use super::{Direction, Form, InfluenceMetadata, TaskGraphs, low_rank};
use crate::tangent::{Seed, Target, Way, differentiate, held_values};
use crate::{Builder, Model, Result, Tensor, Value};
use std::collections::HashMap;

/// How the tangent graph is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TangentOptions {
    /// `None`: exact. Else each block of the direction, as a matrix of output channels by the rest, is cut to so many
    /// leading singular vectors, where that saves arithmetic.
    pub rank: Option<usize>,
    /// What the graph is to run on.
    pub target: Target,
}

/// Builds the tangent influence graph of `model` and its task for each of `directions`.
///
/// Its outputs are the model's own, bit for bit, then those of [`paired`](super::paired()).
///
/// # Errors
/// As [`paired`](super::paired()), for weights of any floating type; and a node on the way whose operator has no
/// tangent rule, by name.
pub fn tangent(model: &Model, directions: &[Direction], task: &TaskGraphs<'_>, how: TangentOptions) -> Result<Model> {
    let (frame, mut b) = Frame::open(model, task);
    frame.check(directions)?;
    let typed = model.inferred()?;
    let (mut seeds, mut scales) = (Vec::new(), Vec::new());
    for (number, direction) in directions.iter().enumerate() {
        let norms = measure(&model.graph, direction)?;
        let scale = norms.weights / norms.along;
        if !(scale.is_finite() && scale > 0.0) {
            return Err(frame.refuse(format!("a direction of norm {:e} has no length", norms.along)));
        }
        let tail = if number == 0 { String::new() } else { number.to_string() };
        seeds.push(plant(&mut b, model, direction, scale, how, &format!("s{tail}")));
        scales.push(scale);
    }
    let (targets, held) = (frame.task.values(), held_values(model));
    let way = Way { targets: &targets, held: &held };
    let (mut b, found) = differentiate(b, &typed, &seeds, way, how.target)?;
    b.scope("isal");
    let mut tangents = Vec::new();
    for (found, scale) in found.iter().zip(scales) {
        let factor = b.constant("per_scale", Tensor::scalar((1.0 / scale) as f32));
        let mut along = Derivatives::new();
        for (name, derivative) in frame.moving(found)? {
            let derivative = frame.as_float32(&mut b, name, derivative);
            along.insert(name.to_owned(), b.op("Mul", [derivative, factor]));
        }
        tangents.push(along);
    }
    let mut metadata = InfluenceMetadata::default();
    metadata.0.insert("form".into(), Form::Tangent.to_string());
    metadata.0.insert("rank".into(), how.rank.map_or_else(|| "exact".to_owned(), |rank| rank.to_string()));
    metadata.0.insert("target".into(), how.target.name().to_owned());
    frame.close(b, &tangents, HashMap::new(), how.target, metadata)
}

/// The scaled blocks as initializers of the weights' types.
fn plant(
    b: &mut Builder,
    model: &Model,
    direction: &Direction,
    scale: f64,
    how: TangentOptions,
    scope: &str,
) -> HashMap<String, Seed> {
    b.scope(scope);
    let mut seeds = HashMap::new();
    for (name, block) in direction {
        let (Some(weight), Some(values)) = (model.graph.initializers.get(name), block.to_float64()) else { continue };
        let values: Vec<f64> = values.into_iter().map(|x| x * scale).collect();
        let mut constant = |stem: &str, dims: &[usize], values: &[f64]| -> Value {
            b.constant(stem, Tensor::floats(weight.data_type(), dims, values))
        };
        let cut = how.rank.and_then(|rank| low_rank::cut(block.dims(), &values, rank));
        let seed = match cut {
            None => Seed::Dense(constant(name, block.dims(), &values)),
            Some(factors) => {
                let mut right_dims = vec![factors.rank];
                right_dims.extend_from_slice(block.dims().get(1..).unwrap_or_default());
                Seed::LowRank {
                    left: constant(&format!("{name}/left"), &[factors.rows, factors.rank], &factors.left),
                    right: constant(&format!("{name}/right"), &right_dims, &factors.right),
                }
            }
        };
        seeds.insert(name.clone(), seed);
    }
    b.scope("");
    seeds
}
