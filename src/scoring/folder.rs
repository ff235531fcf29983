//! A folder that `score pool` or `score merge` wrote, read back.

use super::ScoringError;
use super::prepared::{JPEG_LEAST_SIDE, TASK};
use crate::data::OpenOptions;
use crate::families::{self, Family, Setting, named_in};
use crate::scores::Stored;
use crate::select::Selection;
use crate::task::SINGLE_LABEL;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a finished sweep left.
#[derive(Debug)]
pub struct ScoredFolder {
    /// The folder.
    pub folder: PathBuf,
    /// The score table.
    pub rows: Stored,
    /// Where its numbers come from.
    pub provenance: IndexMap<String, String>,
    /// What was said of it, the main thing first.
    pub summary: Vec<String>,
    /// The pool, where it was read from; absent where an earlier version wrote the folder.
    pub pool: Option<PathBuf>,
    /// Names of the classes, in the order of the model's; empty where the task has none, or an earlier version wrote the folder.
    pub classes: Vec<String>,
    /// The images chosen; a slice of a pool has none.
    pub selection: Option<Selection>,
}

/// What is read of `run.json`.
#[derive(serde::Deserialize)]
struct Recorded {
    #[serde(default)]
    summary: Vec<String>,
    #[serde(default)]
    files: IndexMap<String, PathBuf>,
    #[serde(default)]
    pool: Option<PathBuf>,
    #[serde(default)]
    classes: Vec<String>,
}

impl ScoredFolder {
    /// Whether a folder is one.
    pub fn is_one(folder: &Path) -> bool {
        std::fs::read(folder.join("run.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
            .is_some_and(|run| run["schema"] == "isal-run/1")
    }

    /// Reads what the folder says; the rows stay in their file.
    ///
    /// # Errors
    /// [`ScoringError::NotScored`] for any other folder, one whose sweep has not ended, and one whose score file is not Parquet.
    pub fn open(folder: &Path) -> Result<ScoredFolder, ScoringError> {
        let refused = |reason: String| ScoringError::NotScored { folder: folder.to_path_buf(), reason };
        let bytes =
            std::fs::read(folder.join("run.json")).map_err(|error| refused(format!("its run.json: {error}")))?;
        let Recorded { summary, files, pool, classes } =
            serde_json::from_slice(&bytes).map_err(|error| refused(format!("its run.json: {error}")))?;
        // The folder may have been moved since.
        let own = folder.join("scores.parquet");
        let scores = if own.is_file() { own } else { files.get("scores").cloned().unwrap_or(own) };
        if scores.extension().is_none_or(|ending| ending != "parquet") {
            let scores = scores.display();
            return Err(refused(format!(
                "its scores are `{scores}`, and only .parquet is read: score without `--scores`"
            )));
        }
        let (rows, provenance) = Stored::open(&scores)?;
        let selection = folder.join("selection.json");
        let selection = selection.is_file().then(|| Selection::read(&selection)).transpose()?;
        let folder = folder.to_path_buf();
        Ok(ScoredFolder { folder, rows, provenance, summary, pool, classes, selection })
    }

    fn line(&self, key: &str, otherwise: &'static str) -> &str {
        self.provenance.get(key).map_or(otherwise, String::as_str)
    }

    /// The name of the task.
    pub fn task(&self) -> &str {
        // Tables of earlier versions are of classifiers.
        named_in(self.line(TASK, SINGLE_LABEL))
    }

    /// How the pool was opened.
    pub fn opening(&self) -> OpenOptions {
        let jpeg_least_side = self.line(JPEG_LEAST_SIDE, "").parse().ok();
        OpenOptions { jpeg_least_side, fields: self.task() != SINGLE_LABEL, ..OpenOptions::default() }
    }

    /// How beliefs are shown, with these names of the classes.
    ///
    /// # Errors
    /// [`ScoringError::NotScored`] where the table does not say how images were seen.
    pub fn family(&self, classes: &[String]) -> Result<Arc<dyn Family>, ScoringError> {
        recorded_family(&self.provenance, classes, &self.folder)
    }

    /// The influence graph beside the scores, where there is one.
    pub fn influence_graph(&self) -> Option<PathBuf> {
        Some(self.folder.join("influence.onnx")).filter(|path| path.is_file())
    }
}

/// How the beliefs are shown whose table has this provenance; `folder` is named in errors.
pub(super) fn recorded_family(
    provenance: &IndexMap<String, String>,
    classes: &[String],
    folder: &Path,
) -> Result<Arc<dyn Family>, ScoringError> {
    let line = |key: &str, otherwise| provenance.get(key).map_or(otherwise, String::as_str);
    let recipe = serde_json::from_str(line("preprocessing", "")).map_err(|error| ScoringError::NotScored {
        folder: folder.to_path_buf(),
        reason: format!("its preprocessing is no recipe: {error}"),
    })?;
    let setting = Setting { annotations: Vec::new(), classes: classes.to_vec(), class_order: String::new(), recipe };
    Ok(families::of(named_in(line(TASK, SINGLE_LABEL)), setting))
}
