//! `--task`, `--loss`, `--decode` and `--bind`, `--class-scores` and `--input`: what a model file leaves open.

use super::BadRequest;
use crate::network::GivenInput;
use crate::task::{self, Bindings, ModelOptions, Wanted};
use clap::Args;
use isal_onnx::Model;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What is minimised, and what of the model it reads.
#[derive(Debug, Args)]
pub(super) struct TaskArguments {
    /// A built-in task, see `isal task list` (default: one class an image)
    ///
    /// A table [task] in the .toml beside the model says it too; see docs/TASKS.md.
    #[arg(long, value_name = "NAME", help_heading = "Model", conflicts_with_all = ["loss", "decode"])]
    task: Option<String>,
    /// The graph of your own loss; see docs/TASKS.md
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model", requires = "decode", hide_short_help = true)]
    loss: Option<PathBuf>,
    /// The graph of what the model believes
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model", requires = "loss", hide_short_help = true)]
    decode: Option<PathBuf>,
    /// Which value of the model, an output or an inner one, an input of the task's graphs is
    #[arg(long, value_name = "INPUT=VALUE", help_heading = "Model", hide_short_help = true)]
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

impl TaskArguments {
    /// The task that the options name, or the table beside the model, and what is bound; `--bind` goes before the table's.
    pub(super) fn wanted(&self, model: &Path) -> anyhow::Result<Option<(Wanted, Bindings)>> {
        let mut given: Bindings = self.bind.iter().map(|Binding(a, b)| (a.clone(), b.clone())).collect();
        let wanted = match (&self.task, &self.loss, &self.decode) {
            (Some(name), ..) => Wanted::BuiltIn(name.clone()),
            (None, Some(loss), Some(decode)) => Wanted::Own { loss: loss.clone(), decode: decode.clone() },
            _ => match task::beside(model)? {
                Some((wanted, bound)) => {
                    given.extend(bound);
                    wanted
                }
                None if given.is_empty() => return Ok(exported(model)),
                None => return Err(BadRequest("`--bind` goes with `--task`, or `--loss` and `--decode`".into()).into()),
            },
        };
        Ok(Some((wanted, given)))
    }
}

/// The task of a detector that its training program exported; `None` of every other file, what is wrong with it being said when it is read
/// for good.
fn exported(model: &Path) -> Option<(Wanted, Bindings)> {
    let (name, bindings) = task::exported(&Model::read(model).ok()?)?;
    Some((Wanted::BuiltIn(name.to_owned()), bindings))
}

/// What is to be known of a model besides its file.
#[derive(Debug, Args)]
pub(super) struct ModelArguments {
    #[command(flatten)]
    task: TaskArguments,
    /// The output that holds the class scores of a classifier, where the model has several
    #[arg(long, value_name = "NAME", help_heading = "Model", hide_short_help = true)]
    class_scores: Option<String>,
    /// The value of an input besides the images: a number, or a list such as [0.5, 1]
    #[arg(long = "input", value_name = "NAME=VALUE", help_heading = "Model", hide_short_help = true)]
    inputs: Vec<GivenInput>,
}

impl ModelArguments {
    /// For the model at `model`; `top_k` is `--expected-top-k`.
    pub(super) fn options(&self, model: &Path, top_k: u32) -> anyhow::Result<ModelOptions> {
        let (class_scores, inputs) = (self.class_scores.clone(), self.inputs.clone());
        let options = ModelOptions { task: self.task.wanted(model)?, class_scores, inputs, top_k: top_k as usize };
        if !options.is_single_label() {
            for (given, option) in [(self.class_scores.is_some(), "--class-scores"), (top_k > 1, "--expected-top-k")] {
                if given {
                    return Err(BadRequest(format!("`{option}` is for tasks of one class an image")).into());
                }
            }
        }
        Ok(options)
    }
}
