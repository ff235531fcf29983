//! What a folder is: a run, or one sweep; and where its pool lies.

use super::ViewError;
use crate::data::{Dataset, OpenOptions};
use crate::families::LabelKind;
use crate::rounds::{Identity, Recorded, recorded};
use crate::scoring::ScoredFolder;
use crate::task::{Wanted, of_file};
use std::path::{Path, PathBuf};

/// A folder to look at.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// What the run is, of one.
    run: Option<Box<Identity>>,
}

impl Folder {
    /// Sees what a folder is.
    pub(super) fn open(path: &Path) -> Result<Folder, ViewError> {
        if ScoredFolder::is_one(path) {
            return Ok(Folder { path: path.to_path_buf(), run: None });
        }
        let neither = || ViewError::Neither { folder: path.to_path_buf() };
        let recorded = recorded(path)?.ok_or_else(neither)?;
        Ok(Folder { path: path.to_path_buf(), run: Some(Box::new(recorded.identity)) })
    }

    /// Whether it is a run.
    pub(super) fn is_run(&self) -> bool {
        self.run.is_some()
    }

    /// The sweeps that have ended, by their rounds; a sweep alone is round 0.
    pub(super) fn rounds(&self) -> Vec<usize> {
        match &self.run {
            None => vec![0],
            Some(identity) => {
                (0..identity.config.rounds).filter(|round| ScoredFolder::is_one(&self.at(*round))).collect()
            }
        }
    }

    /// The folder of a sweep.
    fn at(&self, round: usize) -> PathBuf {
        match self.is_run() {
            true => Recorded::scored(&self.path, round),
            false => self.path.clone(),
        }
    }

    /// What the sweep of a round left.
    pub(super) fn scored(&self, round: usize) -> Result<ScoredFolder, ViewError> {
        let there = self.rounds().contains(&round);
        if !there {
            return Err(ViewError::NoSuch { what: "scored round", number: (round + 1).to_string() });
        }
        let mut scored = ScoredFolder::open(&self.at(round))?;
        if let Some(identity) = &self.run {
            scored.classes.clone_from(&identity.classes);
        }
        Ok(scored)
    }

    /// The pool: the one given, else where the folder says it was; there the reason where it cannot be opened.
    ///
    /// # Errors
    /// A pool that was given and cannot be opened.
    pub(super) fn pool(&self, given: Option<&Path>) -> Result<Result<Dataset, String>, ViewError> {
        let (named, opening) = match &self.run {
            Some(identity) => {
                let task = identity.config.model.as_deref().and_then(|model| of_file(model).ok().flatten());
                let fields = identity.label_kind != LabelKind::Class
                    || task.is_some_and(|(wanted, _)| wanted != Wanted::single_label());
                let opening = OpenOptions { fields, ..OpenOptions::default() };
                (Some(identity.config.data.pool.clone()), opening)
            }
            None => {
                let scored = self.scored(0)?;
                (scored.pool.clone(), scored.opening())
            }
        };
        if let Some(path) = given {
            let refused = |source| ViewError::Pool { path: path.to_path_buf(), source: Box::new(source) };
            return Dataset::open(path, &opening).map(Ok).map_err(refused);
        }
        let Some(named) = named else {
            return Ok(Err("the folder does not say where the pool is; `--pool` names it".to_owned()));
        };
        let opened = Dataset::open(&named, &opening);
        Ok(opened.map_err(|error| {
            let (named, error) = (named.display(), crate::error_chain::in_one_line(&error));
            format!("the pool `{named}` cannot be opened from here; `--pool` names it: {error}")
        }))
    }
}
