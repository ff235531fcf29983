//! Running a graph on named tensors.

use isal::runtime::Library;
use isal_onnx::{DataType, Model, Tensor};
use ort::session::{Session, SessionInputValue, SessionInputs};
use ort::value::{DynValue, Tensor as Value};
use std::collections::BTreeMap;

pub fn library() -> Library {
    Library::load(None).expect("ONNX Runtime: run `make setup`")
}

/// A graph ready to run.
pub struct Graph(Session);

impl Graph {
    pub fn open(library: &Library, model: &Model) -> Graph {
        let bytes = model.to_bytes().expect("bytes");
        let builder = Session::builder(library.environment()).expect("a builder");
        let mut builder = builder.with_intra_threads(1).expect("one thread");
        Graph(builder.commit_from_memory(&bytes).unwrap_or_else(|e| panic!("{}: {e}", model.graph.name)))
    }

    /// The outputs by name.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> BTreeMap<String, Tensor> {
        let given: Vec<(String, SessionInputValue)> =
            inputs.iter().map(|(name, tensor)| ((*name).to_owned(), value(tensor).into())).collect();
        let answers = self.0.run(SessionInputs::from(given)).unwrap_or_else(|e| panic!("{e}"));
        answers.iter().map(|(name, value)| (name.to_owned(), tensor(&value))).collect()
    }

    /// The only output, which is float32.
    pub fn floats(&mut self, inputs: &[(&str, &Tensor)], output: &str) -> Vec<f64> {
        self.run(inputs)[output].to_float64().expect("floats")
    }
}

fn value(tensor: &Tensor) -> DynValue {
    let dims: Vec<i64> = tensor.dims().iter().map(|d| *d as i64).collect();
    match tensor.data_type() {
        DataType::Int64 => {
            Value::from_array((dims, tensor.to_vec::<i64>().expect("int64"))).expect("a value").into_dyn()
        }
        _ => Value::from_array((dims, tensor.to_vec::<f32>().expect("float32"))).expect("a value").into_dyn(),
    }
}

fn tensor(value: &ort::value::ValueRef<'_, ort::value::DynValueTypeMarker>) -> Tensor {
    match (value.try_extract_array::<f32>(), value.try_extract_array::<i64>()) {
        (Ok(array), _) => Tensor::new(array.shape(), &array.iter().copied().collect::<Vec<f32>>()),
        (_, Ok(array)) => Tensor::new(array.shape(), &array.iter().copied().collect::<Vec<i64>>()),
        (Err(error), _) => panic!("neither float32 nor int64: {error}"),
    }
}
