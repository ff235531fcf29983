//! One model on ONNX Runtime: images in, named float outputs out.

use super::{ExecutionProvider, Library, RuntimeError};
use ndarray::{Array2, ArrayD, ArrayView4, Axis};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType, TensorRef};
use std::path::Path;

/// How a model is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionOptions {
    /// Where it runs.
    pub provider: ExecutionProvider,
    /// Threads within an operator; 0 takes every core.
    pub threads: usize,
}

/// A loaded model with one image input `[N, C, H, W]` (or `[N, H, W, C]`). Images are given as float32 whatever type the
/// input has: they are rounded to a narrower float, and raw bytes (uint8) are given as whole numbers from 0 to 255.
#[derive(Debug)]
pub struct Session {
    session: ort::session::Session,
    provider: ExecutionProvider,
    model: String,
    input: String,
    input_type: TensorElementType,
    /// Images a run, where the model was exported for so many and no other.
    batch: Option<usize>,
    outputs: Vec<String>,
}

/// Threads that a session computes with when it is told `given`, of which 0 is a thread a core.
///
/// ONNX Runtime, left to itself, takes as many and ties each to its core, where that of another session may be as well.
pub fn threads_for(given: usize) -> usize {
    match given {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(num_cpus::get_physical()),
        given => given,
    }
}

impl Session {
    /// Loads a model file that [`isal_onnx::Model::read`] has already checked.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] when the execution provider cannot start;
    /// [`RuntimeError::Run`] when ONNX Runtime refuses the model; [`RuntimeError::Signature`] when it has not
    /// exactly one input.
    pub fn open(library: &Library, path: &Path, options: SessionOptions) -> Result<Session, RuntimeError> {
        let model = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let provider = options.provider.settle(library)?.provider;
        let session = Self::commit(library, path, &model, provider, options.threads)?;
        Self::describe(session, provider, model)
    }

    pub(super) fn commit(
        library: &Library,
        path: &Path,
        model: &str,
        provider: ExecutionProvider,
        threads: usize,
    ) -> Result<ort::session::Session, RuntimeError> {
        let run = |e: String| RuntimeError::Run { model: model.to_owned(), reason: e };
        let mut builder = ort::session::Session::builder(&library.environment)
            .map_err(|e| run(e.to_string()))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|e| run(e.to_string()))?
            .with_intra_threads(threads_for(threads))
            .map_err(|e| run(e.to_string()))?
            // Threads that wait sleep: spinning takes the cores that other programs, or the decoding, could use.
            .with_intra_op_spinning(false)
            .map_err(|e| run(e.to_string()))?;
        let wanted = provider.registrations();
        if !wanted.is_empty() {
            builder = builder.with_execution_providers(wanted).map_err(|e| run(e.to_string()))?;
        }
        if provider == ExecutionProvider::Directml {
            // DirectML asks for it.
            builder = builder.with_memory_pattern(false).map_err(|e| run(e.to_string()))?;
        }
        builder.commit_from_file(path).map_err(|e| run(e.to_string()))
    }

    fn describe(
        session: ort::session::Session,
        provider: ExecutionProvider,
        model: String,
    ) -> Result<Session, RuntimeError> {
        let [input] = session.inputs() else {
            let names: Vec<&str> = session.inputs().iter().map(|i| i.name()).collect();
            return Err(RuntimeError::Signature {
                reason: format!("expected one image input, found {}: {}", names.len(), names.join(", ")),
                model,
            });
        };
        let batch = input.dtype().tensor_shape().and_then(|shape| usize::try_from(*shape.first()?).ok());
        let input_type = input.dtype().tensor_type().unwrap_or(TensorElementType::Float32);
        let input = input.name().to_owned();
        let outputs = session.outputs().iter().map(|o| o.name().to_owned()).collect();
        Ok(Session { session, provider, model, input, input_type, batch: batch.filter(|n| *n > 0), outputs })
    }

    /// The execution provider that really runs the model.
    pub fn provider(&self) -> ExecutionProvider {
        self.provider
    }

    /// The model's file name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Names of the outputs, in the model's order.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Runs a batch and gives the outputs named, in that order, as float32. Outputs that are not named stay where they
    /// were computed. A model exported for one batch size runs so many at a time, the last ones with copies of the last
    /// image to fill up, whose rows are dropped.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] when the model fails, has no such output, or an output is neither of floats nor of whole numbers or booleans.
    pub fn run(&mut self, images: ArrayView4<f32>, outputs: &[&str]) -> Result<Vec<ArrayD<f32>>, RuntimeError> {
        let count = images.len_of(Axis(0));
        let Some(size) = self.batch.filter(|size| *size != count && count > 0) else {
            return self.run_whole(images, outputs);
        };
        let mut pieces: Vec<Vec<ArrayD<f32>>> = vec![Vec::new(); outputs.len()];
        for chunk in images.axis_chunks_iter(Axis(0), size) {
            let own = chunk.len_of(Axis(0));
            let rows: Vec<usize> = (0..size).map(|n| n.min(own - 1)).collect();
            let full = chunk.select(Axis(0), &rows);
            for (pieces, mut array) in pieces.iter_mut().zip(self.run_whole(full.view(), outputs)?) {
                if array.shape().first() == Some(&size) {
                    array.slice_axis_inplace(Axis(0), (..own).into());
                }
                pieces.push(array);
            }
        }
        let joined = pieces.iter().zip(outputs).map(|(pieces, name)| {
            let views: Vec<_> = pieces.iter().map(|piece| piece.view()).collect();
            ndarray::concatenate(Axis(0), &views).map_err(|e| RuntimeError::Run {
                model: self.model.clone(),
                reason: format!("output `{name}` of several runs: {e}"),
            })
        });
        joined.collect()
    }

    fn run_whole(&mut self, images: ArrayView4<f32>, outputs: &[&str]) -> Result<Vec<ArrayD<f32>>, RuntimeError> {
        let model = &self.model;
        let fail = |reason: String| RuntimeError::Run { model: model.clone(), reason };
        let in_order = images.as_standard_layout();
        let input = as_input(in_order.view(), self.input_type).map_err(&fail)?;
        let mut selected = OutputSelector::no_default();
        for name in outputs {
            if !self.outputs.iter().any(|output| output == name) {
                return Err(fail(format!("no output `{name}`")));
            }
            selected = selected.with(*name);
        }
        let options = RunOptions::new().map_err(|e| fail(e.to_string()))?.with_outputs(selected);
        let answers = self
            .session
            .run_with_options(ort::inputs![self.input.as_str() => input], &options)
            .map_err(|e| fail(e.to_string()))?;
        outputs
            .iter()
            .map(|name| {
                let value = answers.get(name).ok_or_else(|| fail(format!("no output `{name}`")))?;
                floats(value).map_err(|e| fail(format!("output `{name}`: {e}")))
            })
            .collect()
    }

    /// Runs a batch and gives the output `name` as class scores `[N, C]`, without any axes of one.
    ///
    /// # Errors
    /// As [`Session::run`], and when the output has more than one row of scores an image.
    pub fn class_scores(&mut self, images: ArrayView4<f32>, name: &str) -> Result<Array2<f32>, RuntimeError> {
        let mut arrays = self.run(images, &[name])?;
        let array = arrays.pop().unwrap_or_default();
        let shape = array.shape().to_vec();
        without_axes_of_one(array).ok_or_else(|| RuntimeError::Signature {
            model: self.model.clone(),
            reason: format!("output `{name}` has shape {shape:?}, expected class scores [N, C]"),
        })
    }
}

