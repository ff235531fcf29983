//! `--to` and `--image-url`: a selection in the forms that annotation tools read.

use super::BadRequest;
use crate::annotation_tools::{Chosen, ToLabel, ToolForm, Words, write};
use crate::data::Dataset;
use crate::families::{Guess, LabelKind, label_kind, named_in};
use crate::scoring::{ModelSource, Outcome};
use crate::task::TaskModel;
use anyhow::Context as _;
use clap::Args;
use std::path::Path;

/// Name of the folder of images, and of the files beside it.
const STEM: &str = "to-label";
const DOING: &str = "cannot write the selection for annotation tools";

/// Which forms, and where tools find the images.
#[derive(Debug, Args)]
pub(super) struct ToLabelOptions {
    /// Write the selection for an annotation tool too, with what the model believes; several, with commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "FORM",
        help_heading = "Output",
        hide_short_help = true
    )]
    to: Vec<ToolForm>,
    /// What a tool puts before an image's file name to fetch it (default: Label Studio's local files)
    #[arg(long, value_name = "PREFIX", requires = "to", help_heading = "Output", hide_short_help = true)]
    image_url: Option<String>,
}

impl ToLabelOptions {
    /// Whether what the model believes is written, beyond a class.
    pub(super) fn shows_guesses(&self) -> bool {
        !self.to.is_empty()
    }

    /// Refuses forms that have no place for the task's labels before anything is scored.
    pub(super) fn check(&self, from: &ModelSource) -> anyhow::Result<()> {
        if self.to.is_empty() {
            return Ok(());
        }
        let TaskModel { task, .. } = TaskModel::read(&from.model, &from.task)?;
        let annotations: Vec<_> = task.annotations().cloned().collect();
        self.check_for(label_kind(&task.name, &annotations), &task.name)
    }

    fn check_for(&self, kind: Option<LabelKind>, task: &str) -> anyhow::Result<()> {
        self.to.iter().try_for_each(|form| form.check(kind, task)).context(DOING)
    }

    /// Refuses a slice of a pool, which has no selection.
    pub(super) fn refuse_of_a_shard(&self) -> Result<(), BadRequest> {
        match self.to.is_empty() {
            true => Ok(()),
            false => Err(BadRequest("`--to` does not go with `--shard`: a slice has no selection".to_owned())),
        }
    }

    /// Writes the selection of `outcome` into `folder`, names the files in it, and gives what the forms have no place for.
    pub(super) fn write(&self, outcome: &mut Outcome, pool: &Dataset, folder: &Path) -> anyhow::Result<Vec<String>> {
        let (Some(selection), false) = (&outcome.selection, self.to.is_empty()) else { return Ok(Vec::new()) };
        let task = outcome.provenance.get("task").map(|text| named_in(text)).unwrap_or_default();
        self.check_for(outcome.label_kind, task)?;
        let images = Chosen::of(selection, pool, &outcome.guesses).context(DOING)?;
        let classes = named(&outcome.classes, &images);
        let to_label = ToLabel {
            pool,
            images: &images,
            kind: outcome.label_kind,
            classes: &classes,
            words: Words::default(),
            chosen_by: selection.strategy.row().name,
            url: self.image_url.as_deref(),
        };
        let written = write(&self.to, &to_label, folder, STEM).context(DOING)?;
        outcome.files.extend(written.files);
        Ok(written.left_out)
    }
}

/// Names of the classes; numbers of those of boxes where nothing names them.
fn named(classes: &[String], images: &[Chosen]) -> Vec<String> {
    if !classes.is_empty() {
        return classes.to_vec();
    }
    let of = |chosen: &Chosen| match &chosen.guess {
        Guess::Boxes(boxes) => boxes.iter().map(|found| found.class + 1).max(),
        _ => None,
    };
    (0..images.iter().filter_map(of).max().unwrap_or(0)).map(|class| class.to_string()).collect()
}
