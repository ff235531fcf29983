//! What a run leaves on disk: what it is, which images were labelled when, and what each round's model was worth.
//!
//! `run.json` says what the run is, `round-NN/labeled.json` which images are labelled at the beginning of a round; the
//! second is what makes a round begin, so that nothing is counted twice wherever a run is killed.

use super::label::Label;
use super::{RoundsError, Run, RunConfig};
use crate::durable;
use crate::families::LabelKind;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Name and version of the form of a run's `run.json`, and of its `curve.json`.
pub(super) const SCHEMA: &str = "isal-rounds/1";

/// Name and version of the form of `round-NN/labeled.json`.
const LABELED: &str = "isal-labeled/1";

/// What a run is, so that a folder is not gone on with as another.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Version of this object.
    pub schema: String,
    /// What the run was asked for.
    pub config: RunConfig,
    /// SHA-256 of the model that it starts from; empty where there is none.
    pub model: String,
    /// The built-in task of that model, or of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Fingerprint of the pool.
    pub pool: String,
    /// Fingerprint of the reference set, where there is one.
    pub reference: Option<String>,
    /// Fingerprint of the target set, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Fingerprint of the test set.
    pub test: String,
    /// Names of the classes, in which labels are counted.
    #[serde(default)]
    pub classes: Vec<String>,
    /// What images are labelled with.
    #[serde(default = "one_class", skip_serializing_if = "is_one_class")]
    pub label_kind: LabelKind,
}

fn one_class() -> LabelKind {
    LabelKind::Class
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one_class(kind: &LabelKind) -> bool {
    *kind == LabelKind::Class
}

/// The images that were labelled for a round, besides those of the rounds before.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Labeled {
    schema: String,
    /// Ids, in the order in which they were selected.
    pub(super) ids: Vec<String>,
    /// The label of each, where people said it; else the pool does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) labels: Vec<Label>,
    /// Ids of images that people left out for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) skipped: Vec<String>,
}

impl Labeled {
    /// Images whose classes the pool knows.
    pub(super) fn revealed(ids: Vec<String>) -> Labeled {
        Labeled::by_people(ids, Vec::new(), Vec::new())
    }

    /// Images with the labels that people gave, and those that they skipped.
    pub(super) fn by_people(ids: Vec<String>, labels: Vec<Label>, skipped: Vec<String>) -> Labeled {
        Labeled { schema: LABELED.to_owned(), ids, labels, skipped }
    }
}

/// What a model is worth where images have not one class each: a share, more of which is better.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Figure {
    /// What it is.
    pub measure: Share,
    /// From 0 to 1.
    pub value: f64,
}

/// Measures that are shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Share {
    /// Of boxes: the mean average precision of COCO's protocol.
    #[serde(rename = "mAP")]
    AveragePrecision,
    /// Of pixels: the mean over the classes of intersection over union.
    #[serde(rename = "mean IoU")]
    MeanIou,
    /// Of any number of classes an image.
    F1,
}

impl Share {
    /// Its name, as a family's measure gives it.
    pub fn name(self) -> &'static str {
        match self {
            Share::AveragePrecision => "mAP",
            Share::MeanIou => "mean IoU",
            Share::F1 => "F1",
        }
    }

    /// The one of this name.
    pub(super) fn of(name: &str) -> Option<Share> {
        [Share::AveragePrecision, Share::MeanIou, Share::F1].into_iter().find(|share| share.name() == name)
    }
}

impl Round {
    /// The share that says how right the model is: accuracy, or another figure; and its name.
    pub fn share(&self) -> Option<(&'static str, f64)> {
        let figure = self.test_figure.map(|figure| (figure.measure.name(), figure.value));
        self.test_accuracy.map(|accuracy| ("accuracy", accuracy)).or(figure)
    }
}

