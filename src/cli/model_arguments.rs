//! `--task`, `--loss`, `--decode` and `--bind`, `--class-scores` and `--input`: what a model file leaves open.

use super::BadRequest;
use crate::network::GivenInput;
use crate::task::{self, Bindings, ModelOptions, Wanted};
use clap::Args;
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
                None if given.is_empty() => return Ok(task::of_file(model)?),
                None => return Err(BadRequest("`--bind` goes with `--task`, or `--loss` and `--decode`".into()).into()),
            },
        };
        Ok(Some((wanted, given)))
    }
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
    /// Of a detector, the score above which a detection is a pseudo box (default: 0.1)
    ///
    /// Built-in tasks make no detections below 0.05. The threshold is a value of the decode graph, and so of every influence graph.
    #[arg(long, value_name = "SCORE", value_parser = threshold, help_heading = "Model", hide_short_help = true)]
    noised_score_thresh: Option<f32>,
}

fn threshold(text: &str) -> Result<f32, String> {
    let score = text.parse().ok().filter(|score| (0.05..1.0).contains(score));
    score.ok_or_else(|| "expected a score from 0.05 on and below 1".to_owned())
}

impl ModelArguments {
    /// For the model at `model`; `top_k` is `--expected-top-k`.
    pub(super) fn options(&self, model: &Path, top_k: u32) -> anyhow::Result<ModelOptions> {
        let (class_scores, inputs) = (self.class_scores.clone(), self.inputs.clone());
        let (task, noised_score_thresh) = (self.task.wanted(model)?, self.noised_score_thresh);
        let options = ModelOptions { task, class_scores, inputs, noised_score_thresh, top_k: top_k as usize };
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
