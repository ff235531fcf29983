//! A model that the plugin holds, as a [`GradientEngine`].

use super::arrays::{Element, FromPlugin, GivenBatch, List};
use super::library::call;
use super::{NamedArray, Plugin, PluginError, PluginVector};
use crate::influence::{Annotations, Curvature, EngineError, GradientEngine, Jvp, Parameter};
use crate::task::Task;
use isal_onnx::Dim;
use isal_plugin_abi::{self as abi, Array, Arrays, Binding, Bytes, ElementKind, Load, Model, ModelInfo, Value};
use ndarray::{Array2, ArrayD, ArrayView, ArrayView2, ArrayView4, Dimension};
use std::path::Path;

/// Floats that a model is computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision.
    #[default]
    Float32,
    /// Double precision: half as fast or slower; for checks.
    Float64,
}

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Initializers that take part, in the order vectors shall hold them.
    pub parameters: Vec<String>,
    /// What is minimised; without it the model can be run, and its first output differentiated along a direction.
    pub task: Option<Task>,
    /// `cpu`, `cuda` or `cuda:N`; empty for `cpu`.
    pub device: String,
    /// What to compute in.
    pub precision: Precision,
    /// Threads an operator may use on the CPU; 0 leaves it to the plugin.
    pub threads: u32,
}

impl LoadOptions {
    /// For derivatives of a task's loss in these parameters, in the plugin's usual precision. `threads` as everywhere: 0 leaves
    /// them to the plugin.
    pub fn for_task(task: &Task, parameters: Vec<String>, device: &str, threads: usize) -> LoadOptions {
        LoadOptions {
            parameters,
            task: Some(task.clone()),
            device: device.to_owned(),
            threads: u32::try_from(threads).unwrap_or(0),
            ..LoadOptions::default()
        }
    }
}

/// A value of the model as it declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueSignature {
    /// Its name.
    pub name: String,
    /// Its dims; `None` when not even the rank is known.
    pub dims: Option<Vec<Dim>>,
}

/// A model held by a plugin; freed with this. Results are sums over the batch, in evaluation mode.
#[derive(Debug)]
pub struct PluginEngine {
    pub(super) plugin: Plugin,
    pub(super) model: Model,
    parameters: Vec<Parameter>,
    input: ValueSignature,
    outputs: Vec<ValueSignature>,
    bound: Vec<usize>,
    annotations: Vec<ValueSignature>,
}

impl Drop for PluginEngine {
    fn drop(&mut self) {
        // SAFETY: a null message is allowed. The handle is this engine's own, so the call cannot fail.
        unsafe { (self.plugin.table.model_free)(self.model, std::ptr::null_mut()) };
    }
}

impl PluginEngine {
    /// Loads a model that is at hand. One over 2 GB, which one message cannot hold, goes through a temporary folder.
    ///
    /// # Errors
    /// [`PluginError::Call`] with the plugin's reason; [`PluginError::Model`] where the model cannot be written.
    pub fn from_model(plugin: &Plugin, model: &isal_onnx::Model, options: &LoadOptions) -> Result<Self, PluginError> {
        match model.to_bytes() {
            Err(isal_onnx::Error::Limit { .. }) => Self::from_folder(plugin, model, options),
            bytes => Self::load(plugin, &bytes?, None, options),
        }
    }

