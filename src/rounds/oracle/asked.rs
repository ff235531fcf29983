//! `round-NN/labels.json`: the images that people are asked about, and what they have said so far.

use super::super::RoundsError;
use super::super::label::Label;
use super::super::state::{self, Labeled, Layout, is_zero};
use super::to_label;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

/// Name and version of the form of the file.
const SCHEMA: &str = "isal-labels/1";

/// The images that a round asks people about, with what they said.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Asked {
    schema: String,
    /// Go on with what is there.
    accept_partial: bool,
    /// The label of every image, in the order in which they were selected: a class, boxes and so on, the word for images to skip, or
    /// nothing yet.
    labels: IndexMap<String, Option<Label>>,
}

impl Asked {
    /// Nothing said yet of these.
    pub(super) fn of(ids: Vec<String>) -> Asked {
        let labels = ids.into_iter().map(|id| (id, None)).collect();
        Asked { schema: SCHEMA.to_owned(), accept_partial: false, labels }
    }

    fn path(layout: &Layout, round: usize) -> PathBuf {
        layout.round(round).join("labels.json")
    }

    /// What the file of a round says, where it is there.
    pub(super) fn read(layout: &Layout, round: usize) -> Result<Option<Asked>, RoundsError> {
        let path = Asked::path(layout, round);
        match state::read::<Asked>(&path)? {
            Some(found) if found.schema != SCHEMA => {
                Err(RoundsError::Schema { path, found: found.schema, expected: SCHEMA })
            }
            found => Ok(found),
        }
    }

    /// Writes the file.
    pub(super) fn write(&self, layout: &Layout, round: usize) -> Result<(), RoundsError> {
        state::make_folder(&layout.round(round))?;
        state::write(&Asked::path(layout, round), self)
    }

    /// Every image with its label.
    pub(super) fn labels(&self) -> &IndexMap<String, Option<Label>> {
        &self.labels
    }

    /// Says the label of an image that is among them.
    pub(super) fn say(&mut self, id: &str, label: Label) {
        if let Some(entry) = self.labels.get_mut(id) {
            *entry = Some(label);
        }
    }

    /// Lets the round begin with what is there.
    pub(super) fn accept_partial(&mut self) {
        self.accept_partial = true;
    }

    /// Whether the round may begin: with every label, with what is there where that was said to do, or with any label where
    /// `partial` ones always do.
    pub(super) fn may_begin(&self, partial: bool) -> bool {
        let has_some = self.labels.values().any(Option::is_some);
        self.accept_partial || (partial && has_some) || self.missing().next().is_none()
    }

    /// Images of which nothing has been said.
    pub(super) fn missing(&self) -> impl Iterator<Item = &String> {
        self.labels.iter().filter(|(_, label)| label.is_none()).map(|(id, _)| id)
    }

    fn skipped<'a>(&'a self, skip: &'a str) -> impl Iterator<Item = &'a String> {
        self.labels
            .iter()
            .filter(move |(_, label)| label.as_ref().is_some_and(|label| label.is(skip)))
            .map(|(id, _)| id)
    }

    /// What the round begins with.
    pub(super) fn settled(&self, skip: &str) -> Labeled {
        let said = self.labels.iter().filter_map(|(id, label)| Some((id.clone(), label.clone()?)));
        let (ids, labels) = said.filter(|(_, label)| !label.is(skip)).unzip();
        Labeled::by_people(ids, labels, self.skipped(skip).cloned().collect())
    }
}

/// What people have yet to do before a run goes on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Waiting {
    /// The folder of the run.
    pub run: PathBuf,
    /// The round that cannot begin, counted from 0.
    pub round: usize,
    /// Images on its list.
    pub asked: usize,
    /// Of these, images with a label.
    pub labeled: usize,
    /// Of those with a label, images that somebody has looked at and that show nothing of what is asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub empty: usize,
    /// Of these, images to leave out for good.
    pub skipped: usize,
    /// Of these, images of which nothing has been said.
    pub missing: usize,
    /// The list.
    pub list: PathBuf,
}

/// Where the labels of a round stand.
pub(super) struct Progress<'a> {
    pub(super) run: &'a Path,
    pub(super) layout: Layout<'a>,
    pub(super) round: usize,
    /// What people write of images to leave out.
    pub(super) skip: &'a str,
}

impl Progress<'_> {
    /// It in numbers.
    pub(super) fn waiting(&self, asked: &Asked) -> Waiting {
        let (missing, skipped) = (asked.missing().count(), asked.skipped(self.skip).count());
        let all = asked.labels.len();
        Waiting {
            run: self.run.to_path_buf(),
            round: self.round,
            asked: all,
            labeled: all - missing - skipped,
            empty: asked.labels.values().flatten().filter(|label| label.is_empty()).count(),
            skipped,
            missing,
            list: to_label::list(&self.layout, self.round),
        }
    }
}
