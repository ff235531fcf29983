//! What a model takes and gives, from the model itself and from what its `config.pbtxt` says of it.

use super::config::ConfigError;
use super::datatype::Datatype;
use super::limits::Limits;
use super::proto::model_config::SchedulingChoice;
use super::proto::model_version_policy::{Latest, PolicyChoice};
use super::proto::{self, ModelConfig};
use super::queue::Batching;
use crate::runtime;
use std::time::Duration;

/// Most rows of a run where neither a `config.pbtxt` nor an option says otherwise.
pub const DEFAULT_MAX_BATCH: usize = 32;

/// An input or output as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type.
    pub datatype: Datatype,
    /// Sizes of its axes, that of the batch included; `None` is free.
    pub shape: Vec<Option<usize>>,
    /// Whether the model gives the same elements with other axes, so that the shape has to be put on them.
    pub reshaped: bool,
}

impl Port {
    /// The shape that clients are given of a value that the model gave with this shape.
    pub(super) fn given(&self, own: &[usize]) -> Vec<usize> {
        if !self.reshaped {
            return own.to_vec();
        }
        // The batch axis alone is free.
        let rows = own.first().copied().unwrap_or(1);
        self.shape.iter().map(|size| size.unwrap_or(rows)).collect()
    }

    /// The shape with -1 for free axes, as the protocol has it.
    pub fn dims(&self) -> Vec<i64> {
        self.shape.iter().map(|size| size.map_or(-1, |size| i64::try_from(size).unwrap_or(-1))).collect()
    }
}

/// What a model takes and gives, and how it is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// Inputs, in the model's order.
    pub inputs: Vec<Port>,
    /// Outputs, in the model's order.
    pub outputs: Vec<Port>,
    /// Most rows of a request; 0: the first axis is no batch.
    pub max_batch: usize,
    /// How requests are put together.
    pub batching: Batching,
    /// Requests that wait.
    pub queue: usize,
    /// The configuration with everything that was left open filled in.
    pub config: ModelConfig,
}

/// Why a model and its configuration do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// An input or output that the configuration has and the model not.
    #[error("`config.pbtxt` has the {kind} `{name}`, the model has {known}")]
    Unknown {
        /// `input` or `output`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Those of the model.
        known: String,
    },
    /// Another type than the model's.
    #[error("`config.pbtxt` has {found} for the {kind} `{name}`, the model has {expected}")]
    Datatype {
        /// `input` or `output`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The configuration's.
        found: String,
        /// The model's.
        expected: Datatype,
    },
    /// Axes that are not the model's.
    #[error(
        "`config.pbtxt` has the shape {found:?} for the {kind} `{name}` (batch included), the model has {expected:?}"
    )]
    Shape {
        /// `input` or `output`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The configuration's, -1 for free axes.
        found: Vec<i64>,
        /// The model's.
        expected: Vec<i64>,
    },
    /// A type that the protocol has no word for.
    #[error("{kind} `{name}` is {element}, which the protocol has no word for")]
    NoWord {
        /// `input` or `output`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The type.
        element: String,
    },
    /// A batch for a model whose first axis is no batch.
    #[error(
        "`max_batch_size` is {max_batch}, but {kind} `{name}` has the shape {shape:?}, whose first axis is not free"
    )]
    NoBatchAxis {
        /// The configuration's.
        max_batch: usize,
        /// `input` or `output`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The model's.
        shape: Vec<i64>,
    },
    /// A number that is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// One side of a model, as the configuration has it.
struct Said<'a> {
    kind: &'static str,
    ports: Vec<SaidPort<'a>>,
}

/// Name, type and axes; and the axes that the model itself has, where they are others.
type SaidPort<'a> = (&'a str, i32, &'a [i64], Option<&'a [i64]>);