    fn from_folder(plugin: &Plugin, model: &isal_onnx::Model, options: &LoadOptions) -> Result<Self, PluginError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            |source| isal_onnx::Error::Io { path, source }
        };
        let folder = tempfile::tempdir().map_err(io(&std::env::temp_dir()))?;
        let path = folder.path().join("model.onnx");
        model.write(&path)?;
        let bytes = std::fs::read(&path).map_err(io(&path))?;
        Self::load(plugin, &bytes, Some(folder.path()), options)
    }

    /// Loads a model from the bytes of its file; `folder` is where external data is looked for.
    ///
    /// # Errors
    /// [`PluginError::Call`] with the plugin's reason: a model or parameter that does not fit, operators that it does
    /// not have (all of them are named), a device that is not there.
    pub fn load(
        plugin: &Plugin,
        bytes: &[u8],
        folder: Option<&Path>,
        options: &LoadOptions,
    ) -> Result<Self, PluginError> {
        let names: Vec<Bytes> = options.parameters.iter().map(|p| Bytes::new(p.as_bytes())).collect();
        let folder = folder.map(|f| f.to_string_lossy()).unwrap_or_default();
        let loss = options.task.as_ref().map(|task| task.graphs.loss.to_bytes()).transpose()?.unwrap_or_default();
        let text = |text: &String| Bytes::new(text.as_bytes());
        let bindings = options.task.iter().flat_map(|task| &task.bindings);
        let bindings: Vec<Binding> =
            bindings.map(|(input, value)| Binding { input: text(input), value: text(value) }).collect();
        let load = Load {
            model: Bytes::new(bytes),
            folder: Bytes::new(folder.as_bytes()),
            parameters: names.as_ptr(),
            parameter_count: names.len(),
            loss: Bytes::new(&loss),
            bindings: bindings.as_ptr(),
            binding_count: bindings.len(),
            device: Bytes::new(if options.device.is_empty() { b"cpu" } else { options.device.as_bytes() }),
            kind: match options.precision {
                Precision::Float32 => ElementKind::F32,
                Precision::Float64 => ElementKind::F64,
            },
            threads: options.threads,
        };
        let mut model = Model(0);
        // SAFETY: what `load` points to outlives the call, as do `model` and the message.
        call("load", |m| unsafe { (plugin.table.load)(&raw const load, &raw mut model, m) })?;
        // From here on the handle is freed whatever comes.
        let unnamed = ValueSignature { name: String::new(), dims: None };
        let mut engine = PluginEngine {
            plugin: plugin.clone(),
            model,
            parameters: Vec::new(),
            input: unnamed,
            outputs: Vec::new(),
            bound: Vec::new(),
            annotations: Vec::new(),
        };
        engine.read_info()?;
        Ok(engine)
    }

    fn read_info(&mut self) -> Result<(), PluginError> {
        let wrong = |reason: &str| PluginError::Answer { call: "model_info", reason: reason.to_owned() };
        let mut out: *const ModelInfo = std::ptr::null();
        // SAFETY: `out` and the message are valid for the call.
        call("model_info", |m| unsafe { (self.plugin.table.model_info)(self.model, &raw mut out, m) })?;
        // SAFETY: null, or info that lives until the model is freed.
        let info = unsafe { out.as_ref() }.ok_or_else(|| wrong("a null pointer"))?;
        // SAFETY: as does what it points to.
        let (parameters, outputs, bound, annotations) = unsafe {
            (
                abi::slice(info.parameters, info.parameter_count),
                abi::slice(info.outputs, info.output_count),
                abi::slice(info.bound, info.bound_count),
                abi::slice(info.annotations, info.annotation_count),
            )
        };
        let parameters = parameters.ok_or_else(|| wrong("the parameters are not valid"))?;
        let outputs = outputs.ok_or_else(|| wrong("the outputs are not valid"))?;
        let bound = bound.ok_or_else(|| wrong("the places of the bound values are not valid"))?;
        let annotations = annotations.ok_or_else(|| wrong("the annotations are not valid"))?;
        // SAFETY: as above.
        let value = |v: &Value| unsafe { signature(v) }.ok_or_else(|| wrong("a value is not valid"));
        for parameter in parameters {
            let ValueSignature { name, dims } = value(parameter)?;
            let shape = dims.and_then(|dims| dims.iter().map(Dim::known).collect());
            let shape = shape.ok_or_else(|| wrong("a parameter has unknown dims"))?;
            self.parameters.push(Parameter { name, shape });
        }
        self.outputs = outputs.iter().map(value).collect::<Result<_, _>>()?;
        self.input = value(&info.input)?;
        self.annotations = annotations.iter().map(value).collect::<Result<_, _>>()?;
        self.bound = bound.to_vec();
        let found = self.bound.iter().all(|place| *place < self.outputs.len());
        if info.dimension != self.dimension() || !found || self.bound.is_empty() {
            return Err(wrong("it contradicts itself"));
        }
        Ok(())
    }

    /// The plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The model's input.
    pub fn input(&self) -> &ValueSignature {
        &self.input
    }

    /// The model's outputs, and behind them the inner values that the loss is taken of.
    pub fn outputs(&self) -> &[ValueSignature] {
        &self.outputs
    }

    /// The values that the loss and the derivatives are taken of, in the order of the task's bindings.
    pub fn bound(&self) -> impl Iterator<Item = &ValueSignature> {
        self.bound.iter().filter_map(|place| self.outputs.get(*place))
    }

    /// What the loss takes besides, as the loss graph declares it.
    pub fn annotations(&self) -> &[ValueSignature] {
        &self.annotations
    }

    /// Every output for a batch.
    ///
    /// # Errors
    /// [`PluginError::Call`].
    pub fn forward_all(&self, images: ArrayView4<f32>) -> Result<Vec<NamedArray>, PluginError> {
        self.forward_list(images)?.all()
    }

    /// The first value that the loss is taken of, `[N, C]`.
    ///
    /// # Errors
    /// [`PluginError::Call`]; [`PluginError::Answer`] when it is no matrix.
    pub fn class_scores(&self, images: ArrayView4<f32>) -> Result<Array2<f32>, PluginError> {
        let place = self.bound.first().copied().unwrap_or(0);
        matrix("forward", self.forward_list(images)?.get::<f32>(place)?.2)
    }

    fn forward_list<T: Element, D: Dimension>(&self, images: ArrayView<T, D>) -> Result<List, PluginError> {
        let batch = GivenBatch::new(&self.input.name, images);
        let arrays = batch.arrays();
        let mut out = Arrays(0);
        // SAFETY: `arrays` view a batch that outlives the call; the rest is valid for it.
        call("forward", |m| unsafe {
            (self.plugin.table.forward)(self.model, arrays.as_ptr(), arrays.len(), &raw mut out, m)
        })?;
        Ok(List::new(&self.plugin, out))
    }

    /// The loss of each image, `[N]`.
    ///
    /// # Errors
    /// [`PluginError::Call`]; an annotation that is missing or does not fit among others.
    pub fn losses(&self, images: ArrayView4<f32>, annotations: &Annotations) -> Result<Vec<f32>, PluginError> {
        let batch = GivenBatch::annotated(&self.input.name, images, annotations);
        let arrays = batch.arrays();
        let mut out = Arrays(0);
        // SAFETY: `arrays` view a batch that outlives the call; the rest is valid for it.
        call("losses", |m| unsafe {
            (self.plugin.table.losses)(self.model, arrays.as_ptr(), arrays.len(), &raw mut out, m)
        })?;
        Ok(List::new(&self.plugin, out).get::<f32>(0)?.2.into_iter().collect())
    }

    /// [`GradientEngine::jvp`] with the answer in float64: outputs and tangents, `[N, C]`.
    ///
    /// # Errors
    /// [`PluginError::Call`].
    pub fn jvp_float64(
        &self,
        images: ArrayView4<f64>,
        s: &PluginVector,
    ) -> Result<(Array2<f64>, Array2<f64>), PluginError> {
        self.jvp_of(images, s)
    }

    fn jvp_of<T: Element, D: Dimension, U: Element + FromPlugin>(
        &self,
        images: ArrayView<T, D>,
        s: &PluginVector,
    ) -> Result<(Array2<U>, Array2<U>), PluginError> {
        let batch = GivenBatch::new(&self.input.name, images);
        let list = self.jvp_list(&batch, s)?;
        Ok((matrix("jvp", list.get(0)?.2)?, matrix("jvp", list.get(1)?.2)?))
    }

    fn jvp_list<T: Element>(&self, batch: &GivenBatch<T>, s: &PluginVector) -> Result<List, PluginError> {
        let arrays = batch.arrays();
        let mut out = Arrays(0);
        // SAFETY: `arrays` view a batch that outlives the call; the rest is valid for it.
        call("jvp", |m| unsafe {
            (self.plugin.table.jvp)(self.model, arrays.as_ptr(), arrays.len(), s.handle, &raw mut out, m)
        })?;
        Ok(List::new(&self.plugin, out))
    }

    /// The loss of each image and its derivative along `s`, annotations and held values fixed: `[N]` each, in float64.
    /// The influence is the derivative with the other sign.
    ///
    /// # Errors
    /// [`PluginError::Call`]; an annotation that is missing or does not fit among others.
    pub fn loss_derivatives(
        &self,
        images: ArrayView4<f32>,
        annotations: &Annotations,
        s: &PluginVector,
    ) -> Result<(Vec<f64>, Vec<f64>), PluginError> {
        let list = self.jvp_list(&GivenBatch::annotated(&self.input.name, images, annotations), s)?;
        let place = 2 * self.bound.len();
        let numbers = |place| Ok::<_, PluginError>(list.get::<f64>(place)?.2.into_iter().collect());
        Ok((numbers(place)?, numbers(place + 1)?))
    }

    /// [`GradientEngine::gradient`] of float64 images and one annotation of float64 rows: the loss, and the gradient.
    ///
    /// # Errors
    /// [`PluginError::Call`].
    pub fn gradient_float64(
        &self,
        images: ArrayView4<f64>,
        (name, rows): (&str, ArrayView2<f64>),
    ) -> Result<(f64, PluginVector), PluginError> {
        self.gradient_of(&GivenBatch::new(&self.input.name, images).with(name, rows))
    }

    fn gradient_of<T: Element>(&self, batch: &GivenBatch<T>) -> Result<(f64, PluginVector), PluginError> {
        let arrays = batch.arrays();
        let (mut loss, mut out) = (0.0, abi::Vector(0));
        // SAFETY: `arrays` view a batch that outlives the call; the rest is valid for it.
        call("gradient", |m| unsafe {
            let gradient = self.plugin.table.gradient;
            gradient(self.model, arrays.as_ptr(), arrays.len(), &raw mut loss, &raw mut out, m)
        })?;
        Ok((loss, self.vector(out)))
    }

    fn vector(&self, handle: abi::Vector) -> PluginVector {
        PluginVector::new(handle, self.plugin.table)
    }

    /// The entries of `v` in float64, exact for either precision.
    ///
    /// # Errors
    /// [`PluginError::Call`].
    pub fn download_float64(&self, v: &PluginVector) -> Result<Vec<f64>, PluginError> {
        self.download_as(v)
    }

    fn download_as<T: Element>(&self, v: &PluginVector) -> Result<Vec<T>, PluginError> {
        let mut entries = vec![T::zeroed(); self.dimension()];
        let bytes = std::mem::size_of_val(entries.as_slice());
        // SAFETY: `entries` has room for `bytes` bytes, and the message is valid for the call.
        call("vector_download", |m| unsafe {
            (self.plugin.table.vector_download)(v.handle, T::KIND, entries.as_mut_ptr().cast(), bytes, m)
        })?;
        Ok(entries)
    }

    /// A vector of these float64 entries; a float32 model rounds them.
    ///
    /// # Errors
    /// [`PluginError::Call`].
    pub fn upload_float64(&self, entries: &[f64]) -> Result<PluginVector, PluginError> {
        self.upload_of(entries)
    }

    fn upload_of<T: Element>(&self, entries: &[T]) -> Result<PluginVector, PluginError> {
        let dims = [entries.len()];
        let array = Array::new(T::KIND, &dims, bytemuck::cast_slice(entries));
        let mut out = abi::Vector(0);
        // SAFETY: `array` views entries that outlive the call; the rest is valid for it.
        call("vector_upload", |m| unsafe {
            (self.plugin.table.vector_upload)(self.model, &raw const array, &raw mut out, m)
        })?;
        Ok(self.vector(out))
    }
}

