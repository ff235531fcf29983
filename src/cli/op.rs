//! `isal op`: what is there for each ONNX operator.

use super::{Context, Outcome};
use crate::operators::{Operator, operators};
use clap::{Args, Subcommand, ValueEnum};
use std::fmt::Write as _;

/// Look at the operators.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the operators of the standard domain: opset, the plugin's forward, how a tangent passes
    #[command(
        after_help = "A model with an operator that the plugin lacks still runs and is scored by an influence graph; the vector must have been solved elsewhere. One without a tangent rule is scored by the paired form.\n\nExamples:\n  isal op list\n  isal op list --missing tch"
    )]
    List(ListOptions),
}

/// Which to list.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Only what is missing, and why
    #[arg(long, value_enum, help_heading = "Output")]
    missing: Option<Missing>,
}

/// What an operator may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Missing {
    /// A forward in the libtorch plugin.
    Tch,
    /// A tangent rule.
    Tangent,
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::List(options) => list(options, context),
    }
}

fn list(options: &ListOptions, context: &Context) -> anyhow::Result<Outcome> {
    let gap = |operator: &Operator| match options.missing {
        Some(Missing::Tch) => operator.tch_gap,
        Some(Missing::Tangent) => operator.tangent_gap,
        None => Some(""),
    };
    let all = operators();
    let total = all.len();
    let rows: Vec<Operator> = all.into_iter().filter(|operator| gap(operator).is_some()).collect();
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        match gap(row) {
            Some("") => {
                let tch = if row.tch { "yes" } else { "no" };
                writeln!(text, "{:<width$}  since {:>2}  tch {tch:<3}  tangent {}", row.name, row.since, row.tangent)?;
            }
            Some(why) => writeln!(text, "{:<width$}  since {:>2}  {why}", row.name, row.since)?,
            None => {}
        }
    }
    match options.missing {
        None => {
            let (tch, rules) = (rows.iter().filter(|r| r.tch).count(), rows.iter().filter(|r| r.tangent_gap.is_none()));
            writeln!(
                text,
                "{total} operators: {tch} with a forward in the plugin, {} whose tangent is known",
                rules.count()
            )?;
        }
        Some(Missing::Tch) => writeln!(text, "{} of {total} operators have no forward in the plugin", rows.len())?,
        Some(Missing::Tangent) => writeln!(text, "{} of {total} operators have no tangent rule", rows.len())?,
    }
    context.print(&text, &serde_json::json!({"schema": "isal-operators/1", "operators": rows}))?;
    Ok(Outcome::Done)
}
