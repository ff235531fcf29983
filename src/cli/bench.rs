//! `isal bench`: what a score costs beside a plain prediction, on this machine, in one run.

use super::model_arguments::ModelArguments;
use super::{BadRequest, Context, Outcome};
use crate::bench::{Contender, Figure, Plan, compare};
use crate::influence::GradientEngine as _;
use crate::influence_graph::{takes_a_step, target};
use crate::network::Network;
use crate::observe::Observer as _;
use crate::plugin::{LoadOptions, Plugin, PluginEngine, PluginError};
use crate::runtime::{ExecutionProvider, Library, Session, SessionOptions, threads_for};
use crate::sweep::{Predictor, influences};
use crate::task::{Task, TaskModel};

use anyhow::Context as _;
use clap::Args;
use isal_onnx::influence::{Difference, Direction, INFLUENCE, Paired, TangentOptions, paired, tangent};
use isal_onnx::{DataType, Scope, Tensor};
use ndarray::{Array4, Axis};
use rand::{RngExt as _, SeedableRng as _};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to measure.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Options {
    /// A model to measure
    #[arg(long, value_name = "FILE.onnx", conflicts_with = "zoo", required_unless_present = "zoo")]
    #[arg(help_heading = "Model")]
    model: Option<PathBuf>,
    /// A model of the zoo, freshly drawn
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    zoo: Option<String>,
    #[command(flatten)]
    about: ModelArguments,
    /// Parameters that take part
    #[arg(long, default_value = "weights", help_heading = "Influence")]
    scope: String,
    /// Cut the tangent graph's direction to so many singular vectors a layer; exact when not given
    #[arg(long, value_name = "R", help_heading = "Influence")]
    tangent_rank: Option<usize>,
    /// Images a batch
    #[arg(long, default_value_t = 64, value_name = "N", help_heading = "Execution")]
    batch_size: usize,
    /// Rounds in which every contender has a turn
    #[arg(long, default_value_t = 5, value_name = "N", help_heading = "Execution")]
    rounds: usize,
    /// Seconds of a turn
    #[arg(long, default_value_t = 3.0, help_heading = "Execution")]
    seconds: f64,
    /// Where ONNX Runtime runs
    #[arg(long, value_enum, default_value_t, value_name = "NAME", help_heading = "Execution")]
    execution_provider: ExecutionProvider,
    /// Where the plugin runs
    #[arg(long, default_value = "cpu", help_heading = "Execution")]
    device: String,
    /// A Python with PyTorch, to measure the reference method (one backward pass an image) and its vectorised forms
    #[arg(long, value_name = "PYTHON", help_heading = "Execution")]
    pytorch: Option<PathBuf>,
}

const AFTER: &str = "\
Images a second and the cost of an image over plain inference; medians over rounds in which all take turns.

Examples:
  isal bench --zoo resnet18 --batch-size 64
  isal bench --model model.onnx --scope head --pytorch python3";