impl GradientEngine for PluginEngine {
    type Vector = PluginVector;

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>, EngineError> {
        Ok(self.class_scores(images)?)
    }

    fn gradient(
        &mut self,
        images: ArrayView4<f32>,
        annotations: &Annotations,
    ) -> Result<(f64, PluginVector), EngineError> {
        Ok(self.gradient_of(&GivenBatch::annotated(&self.input.name, images, annotations))?)
    }

    fn curvature_product(
        &mut self,
        curvature: Curvature,
        images: ArrayView4<f32>,
        annotations: &Annotations,
        v: &PluginVector,
    ) -> Result<PluginVector, EngineError> {
        let batch = GivenBatch::annotated(&self.input.name, images, annotations);
        let arrays = batch.arrays();
        let curvature = match curvature {
            Curvature::Hessian => abi::Curvature::HESSIAN,
            Curvature::GaussNewton => abi::Curvature::GAUSS_NEWTON,
            Curvature::EmpiricalFisher => abi::Curvature::EMPIRICAL_FISHER,
        };
        let mut out = abi::Vector(0);
        // SAFETY: `arrays` view a batch that outlives the call; the rest is valid for it.
        call("curvature_product", |m| unsafe {
            let product = self.plugin.table.curvature_product;
            product(self.model, curvature, arrays.as_ptr(), arrays.len(), v.handle, &raw mut out, m)
        })?;
        Ok(self.vector(out))
    }

