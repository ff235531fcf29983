//! The whole loop: train, evaluate, score, select, label, again.
//!
//! Labels are there already and are revealed as images are selected, so that what a strategy is worth can be measured; or people
//! give them, and a run waits for them. A model is trained by `isal` or by a program of the user's. Each stage is a folder that
//! its own command could go on with, and a round begins when `labeled.json` says which images it has; so a run that was
//! killed anywhere goes on by the same call, and ends as an unbroken one does.

mod boxes;
mod config;
mod draw;
mod error;
mod going;
mod keep;
mod label;
mod oracle;
mod recorded;
mod selecting;
mod sets;
mod setting;
mod source;
mod state;
mod status;
mod training;

pub use config::{Amount, BudgetIn, DataPart, Keep, LabelsPart, OracleKind, OraclePart, OutputPart, RunConfig};
pub use error::RoundsError;
pub use label::{Label, LabelledBoxes};
pub use oracle::{
    Conflict, ImportOptions, Imported, LabelList, LabelStatus, Refused, UnknownLabel, Waiting, import_labels,
    label_list, label_status,
};
pub use recorded::{Recorded, recorded};
pub use setting::{Setting, SettingError};
pub use source::{RoundSource, round_source};
pub use state::{Figure, Identity, Round, Share};
pub use status::{Cost, Next, Stage, State, Status, status};
pub use training::{CommandError, Kind, Start, TrainPart};

use crate::durable::{self, FolderLock};
use crate::observe::Observer;
use crate::report::{Curve, Line};
use crate::runtime::ExecutionProvider;
use going::{Going, Step};
use std::path::PathBuf;

/// Where a run computes and what it leaves; nothing of this changes what comes out, but for rounding.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Folder for everything that is written.
    pub out: PathBuf,
    /// Where ONNX Runtime runs.
    pub provider: ExecutionProvider,
    /// Where the plugin runs.
    pub device: String,
    /// Threads; 0 takes every core.
    pub threads: usize,
    /// The plugin, when named.
    pub plugin: Option<PathBuf>,
    /// ONNX Runtime's library, when named.
    pub onnxruntime: Option<PathBuf>,
}

/// A run, as far as it got.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Run {
    /// Version of this object.
    pub schema: String,
    /// How images were selected.
    pub strategy: String,
    /// Its seed.
    pub seed: u64,
    /// Rounds it has in all.
    pub rounds: usize,
    /// The rounds that have ended.
    pub ended: Vec<Round>,
    /// The labels that it waits for, where it goes on no further without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// Carries a run to its end, or to where it waits for labels, from wherever it was left.
///
/// # Errors
/// [`RoundsError`]. Whatever had finished is kept and not done again by the same call.
pub fn run(config: &RunConfig, execution: &Execution, observer: &dyn Observer) -> Result<Run, RoundsError> {
    let _lock = FolderLock::take(&execution.out)?;
    let going = Going::prepare(config, execution, observer)?;
    let layout = going.layout();
    let mut run = layout.so_far(config)?;
    keep::remove(&layout, config.output.keep, run.ended.len(), config.rounds)?;
    while run.ended.len() < config.rounds {
        match going.round(run.ended.len())? {
            Step::Ended(ended) => {
                observer.say(&describe(&ended, config.rounds));
                run.ended.push(ended);
            }
            Step::Waits(waiting) => {
                run.waiting = Some(waiting);
                break;
            }
        }
        state::write(&layout.curve(), &run)?;
        keep::remove(&layout, config.output.keep, run.ended.len(), config.rounds)?;
    }
    durable::write_bytes(&layout.picture(), picture(&run).as_bytes())?;
    Ok(run)
}

fn describe(ended: &Round, rounds: usize) -> String {
    let worth = match (ended.share(), ended.test_loss) {
        (Some((name, share)), _) => format!("{name} {:.2} %", 100.0 * share),
        (None, Some(loss)) => format!("loss {loss:.4}"),
        (None, None) => "a loss that is no number".to_owned(),
    };
    let besides = match ended.reference_labeled {
        0 => String::new(),
        images => format!(" and {images} of the reference set"),
    };
    format!("round {} of {rounds}: {} labels{besides}, {worth} on the test images", ended.round + 1, ended.labeled)
}

/// Labels against what they were worth, as SVG.
pub(crate) fn picture(run: &Run) -> String {
    let share = run.ended.iter().find_map(Round::share).map(|(name, _)| name);
    let point = |round: &Round| match (share, round.share()) {
        (Some(_), found) => found.map(|(_, share)| (round.labeled as f64, 100.0 * share)),
        (None, _) => Some((round.labeled as f64, round.test_loss?)),
    };
    let line = Line { points: run.ended.iter().filter_map(point).collect(), ..Line::default() };
    let worth = share.map_or_else(|| "test loss".to_owned(), |name| format!("test {name}, %"));
    Curve { title: format!("{}, seed {}", run.strategy, run.seed), across: "labels", up: worth, lines: vec![line] }
        .svg()
}