/// What a round was worth.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Round {
    /// Counted from 0.
    pub round: usize,
    /// Labelled images of the pool that its model was trained on.
    pub labeled: usize,
    /// Boxes on them, where the pool has boxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boxes: Option<usize>,
    /// Labelled images of the reference set that it was trained on besides.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reference_labeled: usize,
    /// Mean loss on the test images, where it is a number.
    pub test_loss: Option<f64>,
    /// Share of the test images that is classified rightly, where images have one class each.
    pub test_accuracy: Option<f64>,
    /// Another measure of the task, of detectors and others, on the test images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_figure: Option<Figure>,
    /// Wall time of the training, in seconds.
    pub train_s: f64,
    /// Wall time of scoring and selecting, in seconds; absent in the last round, which selects nothing, and of one that was
    /// killed meanwhile.
    pub score_s: Option<f64>,
    /// Images that people left out for good, up to this round.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Where the files of a run are.
#[derive(Debug, Clone)]
pub(super) struct Layout<'a>(pub(super) &'a Path);

impl Layout<'_> {
    /// The folder of a round.
    pub(super) fn round(&self, round: usize) -> PathBuf {
        self.0.join(format!("round-{round:02}"))
    }

    /// What the run is.
    pub(super) fn run(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Every round that has ended.
    pub(super) fn curve(&self) -> PathBuf {
        self.0.join("curve.json")
    }

    /// A drawing of it.
    pub(super) fn picture(&self) -> PathBuf {
        self.0.join("curve.svg")
    }

    /// The run of this configuration, with the rounds that have ended.
    pub(super) fn so_far(&self, config: &RunConfig) -> Result<Run, RoundsError> {
        Ok(Run {
            schema: SCHEMA.to_owned(),
            strategy: config.select.row().name.to_owned(),
            seed: config.seed,
            rounds: config.rounds,
            ended: read::<Run>(&self.curve())?.map(|run| run.ended).unwrap_or_default(),
            waiting: None,
        })
    }

    fn labeled_file(&self, round: usize) -> PathBuf {
        self.round(round).join("labeled.json")
    }

    /// The images that were labelled for `round`, where that is settled.
    pub(super) fn labeled(&self, round: usize) -> Result<Option<Labeled>, RoundsError> {
        let path = self.labeled_file(round);
        match read::<Labeled>(&path)? {
            Some(found) if found.schema != LABELED => {
                Err(RoundsError::Schema { path, found: found.schema, expected: LABELED })
            }
            found => Ok(found),
        }
    }

    /// Settles which images are labelled for `round`.
    pub(super) fn settle(&self, round: usize, labeled: &Labeled) -> Result<(), RoundsError> {
        make_folder(&self.round(round))?;
        write(&self.labeled_file(round), labeled)
    }

    /// What a training writes; its last file is `metrics.json`.
    pub(super) fn trained(&self, round: usize) -> PathBuf {
        self.round(round).join("trained")
    }

    /// The trained model of a round.
    pub(super) fn model(&self, round: usize) -> PathBuf {
        self.trained(round).join("model.onnx")
    }

    /// What scoring and selecting after a round write.
    pub(super) fn scored(&self, round: usize) -> PathBuf {
        self.round(round).join("scored")
    }
}

/// Makes a folder with those that it lies in.
pub(super) fn make_folder(path: &Path) -> Result<(), RoundsError> {
    Ok(durable::make_folder(path)?)
}

/// A file's object, or nothing where there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RoundsError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RoundsError::Read { path: path.to_path_buf(), source }),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| RoundsError::Json { path: path.to_path_buf(), source })
}

/// Writes an object as a file, all or nothing.
pub(super) fn write(path: &Path, value: &impl serde::Serialize) -> Result<(), RoundsError> {
    let json = serde_json::to_vec_pretty(value);
    let json = json.map_err(|source| RoundsError::Json { path: path.to_path_buf(), source })?;
    Ok(durable::write_bytes(path, &json)?)
}