impl Signature {
    /// Brings the model's own inputs and outputs together with what the configuration says; `given` is absent where there is
    /// no `config.pbtxt`, and then requests are batched if every first axis is free.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn of(
        name: &str,
        model: (&[runtime::Port], &[runtime::Port]),
        given: Option<&ModelConfig>,
        instances: usize,
        limits: &Limits,
    ) -> Result<Signature, SignatureError> {
        let mut config = given.cloned().unwrap_or_default();
        let free = |port: &runtime::Port| port.shape.as_ref().is_some_and(|shape| shape.first() == Some(&None));
        let free_everywhere = !model.0.is_empty() && model.0.iter().chain(model.1).all(free);
        let max_batch = match given {
            Some(config) => usize::try_from(config.max_batch_size).unwrap_or(0),
            None if free_everywhere => DEFAULT_MAX_BATCH,
            None => 0,
        };
        if given.is_none() && max_batch > 0 {
            config.scheduling_choice = Some(SchedulingChoice::DynamicBatching(proto::ModelDynamicBatching::default()));
        }
        let inputs = Said {
            kind: "input",
            ports: config.input.iter().map(|i| (i.name.as_str(), i.data_type, i.dims.as_slice(), None)).collect(),
        };
        let outputs = Said { kind: "output", ports: config.output.iter().map(said_output).collect() };
        let (inputs, outputs) = (inputs.with(model.0, max_batch)?, outputs.with(model.1, max_batch)?);
        let (mut batching, mut queue) = (Batching::default(), limits.queue);
        if let Some(SchedulingChoice::DynamicBatching(said)) = &config.scheduling_choice {
            batching = Batching {
                max_rows: max_batch,
                preferred: said.preferred_batch_size.iter().filter_map(|size| usize::try_from(*size).ok()).collect(),
                delay: Duration::from_micros(said.max_queue_delay_microseconds).min(limits.request_time),
            };
            let size = said.default_queue_policy.as_ref().map_or(0, |policy| policy.max_queue_size);
            if size > 0 {
                queue = usize::try_from(size).unwrap_or(usize::MAX);
            }
        }
        complete(&mut config, name, &inputs, &outputs, max_batch, instances);
        Ok(Signature { inputs, outputs, max_batch, batching, queue, config })
    }
}

fn said_output(output: &proto::ModelOutput) -> SaidPort<'_> {
    let own = output.reshape.as_ref().map(|reshape| reshape.shape.as_slice());
    (output.name.as_str(), output.data_type, output.dims.as_slice(), own)
}

/// Elements of axes that are all fixed.
fn elements(dims: &[i64]) -> Option<u64> {
    dims.iter().try_fold(1_u64, |all, size| all.checked_mul(u64::try_from(*size).ok()?))
}

impl Said<'_> {
    fn with(&self, model: &[runtime::Port], max_batch: usize) -> Result<Vec<Port>, SignatureError> {
        let kind = self.kind;
        if let Some((name, ..)) = self.ports.iter().find(|(name, ..)| model.iter().all(|port| port.name != *name)) {
            let known = model.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", ");
            return Err(SignatureError::Unknown { kind, name: (*name).to_owned(), known });
        }
        model.iter().map(|port| self.port(port, max_batch)).collect()
    }

    fn port(&self, port: &runtime::Port, max_batch: usize) -> Result<Port, SignatureError> {
        let (kind, name) = (self.kind, port.name.clone());
        let Some(datatype) = Datatype::of_element(port.element) else {
            return Err(SignatureError::NoWord { kind, name, element: port.element.to_string() });
        };
        let own = Port { name: name.clone(), datatype, shape: port.shape.clone().unwrap_or_default(), reshaped: false };
        if max_batch > 0 && port.shape.as_ref().is_some_and(|shape| shape.first() != Some(&None)) {
            return Err(SignatureError::NoBatchAxis { max_batch, kind, name, shape: own.dims() });
        }
        let Some((_, number, dims, reshape)) = self.ports.iter().find(|(said, ..)| *said == name) else {
            return Ok(own);
        };
        if *number != datatype.config() {
            let found = Datatype::of_config(*number).map_or_else(|| "no data type".to_owned(), |d| d.to_string());
            return Err(SignatureError::Datatype { kind, name, found, expected: datatype });
        }
        let batch = (max_batch > 0).then_some(-1);
        let with_batch = |dims: &[i64]| batch.into_iter().chain(dims.iter().copied()).collect::<Vec<i64>>();
        let sizes = |dims: &[i64]| dims.iter().map(|size| usize::try_from(*size).ok()).collect::<Vec<_>>();
        // What the model has to have; clients are told `dims`.
        let found = with_batch(reshape.unwrap_or(dims));
        let shape = sizes(&found);
        let agrees = port.shape.as_ref().is_none_or(|own| {
            let same = |(a, b): (&Option<usize>, &Option<usize>)| a.is_none() || b.is_none() || a == b;
            own.len() == shape.len() && own.iter().zip(&shape).all(same)
        });
        let same_elements = reshape.is_none_or(|own| elements(own).is_some() && elements(own) == elements(dims));
        if !agrees || !same_elements || found.iter().any(|size| *size < -1) {
            return Err(SignatureError::Shape { kind, name, found, expected: own.dims() });
        }
        if reshape.is_some() {
            return Ok(Port { name, datatype, shape: sizes(&with_batch(dims)), reshaped: true });
        }
        // Of two words on an axis the narrower counts.
        let model = port.shape.clone().unwrap_or_else(|| vec![None; shape.len()]);
        let shape = shape.iter().zip(&model).map(|(said, own)| said.or(*own)).collect();
        Ok(Port { name, datatype, shape, reshaped: false })
    }
}

