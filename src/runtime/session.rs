//! One model on ONNX Runtime: images in, named float outputs out.

use super::{Library, RuntimeError};
use ndarray::{Array2, ArrayD, ArrayView4, Ix2};
use ort::ep::ExecutionProvider as _;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use std::fmt;
use std::path::Path;

/// What ONNX Runtime computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutionProvider {
    /// CUDA where this build of ONNX Runtime has it and a device answers, else the CPU; says which.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU. TF32 is off: ten bits of mantissa are too few for influence.
    Cuda,
}

impl fmt::Display for ExecutionProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExecutionProvider::Auto => "auto",
            ExecutionProvider::Cpu => "cpu",
            ExecutionProvider::Cuda => "cuda",
        })
    }
}

impl ExecutionProvider {
    /// The execution providers that the loaded library was built with, by ONNX Runtime's names.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] when ONNX Runtime cannot list them.
    pub fn built_in(_loaded: &Library) -> Result<Vec<&'static str>, RuntimeError> {
        let mut names = vec![ort::ep::CPU::NAME];
        macro_rules! ask {
            ($($ep:ident),*) => {
                $(match ort::ep::$ep::is_available() {
                    Ok(true) => names.push(ort::ep::$ep::NAME),
                    Ok(false) => {}
                    Err(e) => return Err(RuntimeError::Provider { provider: Self::Auto, reason: e.to_string() }),
                })*
            };
        }
        ask!(CUDA, TensorRT);
        Ok(names)
    }
}

/// How a model is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionOptions {
    /// Where it runs.
    pub provider: ExecutionProvider,
    /// Threads within an operator; 0 takes every core.
    pub threads: usize,
}

/// A loaded model with one image input `[N, C, H, W]` (or `[N, H, W, C]`) of float32.
#[derive(Debug)]
pub struct Session {
    session: ort::session::Session,
    provider: ExecutionProvider,
    model: String,
    input: String,
    outputs: Vec<String>,
}

impl Session {
    /// Loads a model file that [`isal_onnx::Model::read`] has already checked.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] when the execution provider is asked for by name and cannot start;
    /// [`RuntimeError::Run`] when ONNX Runtime refuses the model; [`RuntimeError::Signature`] when it has not
    /// exactly one input.
    pub fn open(library: &Library, path: &Path, options: SessionOptions) -> Result<Session, RuntimeError> {
        let model = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let wanted = match options.provider {
            ExecutionProvider::Auto if ort::ep::CUDA::is_available().unwrap_or(false) => {
                match Self::commit(library, path, &model, ExecutionProvider::Cuda, options.threads) {
                    Ok(session) => return Self::describe(session, ExecutionProvider::Cuda, model),
                    // A CUDA build on a host without a device: the CPU is what `auto` promises then.
                    Err(RuntimeError::Provider { .. }) => ExecutionProvider::Cpu,
                    Err(other) => return Err(other),
                }
            }
            ExecutionProvider::Auto => ExecutionProvider::Cpu,
            named => named,
        };
        let session = Self::commit(library, path, &model, wanted, options.threads)?;
        Self::describe(session, wanted, model)
    }

    fn commit(
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
            .with_intra_threads(threads)
            .map_err(|e| run(e.to_string()))?;
        if provider == ExecutionProvider::Cuda {
            let cuda = ort::ep::CUDA::default().with_tf32(false).build().error_on_failure();
            builder = builder
                .with_execution_providers([cuda])
                .map_err(|e| RuntimeError::Provider { provider, reason: e.to_string() })?;
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
        let input = input.name().to_owned();
        let outputs = session.outputs().iter().map(|o| o.name().to_owned()).collect();
        Ok(Session { session, provider, model, input, outputs })
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

    /// Runs a batch and gives the outputs named, in that order, as float32.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] when the model fails or an output is not float32.
    pub fn run(&mut self, images: ArrayView4<f32>, outputs: &[&str]) -> Result<Vec<ArrayD<f32>>, RuntimeError> {
        let fail = |reason: String| RuntimeError::Run { model: self.model.clone(), reason };
        let images = images.as_standard_layout();
        let tensor = TensorRef::from_array_view(images.view()).map_err(|e| fail(e.to_string()))?;
        let mut answers =
            self.session.run(ort::inputs![self.input.as_str() => tensor]).map_err(|e| fail(e.to_string()))?;
        outputs
            .iter()
            .map(|name| {
                let value = answers.remove(name).ok_or_else(|| fail(format!("no output `{name}`")))?;
                let array = value.try_extract_array::<f32>().map_err(|e| fail(format!("output `{name}`: {e}")))?;
                Ok(array.to_owned())
            })
            .collect()
    }

    /// Runs a batch and gives the output `name` as class scores `[N, C]`.
    ///
    /// # Errors
    /// As [`Session::run`], and when the output has not two axes.
    pub fn class_scores(&mut self, images: ArrayView4<f32>, name: &str) -> Result<Array2<f32>, RuntimeError> {
        let mut arrays = self.run(images, &[name])?;
        let array = arrays.pop().unwrap_or_default();
        let shape = array.shape().to_vec();
        array.into_dimensionality::<Ix2>().map_err(|_| RuntimeError::Signature {
            model: self.model.clone(),
            reason: format!("output `{name}` has shape {shape:?}, expected class scores [N, C]"),
        })
    }
}
