//! What the plugin and a model say of themselves, in memory that lives as long as the ABI promises.

use crate::{Engine, device, ops, settings};
use isal_onnx::ValueInfo;
use isal_plugin_abi::{Bytes, Description, ElementKind, ModelInfo, Value};
use std::sync::OnceLock;

/// A description and the text it points into.
struct Described {
    description: Description,
    _devices: (Vec<String>, Vec<Bytes>),
    _ops: Vec<Bytes>,
    _backend: String,
}

// SAFETY: the pointers lead into the fields beside them, which are never changed.
unsafe impl Send for Described {}
// SAFETY: as above.
unsafe impl Sync for Described {}

/// What the plugin is; made once.
pub(super) fn description() -> &'static Description {
    static DESCRIBED: OnceLock<Described> = OnceLock::new();
    let described = DESCRIBED.get_or_init(|| {
        let devices = device::found();
        let device_names: Vec<_> = devices.iter().map(|d| Bytes::new(d.as_bytes())).collect();
        let mut names: Vec<&'static str> = ops::all().map(|op| op.name).collect();
        names.sort_unstable();
        let ops: Vec<_> = names.into_iter().map(Bytes::from).collect();
        let backend = format!("libtorch {}", settings::version());
        Described {
            description: Description {
                name: Bytes::from("tch"),
                version: Bytes::from(env!("CARGO_PKG_VERSION")),
                backend: Bytes::new(backend.as_bytes()),
                devices: device_names.as_ptr(),
                device_count: device_names.len(),
                ops: ops.as_ptr(),
                op_count: ops.len(),
                threads: usize::try_from(tch::get_num_threads()).unwrap_or(1),
            },
            _devices: (devices, device_names),
            _ops: ops,
            _backend: backend,
        }
    });
    &described.description
}

/// A model's info and what it points into.
pub(super) struct Info {
    info: ModelInfo,
    _parameters: Vec<Value>,
    _outputs: Vec<Value>,
    _annotations: Vec<Value>,
    _bound: Vec<usize>,
    _text: Vec<String>,
    _dims: Vec<Vec<i64>>,
}

// SAFETY: the pointers lead into the fields beside them, which are never changed.
unsafe impl Send for Info {}
// SAFETY: as above.
unsafe impl Sync for Info {}

/// Keeps text and dims alive; both stay where they are on the heap when the lists around them grow.
#[derive(Default)]
struct Keep {
    text: Vec<String>,
    dims: Vec<Vec<i64>>,
}

impl Keep {
    fn value(&mut self, name: &str, dims: Option<Vec<i64>>, kind: ElementKind) -> Value {
        let text = name.to_owned();
        let ranked = u32::from(dims.is_some());
        let dims = dims.unwrap_or_default();
        let value = Value { name: Bytes::new(text.as_bytes()), dims: dims.as_ptr(), rank: dims.len(), ranked, kind };
        self.text.push(text);
        self.dims.push(dims);
        value
    }

    fn declared(&mut self, value: &ValueInfo) -> Value {
        let dims =
            value.value_type.as_ref().and_then(|t| t.shape.as_ref()).map(|shape| {
                shape.iter().map(|d| d.known().and_then(|d| i64::try_from(d).ok()).unwrap_or(-1)).collect()
            });
        let kind = value.value_type.as_ref().map_or(0, |t| t.data_type.number());
        self.value(&value.name, dims, ElementKind(kind))
    }
}

impl Info {
    pub(super) fn new(engine: &Engine) -> Info {
        let mut keep = Keep::default();
        let kind = match engine.numerics().kind {
            tch::Kind::Double => ElementKind::F64,
            _ => ElementKind::F32,
        };
        let places = &engine.layout().places;
        let parameters: Vec<_> = places.iter().map(|p| keep.value(&p.name, Some(p.dims.clone()), kind)).collect();
        let outputs: Vec<_> = engine.outputs().iter().map(|o| keep.declared(o)).collect();
        let annotations = engine.loss().map(|loss| loss.annotations().to_vec()).unwrap_or_default();
        let annotations: Vec<_> = annotations.iter().map(|a| keep.declared(a)).collect();
        let bound = engine.bound_outputs().to_vec();
        let info = ModelInfo {
            parameters: parameters.as_ptr(),
            parameter_count: parameters.len(),
            outputs: outputs.as_ptr(),
            output_count: outputs.len(),
            bound: bound.as_ptr(),
            bound_count: bound.len(),
            annotations: annotations.as_ptr(),
            annotation_count: annotations.len(),
            input: keep.declared(engine.input()),
            dimension: usize::try_from(engine.layout().dimension).unwrap_or(0),
        };
        Info {
            info,
            _parameters: parameters,
            _outputs: outputs,
            _annotations: annotations,
            _bound: bound,
            _text: keep.text,
            _dims: keep.dims,
        }
    }

    pub(super) fn get(&self) -> &ModelInfo {
        &self.info
    }
}
