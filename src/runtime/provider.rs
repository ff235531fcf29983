//! What ONNX Runtime computes on: which execution providers there are, and what to do where one is not there.

use super::{Library, RuntimeError};
use isal_onnx::{Builder, DataType, Model, Tensor, ValueType};
use ndarray::Array4;
use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use std::fmt;
use std::sync::Mutex;

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

    /// What ONNX Runtime calls it; nothing for `auto`.
    pub fn onnxruntime_name(self) -> Option<&'static str> {
        NAMED.iter().find(|(provider, _)| *provider == self).map(|(_, name)| *name)
    }

    /// Whether the loaded library was built with it. A device may be missing all the same.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] when ONNX Runtime cannot list its providers.
    pub fn is_built_in(self, library: &Library) -> Result<bool, RuntimeError> {
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
        let cuda = || {
            ep::CUDA::default()
                .with_tf32(false)
                // The search that times every algorithm is made anew for each batch size, and finds nothing faster.
                .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
                // Doubling each time, some sessions beside each other fill a GPU that they do not need.
                .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
                .build()
        };
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
            if self != ExecutionProvider::Cpu {
                self.start(library)?;
            }
            return Ok(Settled { provider: self, why: None });
        }
        let (provider, because) = match ExecutionProvider::Cuda.start(library) {
            Ok(()) => (ExecutionProvider::Cuda, "it is there and starts".to_owned()),
            Err(RuntimeError::Provider { reason, .. }) => (ExecutionProvider::Cpu, format!("cuda {reason}")),
            Err(other) => return Err(other),
        };
        Ok(Settled { provider, why: Some(format!("`--execution-provider auto` takes {provider}: {because}")) })
    }

    /// Whether it starts and computes; tried once a process.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] with what there is instead.
    pub fn start(self, library: &Library) -> Result<(), RuntimeError> {
        static ANSWERS: Mutex<Vec<(ExecutionProvider, Result<(), String>)>> = Mutex::new(Vec::new());
        let available = Self::built_in(library)?;
        if !self.is_built_in(library)? {
            return Err(self.refused(library, available, "is not in this build".to_owned()));
        }
        let mut answers = ANSWERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = answers.iter().find(|(provider, _)| *provider == self).map(|(_, answer)| answer.clone());
        let answer = known.unwrap_or_else(|| {
            let answer = self.convolve(library);
            answers.push((self, answer.clone()));
            answer
        });
        answer.map_err(|reason| self.refused(library, available, format!("does not start: {}", heart(&reason))))
    }

    /// Runs a convolution. A provider may be taken into a session and still have no device, or miss a library that it opens
    /// no sooner than an operator needs it, as CUDA does with cuDNN.
    fn convolve(self, library: &Library) -> Result<(), String> {
        let text = |e: ort::Error| e.to_string();
        let model = convolution().and_then(|model| model.to_bytes()).map_err(|e| e.to_string())?;
        let mut session = ort::session::Session::builder(&library.environment)
            .map_err(text)?
            .with_intra_threads(1)
            .map_err(|e| e.to_string())?
            .with_execution_providers(self.registrations())
            .map_err(|e| e.to_string())?
            .commit_from_memory(&model)
            .map_err(text)?;
        let image = ort::value::Tensor::from_array(Array4::from_elem([1, 1, 4, 4], 1.0_f32)).map_err(text)?;
        let outputs = session.run(ort::inputs!["x" => image]).map_err(text)?;
        let sum = outputs["y"].try_extract_array::<f32>().map_err(text)?.sum();
        // Two pixels of a row have all nine neighbours, and so on: 4 * 9 + 8 * 6 + 4 * 4.
        if sum == 100.0 { Ok(()) } else { Err(format!("it computes {sum} where 100 is right")) }
    }
}

/// What ONNX Runtime means to say where a provider fails: its texts carry C++ signatures, file names and hosts around it.
fn heart(text: &str) -> &str {
    let from = |mark: &str| text.find(mark).map(|at| &text[at + mark.len()..]);
    // `CUDA failure 100: no CUDA-capable device is detected ; GPU=0 ; hostname=...`
    let failure = text.find(" failure ").map(|at| {
        let word = text[..at].rfind(char::is_whitespace).map_or(0, |space| space + 1);
        text[word..].split(" ; ").next().unwrap_or_default()
    });
    failure.or_else(|| from(" : FAIL : ")).unwrap_or(text).trim()
}

/// Sums of 3x3 pixels, 0 beyond the border.
fn convolution() -> isal_onnx::Result<Model> {
    let mut b = Builder::new("convolution");
    let x = b.input("x", ValueType::new(DataType::Float, [1, 1, 4, 4]));
    let w = b.initializer("w", Tensor::new([1, 1, 3, 3], &[1.0_f32; 9]));
    let y = b.node("Conv", [x, w]).attr("pads", vec![1_i64; 4]).value();
    b.output("y", y, None);
    Ok(Model::new(17, b.finish()?))
}

#[cfg(test)]
mod tests {
    use super::heart;

    #[test]
    fn of_a_failure_what_the_user_can_act_on_is_said() {
        let device = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, \
                      onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*) [with ERRTYPE = cudaError] \
                      CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=h ; file=f.cc ; line=282";
        assert_eq!(heart(device), "CUDA failure 100: no CUDA-capable device is detected");
        let library = "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& \
                       onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library \
                       /lib/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: No \
                       such file or directory\n";
        let said = "Failed to load library /lib/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open \
                    shared object file: No such file or directory";
        assert_eq!(heart(library), said);
        assert_eq!(heart("something else\n"), "something else");
    }
}
