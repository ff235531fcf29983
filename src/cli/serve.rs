//! `isal serve`: models and influence graphs over the Open Inference Protocol.

use super::{BadRequest, Context, Outcome};
use crate::observe::Observer as _;
use crate::runtime::{ExecutionProvider, Library};
use crate::scores::SIGN;
use crate::serve::{
    Change, HarvestOptions, LabelStudioOptions, Limits, Options as ServeOptions, Running, SPANS, Server, Source,
    Telemetry, is_model_name, serve,
};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

const EXAMPLES: &str = "\
Examples:
  isal serve --model model.onnx --influence influence.onnx
  isal serve --repository models/ --address 0.0.0.0 --token-file token";

const ABOUT: &str = "\
HTTP/REST at port 8000 and gRPC at 8001, on this machine alone unless --address says otherwise. Metrics for Prometheus: \
/metrics. Every limit is on by default. Ctrl-C or SIGTERM: takes nothing new, answers what it has, and ends.

An influence graph is served as it is: its outputs are the model's own and `influence`. The more negative an image's \
influence, the more labelling it is expected to lower the loss on the reference set.";

/// What to serve, where, and to whom.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{ABOUT}\n\n{EXAMPLES}"))]
pub struct Options {
    /// A folder of models as Triton has them: MODEL/{config.pbtxt, 1/model.onnx}
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    #[arg(required_unless_present_any = ["model", "influence"], conflicts_with_all = ["model", "influence"])]
    repository: Option<PathBuf>,
    /// One model
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    model: Option<PathBuf>,
    /// An influence graph, served as NAME-influence beside a model
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    influence: Option<PathBuf>,
    /// What the model is called (default: the file's name)
    #[arg(long, value_name = "NAME", help_heading = "Model", conflicts_with = "repository")]
    model_name: Option<String>,
    /// Let requests load and unload models of the repository
    #[arg(long, help_heading = "Model", requires = "repository")]
    allow_load: bool,
    /// Look for changed models every N seconds; 0: never
    #[arg(long, value_name = "N", default_value_t = 2.0, help_heading = "Model", hide_short_help = true)]
    poll_seconds: f64,
    /// Keep the requests most worth labelling in this folder
    ///
    /// Of models that give influences. What is stored, and how much of it, is printed at start.
    #[arg(long, value_name = "FOLDER", help_heading = "Data")]
    harvest: Option<PathBuf>,
    /// Requests of lowest influence that are kept of each model
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Data", hide_short_help = true)]
    #[arg(requires = "harvest", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    harvest_images: u32,
    /// Requests in a random sample of the others, kept of each model to compare with
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Data", hide_short_help = true)]
    #[arg(requires = "harvest", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    harvest_sample: u32,
    /// Bytes of all requests that are kept, in MiB
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Data", hide_short_help = true)]
    #[arg(requires = "harvest", value_parser = clap::value_parser!(u32).range(1..))]
    harvest_mb: u32,
    /// Be Label Studio's ML backend, its images in this folder
    ///
    /// Images of tasks are read inside this folder and nowhere else.
    #[arg(long, value_name = "FOLDER", help_heading = "Data")]
    label_studio_files: Option<PathBuf>,
    /// Be Label Studio's ML backend, by a score table (.parquet) or the folder of `isal score pool`
    #[arg(long, value_name = "PATH", help_heading = "Data", hide_short_help = true)]
    label_studio_scores: Option<PathBuf>,
    /// The model that predicts for Label Studio (default: the one that gives influences)
    #[arg(long, value_name = "NAME", help_heading = "Data", hide_short_help = true)]
    label_studio_model: Option<String>,
    /// Address to listen at
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", help_heading = "Run")]
    address: IpAddr,
    /// Port for HTTP; 0: any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8000, help_heading = "Run")]
    http_port: u16,
    /// Port for gRPC; 0: any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8001, help_heading = "Run")]
    grpc_port: u16,
    /// Do not answer HTTP
    #[arg(long, help_heading = "Run", hide_short_help = true, conflicts_with = "no_grpc")]
    no_http: bool,
    /// Do not answer gRPC
    #[arg(long, help_heading = "Run", hide_short_help = true)]
    no_grpc: bool,
    /// Ask every request for the bearer token in this file; those about health need none
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    token_file: Option<PathBuf>,
    /// Certificate chain for TLS, PEM
    #[arg(long, value_name = "FILE", help_heading = "Run", requires = "tls_key", hide_short_help = true)]
    tls_certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", help_heading = "Run", requires = "tls_certificate", hide_short_help = true)]
    tls_key: Option<PathBuf>,
    /// How long requests that have been taken may need once the server ends
    #[arg(long, value_name = "N", default_value_t = 30.0, help_heading = "Run", hide_short_help = true)]
    drain_seconds: f64,
    /// Where ONNX Runtime runs
    #[arg(long, value_enum, default_value_t, value_name = "NAME", help_heading = "Execution")]
    execution_provider: ExecutionProvider,
    /// Sessions of a model; they share the threads
    ///
    /// Of a model whose config.pbtxt says nothing.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    #[arg(help_heading = "Execution")]
    instances: u32,
    /// Largest request, in MiB
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16384))]
    #[arg(help_heading = "Execution", hide_short_help = true)]
    max_request_mb: u32,
    /// Largest sum of the requests that are being answered, in MiB
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Execution", hide_short_help = true)]
    max_held_mb: u32,
    /// Requests that wait for a model, beyond which the answer is 503
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Execution", hide_short_help = true)]
    max_queue: u32,
    /// Connections to a port
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Execution", hide_short_help = true)]
    max_connections: u32,
    /// Longest time from a request to its answer
    #[arg(long, value_name = "N", default_value_t = 60.0, help_heading = "Execution", hide_short_help = true)]
    request_seconds: f64,
    /// Send a span of every request to the OpenTelemetry collector here (OTLP over gRPC), such as http://localhost:4317
    #[arg(long, value_name = "URL", help_heading = "Output", hide_short_help = true)]
    otlp_endpoint: Option<String>,
    /// What goes into the log on stderr; debug: every request
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL", help_heading = "Output")]
    log: Level,
    /// Lines of text, or an object of JSON a line
    #[arg(long, value_enum, default_value_t, value_name = "FORM", help_heading = "Output", hide_short_help = true)]
    log_format: LogFormat,
}

