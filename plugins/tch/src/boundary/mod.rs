//! The C ABI: the one exported symbol and the functions of its table.
//!
//! Each function turns what the caller gave into checked Rust values, calls [`Engine`] or [`Vector`], and gives a
//! handle or a number back; [`guard`] makes a status and a message of whatever goes wrong. This folder has all the
//! `unsafe` that the ABI needs.

mod guard;
mod handles;
mod host;
mod info;

use crate::loss::Binding;
use crate::state::{self, State};
use crate::{Engine, Failure, Jvp, Options, Step, Task, Vector};
use guard::{given, guard, place};
use handles::{Handles, lock};
use host::Held;
use info::Info;
use isal_onnx::Model as OnnxModel;
use isal_plugin_abi::{
    self as abi, Array, Arrays, Bytes, Curvature, Decay, Description, ElementKind, ISAL_PLUGIN_ABI_VERSION, Load,
    Message, Model, ModelInfo, NamedArray, Role, Status, Table, TrainStep, Vector as VectorHandle, slice, texts,
};
use std::ffi::c_void;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tch::Tensor;

struct Loaded {
    engine: Mutex<Engine>,
    info: Info,
}

static MODELS: Handles<Loaded> = Handles::new("model");
static VECTORS: Handles<Mutex<Vector>> = Handles::new("vector");
static ARRAYS: Handles<Vec<Held>> = Handles::new("list of arrays");

static TABLE: Table = Table {
    abi_version: ISAL_PLUGIN_ABI_VERSION,
    reserved: 0,
    table_size: size_of::<Table>(),
    describe,
    load,
    model_free,
    model_info,
    forward,
    losses,
    gradient,
    curvature_product,
    jvp,
    vector_zeros,
    vector_copy,
    vector_dot,
    vector_axpy,
    vector_scale,
    vector_download,
    vector_upload,
    vector_free,
    train_step,
    state_get,
    state_set,
    arrays_count,
    arrays_get,
    arrays_free,
};

/// The plugin's functions, valid for the life of the process.
#[unsafe(no_mangle)]
pub extern "C" fn isal_plugin_table() -> *const Table {
    &raw const TABLE
}

fn model(handle: Model) -> Result<Arc<Loaded>, Failure> {
    MODELS.get(handle.0)
}

/// Another handle on a vector's entries, so that no lock is held while they are read.
fn vector(handle: VectorHandle) -> Result<Vector, Failure> {
    Ok(lock(&*VECTORS.get(handle.0)?).shared())
}

fn give(vector: Vector) -> VectorHandle {
    VectorHandle(VECTORS.give(Mutex::new(vector)))
}

fn text(text: Option<&str>, what: &'static str) -> Result<String, Failure> {
    let reason = || Failure::Argument { what, reason: "a null pointer, or not UTF-8".to_owned() };
    text.map(str::to_owned).ok_or_else(reason)
}

// SAFETY, for every function below: the ABI obliges the caller to pass pointers that are null or valid for the call,
// with the lengths they come with. Each `unsafe` block hands such a pointer to a function that asks for just that.

unsafe extern "C" fn describe(out: *mut *const Description, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            *place(out, "out")? = info::description();
            Ok(())
        })
    }
}

unsafe extern "C" fn load(options: *const Load, out: *mut Model, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let (options, out) = (given(options, "load")?, place(out, "out")?);
            let parameters = texts(options.parameters, options.parameter_count);
            let engine_options = Options {
                parameters: parameters
                    .ok_or_else(|| Failure::Argument {
                        what: "parameters",
                        reason: "a null pointer, or a name that is not UTF-8".to_owned(),
                    })?
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
                loss: task(options)?,
                device: text(options.device.as_str(), "device")?,
                kind: host::float_kind(options.kind)?,
                threads: options.threads,
            };
            let bytes = options
                .model
                .as_slice()
                .ok_or_else(|| Failure::Argument { what: "model", reason: "a null pointer".to_owned() })?;
            let folder = text(options.folder.as_str(), "folder")?;
            let folder = (!folder.is_empty()).then(|| Path::new(&folder));
            let engine = Engine::load(&OnnxModel::from_bytes(bytes, folder)?, &engine_options)?;
            let info = Info::new(&engine);
            *out = Model(MODELS.give(Loaded { engine: Mutex::new(engine), info }));
            Ok(())
        })
    }
}

unsafe extern "C" fn model_free(handle: Model, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe { guard(message, || MODELS.free(handle.0)) }
}

unsafe extern "C" fn model_info(handle: Model, out: *mut *const ModelInfo, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            *out = model(handle)?.info.get();
            Ok(())
        })
    }
}