/// Class scores `[N, C]` from `[N, C]`, `[N, C, 1, 1]`, `[N, 1, C]` and the like.
fn without_axes_of_one(scores: ArrayD<f32>) -> Option<Array2<f32>> {
    let (images, rest) = scores.shape().split_first().filter(|(_, rest)| !rest.is_empty())?;
    let mut wide = rest.iter().filter(|size| **size != 1);
    let shape = (*images, wide.next().copied().unwrap_or(1));
    if wide.next().is_some() {
        return None;
    }
    scores.to_shape(shape).ok().map(|scores| scores.into_owned())
}

/// A batch in the type that the model takes: as it lies in memory, or else converted.
fn as_input(images: ArrayView4<'_, f32>, input_type: TensorElementType) -> Result<SessionInputValue<'_>, String> {
    let text = |e: ort::Error| e.to_string();
    match input_type {
        TensorElementType::Float32 => Ok(TensorRef::from_array_view(images).map_err(text)?.into()),
        TensorElementType::Float16 => Ok(Tensor::from_array(images.mapv(half::f16::from_f32)).map_err(text)?.into()),
        TensorElementType::Float64 => Ok(Tensor::from_array(images.mapv(f64::from)).map_err(text)?.into()),
        TensorElementType::Uint8 => {
            match images.iter().find(|value| value.fract() != 0.0 || !(0.0..=255.0).contains(*value)) {
                None => Ok(Tensor::from_array(images.mapv(|value| value as u8)).map_err(text)?.into()),
                Some(value) => Err(format!("its input takes raw bytes, and the images hold {value}")),
            }
        }
        other => Err(format!("its input is {other}, expected float32, float16, float64 or uint8")),
    }
}

/// An output as float32, labels included: whole numbers up to 2^24 keep their value.
fn floats(value: &DynValue) -> Result<ArrayD<f32>, ort::Error> {
    Ok(match value.dtype().tensor_type() {
        Some(TensorElementType::Float16) => value.try_extract_array::<half::f16>()?.mapv(half::f16::to_f32),
        Some(TensorElementType::Float64) => value.try_extract_array::<f64>()?.mapv(|x| x as f32),
        Some(TensorElementType::Int64) => value.try_extract_array::<i64>()?.mapv(|x| x as f32),
        Some(TensorElementType::Int32) => value.try_extract_array::<i32>()?.mapv(|x| x as f32),
        Some(TensorElementType::Bool) => value.try_extract_array::<bool>()?.mapv(|x| f32::from(u8::from(x))),
        _ => value.try_extract_array::<f32>()?.to_owned(),
    })
}
