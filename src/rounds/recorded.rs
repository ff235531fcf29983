//! A run as its folder has it, for whoever reads runs without carrying them on.

use super::state::{self, Layout};
use super::{Identity, RoundsError, Run};
use std::path::{Path, PathBuf};

/// What a folder says of its run.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What the run is.
    pub identity: Identity,
    /// How far it got.
    pub run: Run,
    /// Ids of the images that were labelled before the first training, where they are settled.
    pub first: Option<Vec<String>>,
}

impl Recorded {
    /// Whether every round has ended.
    pub fn is_finished(&self) -> bool {
        self.run.ended.len() >= self.run.rounds
    }
}

impl Recorded {
    /// Where the scores lie by which a round selected for the next one.
    pub fn scored(folder: &Path, round: usize) -> PathBuf {
        Layout(folder).scored(round)
    }
}

/// The run in a folder; `None` where there is no `run.json`.
///
/// # Errors
/// Files that cannot be read or are none of a run.
pub fn recorded(folder: &Path) -> Result<Option<Recorded>, RoundsError> {
    let layout = Layout(folder);
    let Some(identity) = state::read::<Identity>(&layout.run())? else { return Ok(None) };
    let run = layout.so_far(&identity.config)?;
    let first = layout.labeled(0)?.map(|labeled| labeled.ids);
    Ok(Some(Recorded { identity, run, first }))
}