pub(super) fn run(options: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = model_file(options, scratch.path())?;
    let TaskModel { network, task, .. } = TaskModel::read(&path, &options.about.options(&path, 1)?)?;
    network.check_differentiable(task.values())?;
    let scope: Scope = options.scope.parse().map_err(|e| BadRequest(format!("`--scope {}`: {e}", options.scope)))?;
    let parameters = network.parameters(&scope)?;
    let s = random_direction(&network, &parameters);
    let images = random_images(&network, options.batch_size)?;

    let library = Library::load(context.global.onnxruntime.as_deref())?;
    let settled = options.execution_provider.settle(&library)?;
    if let Some(why) = &settled.why {
        context.progress.say(why);
    }
    let session_options = SessionOptions { provider: settled.provider, threads: context.global.threads };
    let mut plain = Session::open(&library, network.file(), session_options)?;
    let pair = |difference: Difference| -> anyhow::Result<Session> {
        let path = scratch.path().join(format!("{}.onnx", difference.name()));
        let how = Paired { relative_step: 3e-5, difference };
        paired(&network.model, std::slice::from_ref(&s), &task.parts(), how)?.write(&path)?;
        Ok(Session::open(&library, &path, session_options)?)
    };
    let mut pairs = Vec::new();
    if takes_a_step(&network, parameters.iter().map(String::as_str)) {
        pairs.push(("paired graph, prediction and influence", pair(Difference::OneSided)?));
        pairs.push(("paired graph, held at the kinks", pair(Difference::Held)?));
    } else {
        context.progress.say("a small step is rounded away in these weights, so the paired graphs are not measured");
    }
    let tangent_path = scratch.path().join("tangent.onnx");
    let how = TangentOptions { rank: options.tangent_rank, target: target(plain.provider()) };
    tangent(&network.model, std::slice::from_ref(&s), &task.parts(), how)?.write(&tangent_path)?;
    let mut forward = Session::open(&library, &tangent_path, session_options)?;
    let mut native = native(context, &network, &task, parameters, &options.device)?;
    let entries = || s.values().flat_map(|t| t.to_vec::<f32>().unwrap_or_default()).collect::<Vec<_>>();
    let vector = native.as_mut().map(|engine| engine.upload(&entries())).transpose()?;

    let batch = options.batch_size;
    let outputs: Vec<&str> = network.model.graph.outputs.iter().map(|output| output.name.as_str()).collect();
    let both: Vec<&str> = outputs.iter().copied().chain([INFLUENCE]).collect();
    let mut contenders = vec![of_session("ONNX Runtime, prediction alone", &mut plain, &outputs, &images)];
    for (name, session) in &mut pairs {
        contenders.push(of_session(name, session, &both, &images));
    }
    contenders.push(of_session("tangent graph, prediction and influence", &mut forward, &both, &images));
    if let (Some(engine), Some(vector)) = (&native, &vector) {
        let mut predictor = Predictor::open(&library, &network, &task, session_options)?;
        let images = images.view();
        contenders.push(Contender {
            name: "native engine, prediction and influence".into(),
            run: Box::new(move || {
                let believed = predictor.decode(images)?;
                influences(engine, images, &believed, vector).map(|_| batch).map_err(Into::into)
            }),
        });
    }
    let plan = Plan {
        rounds: options.rounds,
        turn: Duration::try_from_secs_f64(options.seconds)
            .map_err(|_| BadRequest(format!("`--seconds` is {}, expected a positive number", options.seconds)))?,
    };
    let mut figures = compare(&mut contenders, plan)?;
    drop(contenders);
    if let Some(python) = &options.pytorch {
        let device = match settled.provider {
            ExecutionProvider::Cuda | ExecutionProvider::Tensorrt => "cuda",
            _ => "cpu",
        };
        figures.extend(peer(python, &path, options, (device, context.global.threads), figures[0].images_per_s)?);
    }
    report(options, context, settled.provider, &figures)
}

/// A session's runs for these outputs.
fn of_session<'a>(
    name: &str,
    session: &'a mut Session,
    outputs: &'a [&str],
    images: &'a Array4<f32>,
) -> Contender<'a, anyhow::Error> {
    let batch = images.len_of(Axis(0));
    let run = Box::new(move || session.run(images.view(), outputs).map(|_| batch).map_err(Into::into));
    Contender { name: name.to_owned(), run }
}

/// The model with its task on the plugin, and said where there is none.
fn native(
    context: &Context,
    network: &Network,
    task: &Task,
    parameters: Vec<String>,
    device: &str,
) -> anyhow::Result<Option<PluginEngine>> {
    let plugin = match Plugin::find(context.global.plugin.as_deref()) {
        Ok(plugin) => plugin,
        Err(PluginError::Missing { .. }) if context.global.plugin.is_none() => {
            context.progress.say("the gradient plugin is not there, so the native engine is not measured");
            return Ok(None);
        }
        Err(other) => return Err(other.into()),
    };
    let load = LoadOptions::for_task(task, parameters, device, context.global.threads);
    Ok(Some(PluginEngine::from_model(&plugin, &network.model, &load)?))
}

