//! `isal run`: all rounds of an active-learning loop.

use super::{BadRequest, Context, Interrupted, Outcome};
use crate::rounds::{self, Execution, Round, Run, RunConfig, Setting};
use crate::runtime::ExecutionProvider;
use anyhow::Context as _;
use clap::Args;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Which run, and where.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Options {
    /// What the run is made of, such as a file in configs/rounds
    #[arg(value_name = "CONFIG.toml", required_unless_present = "status", help_heading = "Run")]
    config: Option<PathBuf>,
    /// Override one key of it, such as seed=3 or train.epochs=50
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Run")]
    set: Vec<Setting>,
    /// Show how far the run in a folder got, and do nothing
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["config", "set", "output"], help_heading = "Run")]
    status: Option<PathBuf>,
    /// Where ONNX Runtime runs
    #[arg(long, value_enum, default_value = "auto", value_name = "NAME", help_heading = "Execution")]
    execution_provider: ExecutionProvider,
    /// Where gradients are computed: cpu, cuda, cuda:1
    #[arg(long, default_value = "cpu", help_heading = "Execution")]
    device: String,
    /// Folder for everything that is written (default: runs/ and the name of the configuration)
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: Option<PathBuf>,
}

const AFTER: &str = "\
Each round trains a model on the labelled images, evaluates it on the test images, scores the rest of the pool and labels \
the images that the strategy selects; their labels are taken from the pool. The same command goes on after an \
interruption. The folder gets curve.json and, for each round, labeled.json, trained/ and scored/.

Examples:
  isal run configs/rounds/digits.toml
  isal run configs/rounds/digits.toml --set seed=3 --set select.strategy=random -o runs/random-3
  isal run --status runs/random-3";

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let Some(path) = &given.config else {
        let found = rounds::status(given.status.as_deref().unwrap_or(Path::new(".")))?;
        context.print(&table(&found), &found)?;
        return Ok(Outcome::Done);
    };
    let config = read(path, &given.set)?;
    let out = given.output.clone().unwrap_or_else(|| {
        let name = path.file_stem().unwrap_or_else(|| "run".as_ref());
        Path::new("runs").join(name)
    });
    let execution = Execution {
        out: out.clone(),
        provider: given.execution_provider,
        device: given.device.clone(),
        threads: context.global.threads,
        plugin: context.global.plugin.clone(),
        onnxruntime: context.global.onnxruntime.clone(),
    };
    let run = rounds::run(&config, &execution, &context.progress).map_err(|error| match error.is_interruption() {
        true => anyhow::Error::new(error).context(Interrupted),
        false => anyhow::Error::new(error).context("cannot carry the run on"),
    })?;
    context.print(&format!("{}\ncurve: {}", table(&run), out.join("curve.json").display()), &run)?;
    Ok(Outcome::Done)
}

fn read(path: &Path, settings: &[Setting]) -> anyhow::Result<RunConfig> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let refused = |error: toml::de::Error| BadRequest(format!("`{}`: {error}", path.display()));
    let mut table: toml::Table = toml::from_str(&text).map_err(refused)?;
    for setting in settings {
        setting.put(&mut table).map_err(|error| BadRequest(format!("`--set {}`: {error}", setting.key)))?;
    }
    // From text where there is nothing to override: its errors show the line.
    let config = if settings.is_empty() { toml::from_str(&text) } else { table.try_into() };
    Ok(config.map_err(refused)?)
}

/// What a run was worth, round by round.
fn table(run: &Run) -> String {
    let mut text = format!("{}, seed {}: {} of {} rounds\n", run.strategy, run.seed, run.ended.len(), run.rounds);
    let _ = writeln!(text, "\n round   labels   test accuracy   test loss   training   selection");
    for Round { round, labeled, test_loss, test_accuracy, train_s, score_s } in &run.ended {
        let or_dash = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
        let accuracy = or_dash(test_accuracy.map(|share| format!("{:.2} %", 100.0 * share)));
        let loss = or_dash(test_loss.map(|loss| format!("{loss:.4}")));
        let selection = or_dash(score_s.map(|seconds| format!("{seconds:.1} s")));
        let training = format!("{train_s:.1} s");
        let _ = writeln!(
            text,
            "{:>6}   {labeled:>6}   {accuracy:>13}   {loss:>9}   {training:>8}   {selection:>9}",
            round + 1
        );
    }
    text
}