/// Fills in what a configuration left open.
fn complete(
    config: &mut ModelConfig,
    name: &str,
    inputs: &[Port],
    outputs: &[Port],
    max_batch: usize,
    instances: usize,
) {
    let skipped = usize::from(max_batch > 0);
    name.clone_into(&mut config.name);
    "onnxruntime_onnx".clone_into(&mut config.platform);
    "onnxruntime".clone_into(&mut config.backend);
    if config.default_model_filename.is_empty() {
        "model.onnx".clone_into(&mut config.default_model_filename);
    }
    config.max_batch_size = i32::try_from(max_batch).unwrap_or(i32::MAX);
    let version_policy = config.version_policy.get_or_insert_default();
    version_policy.policy_choice.get_or_insert(PolicyChoice::Latest(Latest { num_versions: 1 }));
    for port in inputs.iter().filter(|port| config.input.iter().all(|said| said.name != port.name)).collect::<Vec<_>>()
    {
        config.input.push(proto::ModelInput {
            name: port.name.clone(),
            data_type: port.datatype.config(),
            dims: port.dims().split_off(skipped.min(port.shape.len())),
            ..Default::default()
        });
    }
    for port in
        outputs.iter().filter(|port| config.output.iter().all(|said| said.name != port.name)).collect::<Vec<_>>()
    {
        config.output.push(proto::ModelOutput {
            name: port.name.clone(),
            data_type: port.datatype.config(),
            dims: port.dims().split_off(skipped.min(port.shape.len())),
            ..Default::default()
        });
    }
    if config.instance_group.is_empty() {
        config.instance_group.push(proto::ModelInstanceGroup {
            name: format!("{name}_0"),
            count: i32::try_from(instances).unwrap_or(1),
            ..Default::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;
    use crate::runtime::ElementType;

    fn port(name: &str, shape: &[Option<usize>]) -> runtime::Port {
        runtime::Port { name: name.to_owned(), element: ElementType::Float32, shape: Some(shape.to_vec()) }
    }

    fn of(text: Option<&str>, batch: Option<usize>) -> Result<Signature, SignatureError> {
        let inputs = [port("x", &[batch, Some(1), None])];
        let outputs = [port("y", &[batch, Some(10)])];
        let config = text.map(|text| config::read(text, "m").expect("sound").message);
        Signature::of("m", (&inputs, &outputs), config.as_ref(), 2, &Limits::default())
    }

    #[test]
    fn without_a_configuration_free_first_axes_are_a_batch() {
        let free = of(None, None).expect("it goes together");
        assert_eq!((free.max_batch, free.batching.max_rows), (DEFAULT_MAX_BATCH, DEFAULT_MAX_BATCH));
        assert_eq!(free.config.input[0].dims, [1, -1]);
        assert_eq!(free.config.output[0].dims, [10]);
        assert_eq!(free.config.instance_group[0].count, 2);
        let fixed = of(None, Some(1)).expect("it goes together");
        assert_eq!((fixed.max_batch, fixed.batching.max_rows), (0, 0));
        assert_eq!(fixed.config.input[0].dims, [1, 1, -1]);
    }

    #[test]
    fn a_configuration_narrows_the_model_and_may_not_contradict_it() {
        let said = "max_batch_size: 4 input { name: \"x\" data_type: TYPE_FP32 dims: [ 1, 28 ] } \
                    dynamic_batching { default_queue_policy { max_queue_size: 7 } }";
        let signature = of(Some(said), None).expect("it goes together");
        assert_eq!(signature.inputs[0].dims(), [-1, 1, 28]);
        assert_eq!((signature.max_batch, signature.queue), (4, 7));
        let plain = of(Some("max_batch_size: 4"), None).expect("it goes together");
        assert_eq!(plain.batching, Batching::default(), "nothing asks for batching");
        let cases = [
            ("input { name: \"z\" data_type: TYPE_FP32 dims: 1 }", "`z`"),
            ("input { name: \"x\" data_type: TYPE_FP16 dims: [ -1, 1, 2 ] }", "FP16"),
            ("output { name: \"y\" data_type: TYPE_FP32 dims: [ -1, 11 ] }", "11"),
            ("output { name: \"y\" data_type: TYPE_FP32 dims: [ 10 ] }", "batch included"),
        ];
        for (text, expected) in cases {
            let error = of(Some(text), None).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let reshaped =
            "max_batch_size: 4 output { name: \"y\" data_type: TYPE_FP32 dims: [ 2, 5 ] reshape { shape: [ 10 ] } }";
        let signature = of(Some(reshaped), None).expect("it goes together");
        assert_eq!(signature.outputs[0].dims(), [-1, 2, 5]);
        assert_eq!(signature.outputs[0].given(&[3, 10]), [3, 2, 5]);
        let other = reshaped.replace("[ 2, 5 ]", "[ 3, 5 ]");
        assert!(matches!(of(Some(&other), None), Err(SignatureError::Shape { .. })), "other elements");
        let error = of(Some("max_batch_size: 4"), Some(1)).expect_err("no batch axis");
        assert!(matches!(error, SignatureError::NoBatchAxis { .. }));
    }
}
