//! `--recipe`, `--set` and `--jpeg-least-side`: how images become what the model takes.

use super::open_data_with;
use crate::data::{Dataset, OpenOptions, Preprocess};
use crate::task::{self, ModelOptions};
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};

/// Preprocessing options of every command that reads images for a model.
#[derive(Debug, Args)]
pub(super) struct RecipeOptions {
    /// Preprocessing recipe (default: the .toml beside the model)
    #[arg(long, value_name = "FILE.toml", help_heading = "Data")]
    recipe: Option<PathBuf>,
    /// Override one key of the recipe, such as mean=[0.5] or channels=bgr
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Data", hide_short_help = true)]
    set: Vec<String>,
    /// Decode JPEGs at 1/2, 1/4 or 1/8 of their size as long as the shorter side keeps N pixels: faster for large photographs,
    /// and other pixels than the whole image gives; use the same N for training and scoring
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Data", hide_short_help = true)]
    pub(super) jpeg_least_side: Option<u32>,
}

impl RecipeOptions {
    /// Opens the data set that an option names.
    pub(super) fn open(&self, path: &Path, option: &str) -> anyhow::Result<Dataset> {
        let options = OpenOptions { jpeg_least_side: self.jpeg_least_side, ..OpenOptions::default() };
        open_data_with(path, &format!("{option} {}", path.display()), &options)
    }

    /// Opens the data set that an option names with what a task needs of its images.
    pub(super) fn open_for(
        &self,
        task: &ModelOptions,
        path: &Path,
        option: &str,
        strict_boxes: bool,
    ) -> anyhow::Result<Dataset> {
        let jpeg_least_side = self.jpeg_least_side;
        let options = OpenOptions { jpeg_least_side, strict_boxes, ..OpenOptions::default() };
        open_data_with(path, &format!("{option} {}", path.display()), &task.opening(options))
    }

    /// The recipe beside the model of this task, or the one named, with overrides.
    pub(super) fn preprocess(&self, model: &Path, task: &ModelOptions) -> anyhow::Result<Preprocess> {
        let mut preprocess = match &self.recipe {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
                Preprocess::parse(&text, &path.display().to_string())?
            }
            None => task::preprocess_of_file(model, task)?,
        };
        for setting in &self.set {
            preprocess.set(setting)?;
        }
        Ok(preprocess)
    }
}
