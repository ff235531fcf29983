//! Where a run stands: what it has done, what that cost, and what it waits for.

use super::oracle::{Waiting, label_status};
use super::state::{self, Identity, Layout, is_zero};
use super::{RoundsError, Run};
use crate::durable::FolderLock;
use std::path::Path;

/// A run as its folder has it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Status {
    /// The rounds that have ended.
    #[serde(flatten)]
    pub run: Run,
    /// Whether anything happens.
    pub state: State,
    /// What comes next, or goes on; nothing once all rounds have ended.
    pub next: Option<Next>,
    /// What it cost so far.
    pub cost: Cost,
}

/// Whether anything happens with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// All rounds have ended.
    Done,
    /// A process carries it on.
    Running,
    /// It waits for labels.
    Waiting,
    /// Nobody carries it on; the command that began it does.
    Stopped,
}

/// What a run does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Next {
    /// The round, counted from 0.
    pub round: usize,
    /// What of it.
    pub stage: Stage,
}

/// What is done in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its images get their labels.
    Labeling,
    /// Its model is trained and evaluated.
    Training,
    /// The pool is scored, and images are selected for the next one.
    Selecting,
}

/// What a run cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Cost {
    /// Images of the pool that have a label.
    pub labeled: usize,
    /// Labelled images of the reference set that models were trained on besides.
    #[serde(skip_serializing_if = "is_zero")]
    pub reference_labeled: usize,
    /// Images that people looked at and left out.
    pub skipped: usize,
    /// Trainings, in seconds.
    pub train_s: f64,
    /// Scoring and selecting, in seconds, without what was killed.
    pub score_s: f64,
}

/// Where the run in a folder stands.
///
/// # Errors
/// [`RoundsError::NoRun`], or files that are none of a run.
pub fn status(folder: &Path) -> Result<Status, RoundsError> {
    let layout = Layout(folder);
    let identity: Identity =
        state::read(&layout.run())?.ok_or_else(|| RoundsError::NoRun { folder: folder.to_path_buf() })?;
    let mut run = layout.so_far(&identity.config)?;
    let mut cost = Cost::default();
    for round in 0..run.rounds {
        let Some(labeled) = layout.labeled(round)? else { break };
        cost.labeled += labeled.ids.len();
        cost.skipped += labeled.skipped.len();
    }
    for round in &run.ended {
        cost.train_s += round.train_s;
        cost.score_s += round.score_s.unwrap_or_default();
        cost.reference_labeled = round.reference_labeled;
    }
    let next = next(&layout, run.ended.len(), run.rounds)?;
    run.waiting = match identity.config.asks_people() {
        true => label_status(folder)?.into_waiting(),
        false => None,
    };
    let state = match next {
        None => State::Done,
        Some(_) if FolderLock::is_taken(folder) => State::Running,
        Some(_) if run.waiting.is_some() => State::Waiting,
        Some(_) => State::Stopped,
    };
    Ok(Status { run, state, next, cost })
}

fn next(layout: &Layout, round: usize, rounds: usize) -> Result<Option<Next>, RoundsError> {
    if round >= rounds {
        return Ok(None);
    }
    let stage = match layout.labeled(round)? {
        None => Stage::Labeling,
        Some(_) if layout.trained(round).join("metrics.json").exists() => Stage::Selecting,
        Some(_) => Stage::Training,
    };
    Ok(Some(Next { round, stage }))
}

impl super::oracle::LabelStatus {
    /// What people have yet to do, where the run cannot go on without.
    fn into_waiting(self) -> Option<Waiting> {
        self.waiting.filter(|_| !self.goes_on)
    }
}
