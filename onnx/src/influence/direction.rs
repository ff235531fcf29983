//! A direction in parameter space, held against the parameters it belongs to.

use crate::{DataType, Error, Graph, Result, Tensor};
use half::{bf16, f16};
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
        let theta = reals(weight).ok_or_else(|| wrong(format!("{:?} weights do not move", weight.data_type())))?;
        let s = block.to_vec::<f32>().ok_or_else(|| wrong("a direction is float32".to_owned()))?;
        weights += theta.iter().map(|x| x.powi(2)).sum::<f64>();
        along += s.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    }
    Ok(Norms { weights: weights.sqrt(), along: along.sqrt() })
}

/// The elements of a tensor of floats.
pub(super) fn reals(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.data_type() {
        DataType::Float => Some(tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
        DataType::Double => tensor.to_vec::<f64>(),
        DataType::Float16 => Some(tensor.to_vec::<f16>()?.into_iter().map(f64::from).collect()),
        DataType::Bfloat16 => Some(tensor.to_vec::<bf16>()?.into_iter().map(f64::from).collect()),
        _ => None,
    }
}

/// A tensor of a floating type.
pub(super) fn tensor_of(data_type: DataType, dims: &[usize], values: &[f64]) -> Tensor {
    match data_type {
        DataType::Double => Tensor::new(dims, values),
        DataType::Float16 => Tensor::new(dims, &values.iter().map(|x| f16::from_f64(*x)).collect::<Vec<_>>()),
        DataType::Bfloat16 => Tensor::new(dims, &values.iter().map(|x| bf16::from_f64(*x)).collect::<Vec<_>>()),
        _ => Tensor::new(dims, &values.iter().map(|x| *x as f32).collect::<Vec<_>>()),
    }
}
