//! `--to` and `--image-url`: a selection in the forms that annotation tools read.

use super::BadRequest;
use crate::annotation_tools::{Chosen, ToLabel, ToolForm, write};
use crate::data::Dataset;
use crate::families::named_in;
use crate::scoring::Outcome;
use crate::task::SINGLE_LABEL;
use anyhow::Context as _;
use clap::Args;
use std::path::Path;

/// Name of the folder of images, and of the files beside it.
const STEM: &str = "to-label";

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
    /// Refuses forms that have no place for the task's labels before anything is scored.
    pub(super) fn check(&self, is_single_label: bool) -> anyhow::Result<()> {
        let task = if is_single_label { SINGLE_LABEL } else { "of this model" };
        self.to.iter().try_for_each(|form| form.check(task)).context("cannot write the selection for annotation tools")
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
        let doing = "cannot write the selection for annotation tools";
        self.to.iter().try_for_each(|form| form.check(task)).context(doing)?;
        let images = Chosen::of(selection, pool).context(doing)?;
        let to_label = ToLabel {
            pool,
            images: &images,
            classes: &outcome.classes,
            chosen_by: selection.strategy.row().name,
            url: self.image_url.as_deref(),
        };
        let written = write(&self.to, &to_label, folder, STEM).context(doing)?;
        outcome.files.extend(written.files);
        Ok(written.left_out)
    }
}
