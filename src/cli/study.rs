//! `isal study`: many runs, and what they say of the strategies.

use super::{Context, Interrupted, Outcome};
use crate::rounds::Execution;
use crate::runtime::ExecutionProvider;
use crate::study::{self, Keep, StudyError, StudyReport};
use clap::Args;
use std::path::{Path, PathBuf};

/// Which study, and where.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Options {
    /// Arms, data sets, seeds and budgets, such as a file in configs/studies
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Run nothing, and compare what has ended so far
    #[arg(long, help_heading = "Run")]
    report_only: bool,
    /// Where ONNX Runtime runs
    #[arg(long, value_enum, default_value = "auto", value_name = "NAME", help_heading = "Execution")]
    execution_provider: ExecutionProvider,
    /// Where gradients are computed: cpu, cuda, cuda:1
    #[arg(long, default_value = "cpu", help_heading = "Execution")]
    device: String,
    /// Folder for everything that is written (default: studies/ and the name of the configuration)
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Keep models and score tables of runs that have ended
    #[arg(long, help_heading = "Output")]
    keep: bool,
}

const AFTER: &str = "\
Every arm is run on every data set, with every budget and seed, as `isal run` does it, in FOLDER/DATA/ARM/seed-NN. The same \
command goes on after an interruption, and several processes with the same folder share the runs. At the end the folder \
gets study.html and study.json: for each data set what `isal compare` says.

Examples:
  isal study configs/studies/digits.toml
  isal study configs/studies/digits.toml --report-only --json";

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let out = given.output.clone().unwrap_or_else(|| {
        let name = given.config.file_stem().unwrap_or_else(|| "study".as_ref());
        Path::new("studies").join(name)
    });
    let plan = study::plan(&study::read(&given.config)?, &out)?;
    let execution = Execution {
        out: out.clone(),
        provider: given.execution_provider,
        device: given.device.clone(),
        threads: context.global.threads,
        plugin: context.global.plugin.clone(),
        onnxruntime: context.global.onnxruntime.clone(),
    };
    let keep = if given.keep { Keep::Everything } else { Keep::Results };
    let carried = match given.report_only {
        true => Ok(()),
        false => study::carry(&plan, &execution, keep, &context.progress),
    };
    // What has ended is compared even where some runs failed.
    let failed = match carried {
        Ok(()) => None,
        Err(error @ StudyError::Failed { .. }) => Some(error),
        Err(error) if error.is_interruption() => return Err(anyhow::Error::new(error).context(Interrupted)),
        Err(error) => return Err(error.into()),
    };
    let report = StudyReport::of(&plan)?;
    study::write(&report, &out)?;
    context.print(&format!("{}\npage: {}", report.text(), out.join("study.html").display()), &report)?;
    failed.map_or(Ok(Outcome::Done), |error| Err(error.into()))
}
