//! `--class-scores` and `--input`: what a model file leaves open.

use crate::classifier::{ClassifierOptions, GivenInput};
use clap::Args;

/// What is to be known of a classifier besides its file.
#[derive(Debug, Args)]
pub(super) struct ClassifierArguments {
    /// The output that holds the class scores, where the model has several
    #[arg(long, value_name = "NAME", help_heading = "Model", hide_short_help = true)]
    class_scores: Option<String>,
    /// The value of an input besides the images: a number, or a list such as [0.5, 1]
    #[arg(long = "input", value_name = "NAME=VALUE", help_heading = "Model", hide_short_help = true)]
    inputs: Vec<GivenInput>,
}

impl ClassifierArguments {
    pub(super) fn options(&self) -> ClassifierOptions {
        ClassifierOptions { output: self.class_scores.clone(), inputs: self.inputs.clone() }
    }
}
