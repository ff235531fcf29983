//! Why a run stopped before its end.

use super::oracle::Refused;
use super::training::CommandError;
use crate::annotation_tools::AnnotationToolError;
use crate::data::{DataError, PreprocessError, SplitError};
use crate::durable::DurableError;
use crate::scoring::ScoringError;
use crate::task::{ModelError, TaskError};
use crate::train::TrainError;
use std::path::{Path, PathBuf};

/// Why a run stopped before its end. Whatever had finished is kept, and not done again by the same call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoundsError {
    /// A number or a combination that makes no run.
    #[error("{0}")]
    Config(String),
    /// The folder holds another run.
    #[error("`{}` holds another run: its {what} is not the one given; choose another folder, or remove it", folder.display())]
    Another {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// No run to tell of.
    #[error("`{}` holds no run: there is no `run.json`", folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
    },
    /// A round without a model.
    #[error("{}", no_model(folder, *round, *ended, there))]
    NoModel {
        /// The folder.
        folder: PathBuf,
        /// The round that was asked for, from 0.
        round: Option<usize>,
        /// Rounds that have ended.
        ended: usize,
        /// Those whose models are there.
        there: Vec<usize>,
    },
    /// Images that the pool no longer has.
    #[error("`{id}`, labelled in round {}, is not in the pool", round + 1)]
    Lost {
        /// The first of them.
        id: String,
        /// When it was labelled.
        round: usize,
    },
    /// A label that is no class of the run any more.
    #[error("`{label}`, the label of `{id}`, is no class of the run")]
    LostClass {
        /// The label.
        label: String,
        /// The image.
        id: String,
    },
    /// Labels for a run that takes none.
    #[error("`{}` takes its labels from its pool; people label where `oracle.kind` is `human`", folder.display())]
    NoPeople {
        /// The folder.
        folder: PathBuf,
    },
    /// Labels for a run that waits for none.
    #[error("`{}` waits for no labels; `isal run --status` says where it stands", folder.display())]
    NotWaiting {
        /// The folder.
        folder: PathBuf,
    },
    /// Labels for a round that takes none.
    #[error("round {} takes no labels: it has begun with those it had, or its images are not selected yet", round + 1)]
    Begun {
        /// The round.
        round: usize,
    },
    /// A first round without a single label.
    #[error("round {} cannot begin: every image of its list is left out; give one a class, with `isal label import --replace`", round + 1)]
    NothingLabelled {
        /// The round.
        round: usize,
    },
    /// Labels that cannot be taken.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// Images for an annotation tool, or its export.
    #[error(transparent)]
    Tool(#[from] AnnotationToolError),
    /// A data set.
    #[error("{what} `{}`", path.display())]
    Data {
        /// Which.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: Box<DataError>,
    },
    /// Images of a part that cannot be had in that role.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The recipe beside the model.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The task beside the model.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A training.
    #[error("the training of round {}", round + 1)]
    Train {
        /// The round.
        round: usize,
        /// Why.
        source: Box<TrainError>,
    },
    /// A training by a command.
    #[error("the training of round {}", round + 1)]
    Command {
        /// The round.
        round: usize,
        /// Why.
        source: Box<CommandError>,
    },
    /// Scoring and selecting.
    #[error("the selection of round {}", round + 1)]
    Score {
        /// The round.
        round: usize,
        /// Why.
        source: Box<ScoringError>,
    },
    /// Measuring a model on the test images.
    #[error("the model of round {} on the test images", round + 1)]
    Measure {
        /// The round.
        round: usize,
        /// Why.
        source: Box<ScoringError>,
    },
    /// A file of the run could not be written or removed.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of the run could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of the run is not what it should be.
    #[error("`{}` is no file of a run", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// A file of another version.
    #[error("`{}` has schema `{found}`, expected `{expected}`", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: String,
        /// What this version reads.
        expected: &'static str,
    },
    /// Files and locks.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

fn no_model(folder: &Path, round: Option<usize>, ended: usize, there: &[usize]) -> String {
    let folder = folder.display();
    let rounds: Vec<String> = there.iter().map(|round| (round + 1).to_string()).collect();
    match (round, ended) {
        (_, 0) => format!("no round of the run in `{folder}` has ended"),
        (Some(round), _) if !there.is_empty() => {
            let rounds = rounds.join(", ");
            format!(
                "the run in `{folder}` has no model of round {}; those of these rounds are there: {rounds}",
                round + 1
            )
        }
        _ => format!("the run in `{folder}` kept no model of its {ended} rounds: set `output.keep` to `last` or `all`"),
    }
}

impl RoundsError {
    pub(super) fn data(what: &'static str, path: &Path, source: DataError) -> RoundsError {
        RoundsError::Data { what, path: path.to_path_buf(), source: Box::new(source) }
    }

    /// Whether the observer asked to stop.
    pub fn is_interruption(&self) -> bool {
        match self {
            RoundsError::Train { source, .. } => matches!(**source, TrainError::Interrupted { .. }),
            RoundsError::Command { source, .. } => matches!(**source, CommandError::Stopped { .. }),
            RoundsError::Score { source, .. } | RoundsError::Measure { source, .. } => source.is_interruption(),
            _ => false,
        }
    }
}
