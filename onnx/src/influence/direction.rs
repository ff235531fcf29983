//! A direction in parameter space, held against the parameters it belongs to.

use crate::{Error, Graph, Result, Tensor};
use indexmap::IndexMap;

/// A direction in parameter space: a float32 block for each parameter that takes part, by initializer name.
pub type Direction = IndexMap<String, Tensor>;

/// Euclidean norms over the parameters that take part.
pub(super) struct Norms {
    pub(super) weights: f64,
    pub(super) along: f64,
}

/// Checks that every block is float32 and has the dims of an initializer of floats.
pub(super) fn measure(graph: &Graph, direction: &Direction) -> Result<Norms> {
    let (mut weights, mut along) = (0.0_f64, 0.0_f64);
    for (name, block) in direction {
        let wrong = |reason: String| Error::Tensor { name: name.clone(), reason };
        let weight = graph.initializers.get(name).ok_or_else(|| wrong("no initializer of this name".to_owned()))?;
        if weight.dims() != block.dims() {
            return Err(wrong(format!("the direction has dims {:?}, the weight {:?}", block.dims(), weight.dims())));
        }
        let theta = weight.to_float64().filter(|_| weight.data_type().is_float());
        let theta = theta.ok_or_else(|| wrong(format!("{:?} weights do not move", weight.data_type())))?;
        let s = block.to_vec::<f32>().ok_or_else(|| wrong("a direction is float32".to_owned()))?;
        weights += theta.iter().map(|x| x.powi(2)).sum::<f64>();
        along += s.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    }
    Ok(Norms { weights: weights.sqrt(), along: along.sqrt() })
}
