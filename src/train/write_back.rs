//! Trained weights into the graph they belong to.

use crate::plugin::{Role, StateArray};
use isal_onnx::{DataType, Error, Model, Tensor};

/// Puts parameters and running statistics into the model's initializers, each in the element type it has there: the
/// nodes that read it take no other. Momentum buffers have no place in a model and are passed over.
///
/// # Errors
/// [`Error::Tensor`] for an initializer that is missing, or has other dims or no float type.
pub(super) fn write_back(model: &mut Model, state: &[StateArray]) -> Result<(), Error> {
    for array in state.iter().filter(|a| a.role != Role::Momentum) {
        let refused = |reason: String| Error::Tensor { name: array.name.clone(), reason };
        let slot = model
            .graph
            .initializers
            .get_mut(&array.name)
            .ok_or_else(|| refused("the model has no such initializer".to_owned()))?;
        let dims = slot.dims().to_vec();
        if dims != array.values.shape() {
            return Err(refused(format!("expected dims {dims:?}, found {:?}", array.values.shape())));
        }
        let values = array.values.iter().copied();
        *slot = match slot.data_type() {
            DataType::Float => Tensor::new(dims, &values.collect::<Vec<f32>>()),
            DataType::Double => Tensor::new(dims, &values.map(f64::from).collect::<Vec<f64>>()),
            DataType::Float16 => Tensor::new(dims, &values.map(half::f16::from_f32).collect::<Vec<_>>()),
            DataType::Bfloat16 => Tensor::new(dims, &values.map(half::bf16::from_f32).collect::<Vec<_>>()),
            other => return Err(refused(format!("elements of type {other:?} cannot be trained"))),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ArrayD, IxDyn};

    fn array(name: &str, role: Role, values: &[f32]) -> StateArray {
        let values = ArrayD::from_shape_vec(IxDyn(&[values.len()]), values.to_vec()).expect("one axis");
        StateArray { name: name.to_owned(), role, values }
    }

    fn model() -> Model {
        let mut model = Model::default();
        let zeros = [0.0f32; 2];
        let half = zeros.map(half::f16::from_f32);
        let initializers = &mut model.graph.initializers;
        initializers.insert("single".to_owned(), Tensor::new([2], &zeros));
        initializers.insert("double".to_owned(), Tensor::new([2], &zeros.map(f64::from)));
        initializers.insert("half".to_owned(), Tensor::new([2], &half));
        initializers.insert("shape".to_owned(), Tensor::new([2], &[1i64, 2]));
        model
    }

    #[test]
    fn each_initializer_keeps_its_element_type_and_momentum_stays_out() {
        let mut model = model();
        let state = [
            array("single", Role::Parameter, &[0.1, -2.0]),
            array("single", Role::Momentum, &[9.0, 9.0]),
            array("double", Role::Statistic, &[0.1, -2.0]),
            array("half", Role::Parameter, &[0.1, -2.0]),
        ];
        write_back(&mut model, &state).expect("all of them fit");
        let initializers = &model.graph.initializers;
        assert_eq!(initializers["single"].to_vec::<f32>(), Some(vec![0.1, -2.0]));
        assert_eq!(initializers["double"].to_vec::<f64>(), Some(vec![f64::from(0.1f32), -2.0]));
        let half = [0.1, -2.0].map(half::f16::from_f32).to_vec();
        assert_eq!(initializers["half"].to_vec::<half::f16>(), Some(half));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (name, values) in [("absent", &[1.0, 2.0][..]), ("single", &[1.0]), ("shape", &[1.0, 2.0])] {
            let error = write_back(&mut model(), &[array(name, Role::Parameter, values)]).expect_err(name);
            assert!(matches!(&error, Error::Tensor { name: n, .. } if n == name), "{error}");
        }
    }
}
