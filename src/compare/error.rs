//! Why runs cannot be compared.

use crate::durable::DurableError;
use crate::rounds::RoundsError;
use std::path::PathBuf;

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A folder without runs.
    #[error("`{}` holds no run: neither it nor a folder in it, {depth} deep, has the `run.json` of `isal run`", folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
        /// How deep it was searched.
        depth: usize,
    },
    /// A run whose boxes are not known.
    #[error("`{}` does not say how many boxes its labels are: its pool has none, or an earlier version ran it", folder.display())]
    NoBoxes {
        /// The run.
        folder: PathBuf,
    },
    /// No run at all.
    #[error("no run was given")]
    Nothing,
    /// No run has ended.
    #[error("no run has ended: `{}` has {ended} of {rounds} rounds", folder.display())]
    Unfinished {
        /// The first of them.
        folder: PathBuf,
        /// Rounds that have ended.
        ended: usize,
        /// Rounds it has in all.
        rounds: usize,
    },
    /// Two runs of different tasks.
    #[error("`{}` and `{}` cannot be compared, they differ in {}", first.display(), second.display(), differences.join(", "))]
    Differ {
        /// One run.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// What differs, with both values.
        differences: Vec<String>,
    },
    /// One run twice.
    #[error("`{}` and `{}` are the same run: arm `{arm}`, seed {seed}", first.display(), second.display())]
    Twice {
        /// One run.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Their arm.
        arm: String,
        /// Their seed.
        seed: u64,
    },
    /// Two runs of a seed that were given different images to begin with.
    #[error("`{}` and `{}` have seed {seed} and began with different labelled images", first.display(), second.display())]
    Begin {
        /// One run.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Their seed.
        seed: u64,
    },
    /// Runs that never select.
    #[error("the runs have one round each, and a strategy shows from the second one on")]
    OneRound,
    /// A round without a number to compare by.
    #[error("round {round} of `{}` has neither a test accuracy nor a test loss that is a number", folder.display())]
    NoMetric {
        /// The run.
        folder: PathBuf,
        /// Counted from 1.
        round: usize,
    },
    /// A folder that cannot be listed.
    #[error("cannot list `{}`", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A folder that cannot be made.
    #[error("cannot create the folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A run's own files.
    #[error(transparent)]
    Rounds(#[from] RoundsError),
    /// Files that are written.
    #[error(transparent)]
    Durable(#[from] DurableError),
}