fn report(
    options: &Options,
    context: &Context,
    provider: ExecutionProvider,
    figures: &[Figure],
) -> anyhow::Result<Outcome> {
    let mut text = String::new();
    writeln!(text, "{:<46} {:>9} {:>19} {:>6}", "", "images/s", "slowest - fastest", "cost")?;
    for figure in figures {
        let range = figure.range.map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.1} - {high:.1}"));
        writeln!(text, "{:<46} {:>9.1} {range:>19} {:>6.2}", figure.name, figure.images_per_s, figure.cost)?;
    }
    let value = serde_json::json!({
        "schema": "isal-bench/1", "batch_size": options.batch_size, "scope": options.scope,
        "execution_provider": provider, "rounds": options.rounds, "figures": figures,
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

fn model_file(options: &Options, scratch: &Path) -> anyhow::Result<PathBuf> {
    let Some(name) = &options.zoo else {
        return Ok(options.model.clone().unwrap_or_default());
    };
    let defaults = super::model::defaults(name)?;
    let path = scratch.join("model.onnx");
    isal_exporters::build(name, defaults)?.write(&path)?;
    Ok(path)
}

/// A standard normal direction: speed does not depend on its numbers.
fn random_direction(network: &Network, parameters: &[String]) -> Direction {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let block = |name: &String| {
        let dims = network.model.graph.initializers.get(name)?.dims().to_vec();
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| random.sample(rand_distr::StandardNormal)).collect();
        Some((name.clone(), Tensor::new(dims, &values)))
    };
    parameters.iter().filter_map(block).collect()
}

fn random_images(network: &Network, batch: usize) -> anyhow::Result<Array4<f32>> {
    let shape: Vec<usize> = network.input.iter().skip(1).copied().collect::<Option<_>>().ok_or_else(|| {
        BadRequest("the model's input has free sizes besides the batch; they must be fixed to be measured".into())
    })?;
    let [c, h, w] = shape[..] else { return Err(BadRequest("the input is no image".into()).into()) };
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let bytes = network.input_type == DataType::Uint8;
    Ok(Array4::from_shape_simple_fn((batch, c, h, w), || {
        if bytes { f32::from(random.random::<u8>()) } else { random.random::<f32>() }
    }))
}

/// The script that measures PyTorch's ways, in a checkout of the repository.
const PEER: &str = "tests/bench/pytorch_peer.py";

/// Runs the PyTorch side on the same model, batch and threads; its medians, as figures.
fn peer(
    python: &Path,
    model: &Path,
    options: &Options,
    (device, threads): (&str, usize),
    plain: f64,
) -> anyhow::Result<Vec<Figure>> {
    #[derive(serde::Deserialize)]
    struct Answer {
        images_per_second: indexmap::IndexMap<String, f64>,
    }
    if !Path::new(PEER).is_file() {
        return Err(BadRequest(format!("`--pytorch` runs `{PEER}`: call it from the repository's root")).into());
    }
    let output = std::process::Command::new(python)
        .arg(PEER)
        .arg(model)
        .args(["--batch", &options.batch_size.to_string(), "--threads", &threads_for(threads).to_string()])
        .args(["--repeats", &options.rounds.to_string(), "--device", device])
        .output()
        .with_context(|| format!("cannot run `{}`", python.display()))?;
    if !output.status.success() {
        anyhow::bail!("the PyTorch side failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).context("the PyTorch side printed no figures")?;
    let figure = |(way, images_per_s): (String, f64)| {
        let name = match way.as_str() {
            "plain" => "PyTorch, prediction alone",
            "backward" => "PyTorch, one backward pass an image",
            "vmap_grad" => "PyTorch, vmap(grad)",
            "forward" => "PyTorch, forward mode",
            other => other,
        };
        Figure { name: name.to_owned(), images_per_s, range: None, cost: plain / images_per_s }
    };
    Ok(answer.images_per_second.into_iter().map(figure).collect())
}
