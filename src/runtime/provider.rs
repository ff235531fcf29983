//! What ONNX Runtime computes on: which execution providers there are, and what to do where one is not there.

use super::{Library, RuntimeError};
use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use std::fmt;

/// What ONNX Runtime computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutionProvider {
    /// CUDA where this build of ONNX Runtime has it and a device answers, else the CPU; says which.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU. TF32 is off: ten bits of mantissa are too few for influence.
    Cuda,
    /// An NVIDIA GPU through TensorRT, CUDA for what TensorRT cannot. NVIDIA_TF32_OVERRIDE=0 keeps TF32 off.
    Tensorrt,
    /// An AMD GPU.
    Migraphx,
    /// Apple's GPU and CPU through Core ML.
    Coreml,
    /// A GPU through DirectML, on Windows.
    Directml,
    /// Intel's CPUs and GPUs through OpenVINO.
    Openvino,
}

/// Everything that can be asked for by name, with ONNX Runtime's name of it.
const NAMED: [(ExecutionProvider, &str); 7] = [
    (ExecutionProvider::Cpu, ep::CPU::NAME),
    (ExecutionProvider::Cuda, ep::CUDA::NAME),
    (ExecutionProvider::Tensorrt, ep::TensorRT::NAME),
    (ExecutionProvider::Migraphx, ep::MIGraphX::NAME),
    (ExecutionProvider::Coreml, ep::CoreML::NAME),
    (ExecutionProvider::Directml, ep::DirectML::NAME),
    (ExecutionProvider::Openvino, ep::OpenVINO::NAME),
];

impl fmt::Display for ExecutionProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExecutionProvider::Auto => "auto",
            ExecutionProvider::Cpu => "cpu",
            ExecutionProvider::Cuda => "cuda",
            ExecutionProvider::Tensorrt => "tensorrt",
            ExecutionProvider::Migraphx => "migraphx",
            ExecutionProvider::Coreml => "coreml",
            ExecutionProvider::Directml => "directml",
            ExecutionProvider::Openvino => "openvino",
        })
    }
}

/// What was taken for what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Never [`ExecutionProvider::Auto`].
    pub provider: ExecutionProvider,
    /// Where `auto` chose: what, and why. Worth a line.
    pub why: Option<String>,
}

impl ExecutionProvider {
    /// The execution providers that the loaded library was built with and that can be asked for, by ONNX Runtime's names.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] when ONNX Runtime cannot list them.
    pub fn built_in(library: &Library) -> Result<Vec<&'static str>, RuntimeError> {
        let mut names = Vec::new();
        for (provider, name) in NAMED {
            if provider.is_built_in(library)? {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether the loaded library was built with it. A device may be missing all the same.
    fn is_built_in(self, library: &Library) -> Result<bool, RuntimeError> {
        let asked = match self {
            ExecutionProvider::Auto | ExecutionProvider::Cpu => Ok(true),
            ExecutionProvider::Cuda => ep::CUDA::is_available(),
            ExecutionProvider::Tensorrt => ep::TensorRT::is_available(),
            ExecutionProvider::Migraphx => ep::MIGraphX::is_available(),
            ExecutionProvider::Coreml => ep::CoreML::is_available(),
            ExecutionProvider::Directml => ep::DirectML::is_available(),
            ExecutionProvider::Openvino => ep::OpenVINO::is_available(),
        };
        asked.map_err(|e| self.refused(library, Vec::new(), format!("ONNX Runtime cannot list its providers: {e}")))
    }

    fn refused(self, library: &Library, available: Vec<&'static str>, reason: String) -> RuntimeError {
        let runtime = format!("ONNX Runtime {} at `{}`", library.version(), library.path().display());
        RuntimeError::Provider { provider: self, runtime, available, reason }
    }

    /// What to register with ONNX Runtime, the preferred one first. Nothing for the CPU, which is always last.
    pub(super) fn registrations(self) -> Vec<ExecutionProviderDispatch> {
        let cuda = || ep::CUDA::default().with_tf32(false).build();
        let wanted = match self {
            ExecutionProvider::Auto | ExecutionProvider::Cpu => vec![],
            ExecutionProvider::Cuda => vec![cuda()],
            ExecutionProvider::Tensorrt => vec![ep::TensorRT::default().build(), cuda()],
            ExecutionProvider::Migraphx => vec![ep::MIGraphX::default().build()],
            // The older form of Core ML models computes in float16.
            ExecutionProvider::Coreml => {
                vec![ep::CoreML::default().with_model_format(ep::coreml::ModelFormat::MLProgram).build()]
            }
            ExecutionProvider::Directml => vec![ep::DirectML::default().build()],
            ExecutionProvider::Openvino => vec![ep::OpenVINO::default().with_precision("FP32").build()],
        };
        // Left to itself, ONNX Runtime logs a failure and computes on the CPU.
        wanted.into_iter().map(ExecutionProviderDispatch::error_on_failure).collect()
    }

    /// Whether it can start: a provider that was asked for by name, or an error; for `auto`, CUDA or the CPU.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] with what there is instead.
    pub fn settle(self, library: &Library) -> Result<Settled, RuntimeError> {
        if self != ExecutionProvider::Auto {
            self.start(library)?;
            return Ok(Settled { provider: self, why: None });
        }
        let (provider, because) = match ExecutionProvider::Cuda.start(library) {
            Ok(()) => (ExecutionProvider::Cuda, "it is there and starts".to_owned()),
            Err(RuntimeError::Provider { reason, .. }) => (ExecutionProvider::Cpu, format!("cuda {reason}")),
            Err(other) => return Err(other),
        };
        Ok(Settled { provider, why: Some(format!("`--execution-provider auto` takes {provider}: {because}")) })
    }

    /// Starts it on no model.
    fn start(self, library: &Library) -> Result<(), RuntimeError> {
        let available = Self::built_in(library)?;
        if !self.is_built_in(library)? {
            return Err(self.refused(library, available, "is not in this build".to_owned()));
        }
        let builder = ort::session::Session::builder(&library.environment);
        let started = builder.and_then(|builder| Ok(builder.with_execution_providers(self.registrations())?));
        started.map(drop).map_err(|e| self.refused(library, available, format!("does not start: {e}")))
    }
}
