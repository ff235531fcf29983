//! `isal run`: all rounds of an active-learning loop.

use super::{BadRequest, Context, Interrupted, Outcome};
use crate::rounds::{self, Cost, Execution, Round, Run, RunConfig, Setting, Stage, State, Status};
use crate::runtime::ExecutionProvider;
use anyhow::Context as _;
use clap::Args;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Which run, and where.
#[derive(Debug, Args)]
#[command(after_help = AFTER, after_long_help = format!("{KEYS}\n\n{AFTER}"))]
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
Each round trains a model on the labelled images, evaluates it on the test images, scores the rest of the pool and selects \
images to label; the pool has their labels, or people give them (`isal label`). The same command goes on after an \
interruption. The folder gets curve.json and, for each round, labeled.json, trained/ and scored/.

Examples:
  isal run configs/rounds/digits.toml
  isal run configs/rounds/digits.toml --set seed=3 --set select.strategy=random -o runs/random-3
  isal run --status runs/random-3";

/// The keys of a run; `docs/ROUNDS.md` has all of them.
const KEYS: &str = "\
Keys of CONFIG.toml, all in docs/ROUNDS.md (in brackets: their names in the reference implementation):
  seed                   First images, order of training, what a strategy draws
  rounds                 Trainings in all [TRAIN_STEP]
  model                  The model that each round's training starts from
  data.pool, .reference, .test
                         Images to choose from, to measure influence on, to evaluate on
  data.reference-images  Take so many of the reference images [S_TEST_IMG_NUM]
  data.classes           Names of the classes, where nothing else says them
  labels.initial         Images labelled first, a number or a share of the pool [INIT_IMG_NUM]
  labels.initial-labels  Labels that are there already, instead
  labels.balanced        The first images are as many of each class
  labels.budget          Images a round, a number or a share of the pool [IMG_NUM, STEP]
  labels.budget-in       `boxes`: the budget is a number of boxes
  train.*                Options of `isal train`
  train.warm-start       Start from the weights of the round before
  train.with-reference   Train on the reference images as well, for a comparison
  train.kind, .command   `command`: a program of your own trains
  data.target, .features What a joint strategy serves, and goes by
  select.strategy        How images are selected [the mining method]
  filters.*              per-class, per-source, apart: what a selection keeps to
  solver.*               How `s` is solved
  oracle.kind            `human`: people label, and the run waits for them
  oracle.skip, .partial  The label of images to leave out; go on with any labels
  output.keep            Models that stay: all, last, none [DELETE_MODEL]
Devices: --device and --execution-provider [GPUS]";

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let Some(path) = &given.config else {
        let folder = given.status.as_deref().unwrap_or(Path::new("."));
        let found = rounds::status(folder)?;
        context.print(&format!("{}{}", table(&found.run), standing(&found, folder)), &found)?;
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
    let mut text = format!("{}\ncurve: {}", table(&run), out.join("curve.json").display());
    if let Some(waiting) = &run.waiting {
        text = format!("{}\n{}", table(&run), super::label::to_do(waiting, &out));
    }
    context.print(&text, &run)?;
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

/// Where a run stands and what it cost, below its table.
fn standing(status: &Status, folder: &Path) -> String {
    let stage = status.next.map(|next| {
        let stage = match next.stage {
            Stage::Labeling => "the labels",
            Stage::Training => "the training",
            Stage::Selecting => "the selection",
        };
        format!("{stage} of round {}", next.round + 1)
    });
    let stage = stage.unwrap_or_default();
    let state = match (status.state, &status.run.waiting) {
        (State::Done, _) => "done".to_owned(),
        (State::Running, _) => format!("running: {stage}"),
        (State::Waiting, Some(waiting)) => super::label::to_do(waiting, folder),
        (State::Waiting | State::Stopped, _) => {
            format!("stopped at {stage}; the command that began the run continues from there")
        }
    };
    let Cost { labeled, reference_labeled, skipped, train_s, score_s } = status.cost;
    let besides = and_of_the_reference(reference_labeled);
    let skipped = if skipped > 0 { format!(" ({skipped} more skipped)") } else { String::new() };
    format!("cost: {labeled} labels{besides}{skipped}, training {train_s:.1} s, selection {score_s:.1} s\n{state}\n")
}

/// Labels besides those of the pool, in words.
fn and_of_the_reference(images: usize) -> String {
    if images > 0 { format!(" and {images} of the reference set") } else { String::new() }
}

/// What a run was worth, round by round.
fn table(run: &Run) -> String {
    let mut text = format!("{}, seed {}: {} of {} rounds\n", run.strategy, run.seed, run.ended.len(), run.rounds);
    if run.ended.is_empty() {
        return text;
    }
    if let Some(images) = run.ended.last().map(|round| round.reference_labeled).filter(|images| *images > 0) {
        let _ = writeln!(
            text,
            "trained on {images} labelled images of the reference set as well, which `labels` does not count"
        );
    }
    let share = run.ended.iter().find_map(Round::share).map_or("accuracy", |(name, _)| name);
    let heading = format!("test {share}");
    let _ = writeln!(text, "\n round   labels   {heading:>13}   test loss   training   selection");
    for ended in &run.ended {
        let Round { round, labeled, test_loss, train_s, score_s, .. } = ended;
        let or_dash = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
        let accuracy = or_dash(ended.share().map(|(_, share)| format!("{:.2} %", 100.0 * share)));
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
