//! `isal task`: what is minimised, and what of a model and its annotations it reads.

use super::model_arguments::TaskArguments;
use super::{BadRequest, Context, Outcome};
use crate::task::{Bound, Found, Wanted, shown};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use isal_exporters::{detection, losses};
use isal_onnx::tangent::held_values;
use isal_onnx::{Model, ValueInfo};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Look at tasks: loss and decode graphs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the built-in tasks
    #[command(after_help = "Examples:\n  isal task list\n  isal task list --json")]
    List,
    /// Show what a loss and its decode graph read of a model and of the annotations
    #[command(
        after_help = "A task is two graphs: `loss` takes values of the model and annotations and gives the loss [N] of each image; `decode` takes values of the model and gives the annotations that it believes. An input of the loss that decode gives is an annotation; every other input is a value of the model: the one that --bind names, the one of the same name, or the model's only output. Without --task and --loss, the table [task] of model.toml beside model.onnx says it: name, or loss and decode, and perhaps bind.\n\nExamples:\n  isal task show --model tags.onnx --task sigmoid-cross-entropy\n  isal task show --model detector.onnx --loss loss.onnx --decode decode.onnx --bind scores=/head/cls"
    )]
    Show(ShowOptions),
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The model
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    model: PathBuf,
    #[command(flatten)]
    task: TaskArguments,
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::List => list(context),
        Command::Show(options) => show(options, context),
    }
}

fn list(context: &Context) -> anyhow::Result<Outcome> {
    let one_value = losses::all().iter().map(|entry| (entry.name, entry.description));
    let tasks: Vec<_> = one_value.chain(detection::tasks().iter().map(|task| (task.name, task.description))).collect();
    let width = tasks.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, description) in &tasks {
        writeln!(text, "{name:<width$}  {description}")?;
    }
    let rows = tasks.iter().map(|(name, description)| serde_json::json!({"name": name, "description": description}));
    context.print(&text, &serde_json::json!({"schema": "isal-tasks/1", "tasks": rows.collect::<Vec<_>>()}))?;
    Ok(Outcome::Done)
}

fn show(options: &ShowOptions, context: &Context) -> anyhow::Result<Outcome> {
    let read = || format!("cannot read `{}`", options.model.display());
    let model = Model::read(&options.model).with_context(read)?;
    let (wanted, given) = options.task.wanted(&options.model)?.ok_or_else(|| {
        let table = options.model.with_extension("toml");
        BadRequest(format!(
            "name a task: `--task NAME`, or `--loss FILE --decode FILE`, or a `[task]` table in `{}`",
            table.display()
        ))
    })?;
    let (task, bound) = wanted.bind(&model, &given)?;
    let annotations: Vec<&ValueInfo> = task.annotations().collect();
    let beliefs: Vec<&ValueInfo> = task.beliefs().collect();
    let mut held: Vec<&str> = held_values(&task.graphs.loss).into_iter().collect();
    held.sort_unstable();
    let (loss, decode) = match &wanted {
        Wanted::BuiltIn(_) => (task.graphs.loss.graph.name.clone(), task.graphs.decode.graph.name.clone()),
        Wanted::Own { loss, decode } => (loss.display().to_string(), decode.display().to_string()),
    };
    let mut text = format!("loss `{loss}`, decode `{decode}`\n");
    described(&mut text, &bound, (&annotations, &beliefs), &held)?;
    let listed = |values: &[&ValueInfo]| -> Vec<serde_json::Value> {
        values.iter().map(|v| serde_json::json!({"name": v.name, "type": shown(v)})).collect()
    };
    let value = serde_json::json!({
        "schema": "isal-task/1",
        "loss": loss,
        "decode": decode,
        "values": bound,
        "annotations": listed(&annotations),
        "beliefs": listed(&beliefs),
        "held": held,
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

fn described(
    text: &mut String,
    bound: &[Bound],
    (annotations, beliefs): (&[&ValueInfo], &[&ValueInfo]),
    held: &[&str],
) -> std::fmt::Result {
    writeln!(text, "\nread of the model:")?;
    for Bound { input, declared, value, found, how } in bound {
        let how = match how {
            Found::Given => "as given",
            Found::Name => "by its name",
            Found::OnlyOutput => "the output",
            Found::BehindSoftmax => "what goes into the Softmax at the end",
            Found::BehindSigmoid => "what goes into the Sigmoid at the end",
        };
        writeln!(text, "  {input} {declared}  <-  `{value}` {found} ({how})")?;
    }
    writeln!(text, "\nannotations of an image:")?;
    for annotation in annotations {
        writeln!(text, "  {} {}", annotation.name, shown(annotation))?;
    }
    if annotations.is_empty() {
        writeln!(text, "  none")?;
    }
    if !beliefs.is_empty() {
        writeln!(text, "\nwhat the model believes besides, a column of the scores each:")?;
        for belief in beliefs {
            writeln!(text, "  {} {}", belief.name, shown(belief))?;
        }
    }
    if !held.is_empty() {
        writeln!(text, "\nheld, without a derivative: {}", held.join(", "))?;
    }
    writeln!(text, "\nThe loss has a derivative in every value that it reads.")
}
