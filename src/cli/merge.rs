//! `isal score merge`: the slices of a pool that several machines scored, joined.

use super::score::{at_least_one, duplicates, print, strategy, strategy_help, strategy_names};
use super::{Context, Outcome};
use crate::scores::ScoreFormat;
use crate::scoring::{self, merge};
use crate::select::STRATEGIES;
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

pub(super) const AFTER: &str = "\
Every shard must be there once, and all must come from the same model, `s`, pool, preprocessing and batch size. The \
joined score file is the one that an unbroken run would have written.

Examples:
  isal score merge shard-1 shard-2 shard-3 --budget 100 -o round-0
  isal score merge shard-* --budget 100 --strategy entropy --pool /data/pool -o round-0";

/// What to join, into what.
#[derive(Debug, Args)]
pub struct MergeOptions {
    /// Folders that `isal score pool --shard` wrote, in any order
    #[arg(value_name = "FOLDER", required = true)]
    shards: Vec<PathBuf>,
    /// The pool, for the images of the report (default: where it was when it was scored)
    #[arg(long, value_name = "DATA", help_heading = "Data")]
    pool: Option<PathBuf>,
    /// Images to select
    #[arg(long, value_name = "N", help_heading = "Selection")]
    budget: usize,
    #[arg(long, default_value = STRATEGIES[0].name, value_name = "NAME", help_heading = "Selection")]
    #[arg(help = strategy_names(false), long_help = strategy_help(false))]
    strategy: String,
    /// Seed of random selection
    #[arg(long, default_value_t = 0, help_heading = "Selection")]
    seed: u64,
    /// Select every copy of an image, and images that are labelled already
    #[arg(long, help_heading = "Selection", hide_short_help = true)]
    keep_duplicates: bool,
    /// Folder for everything that is written
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
    /// Score file: .parquet, .csv or .jsonl (default: scores.parquet in the folder)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    scores: Option<PathBuf>,
}

pub(super) fn run(given: &MergeOptions, context: &Context) -> anyhow::Result<Outcome> {
    at_least_one(Some(given.budget))?;
    if let Some(path) = &given.scores {
        ScoreFormat::of(path)?;
    }
    let options = scoring::MergeOptions {
        shards: given.shards.clone(),
        pool: given.pool.clone(),
        budget: given.budget,
        strategy: strategy(&given.strategy, given.seed)?,
        duplicates: duplicates(given.keep_duplicates),
        out: given.output.clone(),
        scores: given.scores.clone(),
    };
    let outcome = merge(&options, &context.progress).context("cannot join the shards")?;
    print(&outcome, context)?;
    Ok(Outcome::Done)
}
