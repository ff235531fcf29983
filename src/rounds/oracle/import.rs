//! `isal label`: takes the labels that people gave, and says which are missing.

use super::super::config::OracleKind;
use super::super::label::Label;
use super::super::state::{self, Identity, Layout, is_zero};
use super::super::{RoundsError, config::RunConfig};
use super::answers::{Answers, Conflict, Expected, Wanted};
use super::asked::{Asked, Progress, Waiting};
use super::masks;
use crate::annotation_tools::Words;
use crate::durable::FolderLock;
use crate::families::LabelKind;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

/// How labels are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportOptions {
    /// Of which round, counted from 0; the one that the run waits for where not given.
    pub round: Option<usize>,
    /// Whether labels that are there already may change.
    pub replace: bool,
    /// Go on with what is there then.
    pub accept_partial: bool,
    /// Whether an image that is listed without any mark is one that shows nothing.
    pub unmarked_is_empty: bool,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Version of this object.
    pub schema: &'static str,
    /// Images that had no label before.
    pub added: usize,
    /// Images that had another.
    pub changed: usize,
    /// Images that are listed without a mark, and were not taken for images that show nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub unmarked: usize,
    /// Where the round stands now.
    #[serde(flatten)]
    pub now: Waiting,
    /// Whether the run can go on.
    pub goes_on: bool,
}

/// Where the labels of a run stand.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LabelStatus {
    /// Version of this object.
    pub schema: &'static str,
    /// The round that labels are given for, where there is one.
    pub waiting: Option<Waiting>,
    /// Ids without a label, the most useful first.
    pub missing: Vec<String>,
    /// Whether the run can go on.
    pub goes_on: bool,
}

/// The images of a round that people are asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelList {
    /// The round, counted from 0.
    pub round: usize,
    /// What people say of an image.
    pub kind: LabelKind,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The label of images to leave out.
    pub skip: String,
    /// What the run has of each, the most useful first.
    pub labels: IndexMap<String, Option<Label>>,
    /// The images as files, named by their place in the list.
    pub folder: PathBuf,
}

/// The list of the round that a run takes labels for; `None` where it takes none, or where no person labels it.
///
/// # Errors
/// Files that are none of a run.
pub fn label_list(run: &Path) -> Result<Option<LabelList>, RoundsError> {
    let labelled = match Labelled::open(run) {
        Err(RoundsError::NoPeople { .. }) => return Ok(None),
        opened => opened?,
    };
    let Some((round, asked)) = labelled.open_round(None)? else { return Ok(None) };
    let (kind, classes, skip) = (labelled.kind, labelled.classes, labelled.config.oracle.skip);
    let folder = super::to_label::images(&labelled.layout, round);
    Ok(Some(LabelList { round, kind, classes, skip, labels: asked.labels().clone(), folder }))
}

/// A run that people label.
struct Labelled<'a> {
    layout: Layout<'a>,
    config: RunConfig,
    kind: LabelKind,
    classes: Vec<String>,
}

impl<'a> Labelled<'a> {
    fn open(run: &'a Path) -> Result<Labelled<'a>, RoundsError> {
        let layout = Layout(run);
        let no_run = || RoundsError::NoRun { folder: run.to_path_buf() };
        let identity: Identity = state::read(&layout.run())?.ok_or_else(no_run)?;
        match identity.config.oracle.kind {
            OracleKind::Human => {
                let Identity { config, label_kind: kind, classes, .. } = identity;
                Ok(Labelled { layout, config, kind, classes })
            }
            OracleKind::Simulated => Err(RoundsError::NoPeople { folder: run.to_path_buf() }),
        }
    }

    /// The round that labels can be given for: the one asked for, or the one that the run waits for.
    fn open_round(&self, wanted: Option<usize>) -> Result<Option<(usize, Asked)>, RoundsError> {
        let rounds = match wanted {
            Some(round) => round..round.saturating_add(1),
            None => 0..self.config.rounds,
        };
        for round in rounds {
            if self.layout.labeled(round)?.is_some() {
                continue;
            }
            if let Some(asked) = Asked::read(&self.layout, round)? {
                return Ok(Some((round, asked)));
            }
        }
        Ok(None)
    }

    fn waiting(&self, round: usize, asked: &Asked) -> Waiting {
        let (layout, skip) = (self.layout.clone(), self.config.oracle.skip.as_str());
        Progress { run: self.layout.0, layout, round, skip }.waiting(asked)
    }

    fn goes_on(&self, asked: &Asked) -> bool {
        asked.may_begin(self.config.oracle.partial)
    }
}

/// Takes labels into a run, all of a file or nothing of it. `labels` may be left out to go on with what is there.
///
/// # Errors
/// [`RoundsError::Refused`] with every unknown image and label; a run that waits for no labels, or that is going on right now.
pub fn import_labels(run: &Path, labels: Option<&Path>, options: &ImportOptions) -> Result<Imported, RoundsError> {
    // Before the lock, which would make the folder.
    Labelled::open(run)?;
    let _lock = FolderLock::take(run)?;
    let labelled = Labelled::open(run)?;
    let Some((round, mut asked)) = labelled.open_round(options.round)? else {
        return Err(match options.round {
            Some(round) => RoundsError::Begun { round },
            None => RoundsError::NotWaiting { folder: run.to_path_buf() },
        });
    };
    let (mut added, mut changed, mut unmarked) = (0, 0, 0);
    if let Some(path) = labels {
        let wanted = Wanted::on_list(asked.labels().keys(), &labelled.layout, round);
        let oracle = &labelled.config.oracle;
        let expected = Expected {
            kind: labelled.kind,
            classes: &labelled.classes,
            words: Words { skip: &oracle.skip, empty: &oracle.empty },
            unmarked_is_empty: options.unmarked_is_empty,
        };
        let (answers, mut refused) = Answers::read(path, &wanted, &expected)?;
        for (id, label) in &answers.labels {
            match asked.labels().get(id).cloned().flatten() {
                None => added += 1,
                Some(before) if before == *label => {}
                Some(before) => {
                    changed += 1;
                    if !options.replace {
                        let (first, second) = (before.to_string(), label.to_string());
                        refused.changed.push(Conflict { id: id.clone(), first, second });
                    }
                }
            }
        }
        let answers = answers.unless(refused)?;
        unmarked = answers.unmarked;
        for (id, label) in answers.labels {
            asked.say(&id, masks::kept(label, &labelled.layout, round)?);
        }
    }
    if options.accept_partial {
        asked.accept_partial();
    }
    asked.write(&labelled.layout, round)?;
    let (now, goes_on) = (labelled.waiting(round, &asked), labelled.goes_on(&asked));
    Ok(Imported { schema: "isal-label-import/1", added, changed, unmarked, now, goes_on })
}

/// Which labels a run waits for.
///
/// # Errors
/// A folder that holds no run, or one that people do not label.
pub fn label_status(run: &Path) -> Result<LabelStatus, RoundsError> {
    let labelled = Labelled::open(run)?;
    let found = labelled.open_round(None)?;
    Ok(LabelStatus {
        schema: "isal-label-status/1",
        missing: found.iter().flat_map(|(_, asked)| asked.missing().cloned()).collect(),
        goes_on: found.as_ref().is_none_or(|(_, asked)| labelled.goes_on(asked)),
        waiting: found.map(|(round, asked)| labelled.waiting(round, &asked)),
    })
}