/// The loss graph of a load, if it has one.
///
/// # Safety
/// What `load` points to is valid.
unsafe fn task(load: &Load) -> Result<Option<Task>, Failure> {
    let null = |what| Failure::Argument { what, reason: "a null pointer".to_owned() };
    // SAFETY: the caller vouches for both.
    let (bytes, bindings) = unsafe { (load.loss.as_slice(), slice(load.bindings, load.binding_count)) };
    let (bytes, bindings) = (bytes.ok_or_else(|| null("loss"))?, bindings.ok_or_else(|| null("bindings"))?);
    if bytes.is_empty() {
        return Ok(None);
    }
    let binding = |binding: &abi::Binding| -> Result<Binding, Failure> {
        // SAFETY: as above.
        let (input, value) = unsafe { (binding.input.as_str(), binding.value.as_str()) };
        Ok(Binding { input: text(input, "bindings")?, value: text(value, "bindings")? })
    };
    let graph = OnnxModel::from_bytes(bytes, None)?;
    Ok(Some(Task { graph, bindings: bindings.iter().map(binding).collect::<Result<_, _>>()? }))
}

unsafe extern "C" fn forward(
    handle: Model,
    batch: *const NamedArray,
    count: usize,
    out: *mut Arrays,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            let loaded = model(handle)?;
            let outputs = lock(&loaded.engine).forward(&host::batch(batch, count)?)?;
            *out = list(outputs.iter().map(|(name, value)| Held::new(name, Role::OUTPUT, value)))?;
            Ok(())
        })
    }
}

unsafe extern "C" fn losses(
    handle: Model,
    batch: *const NamedArray,
    count: usize,
    out: *mut Arrays,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            let loaded = model(handle)?;
            let engine = lock(&loaded.engine);
            let losses = engine.losses(&host::batch(batch, count)?)?;
            *out = list([Held::new(engine.loss()?.output(), Role::LOSS, &losses)])?;
            Ok(())
        })
    }
}

unsafe extern "C" fn gradient(
    handle: Model,
    batch: *const NamedArray,
    count: usize,
    loss: *mut f64,
    out: *mut VectorHandle,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let (loss, out) = (place(loss, "loss")?, place(out, "out")?);
            let loaded = model(handle)?;
            let (sum, vector) = lock(&loaded.engine).gradient(&host::batch(batch, count)?)?;
            (*loss, *out) = (sum, give(vector));
            Ok(())
        })
    }
}

unsafe extern "C" fn curvature_product(
    handle: Model,
    curvature: Curvature,
    batch: *const NamedArray,
    count: usize,
    v: VectorHandle,
    out: *mut VectorHandle,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            let (loaded, v) = (model(handle)?, vector(v)?);
            let batch = host::batch(batch, count)?;
            let engine = lock(&loaded.engine);
            let product = match curvature {
                Curvature::HESSIAN => engine.hessian_product(&batch, &v)?,
                Curvature::GAUSS_NEWTON => engine.gauss_newton_product(&batch, &v)?,
                Curvature::EMPIRICAL_FISHER => engine.empirical_fisher_product(&batch, &v)?,
                Curvature(found) => {
                    let reason =
                        format!("expected 0 (Hessian), 1 (Gauss-Newton) or 2 (empirical Fisher), found {found}");
                    return Err(Failure::Argument { what: "curvature", reason });
                }
            };
            *out = give(product);
            Ok(())
        })
    }
}

unsafe extern "C" fn jvp(
    handle: Model,
    batch: *const NamedArray,
    count: usize,
    v: VectorHandle,
    out: *mut Arrays,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            let (loaded, v) = (model(handle)?, vector(v)?);
            let engine = lock(&loaded.engine);
            let Jvp { values, losses } = engine.jvp(&host::batch(batch, count)?, &v)?;
            let names = engine.bound_outputs().iter().filter_map(|place| engine.outputs().get(*place));
            let mut held = Vec::new();
            for (output, (value, tangent)) in names.zip(&values) {
                held.push(Held::new(&output.name, Role::OUTPUT, value));
                held.push(Held::new(&output.name, Role::TANGENT, tangent));
            }
            if let Some((losses, tangents)) = &losses {
                let name = engine.loss()?.output();
                held.push(Held::new(name, Role::LOSS, losses));
                held.push(Held::new(name, Role::LOSS_TANGENT, tangents));
            }
            *out = list(held)?;
            Ok(())
        })
    }
}

/// A handle on these arrays.
fn list(arrays: impl IntoIterator<Item = Result<Held, Failure>>) -> Result<Arrays, Failure> {
    Ok(Arrays(ARRAYS.give(arrays.into_iter().collect::<Result<_, _>>()?)))
}

unsafe extern "C" fn vector_zeros(handle: Model, out: *mut VectorHandle, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            let loaded = model(handle)?;
            *out = give(lock(&loaded.engine).zeros()?);
            Ok(())
        })
    }
}

unsafe extern "C" fn vector_copy(v: VectorHandle, out: *mut VectorHandle, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            *out = give(vector(v)?.copy()?);
            Ok(())
        })
    }
}

unsafe extern "C" fn vector_dot(a: VectorHandle, b: VectorHandle, out: *mut f64, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            *out = vector(a)?.dot(&vector(b)?)?;
            Ok(())
        })
    }
}

