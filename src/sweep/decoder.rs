//! The decode graph of a task alone, on outputs of the model that came from elsewhere.

use super::SweepError;
use crate::inference_client::{Input, Output};
use crate::network::{Aside, Network};
use crate::runtime::{ByteSession, Given, Library, RuntimeError, SessionOptions};
use crate::serve::Datatype;
use crate::task::Task;
use ndarray::ArrayD;

/// A decode graph on ONNX Runtime.
#[derive(Debug)]
pub(super) struct Decoder {
    session: ByteSession,
    /// The values of the model that the inputs are, in their order.
    values: Vec<String>,
    /// What the outputs are called in a model that holds the graph, in their order.
    outputs: Vec<String>,
    /// What the session reads.
    _file: Aside,
}

impl Decoder {
    pub(super) fn open(
        library: &Library,
        network: &Network,
        task: &Task,
        options: SessionOptions,
    ) -> Result<Decoder, SweepError> {
        let file = Aside::write(&task.graphs.decode, &network.path)?;
        let session = ByteSession::open(library, file.path(), options)?;
        let value =
            |input: &str| task.bindings.iter().find(|(bound, _)| bound == input).map(|(_, value)| value.clone());
        let unbound = |name: &str| RuntimeError::Signature {
            model: session.model().to_owned(),
            reason: format!("input `{name}` of the decode graph is no value of the model"),
        };
        let values = session.inputs().iter().map(|input| value(&input.name).ok_or_else(|| unbound(&input.name)));
        let values = values.collect::<Result<_, _>>()?;
        let outputs = session.outputs().iter().map(|output| task.parts().output_of(&output.name)).collect();
        Ok(Decoder { session, values, outputs, _file: file })
    }

    /// The values of the model that [`Decoder::run`] takes, in that order.
    pub(super) fn values(&self) -> &[String] {
        &self.values
    }

    /// What the graph makes of these values, by the names that its outputs have in a model that holds it.
    pub(super) fn run(&mut self, values: &[ArrayD<f32>], wanted: &[&str]) -> Result<Vec<ArrayD<f32>>, RuntimeError> {
        let model = self.session.model().to_owned();
        let fail = |reason: String| RuntimeError::Run { model: model.clone(), reason };
        let mut inputs = Vec::with_capacity(values.len());
        for (port, value) in self.session.inputs().iter().zip(values) {
            let datatype = Datatype::of_element(port.element);
            let datatype = datatype.ok_or_else(|| fail(format!("input `{}` is {}", port.name, port.element)))?;
            inputs.push(Input::of(&port.name, datatype, value.view()).map_err(&fail)?);
        }
        let given: Vec<Given> =
            inputs.iter().map(|input| Given { shape: input.shape.clone(), pieces: vec![&input.data] }).collect();
        let marked: Vec<bool> = self.outputs.iter().map(|output| wanted.contains(&output.as_str())).collect();
        let mut ran = self.session.run(&given, &marked)?.outputs;
        let one = |name: &&str| {
            let at = self.outputs.iter().position(|output| output == name);
            let value = at.and_then(|at| ran.get_mut(at)?.take()).ok_or_else(|| fail(format!("no output `{name}`")))?;
            let datatype = Datatype::of_element(value.element);
            let datatype = datatype.ok_or_else(|| fail(format!("output `{name}` is {}", value.element)))?;
            let output = Output { name: (*name).to_owned(), datatype, shape: value.shape, data: value.data };
            output.floats().map_err(&fail)
        };
        wanted.iter().map(one).collect()
    }
}
