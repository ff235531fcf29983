//! `isal select`: which images to label next, by the strategy that did best where several were compared.

use super::{Context, Outcome, score};
use clap::Args;

/// The strategy where none is named: the best supported one of docs/results.md.
pub(super) const DEFAULT_STRATEGY: &str = "influence-batch";

const ABOUT: &str = "\
By default images are chosen jointly by influence-batch: together they are expected to lower the model's loss most on the \
images of --reference or --target, none of whose labels are used; without either, on the pool itself. Of the rules that need \
no labels there it did best on imbalanced pools, and was not told apart from the best on standard ones (docs/results.md). The \
model's features and beliefs are all it takes: no plugin and no solving. `isal score pool` gives every image of the pool its influence instead.";

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