unsafe extern "C" fn vector_axpy(alpha: f64, x: VectorHandle, y: VectorHandle, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let x = vector(x)?;
            lock(&*VECTORS.get(y.0)?).axpy(alpha, &x)
        })
    }
}

unsafe extern "C" fn vector_scale(alpha: f64, x: VectorHandle, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe { guard(message, || lock(&*VECTORS.get(x.0)?).scale(alpha)) }
}

unsafe extern "C" fn vector_download(
    v: VectorHandle,
    kind: ElementKind,
    data: *mut c_void,
    len: usize,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe { guard(message, || host::download(vector(v)?.entries(), kind, data.cast(), len)) }
}

unsafe extern "C" fn vector_upload(
    handle: Model,
    entries: *const Array,
    out: *mut VectorHandle,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            let loaded = model(handle)?;
            *out = give(lock(&loaded.engine).upload(&host::tensor(entries, "vector")?)?);
            Ok(())
        })
    }
}

unsafe extern "C" fn vector_free(v: VectorHandle, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe { guard(message, || VECTORS.free(v.0)) }
}

unsafe extern "C" fn train_step(
    handle: Model,
    step: *const TrainStep,
    batch: *const NamedArray,
    count: usize,
    loss: *mut f64,
    outputs: *mut Arrays,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let (step, loss) = (given(step, "step")?, place(loss, "loss")?);
            let decay_all = match step.decay {
                Decay::MATRICES => false,
                Decay::ALL => true,
                Decay(found) => {
                    let reason = format!("expected 0 (two axes or more) or 1 (all), found {found}");
                    return Err(Failure::Argument { what: "decay", reason });
                }
            };
            let step = Step {
                learning_rate: step.learning_rate,
                momentum: step.momentum,
                weight_decay: step.weight_decay,
                clip_norm: (step.clip_norm != 0.0).then_some(step.clip_norm),
                bias_rate: step.bias_rate,
                decay_all,
                nesterov: step.nesterov != 0,
                seed: step.seed,
            };
            let loaded = model(handle)?;
            let (sum, values) = lock(&loaded.engine).train_step(&host::batch(batch, count)?, &step)?;
            *loss = sum;
            if let Some(outputs) = outputs.as_mut() {
                *outputs = list(values.iter().map(|(name, value)| Held::new(name, Role::OUTPUT, value)))?;
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn state_get(handle: Model, out: *mut Arrays, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            let loaded = model(handle)?;
            let state = lock(&loaded.engine).state()?;
            *out = list(state.iter().map(|s| {
                let role = match s.role {
                    state::Role::Parameter => Role::PARAMETER,
                    state::Role::Statistic => Role::STATISTIC,
                    state::Role::Momentum => Role::MOMENTUM,
                };
                Held::new(&s.name, role, &s.value)
            }))?;
            Ok(())
        })
    }
}

unsafe extern "C" fn state_set(
    handle: Model,
    arrays: *const NamedArray,
    count: usize,
    message: *mut Message,
) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let loaded = model(handle)?;
            let arrays = slice(arrays, count)
                .ok_or_else(|| Failure::Argument { what: "arrays", reason: "a null pointer".to_owned() })?;
            let state = arrays.iter().map(|array| state_of(array)).collect::<Result<Vec<_>, _>>()?;
            lock(&loaded.engine).set_state(&state)
        })
    }
}

/// # Safety
/// `array` points to what it says.
unsafe fn state_of(array: &NamedArray) -> Result<State, Failure> {
    let role = match array.role {
        Role::PARAMETER => state::Role::Parameter,
        Role::STATISTIC => state::Role::Statistic,
        Role::MOMENTUM => state::Role::Momentum,
        Role(found) => {
            let reason = format!("expected 1 (parameter), 2 (statistic) or 3 (momentum), found {found}");
            return Err(Failure::Argument { what: "role", reason });
        }
    };
    // SAFETY: the caller vouches for both.
    let (name, value): (Option<&str>, Result<Tensor, Failure>) =
        unsafe { (Bytes::as_str(array.name), host::tensor(&raw const array.array, "state")) };
    Ok(State { name: text(name, "state")?, role, value: value? })
}

unsafe extern "C" fn arrays_count(arrays: Arrays, out: *mut usize, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            *out = ARRAYS.get(arrays.0)?.len();
            Ok(())
        })
    }
}

unsafe extern "C" fn arrays_get(arrays: Arrays, index: usize, out: *mut NamedArray, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe {
        guard(message, || {
            let out = place(out, "out")?;
            let list = ARRAYS.get(arrays.0)?;
            *out = list
                .get(index)
                .ok_or_else(|| Failure::Argument {
                    what: "index",
                    reason: format!("expected less than {}, found {index}", list.len()),
                })?
                .view();
            Ok(())
        })
    }
}

unsafe extern "C" fn arrays_free(arrays: Arrays, message: *mut Message) -> Status {
    // SAFETY: see above.
    unsafe { guard(message, || ARRAYS.free(arrays.0)) }
}
