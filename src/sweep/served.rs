//! Scores by a server of the Open Inference Protocol, several batches under way at a time.
//!
//! What the server gives is held against what the file says: names, types and shapes before the sweep, every answer in it.

use super::decoder::Decoder;
use super::{Decoded, Pending, Scored, Scorer, SweepError};
use crate::inference_client::{Client, Input, ServerOptions, Wanted};
use crate::network::{Network, NetworkError};
use crate::observe::{Observer, Unobserved};
use crate::runtime::{Library, RuntimeError, SessionOptions};
use crate::scores::BeliefColumn;
use crate::serve::Datatype;
use crate::task::Task;
use isal_onnx::influence::{INFLUENCE, prediction};
use isal_onnx::{DataType, Dim, ValueInfo};
use ndarray::{ArrayD, ArrayView4, Axis, Slice};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A model that a server runs.
#[derive(Debug)]
pub struct Served {
    client: Client,
    /// For errors.
    place: String,
    input: (String, Datatype),
    outputs: Arc<[String]>,
    decoded: Arc<Decoded>,
    makes: Makes,
    under_way: usize,
}

/// What scores are made of.
#[derive(Debug, Clone)]
enum Makes {
    /// The outputs of an influence graph: beliefs, and the influence behind them where it is wanted.
    Graph { influence: bool },
    /// The outputs of a plain model, of which the decode graph makes beliefs, here.
    Model(Arc<Mutex<Decoder>>),
}

impl Served {
    /// An influence graph that is `network` here. `influence`: whether more than its beliefs is wanted.
    ///
    /// # Errors
    /// [`SweepError::Client`]: a server that does not answer, a model that does not fit.
    pub fn graph(
        options: &ServerOptions,
        network: &Network,
        influence: bool,
        properties: BTreeMap<String, String>,
        observer: &dyn Observer,
    ) -> Result<Served, SweepError> {
        let decoded = Decoded::of(&network.model);
        let wanted: Vec<String> =
            decoded.wanted(influence.then_some(INFLUENCE)).into_iter().map(str::to_owned).collect();
        Self::open(options, network, (wanted, properties), (decoded, Makes::Graph { influence }), observer)
    }

    /// A plain model that is `network` here. The decode graph of the task, which is small, is run by ONNX Runtime here.
    ///
    /// # Errors
    /// As [`Served::graph`]; a task that reads more of the model than its outputs.
    pub fn model(
        options: &ServerOptions,
        network: &Network,
        task: &Task,
        (library, session): (&Library, SessionOptions),
        observer: &dyn Observer,
    ) -> Result<Served, SweepError> {
        let refused = |reason| RuntimeError::Signature { model: network.path.display().to_string(), reason };
        if let Some(given) = network.given.first() {
            let reason =
                format!("`--input {}` is not sent to a server: serve the model with that value inside", given.name);
            return Err(refused(reason).into());
        }
        let decoder = Decoder::open(library, network, task, session)?;
        let is_output = |value: &String| network.model.graph.outputs.iter().any(|output| output.name == *value);
        if let Some(inner) = decoder.values().iter().find(|value| !is_output(value)) {
            let reason = format!(
                "its beliefs are made of the inner value `{inner}`, which a server does not give: have its influence graph served \
                 (`--influence`)"
            );
            return Err(refused(reason).into());
        }
        let whole =
            prediction(&network.model, &task.parts()).map_err(|source| NetworkError::model(&network.path, source))?;
        let values = decoder.values().to_vec();
        let makes = (Decoded::of(&whole), Makes::Model(Arc::new(Mutex::new(decoder))));
        Self::open(options, network, (values, BTreeMap::new()), makes, observer)
    }

