//! What a command's end means: exit codes, error text, hints.

use crate::annotation_tools::AnnotationToolError;
use crate::audit::AuditError;
use crate::classifier::ClassifierError;
use crate::compare::CompareError;
use crate::data::harvest::HarvestError;
use crate::data::{ConvertError, DataError, PreprocessError, RecipeError, SplitError};
use crate::deploy::DeployError;
use crate::families::AnnotationError;
use crate::inference_client::ClientError;
use crate::influence::{EngineError, InfluenceError};
use crate::influence_graph::InfluenceGraphError;
use crate::network::NetworkError;
use crate::plugin::PluginError;
use crate::rounds::RoundsError;
use crate::runtime::{ExecutionProvider, RuntimeError, SUPPORTED};
use crate::scores::ScoreError;
use crate::scoring::{MergeError, NoneUsable, ScoringError};
use crate::select::{JointError, SelectError};
use crate::serve::{RepositoryError, ServeError};
use crate::study::StudyError;
use crate::sweep::SweepError;
use crate::task::{ModelError, TaskError};
use crate::train::TrainError;
use crate::view::ViewError;
use isal_plugin_abi::Status;
use std::process::ExitCode;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked.
    Done,
    /// It did, and the answer is no: a check failed.
    No,
}

/// The request itself cannot be carried out: an option that contradicts another, a value out of range.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub String);

/// Somebody pressed Ctrl-C, or the system asked the process to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing finished is lost: the same command goes on from here")]
pub struct Interrupted;

/// Prints an error, with what to do about it, and gives the process's exit code.
pub(super) fn exit_code(outcome: anyhow::Result<Outcome>) -> ExitCode {
    let error = match outcome {
        Ok(Outcome::Done) => return ExitCode::SUCCESS,
        Ok(Outcome::No) => return ExitCode::from(1),
        Err(error) => error,
    };
    if error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe))
    {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error}");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        // Transparent variants repeat their source word for word.
        let text = cause.to_string();
        if !said.contains(&text) {
            eprintln!("  caused by: {text}");
            said = text;
        }
    }
    if let Some(hint) = error.chain().flat_map(unwrapped).find_map(hint) {
        eprintln!("  hint: {hint}");
    }
    ExitCode::from(code(&error))
}