    fn jvp(&mut self, images: ArrayView4<f32>, s: &PluginVector) -> Result<Jvp, EngineError> {
        let (outputs, tangents) = self.jvp_of(images, s)?;
        Ok(Jvp { outputs, tangents })
    }

    fn zeros(&mut self) -> Result<PluginVector, EngineError> {
        let mut out = abi::Vector(0);
        // SAFETY: `out` and the message are valid for the call.
        call("vector_zeros", |m| unsafe { (self.plugin.table.vector_zeros)(self.model, &raw mut out, m) })?;
        Ok(self.vector(out))
    }

    fn copy(&mut self, v: &PluginVector) -> Result<PluginVector, EngineError> {
        let mut out = abi::Vector(0);
        // SAFETY: `out` and the message are valid for the call.
        call("vector_copy", |m| unsafe { (self.plugin.table.vector_copy)(v.handle, &raw mut out, m) })?;
        Ok(self.vector(out))
    }

    fn dot(&mut self, a: &PluginVector, b: &PluginVector) -> Result<f64, EngineError> {
        let mut out = 0.0;
        // SAFETY: `out` and the message are valid for the call.
        call("vector_dot", |m| unsafe { (self.plugin.table.vector_dot)(a.handle, b.handle, &raw mut out, m) })?;
        Ok(out)
    }

