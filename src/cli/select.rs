//! `isal select`: which images to label next, by the strategies that did best where several were compared.

use super::{Context, Outcome, score};
use clap::builder::ArgPredicate;
use clap::{Arg, Args};

const DEFAULT: &str = "[default: influence-kernel with --reference, else influence-batch]";

/// `--strategy` with the best supported ones of docs/results.md where none is named.
pub(super) fn default_strategy(strategy: Arg) -> Arg {
    let kernel = [
        ("target", ArgPredicate::IsPresent, "influence-batch"),
        ("reference", ArgPredicate::IsPresent, "influence-kernel"),
    ];
    strategy
        .default_value("influence-batch")
        .default_value_ifs(kernel)
        .hide_default_value(true)
        .help(format!("{} {DEFAULT}", score::strategy_names(true)))
        .long_help(format!("{}\n{DEFAULT}", score::strategy_help(true)))
}

const ABOUT: &str = "\
By default images are chosen jointly, so that together they are expected to lower the model's loss most: with --reference by \
influence-kernel, which weighs the reference images by their labels and led the study on imbalanced and redundant pools \
(docs/results.md); else by influence-batch, which needs no labels, for the images of --target or for the pool itself. The model's \
features and beliefs are all it takes: no plugin and no solving. `isal score pool` gives every image of the pool its influence \
instead.";

const EXAMPLE: &str = "\
Example: isal select --model model.onnx --labeled labeled/ --pool pool/ --reference ref/ --budget 100 -o next";

const EXAMPLES: &str = "\
Examples:
  isal select --model model.onnx --labeled labeled/ --pool pool/ --reference reference/ --budget 100 -o next
  isal select --model model.onnx --labeled labeled/ --pool pool/ --target new-site/ --budget 100 -o next
  isal select --model model.onnx --labeled labeled/ --pool pool/ --features encoder.onnx --strategy typiclust --budget 20 -o next";

/// What to select from, by what, into what.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{ABOUT}\n\n{EXAMPLES}"))]
pub struct Options {
    #[command(flatten)]
    pool: score::PoolOptions,
}

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    score::pool(&given.pool, context)
}