fn code(error: &anyhow::Error) -> u8 {
    // As a context it is no cause of its own in the chain.
    if error.is::<Interrupted>() {
        return 130;
    }
    for cause in error.chain().flat_map(unwrapped) {
        if cause.is::<Interrupted>() {
            return 130;
        }
        if is_bad_input(cause) {
            return 2;
        }
    }
    3
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// A cause, and the errors that it wraps: a transparent variant passes on the source of what it wraps, so a chain of sources
/// never shows the wrapped error itself.
fn unwrapped(cause: Cause) -> impl Iterator<Item = Cause> {
    std::iter::successors(Some(cause), |cause| wrapped(*cause))
}

fn wrapped(cause: Cause) -> Option<Cause> {
    if let Some(scoring) = cause.downcast_ref::<ScoringError>() {
        return Some(match scoring {
            ScoringError::Model(e) => e,
            ScoringError::Graph(e) => e,
            ScoringError::NoneUsable(e) => e,
            ScoringError::Merge(e) => e,
            ScoringError::Data(e) => e,
            ScoringError::Split(e) => e,
            ScoringError::Recipe(e) => e,
            ScoringError::Preprocess(e) => e,
            ScoringError::Influence(e) => e,
            ScoringError::Engine(e) => e,
            ScoringError::Plugin(e) => e,
            ScoringError::Runtime(e) => e,
            ScoringError::Sweep(e) => e,
            ScoringError::Scores(e) => e,
            ScoringError::Select(e) => e,
            _ => return None,
        });
    }
    if let Some(graph) = cause.downcast_ref::<InfluenceGraphError>() {
        return Some(match graph {
            InfluenceGraphError::Model(e) => e,
            InfluenceGraphError::Data(e) => e,
            InfluenceGraphError::Recipe(e) => e,
            InfluenceGraphError::Influence(e) => e,
            InfluenceGraphError::Engine(e) => e,
            InfluenceGraphError::Plugin(e) => e,
            InfluenceGraphError::Runtime(e) => e,
            InfluenceGraphError::Sweep(e) => e,
            _ => return None,
        });
    }
    if let Some(sweep) = cause.downcast_ref::<SweepError>() {
        return Some(match sweep {
            SweepError::Client(e) => e,
            SweepError::Data(e) => e,
            SweepError::Engine(e) => e,
            SweepError::Influence(e) => e,
            SweepError::Network(e) => e,
            SweepError::Runtime(e) => e,
            SweepError::Scores(e) => e,
            _ => return None,
        });
    }
    if let Some(model) = cause.downcast_ref::<ModelError>() {
        return match model {
            ModelError::Network(e) => Some(e),
            ModelError::Classifier(e) => Some(e),
            ModelError::Task { .. } => None,
        };
    }
    if let Some(rounds) = cause.downcast_ref::<RoundsError>() {
        return Some(match rounds {
            RoundsError::Tool(e) => e,
            RoundsError::Model(e) => e,
            RoundsError::Task(e) => e,
            RoundsError::Split(e) => e,
            RoundsError::Preprocess(e) => e,
            RoundsError::Data { source, .. } => source.as_ref(),
            RoundsError::Train { source, .. } => source.as_ref(),
            RoundsError::Command { source, .. } => source.as_ref(),
            RoundsError::Score { source, .. } => source.as_ref(),
            _ => return None,
        });
    }
    if let Some(audit) = cause.downcast_ref::<AuditError>() {
        return Some(match audit {
            AuditError::Split(e) => e,
            AuditError::Data(e) => e,
            AuditError::Scoring(e) => e.as_ref(),
            AuditError::Scores(e) => e,
            AuditError::Train { source, .. } => source.as_ref(),
            _ => return None,
        });
    }
    if let Some(CompareError::Rounds(e)) = cause.downcast_ref() {
        return Some(e);
    }
    if let Some(study) = cause.downcast_ref::<StudyError>() {
        return Some(match study {
            StudyError::Rounds(e) => e,
            StudyError::Compare(e) => e,
            StudyError::Failed { source, .. } => source.as_ref(),
            _ => return None,
        });
    }
    if let Some(InfluenceError::Engine(e)) = cause.downcast_ref() {
        return Some(e);
    }
    if let Some(ClassifierError::Network(e)) = cause.downcast_ref() {
        return Some(e);
    }
    if let Some(view) = cause.downcast_ref::<ViewError>() {
        return Some(match view {
            ViewError::Rounds(e) => e.as_ref(),
            ViewError::Scoring(e) => e.as_ref(),
            ViewError::Scores(e) => e,
            _ => return None,
        });
    }
    match cause.downcast_ref::<TrainError>()? {
        TrainError::Model(e) => Some(e),
        TrainError::Annotation(e) => Some(e),
        TrainError::Influence(e) => Some(e),
        TrainError::Data(e) => Some(e),
        TrainError::Recipe(e) => Some(e),
        TrainError::Split(e) => Some(e),
        TrainError::Plugin(e) => Some(e),
        _ => None,
    }
}

/// Whether what was given is at fault, and the same request will fail again on any machine.
fn is_bad_input(cause: &(dyn std::error::Error + 'static)) -> bool {
    let data = |e: &DataError| match e {
        DataError::Harvest(harvest) => !harvest.is_failure(),
        e => !matches!(e, DataError::Io { .. }),
    };
    let scoring = |e: &ScoringError| {
        use ScoringError::{CurvatureOfPool, NeedsModel, NoClassScores, NoFeatures, NoReference};
        use ScoringError::{NoGradient, NoLabels, NoScores, NotAnInfluenceGraph, NotScored};
        use ScoringError::{ServerDisagrees, ServerWithoutFeatures, ServerWithoutInfluence};
        let alone = matches!(e, NoGradient { .. } | NoLabels { .. } | NoScores { .. } | NotAnInfluenceGraph { .. });
        alone
            || matches!(e, CurvatureOfPool { .. } | NeedsModel { .. } | NoClassScores { .. } | NoFeatures { .. })
            || matches!(e, NoReference { .. } | NotScored { .. })
            || matches!(e, ServerDisagrees { .. } | ServerWithoutFeatures { .. } | ServerWithoutInfluence { .. })
            || matches!(e, ScoringError::Joint { source, .. } if *source != JointError::Interrupted)
    };
    let training = |e: &TrainError| {
        matches!(e, TrainError::Another { .. } | TrainError::Augmented { .. } | TrainError::AllFrozen { .. })
    };
    let rounds = |e: &RoundsError| {
        use RoundsError::{
            Another, Begun, Config, Json, Lost, LostClass, NoModel, NoPeople, NoRun, NotWaiting, NothingLabelled,
        };
        use RoundsError::{Refused, Schema};
        matches!(e, Another { .. } | Begun { .. } | Config(_) | Json { .. } | Lost { .. } | LostClass { .. })
            || matches!(e, NoModel { .. } | NoPeople { .. } | NoRun { .. } | NotWaiting { .. } | NothingLabelled { .. })
            || matches!(e, Refused(_) | Schema { .. })
    };
    let comparing = |e: &CompareError| {
        use CompareError::{Begin, Differ, NoBoxes, NoMetric, NoRun, Nothing, OneRound, Twice, Unfinished};
        matches!(
            e,
            Begin { .. }
                | Differ { .. }
                | NoBoxes { .. }
                | NoMetric { .. }
                | NoRun { .. }
                | Nothing
                | OneRound
                | Twice { .. }
                | Unfinished { .. }
        )
    };
    let study = |e: &StudyError| {
        use StudyError::{Config, Run, Setting, Toml};
        matches!(e, Config(_) | Run { .. } | Setting { .. } | Toml { .. })
    };
    let tool = |e: &AnnotationToolError| {
        use AnnotationToolError::{Lost, NoBoxes, NoForm, NotAnExport, Sorted};
        matches!(e, Lost { .. } | NoBoxes { .. } | NoForm { .. } | NotAnExport { .. } | Sorted { .. })
    };
    let deploy = |e: &DeployError| !matches!(e, DeployError::Io { .. } | DeployError::Durable(_));
    let graph = |e: &InfluenceGraphError| {
        use InfluenceGraphError::{Alike, Inside, NoClassScores, NoStep, Scopes, SmallSample, Vector};
        matches!(
            e,
            Inside { .. }
                | Alike { .. }
                | NoClassScores { .. }
                | NoStep
                | Scopes { .. }
                | SmallSample { .. }
                | Vector { .. }
        )
    };
    let converting = |e: &ConvertError| !matches!(e, ConvertError::Write { .. } | ConvertError::Data(_));
    let auditing =
        |e: &AuditError| matches!(e, AuditError::Another { .. } | AuditError::FewImages { .. } | AuditError::NoLabels);
    cause.is::<BadRequest>()
        || cause.downcast_ref::<AuditError>().is_some_and(auditing)
        || cause.downcast_ref::<ConvertError>().is_some_and(converting)
        || cause.downcast_ref::<InfluenceGraphError>().is_some_and(graph)
        || cause.downcast_ref::<AnnotationToolError>().is_some_and(tool)
        || cause.downcast_ref::<DeployError>().is_some_and(deploy)
        || cause.downcast_ref::<StudyError>().is_some_and(study)
        || cause.downcast_ref::<ServeError>().is_some_and(|e| match e {
            ServeError::Harvest(harvest) => !harvest.is_failure(),
            e => !matches!(e, ServeError::Listen { .. } | ServeError::Threads(_)),
        })
        || cause.downcast_ref::<HarvestError>().is_some_and(|e| !e.is_failure())
        || matches!(
            cause.downcast_ref(),
            Some(ViewError::Neither { .. } | ViewError::Pool { .. } | ViewError::Labels { .. })
        )
        || cause.is::<RepositoryError>()
        || cause.downcast_ref::<CompareError>().is_some_and(comparing)
        || cause.downcast_ref::<TrainError>().is_some_and(training)
        || cause.downcast_ref::<RoundsError>().is_some_and(rounds)
        || matches!(cause.downcast_ref(), Some(PluginError::Call { status, .. }) if *status == Status::UNSUPPORTED.0)
        || matches!(cause.downcast_ref(), Some(EngineError::NotFinite { .. }))
        || cause.downcast_ref::<ClientError>().is_some_and(ClientError::is_bad_request)
        || cause.is::<MergeError>()
        || cause.is::<NoneUsable>()
        || cause.downcast_ref::<TaskError>().is_some_and(|e| !matches!(e, TaskError::Read { .. }))
        || cause.is::<NetworkError>()
        || cause.is::<ClassifierError>()
        || matches!(cause.downcast_ref(), Some(ModelError::Task { .. }))
        || cause.is::<AnnotationError>()
        || cause.is::<SplitError>()
        || cause.is::<RecipeError>()
        || cause.is::<PreprocessError>()
        || cause.is::<SelectError>()
        || cause.downcast_ref::<DataError>().is_some_and(data)
        || cause.downcast_ref::<ScoringError>().is_some_and(scoring)
        || cause.downcast_ref::<isal_onnx::Error>().is_some_and(|e| !matches!(e, isal_onnx::Error::Io { .. }))
        || matches!(cause.downcast_ref(), Some(ScoreError::Format { .. } | ScoreError::Content { .. }))
        || matches!(cause.downcast_ref(), Some(RuntimeError::Signature { .. }))
        || matches!(
            cause.downcast_ref(),
            Some(InfluenceError::UnknownSolver { .. } | InfluenceError::Option { .. } | InfluenceError::Label { .. })
        )
}

fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(ScoringError::Graph(InfluenceGraphError::Step { .. })) = cause.downcast_ref() {
        return Some("`--engine native` computes the exact derivative".to_owned());
    }
    if let Some(ScoringError::Precision { .. }) = cause.downcast_ref() {
        return Some("take `--execution-provider cpu`, or a graph in tangent form".to_owned());
    }
    if let Some(ScoringError::NotAnInfluenceGraph { .. }) = cause.downcast_ref() {
        return Some("`isal score pool --model ... --labeled ...` writes `influence.onnx` into its folder".to_owned());
    }
    if let Some(InfluenceGraphError::Step { .. }) = cause.downcast_ref() {
        return Some("`--difference held` is more exact, and `--form tangent` takes no step at all".to_owned());
    }
    if let Some(DataError::UnknownClasses { .. }) = cause.downcast_ref() {
        return Some(
            "`--classes FILE` gives the names as the folders have them, in the order of the class scores".to_owned(),
        );
    }
    if cause.downcast_ref::<NoneUsable>().is_some_and(|none| !none.formats.is_empty()) {
        return Some("convert the images to JPEG or PNG".to_owned());
    }
    match cause.downcast_ref::<RuntimeError>()? {
        RuntimeError::Missing { .. } => Some(format!(
            "`make setup` installs ONNX Runtime; or set ORT_DYLIB_PATH to a `libonnxruntime.so` of version {SUPPORTED}"
        )),
        RuntimeError::Library { .. } => Some(format!("ONNX Runtime {SUPPORTED} is supported; see `isal doctor`")),
        RuntimeError::Provider { provider, available, .. } => {
            let named = provider.onnxruntime_name();
            let there = named.is_some_and(|name| available.contains(&name));
            let what = if there { starting_hint(*provider) } else { provider_hint(*provider) };
            Some(format!("{what}; or use `--execution-provider cpu`"))
        }
        _ => None,
    }
}

/// Where a build of ONNX Runtime with that provider comes from.
fn provider_hint(provider: ExecutionProvider) -> String {
    let build = match provider {
        ExecutionProvider::Cuda | ExecutionProvider::Tensorrt => "the package `onnxruntime-gpu` (with CUDA and cuDNN)",
        ExecutionProvider::Migraphx => "the package `onnxruntime-migraphx`",
        ExecutionProvider::Directml => "the package `onnxruntime-directml` for Windows",
        ExecutionProvider::Openvino => "the package `onnxruntime-openvino`",
        ExecutionProvider::Coreml => "the package `onnxruntime` for macOS",
        ExecutionProvider::Auto | ExecutionProvider::Cpu => "the package `onnxruntime`",
    };
    format!("{build} has it: set ORT_DYLIB_PATH to its library")
}

/// What a provider that is in the build may miss.
pub(super) fn starting_hint(provider: ExecutionProvider) -> String {
    match provider {
        ExecutionProvider::Cuda => {
            "it needs an NVIDIA driver, and the libraries of CUDA and cuDNN where LD_LIBRARY_PATH says (docs/CUDA.md)"
        }
        ExecutionProvider::Tensorrt => "it needs what `cuda` needs, and TensorRT's libraries",
        _ => "it needs a device, its driver, and the libraries of its maker",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_bad_requests_from_failures_and_interrupts() {
        let request = anyhow::Error::new(BadRequest("`--budget` is 0".into())).context("scoring");
        assert_eq!(code(&request), 2);
        assert_eq!(code(&anyhow::Error::new(Interrupted).context("scoring")), 130);
        assert_eq!(code(&anyhow::anyhow!("stopped").context(Interrupted).context("scoring")), 130);
        assert_eq!(code(&anyhow::anyhow!("the disk is full")), 3);
        let recipe = ScoringError::from(RecipeError::SizeUnknown);
        assert_eq!(code(&anyhow::Error::new(recipe).context("scoring")), 2, "a wrapped error counts as itself");
        let missing = ScoringError::from(SweepError::from(RuntimeError::Missing { searched: Vec::new() }));
        assert!(unwrapped(&missing).find_map(hint).is_some_and(|hint| hint.contains("ORT_DYLIB_PATH")));
        let earlier = ScoringError::from(ScoreError::Content { path: "scores.parquet".into(), reason: "old".into() });
        assert_eq!(code(&anyhow::Error::new(earlier).context("joining")), 2);
        let model = isal_onnx::Error::Malformed { reason: "truncated".into() };
        assert_eq!(code(&anyhow::Error::new(model)), 2);
    }
}
