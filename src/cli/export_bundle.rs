//! `isal export bundle`: a folder for those who call ONNX Runtime themselves.

use super::export_triton::FileOptions;
use super::{BadRequest, Context, Outcome};
use crate::deploy::{BundleOptions, GivenFiles, bundle};
use crate::scores::SIGN;
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  isal export bundle --model model.onnx --influence influence.onnx -o bundle
  isal export bundle --influence influence.onnx --classes names.txt -o bundle";

/// What goes into the folder.
#[derive(Debug, Args)]
pub struct BundleArguments {
    #[command(flatten)]
    files: FileOptions,
    /// Folder to write, which must not be there
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
}

pub(super) fn run(given: &BundleArguments, context: &Context) -> anyhow::Result<Outcome> {
    let FileOptions { model, influence, class_names } = &given.files;
    if influence.is_none() {
        return Err(
            BadRequest("a bundle needs `--influence`: the graph that its programs score with".to_owned()).into()
        );
    }
    let (model, influence, class_names) = (model.clone(), influence.clone(), class_names.clone());
    let files = GivenFiles { model, influence, shadow: None, class_names };
    let options = BundleOptions { files, out: given.output.clone() };
    let written = bundle(&options, &context.progress)
        .with_context(|| format!("cannot write the bundle `{}`", given.output.display()))?;
    let folder = written.folder.display();
    let text =
        format!("{folder}: {}\nScore images: python {folder}/score.py IMAGE...\n({SIGN})", written.files.join(", "));
    context.print(&text, &written)?;
    Ok(Outcome::Done)
}
