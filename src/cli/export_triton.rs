//! `isal export triton` and `isal export kserve`: a model repository, and the manifest of a cluster that serves it.

use super::{BadRequest, Context, Outcome};
use crate::deploy::{GivenFiles, KserveOptions, TritonExport, TritonRepository, kserve, triton};
use crate::scores::SIGN;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use isal_exporters::serving::{InstanceKind, Requests, TritonOptions};
use std::fmt::Write as _;
use std::path::PathBuf;

pub(super) const TRITON_EXAMPLES: &str = "\
Examples:
  isal export triton --model model.onnx --influence influence.onnx -o repository
  isal export triton --shadow shadow.onnx --name digits --instances 2 --instance-kind gpu -o repository";

pub(super) const KSERVE_EXAMPLES: &str = "\
Examples:
  isal export kserve --repository repository --storage-uri s3://models/digits --name digits
  isal export kserve --repository repository --storage-uri pvc://models/digits --name digits --gpus 1 -o digits.yaml";

/// Which files are laid out; shared by the layouts.
#[derive(Debug, Args)]
pub(super) struct FileOptions {
    /// The trained model
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    pub(super) model: Option<PathBuf>,
    /// Its influence graph, as `isal export influence` or `isal score pool` writes it
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    pub(super) influence: Option<PathBuf>,
    /// Names of the classes in the order of the class scores, one a line (default: those of the influence graph, else the
    /// model's own, else a file of labels beside it)
    #[arg(long = "classes", value_name = "FILE", help_heading = "Model")]
    pub(super) class_names: Option<PathBuf>,
}

/// What to serve with Triton, and how.
#[derive(Debug, Args)]
pub struct TritonArguments {
    #[command(flatten)]
    files: FileOptions,
    /// Its shadow model (`isal export influence --form shadow`), served beside the model: influence follows from both answers
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    shadow: Option<PathBuf>,
    /// Name of the model in the repository; the others are NAME-influence and NAME-shadow (default: the file's)
    #[arg(long, help_heading = "Model")]
    name: Option<String>,
    /// Most images a batch; 0: no batching
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Execution")]
    max_batch_size: usize,
    /// Batch sizes that are sent off at once, such as 16,32 (default: any)
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Execution")]
    preferred_batch_size: Vec<usize>,
    /// How long a request waits for others to share its batch, in microseconds
    #[arg(long, value_name = "US", default_value_t = 1000, help_heading = "Execution")]
    max_queue_delay_us: u64,
    /// Copies of each model that run at the same time
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Execution")]
    instances: usize,
    /// Where they run: every GPU, the CPU, or what there is
    #[arg(long, value_enum, default_value_t, value_name = "auto|cpu|gpu", help_heading = "Execution")]
    instance_kind: Kind,
    /// How many of the newest versions are served
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Execution")]
    versions: usize,
    /// Add a version to models that are there already
    #[arg(long, help_heading = "Output")]
    new_version: bool,
    /// The repository; it may hold other models
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
}

/// Where instances run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Kind {
    #[default]
    Auto,
    Cpu,
    Gpu,
}

/// Which repository, and what the cluster calls it.
#[derive(Debug, Args)]
pub struct KserveArguments {
    /// The repository that `isal export triton` wrote
    #[arg(long, value_name = "FOLDER", help_heading = "Model")]
    repository: PathBuf,
    /// Where the cluster finds it: s3://, gs://, pvc://, ...
    #[arg(long, value_name = "URI", help_heading = "Execution")]
    storage_uri: String,
    /// Name of the service
    #[arg(long, help_heading = "Execution")]
    name: String,
    /// Its namespace (default: the cluster's)
    #[arg(long, help_heading = "Execution")]
    namespace: Option<String>,
    /// Processors its pod asks for: 2, 500m
    #[arg(long, value_name = "N", help_heading = "Execution")]
    cpu: Option<String>,
    /// Memory its pod asks for: 4Gi
    #[arg(long, value_name = "SIZE", help_heading = "Execution")]
    memory: Option<String>,
    /// NVIDIA GPUs its pod asks for
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Execution")]
    gpus: usize,
    /// File to write (default: NAME.yaml beside the repository)
    #[arg(long, short, value_name = "FILE.yaml", help_heading = "Output")]
    output: Option<PathBuf>,
}

pub(super) fn run(given: &TritonArguments, context: &Context) -> anyhow::Result<Outcome> {
    let FileOptions { model, influence, class_names } = &given.files;
    let files = GivenFiles {
        model: model.clone(),
        influence: influence.clone(),
        shadow: given.shadow.clone(),
        class_names: class_names.clone(),
    };
    let first = [model, influence, &given.shadow].into_iter().flatten().next();
    if first.is_none() {
        let text = "there is nothing to serve: give `--model`, `--influence`, `--shadow`, or several of them";
        return Err(BadRequest(text.to_owned()).into());
    }
    let stem = || first.and_then(|path| path.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
    let export = TritonExport {
        files,
        name: given.name.clone().or_else(stem).unwrap_or_default(),
        options: TritonOptions {
            max_batch_size: given.max_batch_size,
            preferred_batch_sizes: given.preferred_batch_size.clone(),
            max_queue_delay_us: given.max_queue_delay_us,
            instances: given.instances,
            kind: match given.instance_kind {
                Kind::Auto => InstanceKind::Auto,
                Kind::Cpu => InstanceKind::Cpu,
                Kind::Gpu => InstanceKind::Gpu,
            },
            versions: given.versions,
        },
        new_version: given.new_version,
        repository: given.output.clone(),
    };
    let written = triton(&export, &context.progress)
        .with_context(|| format!("cannot write the repository `{}`", given.output.display()))?;
    context.print(&text(&written)?, &written)?;
    Ok(Outcome::Done)
}

fn text(written: &TritonRepository) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for model in &written.models {
        write!(text, "{}: version {}", model.folder.display(), model.version)?;
        match (&model.unbatched, model.max_batch_size) {
            (Some(why), _) => write!(text, ", not batched: {why}")?,
            (None, 0) => write!(text, ", not batched")?,
            (None, most) => write!(text, ", batches of up to {most}")?,
        }
        writeln!(text, "{}", if model.labels { ", with class names" } else { "" })?;
    }
    if let (Some(formula), Some(step)) = (&written.formula, &written.step) {
        writeln!(text, "With o the model's answer and o~ the shadow's, step = {step}:\n  {formula}")?;
    }
    if written.models.iter().any(|model| model.part != crate::deploy::Part::Model) {
        writeln!(text, "({SIGN})")?;
    }
    writeln!(text, "Serve it: tritonserver --model-repository={}", written.repository.display())?;
    Ok(text)
}

pub(super) fn run_kserve(given: &KserveArguments, context: &Context) -> anyhow::Result<Outcome> {
    let beside = || given.repository.with_file_name(format!("{}.yaml", given.name));
    let options = KserveOptions {
        repository: given.repository.clone(),
        storage: given.storage_uri.clone(),
        name: given.name.clone(),
        namespace: given.namespace.clone(),
        requests: Requests { cpu: given.cpu.clone(), memory: given.memory.clone(), gpus: given.gpus },
        out: given.output.clone().unwrap_or_else(beside),
    };
    let written = kserve(&options).context("cannot write the manifest")?;
    let text = format!(
        "{}: service `{}` serves {} from {}\nCopy the repository there, then: kubectl apply -f {0}",
        written.file.display(),
        written.name,
        written.models.join(", "),
        written.storage_uri,
    );
    context.print(&text, &written)?;
    Ok(Outcome::Done)
}