/// How much goes into the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What failed.
    Error,
    /// And what is odd.
    Warn,
    /// And what changed.
    #[default]
    Info,
    /// And every request.
    Debug,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How often the interrupt flag is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let limits = Limits {
        body_bytes: (given.max_request_mb as usize) << 20,
        held_bytes: (given.max_held_mb as usize) << 20,
        queue: given.max_queue as usize,
        connections: given.max_connections as usize,
        request_time: seconds("--request-seconds", given.request_seconds)?,
        ..Limits::default()
    };
    let poll = seconds("--poll-seconds", given.poll_seconds)?;
    let token = given.token_file.as_deref().map(token).transpose()?;
    let source = source(given)?;
    let open = token.is_none() && !given.address.is_loopback();
    let options = ServeOptions {
        source,
        running: Running {
            provider: given.execution_provider,
            threads: context.global.threads,
            instances: given.instances as usize,
            limits,
        },
        http: (!given.no_http).then_some(SocketAddr::new(given.address, given.http_port)),
        grpc: (!given.no_grpc).then_some(SocketAddr::new(given.address, given.grpc_port)),
        tls: given.tls_certificate.clone().zip(given.tls_key.clone()),
        token,
        allow_load: given.allow_load,
        harvest: given.harvest.as_ref().map(|folder| HarvestOptions {
            folder: folder.clone(),
            images: given.harvest_images as usize,
            sample: given.harvest_sample as usize,
            bytes: u64::from(given.harvest_mb) << 20,
        }),
        label_studio: label_studio(given)?,
        poll: Some(poll).filter(|poll| !poll.is_zero()),
        drain: seconds("--drain-seconds", given.drain_seconds)?,
    };
    let telemetry = given.otlp_endpoint.as_deref().map(Telemetry::start).transpose()?;
    log(given, context, telemetry.as_ref());
    // What Kubernetes and systemd send; Ctrl-C is every command's.
    let terminated = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&terminated))
        .context("cannot listen for SIGTERM")?;
    let library = Library::load(context.global.onnxruntime.as_deref())?;
    let server = serve(&library, options).context("cannot serve")?;
    if open {
        tracing::warn!("whoever reaches this address may ask: no `--token-file` is given");
    }
    context.print(&text(&server, given.tls_certificate.is_some())?, &value(given, &server))?;
    while !context.progress.interrupted() && !terminated.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
    }
    tracing::info!("ending: what has been taken is answered");
    server.stop();
    if let Some(telemetry) = telemetry {
        telemetry.end();
    }
    Ok(Outcome::Done)
}

fn seconds(option: &str, seconds: f64) -> Result<Duration, BadRequest> {
    let within = Some(seconds).filter(|seconds| (0.0..=86_400.0).contains(seconds));
    let refused = || BadRequest(format!("`{option}` is {seconds}, expected seconds from 0 to 86400"));
    within.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(refused)
}

fn label_studio(given: &Options) -> Result<Option<LabelStudioOptions>, BadRequest> {
    let (model, files) = (given.label_studio_model.clone(), given.label_studio_files.clone());
    let options = LabelStudioOptions { model, files, scores: given.label_studio_scores.clone() };
    match options {
        LabelStudioOptions { model: None, files: None, scores: None } => Ok(None),
        LabelStudioOptions { files: None, scores: None, .. } => Err(BadRequest(
            "`--label-studio-model` needs `--label-studio-files`, `--label-studio-scores` or both".to_owned(),
        )),
        _ if given.no_http => Err(BadRequest("Label Studio is answered over HTTP: remove `--no-http`".to_owned())),
        options => Ok(Some(options)),
    }
}

fn token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(BadRequest(format!("`{}` holds no token", path.display())).into());
    }
    Ok(token.to_owned())
}

