//! The command line: parses, runs one command, prints, and picks the exit code.
//!
//! Results go to stdout, everything else to stderr. `--json` prints one object; `--quiet` prints nothing but
//! results and errors. Exit codes: 0 done, 1 the answer is no (a check failed), 2 bad request or bad input,
//! 3 failed while running, 130 interrupted. A closed pipe counts as done.

mod audit;
mod bench;
mod compare;
mod data;
mod doctor;
mod export;
mod export_bundle;
mod export_model;
mod export_triton;
mod failure;
mod graph;
mod harvest;
mod help;
mod label;
mod merge;
mod model;
mod model_arguments;
mod op;
mod progress;
mod recipe;
mod run;
mod score;
mod select;
mod serve;
mod server;
mod study;
mod task;
mod to_label;
mod train;
mod view;

pub use failure::{BadRequest, Interrupted, Outcome};

use crate::data::{Dataset, OpenOptions};
use anyhow::Context as _;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use help::BEHIND_OWN;
use progress::Progress;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "isal",
    version,
    about = "Decides which images to label next, by influence functions over ONNX models",
    after_help = "Examples:\n  isal doctor\n  isal score pool --model model.onnx --labeled labeled/ --pool pool/ --budget 100 -o scores/",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Threads to compute with (default: every core)
    #[arg(long, global = true, value_name = "N", default_value_t = 0, hide_default_value = true)]
    #[arg(help_heading = "Execution", display_order = BEHIND_OWN, hide_short_help = true)]
    pub threads: usize,
    /// ONNX Runtime's shared library (default: ORT_DYLIB_PATH, then what `make setup` installed)
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    #[arg(help_heading = "Execution", display_order = BEHIND_OWN + 1)]
    pub onnxruntime: Option<PathBuf>,
    /// The gradient plugin (default: ISAL_PLUGIN, then the one beside this program)
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    #[arg(help_heading = "Execution", display_order = BEHIND_OWN + 2)]
    pub plugin: Option<PathBuf>,
    /// Print the result as one JSON object on stdout
    #[arg(long, global = true, help_heading = "Output", display_order = BEHIND_OWN)]
    pub json: bool,
    /// Print results and errors only
    #[arg(long, short, global = true, help_heading = "Output", display_order = BEHIND_OWN + 1)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what this machine has to run on, and what to do about what is missing
    Doctor(doctor::Options),
    /// List or build the model zoo
    #[command(subcommand)]
    Model(model::Command),
    /// Train a model; the weights are written back into its ONNX graph
    Train(Box<train::Options>),
    /// Score a pool of images and select the ones to label next
    #[command(subcommand)]
    Score(score::Command),
    /// Select the images to label next, by the strategy that did best
    Select(Box<select::Options>),
    /// Train, score, select and label, round by round
    Run(run::Options),
    /// Compare runs: what a strategy is worth against random, over seeds
    Compare(compare::Options),
    /// Run strategies over data sets, seeds and budgets, and compare them
    Study(study::Options),
    /// Say how far to trust the influences of a model
    Audit(Box<audit::Options>),
    /// Serve models and influence graphs over HTTP and gRPC
    Serve(Box<serve::Options>),
    /// Look at what a server kept for labelling, take it out, or empty it
    #[command(subcommand)]
    Harvest(harvest::Command),
    /// Look at a run or at scores in the browser, and label images
    View(view::Options),
    /// Take labels that people gave into a run, or show which are missing
    #[command(subcommand)]
    Label(label::Command),
    /// Write models: influence graphs, serving layouts for other stacks, weights of PyTorch
    #[command(subcommand)]
    Export(export::Command),
    /// Look at data sets, or write one out as folders of PNG
    #[command(subcommand)]
    Data(data::Command),
    /// Look at a model, or compare two
    #[command(subcommand)]
    Graph(graph::Command),
    /// Look at tasks: losses, and what they read of a model
    #[command(subcommand)]
    Task(task::Command),
    /// List what is there for each ONNX operator
    #[command(subcommand)]
    Op(op::Command),
    /// Measure what a score costs beside a plain prediction
    Bench(bench::Options),
}

/// What a command has at hand besides its own options.
#[derive(Debug)]
pub struct Context {
    /// The options every command takes.
    pub global: Global,
    /// Progress bars and the interrupt flag.
    pub progress: Progress,
}

impl Context {
    /// Prints a result: `value` under `--json`, else `text`.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn print(&self, text: &str, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.global.json {
            // Not straight into `out`: serde_json's error would hide that a pipe was closed.
            writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
        } else {
            writeln!(out, "{}", text.trim_end())?;
        }
        out.flush()?;
        Ok(())
    }
}

/// Opens the data set that an option names; `named` is what the user typed, for the error.
fn open_data(path: &Path, named: &str) -> anyhow::Result<Dataset> {
    open_data_with(path, named, &OpenOptions::default())
}

fn open_data_with(path: &Path, named: &str, options: &OpenOptions) -> anyhow::Result<Dataset> {
    Dataset::open_present(path, options).with_context(|| format!("cannot open `{named}`"))
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    crate::plugin::wait_passively();
    let matches = help::arranged(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let context = Context { progress: Progress::new(cli.global.quiet || cli.global.json), global: cli.global };
    let outcome = match cli.command {
        Command::Doctor(options) => doctor::run(&options, &context),
        Command::Model(command) => model::run(&command, &context),
        Command::Train(options) => train::run(&options, &context),
        Command::Score(command) => score::run(&command, &context),
        Command::Select(options) => select::run(&options, &context),
        Command::Run(options) => run::run(&options, &context),
        Command::Compare(options) => compare::run(&options, &context),
        Command::Study(options) => study::run(&options, &context),
        Command::Audit(options) => audit::run(&options, &context),
        Command::Serve(options) => serve::run(&options, &context),
        Command::Harvest(command) => harvest::run(&command, &context),
        Command::View(options) => view::run(&options, &context),
        Command::Label(command) => label::run(&command, &context),
        Command::Data(command) => data::run(&command, &context),
        Command::Export(command) => export::run(&command, &context),
        Command::Task(command) => task::run(&command, &context),
        Command::Op(command) => op::run(&command, &context),
        Command::Graph(command) => graph::run(&command, &context),
        Command::Bench(options) => bench::run(&options, &context),
    };
    failure::exit_code(outcome)
}