    fn open(
        options: &ServerOptions,
        network: &Network,
        (outputs, properties): (Vec<String>, BTreeMap<String, String>),
        (decoded, makes): (Decoded, Makes),
        observer: &dyn Observer,
    ) -> Result<Served, SweepError> {
        let name = network.model.graph.inputs.first().map(|input| input.name.clone()).unwrap_or_default();
        let datatype = match network.input_type {
            DataType::Float16 => Datatype::Fp16,
            DataType::Double => Datatype::Fp64,
            DataType::Uint8 => Datatype::Uint8,
            _ => Datatype::Fp32,
        };
        let axes = |output: &String| {
            let known = network.model.graph.outputs.iter().find(|known| known.name == *output);
            known.and_then(axes_of)
        };
        let wanted = Wanted {
            input: (name.clone(), Some(datatype)),
            axes: network.input.clone(),
            outputs: outputs.iter().map(|output| (output.clone(), axes(output))).collect(),
            properties,
        };
        let client = Client::open(options, &wanted, observer)?;
        let (place, input, outputs) = (client.place(), (name, datatype), outputs.into());
        Ok(Served {
            client,
            place,
            input,
            outputs,
            decoded: Arc::new(decoded),
            makes,
            under_way: options.requests.max(1),
        })
    }

    /// What answers.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// Sizes of the axes of an output, where their number is known.
fn axes_of(output: &ValueInfo) -> Option<Vec<Option<usize>>> {
    Some(output.value_type.as_ref()?.shape.as_ref()?.iter().map(Dim::known).collect())
}

impl Scorer for Served {
    fn columns(&self) -> &[BeliefColumn] {
        self.decoded.columns()
    }

    fn score(&mut self, images: ArrayView4<f32>) -> Result<Scored, SweepError> {
        let scored = self.begin(images)?.wait(&Unobserved)?;
        // Nobody asked to stop.
        Ok(scored.unwrap_or(Scored { beliefs: Vec::new(), influence: None }))
    }

    fn under_way(&self) -> usize {
        self.under_way
    }

    fn begin(&mut self, images: ArrayView4<f32>) -> Result<Pending, SweepError> {
        let count = images.len_of(Axis(0));
        if self.outputs.is_empty() {
            // A task of which nothing is to be said of an image.
            return Ok(Pending::Ready(Scored { beliefs: vec![Vec::new(); count], influence: None }));
        }
        let (name, datatype) = &self.input;
        let input = match self.client.description().rows.filter(|rows| *rows > count && count > 0) {
            None => Input::of(name, *datatype, images.into_dyn()),
            // Filled up with copies of the last image, whose rows are dropped.
            Some(rows) => {
                let places: Vec<usize> = (0..rows).map(|row| row.min(count - 1)).collect();
                Input::of(name, *datatype, images.select(Axis(0), &places).view().into_dyn())
            }
        };
        let input = input.map_err(|reason| self.client.misfit(reason))?;
        let outputs = self.client.infer(&input, &self.outputs)?;
        let (place, decoded, makes) = (self.place.clone(), Arc::clone(&self.decoded), self.makes.clone());
        let scores = move |mut arrays: Vec<ArrayD<f32>>| {
            for array in &mut arrays {
                array.slice_axis_inplace(Axis(0), Slice::from(..count));
            }
            match makes {
                Makes::Graph { influence } => {
                    let columns = arrays.into_iter().map(|array| of_one(array, count)).collect();
                    Ok(decoded.scored(&place, columns, influence.then_some(INFLUENCE), count)?)
                }
                Makes::Model(decoder) => {
                    let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
                    let arrays = decoder.run(&arrays, &decoded.wanted(None))?;
                    Ok(decoded.scored(&place, arrays, None, count)?)
                }
            }
        };
        Ok(Pending::Coming { outputs, scores: Box::new(scores) })
    }
}

/// `[N]` of `[N, 1]`, as servers give it that have no tensor whose only axis is the batch.
fn of_one(array: ArrayD<f32>, images: usize) -> ArrayD<f32> {
    match array.len() == images {
        // As many elements as before.
        true => array.to_shape(vec![images]).map(|array| array.into_owned()).unwrap_or_default(),
        false => array,
    }
}