fn source(given: &Options) -> anyhow::Result<Source> {
    if let Some(root) = &given.repository {
        return Ok(Source::repository(root)?);
    }
    let named = |path: &Path| -> Result<String, BadRequest> {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let name = given.model_name.as_deref().unwrap_or(stem);
        match is_model_name(name) {
            true => Ok(name.to_owned()),
            false => Err(BadRequest(format!(
                "a model cannot be called `{name}`: expected letters, digits, `.`, `_` and `-`; give it with `--model-name`"
            ))),
        }
    };
    let mut files = BTreeMap::new();
    if let Some(model) = &given.model {
        files.insert(named(model)?, model.clone());
    }
    if let Some(influence) = &given.influence {
        let name = match &given.model {
            Some(model) => format!("{}-influence", named(model)?),
            None => named(influence)?,
        };
        files.insert(name, influence.clone());
    }
    Ok(Source::Files(files))
}

fn log(given: &Options, context: &Context, telemetry: Option<&Telemetry>) {
    let level = match given.log {
        _ if context.global.quiet => LevelFilter::ERROR,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Below, what the libraries say at debug level is not about requests.
    let own = move |metadata: &tracing::Metadata<'_>| {
        let most = if metadata.target().starts_with("isal") { level } else { level.min(LevelFilter::WARN) };
        *metadata.level() <= most && metadata.target() != SPANS
    };
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let filter = tracing_subscriber::filter::filter_fn(own);
    let of_requests = tracing_subscriber::filter::filter_fn(|metadata| metadata.target() == SPANS);
    let spans = telemetry.map(|telemetry| telemetry.layer().with_filter(of_requests));
    let registry = tracing_subscriber::registry().with(spans);
    // A second subscriber in a process is no reason not to serve.
    let _ = match given.log_format {
        LogFormat::Text => tracing::subscriber::set_global_default(registry.with(lines.with_filter(filter))),
        LogFormat::Json => tracing::subscriber::set_global_default(registry.with(lines.json().with_filter(filter))),
    };
}

fn text(server: &Server, tls: bool) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let mut influence = false;
    for version in server.registry().index() {
        let state = if version.ready { "ready".to_owned() } else { format!("not served: {}", version.reason) };
        writeln!(text, "{} {}: {state}", version.name, version.version)?;
    }
    for change in server.changes() {
        if let Change::Loaded { name, passed_over, .. } = change {
            influence |= server.gives_influence(name);
            if !passed_over.is_empty() {
                writeln!(text, "{name}: fields of config.pbtxt that are passed over: {}", passed_over.join(", "))?;
            }
        }
    }
    if let Some(address) = server.http() {
        writeln!(text, "HTTP at {address}")?;
        if server.answers_label_studio() {
            let scheme = if tls { "https" } else { "http" };
            writeln!(text, "Label Studio's ML backend at {scheme}://{address}")?;
        }
    }
    if let Some(address) = server.grpc() {
        writeln!(text, "gRPC at {address}")?;
    }
    if let Some(harvest) = server.harvest() {
        harvested(&mut text, harvest, &server.harvested())?;
    }
    if influence {
        writeln!(text, "({SIGN})")?;
    }
    Ok(text)
}

/// What is kept of requests, and where.
fn harvested(text: &mut String, harvest: &HarvestOptions, models: &[(String, bool)]) -> std::fmt::Result {
    let HarvestOptions { folder, images, sample, bytes } = harvest;
    let named = |wanted: bool| {
        let names = models.iter().filter(|(_, kept)| *kept == wanted).map(|(name, _)| format!("`{name}`"));
        Some(names.collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty())
    };
    match named(true) {
        Some(names) => {
            writeln!(
                text,
                "Requests are stored: what clients send to {names} is kept as it came in `{}`,",
                folder.display()
            )?;
            writeln!(
                text,
                "  of each model the {images} of lowest influence and a random sample of {sample} others, at most {} MiB. \
                 See `isal harvest list {}`",
                bytes >> 20,
                folder.display()
            )?;
        }
        None => writeln!(text, "No request is stored: no model gives influences of one input")?,
    }
    match named(false) {
        Some(names) => writeln!(text, "Of {names} nothing is stored: a request has not one input of numbers or images"),
        None => Ok(()),
    }
}

fn value(given: &Options, server: &Server) -> serde_json::Value {
    let models: serde_json::Value = server
        .registry()
        .index()
        .into_iter()
        .map(|version| {
            serde_json::json!({
                "name": version.name,
                "version": version.version,
                "ready": version.ready,
                "reason": version.reason,
                "influence": server.gives_influence(&version.name),
            })
        })
        .collect();
    serde_json::json!({
        "schema": "isal-serve/1",
        "http": server.http().map(|address| address.to_string()),
        "grpc": server.grpc().map(|address| address.to_string()),
        "harvest": server.harvest().map(|harvest| serde_json::json!({
            "folder": harvest.folder,
            "images": harvest.images,
            "sample": harvest.sample,
            "bytes": harvest.bytes,
            "models": server.harvested().into_iter().filter(|(_, kept)| *kept).map(|(name, _)| name).collect::<Vec<_>>(),
        })),
        "label_studio": server.answers_label_studio(),
        "tls": given.tls_certificate.is_some(),
        "models": models,
        "sign": SIGN,
    })
}
