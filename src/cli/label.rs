//! `isal label`: labels that people give, into a run that waits for them.

use super::{Context, Outcome};
use crate::observe::Observer as _;
use crate::rounds::{ImportOptions, Imported, LabelStatus, Waiting, import_labels, label_status};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Ids that a status shows without `--json`.
const SHOWN: usize = 10;

/// What to do with labels.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take labels into a run that waits for them
    Import(Import),
    /// Show which labels a run waits for
    Status(Status),
}

/// Whose labels, and for what.
#[derive(Debug, Args)]
#[command(after_help = AFTER_IMPORT)]
pub struct Import {
    /// The folder of the run
    #[arg(value_name = "RUN", help_heading = "Run")]
    run: PathBuf,
    /// A list (.csv, .tsv, .jsonl, ...), image folders by class, a tool's export, or a data set of boxes
    #[arg(value_name = "LABELS", required_unless_present = "accept_partial", help_heading = "Data")]
    labels: Option<PathBuf>,
    /// The round they are for, as `isal run --status` counts (default: the one that the run waits for)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Run")]
    round: Option<u32>,
    /// Take images that are listed without any mark for images that show nothing
    #[arg(long, help_heading = "Data")]
    empty: bool,
    /// Let labels change that are there already
    #[arg(long, help_heading = "Data")]
    replace: bool,
    /// Go on with the labels that are there; the other images go back to the pool
    #[arg(long, help_heading = "Data")]
    accept_partial: bool,
}

/// Of which run.
#[derive(Debug, Args)]
#[command(after_help = AFTER_STATUS)]
pub struct Status {
    /// The folder of the run
    #[arg(value_name = "RUN", help_heading = "Run")]
    run: PathBuf,
}

const AFTER_IMPORT: &str = "\
An image is known by the id of its line, by its file name in to-label/, or by the file itself. A label is a class of the run, \
or `skip` (oracle.skip): that image is never offered again. Lines without a label are passed over. A file with an unknown \
image or label is refused whole, and everything that is wrong in it is named.

Examples:
  isal label import runs/birds runs/birds/round-00/to-label.csv
  isal label import runs/birds sorted/ --accept-partial";

const AFTER_STATUS: &str = "\
Examples:
  isal label status runs/birds
  isal label status runs/birds --json";

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Import(given) => import(given, context),
        Command::Status(given) => {
            let status = label_status(&given.run)?;
            context.print(&described(&status), &status)?;
            Ok(Outcome::Done)
        }
    }
}

fn import(given: &Import, context: &Context) -> anyhow::Result<Outcome> {
    let options = ImportOptions {
        round: given.round.map(|round| round as usize - 1),
        replace: given.replace,
        accept_partial: given.accept_partial,
        unmarked_is_empty: given.empty,
    };
    let imported = import_labels(&given.run, given.labels.as_deref(), &options)?;
    let Imported { added, changed, unmarked, now, goes_on, .. } = &imported;
    if *unmarked > 0 {
        context.progress.say(&format!(
            "{unmarked} images are listed without any mark, and have no label yet: where people have looked at them, `--empty` takes \
             them for images that show nothing"
        ));
    }
    let next = match goes_on {
        true => "the run can go on: give its `isal run` command again".to_owned(),
        false => format!("{} images have no label yet", now.missing),
    };
    context.print(&format!("{added} labels taken, {changed} changed; {}; {next}", standing(now)), &imported)?;
    Ok(Outcome::Done)
}

/// `round 2: 12 of 15 images labelled, 1 skipped`.
fn standing(now: &Waiting) -> String {
    let Waiting { round, asked, labeled, empty, skipped, .. } = now;
    let empty = if *empty > 0 { format!(" ({empty} empty)") } else { String::new() };
    format!("round {}: {labeled} of {asked} images labelled{empty}, {skipped} skipped", round + 1)
}

fn described(status: &LabelStatus) -> String {
    let Some(waiting) = &status.waiting else { return "the run waits for no labels".to_owned() };
    let mut text = standing(waiting);
    if status.goes_on {
        text += "; the run can go on: give its `isal run` command again";
    }
    if status.missing.is_empty() {
        return text;
    }
    text += &format!("\n{} images have no label:", waiting.missing);
    status.missing.iter().take(SHOWN).for_each(|id| text += &format!("\n  {id}"));
    if status.missing.len() > SHOWN {
        text += &format!("\n  ... and {} more; `--json` has all", status.missing.len() - SHOWN);
    }
    text + &format!("\nthe list: {}", waiting.list.display())
}

/// What to do about a run that waits.
pub(super) fn to_do(waiting: &Waiting, run: &Path) -> String {
    let Waiting { round, asked, missing, list, .. } = waiting;
    format!(
        "waiting for labels: {missing} of the {asked} images of round {} have none. The list is {} (also .jsonl, and the images \
         in {}/). Then: isal label import {} LABELS, and the same `isal run` command again",
        round + 1,
        list.display(),
        list.with_extension("").display(),
        run.display(),
    )
}