    fn axpy(&mut self, alpha: f64, x: &PluginVector, y: &mut PluginVector) -> Result<(), EngineError> {
        // SAFETY: the message is valid for the call.
        Ok(call("vector_axpy", |m| unsafe { (self.plugin.table.vector_axpy)(alpha, x.handle, y.handle, m) })?)
    }

    fn scale(&mut self, alpha: f64, x: &mut PluginVector) -> Result<(), EngineError> {
        // SAFETY: the message is valid for the call.
        Ok(call("vector_scale", |m| unsafe { (self.plugin.table.vector_scale)(alpha, x.handle, m) })?)
    }

    fn download(&mut self, v: &PluginVector) -> Result<Vec<f32>, EngineError> {
        Ok(self.download_as(v)?)
    }

    fn upload(&mut self, entries: &[f32]) -> Result<PluginVector, EngineError> {
        Ok(self.upload_of(entries)?)
    }
}

/// An array as a matrix: further axes of size 1 are no matter.
fn matrix<T>(call: &'static str, values: ArrayD<T>) -> Result<Array2<T>, PluginError> {
    let dims = values.shape().to_vec();
    let reason = || PluginError::Answer { call, reason: format!("expected two axes, found {dims:?}") };
    let rows = dims.first().copied().ok_or_else(reason)?;
    let columns: usize = dims.iter().skip(1).product();
    let one = dims.iter().skip(1).filter(|dim| **dim != 1).count() <= 1;
    values.into_shape_with_order((rows, columns)).ok().filter(|_| one).ok_or_else(reason)
}

/// # Safety
/// What `value` points to is valid.
unsafe fn signature(value: &Value) -> Option<ValueSignature> {
    // SAFETY: the caller vouches for both.
    let (name, dims) = unsafe { (value.name.as_str()?.to_owned(), abi::slice(value.dims, value.rank)?) };
    let dims = dims.iter().map(|d| usize::try_from(*d).map_or(Dim::Unknown, Dim::Known)).collect();
    Some(ValueSignature { name, dims: (value.ranked != 0).then_some(dims) })
}
