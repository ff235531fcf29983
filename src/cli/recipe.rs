//! `--recipe` and `--set`: how images become what the model takes.

use crate::data::Preprocess;
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
}

impl RecipeOptions {
    /// The recipe beside the model, or the one named, with overrides.
    pub(super) fn preprocess(&self, model: &Path) -> anyhow::Result<Preprocess> {
        let mut preprocess = match &self.recipe {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
                Preprocess::parse(&text, &path.display().to_string())?
            }
            None => Preprocess::beside(model)?,
        };
        for setting in &self.set {
            preprocess.set(setting)?;
        }
        Ok(preprocess)
    }
}
