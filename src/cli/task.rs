//! `isal task`: what is minimised, and what of a model and its annotations it reads.

use super::{BadRequest, Context, Outcome};
use crate::task::{self, Bindings, Bound, Found, Task, Wanted, shown};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use isal_exporters::losses;
use isal_onnx::tangent::HELD;
use isal_onnx::{Model, ValueInfo};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

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
    /// A built-in task, by its name in `isal task list`
    #[arg(long, value_name = "NAME", help_heading = "Model", conflicts_with_all = ["loss", "decode"])]
    task: Option<String>,
    /// The graph of your own loss
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model", requires = "decode")]
    loss: Option<PathBuf>,
    /// The graph of what the model believes
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model", requires = "loss")]
    decode: Option<PathBuf>,
    /// Which value of the model, an output or an inner one, an input of the graphs is
    #[arg(long, value_name = "INPUT=VALUE", help_heading = "Model")]
    bind: Vec<Binding>,
}

/// `INPUT=VALUE`.
#[derive(Debug, Clone)]
struct Binding(String, String);

impl FromStr for Binding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((input, value)) if !input.is_empty() && !value.is_empty() => Ok(Binding(input.into(), value.into())),
            _ => Err("expected INPUT=VALUE".to_owned()),
        }
    }
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::List => list(context),
        Command::Show(options) => show(options, context),
    }
}

fn list(context: &Context) -> anyhow::Result<Outcome> {
    let width = losses::all().iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for entry in losses::all() {
        writeln!(text, "{:<width$}  {}", entry.name, entry.description)?;
    }
    let rows = losses::all().iter().map(|e| serde_json::json!({"name": e.name, "description": e.description}));
    context.print(&text, &serde_json::json!({"schema": "isal-tasks/1", "tasks": rows.collect::<Vec<_>>()}))?;
    Ok(Outcome::Done)
}

fn show(options: &ShowOptions, context: &Context) -> anyhow::Result<Outcome> {
    let read = || format!("cannot read `{}`", options.model.display());
    let model = Model::read(&options.model).with_context(read)?;
    let (wanted, given) = wanted(options)?;
    let (task, bound) = match (&wanted, wanted.graphs()?) {
        (Wanted::BuiltIn(name), _) => task::built_in(&model, name, &given)?,
        (Wanted::Own { .. }, graphs) => task::own(&model, graphs.context("no graphs")?, &given)?,
    };
    let annotations = annotations(&task);
    let held = task.graphs.loss.metadata.get(HELD).cloned().unwrap_or_default();
    let (loss, decode) = match &wanted {
        Wanted::BuiltIn(_) => (task.graphs.loss.graph.name.clone(), task.graphs.decode.graph.name.clone()),
        Wanted::Own { loss, decode } => (loss.display().to_string(), decode.display().to_string()),
    };
    let mut text = format!("loss `{loss}`, decode `{decode}`\n");
    described(&mut text, &bound, &annotations, &held)?;
    let listed: Vec<_> = annotations.iter().map(|a| serde_json::json!({"name": a.name, "type": shown(a)})).collect();
    let value = serde_json::json!({
        "schema": "isal-task/1",
        "loss": loss,
        "decode": decode,
        "values": bound,
        "annotations": listed,
        "held": held.split(',').filter(|name| !name.is_empty()).collect::<Vec<_>>(),
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

/// The task that the options name, or the table beside the model, and what is bound; `--bind` goes before the table's.
fn wanted(options: &ShowOptions) -> anyhow::Result<(Wanted, Bindings)> {
    let mut given: Bindings = options.bind.iter().map(|Binding(a, b)| (a.clone(), b.clone())).collect();
    let wanted = match (&options.task, &options.loss, &options.decode) {
        (Some(name), ..) => Wanted::BuiltIn(name.clone()),
        (None, Some(loss), Some(decode)) => Wanted::Own { loss: loss.clone(), decode: decode.clone() },
        _ => {
            let (wanted, bound) = task::beside(&options.model)?.ok_or_else(|| {
                let table = options.model.with_extension("toml");
                BadRequest(format!(
                    "name a task: `--task NAME`, or `--loss FILE --decode FILE`, or a `[task]` table in `{}`",
                    table.display()
                ))
            })?;
            given.extend(bound);
            wanted
        }
    };
    Ok((wanted, given))
}

/// Inputs of the loss that images bring.
fn annotations(task: &Task) -> Vec<ValueInfo> {
    let graph = &task.graphs.loss.graph;
    let bound = |name: &str| task.bindings.iter().any(|(input, _)| input == name);
    graph.inputs.iter().filter(|i| !bound(&i.name) && !graph.initializers.contains_key(&i.name)).cloned().collect()
}

fn described(text: &mut String, bound: &[Bound], annotations: &[ValueInfo], held: &str) -> std::fmt::Result {
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
    if !held.is_empty() {
        writeln!(text, "\nheld, without a derivative: {held}")?;
    }
    writeln!(text, "\nThe loss has a derivative in every value that it reads.")
}
