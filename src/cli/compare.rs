//! `isal compare`: what runs are worth beside each other.

use super::{Context, Outcome};
use crate::compare::{self, Axis, Comparison};
use clap::Args;
use std::path::PathBuf;

/// Which runs, and where the comparison goes.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Options {
    /// Folders of `isal run`, or folders that hold such folders
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// What curves, their means and the labels saved are counted in
    ///
    /// Strategies for detectors that pick crowded images look better by images than they are: each image costs more boxes.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT", help_heading = "Output")]
    against: Axis,
    /// Folder for compare.json, compare.svg and compare.html
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: Option<PathBuf>,
}

const AFTER: &str = "\
Runs of one strategy with the same options are an arm; arms are compared seed by seed, so run each with the same seeds, \
and with `random` among them. All runs must share pool, test set, model, labels, training and rounds. Intervals are of \
95 % over seeds, and p values are corrected for the number of arms.

Examples:
  isal compare runs/influence-1 runs/influence-2 runs/random-1 runs/random-2
  isal compare runs/ -o comparison";

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let comparison = Comparison::of(compare::find(&given.runs)?, given.against)?;
    let mut text = compare::text(&comparison);
    if let Some(folder) = &given.output {
        compare::write(&comparison, folder)?;
        text += &format!("\npage: {}", folder.join("compare.html").display());
    }
    context.print(&text, &comparison)?;
    Ok(Outcome::Done)
}
