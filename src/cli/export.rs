//! `isal export`: files for other stacks.

use super::{BadRequest, Context, Interrupted, Outcome, open_data};
use crate::influence_graph::{ExportForm, ExportOptions, Exported, InfluenceGraphError, export};
use crate::runtime::ExecutionProvider;
use crate::scores::SIGN;
use clap::{Args, Subcommand, ValueEnum};
use isal_onnx::influence as graph;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Write files for other stacks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an influence graph: one run in any ONNX runtime gives predictions and influence
    #[command(after_help = AFTER)]
    Influence(Box<InfluenceArguments>),
}

const AFTER: &str = "The file has the model's own outputs, then `influence` [N] ([N, D] for D vectors, in their order).
The more negative an image's influence, the more labelling it is expected to lower the loss on the
reference set.

The step between the two weight settings is chosen on the images of `--sample`, against the
plugin's exact derivative where the plugin is there, else by how well neighbouring steps agree.
A rank agreement under 0.999 is an error.

A shadow model is served beside the model it was made from. With o and o~ the answers (logits) of
the model and its shadow, and step from the shadow's property `isal.influence.step`:
  d = (o~ - o) / step; influence = d[argmax(o)] - sum(softmax(o) * d)
Of probabilities p and p~, d = (log(p~) - log(p)) / step, and p in place of softmax(o).

Examples:
  isal export influence --model m.onnx --vector scores/s.safetensors --sample pool/ -o influence.onnx
  isal export influence --model m.onnx --vector s.safetensors --form shadow --step 3e-5 -o shadow.onnx";

/// Which difference the paired form takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Difference {
    /// Against the model itself, whose outputs stay bit for bit; one pass a vector and one.
    OneSided,
    /// Between a step ahead and a step back, whose mean stands in for the prediction; two passes a vector and no other.
    Central,
}

/// What to write, from what.
#[derive(Debug, Args)]
pub struct InfluenceArguments {
    /// The trained classifier
    #[arg(long, value_name = "FILE.onnx")]
    model: PathBuf,
    /// A solved vector, as `isal score pool` leaves it in its folder; several give a column of influences each
    #[arg(long = "vector", value_name = "S.safetensors", required = true)]
    vectors: Vec<PathBuf>,
    /// What is written
    #[arg(long, value_enum, default_value_t)]
    form: ExportForm,
    /// Which difference the paired form takes
    #[arg(long, value_enum, default_value = "one-sided")]
    difference: Difference,
    /// Images to choose the step on, such as the pool; they need no labels
    #[arg(long, value_name = "DATA")]
    sample: Option<PathBuf>,
    /// The step ||eps s|| / ||weights||, where it is not to be chosen
    #[arg(long, value_name = "STEP")]
    step: Option<f64>,
    /// 1: arg-max pseudo-labels; more: the expected gradient over the K most likely classes
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    expected_top_k: u32,
    /// Give the influence under every class as label besides, as output `influence_per_class` [N, C]
    #[arg(long)]
    per_class: bool,
    /// The output that holds the class scores, where the model has several
    #[arg(long, value_name = "NAME")]
    class_scores: Option<String>,
    /// Preprocessing recipe (default: the .toml beside the model)
    #[arg(long, value_name = "FILE.toml")]
    recipe: Option<PathBuf>,
    /// Override one key of the recipe, such as mean=[0.5] or channels=bgr
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where ONNX Runtime runs
    #[arg(long, value_enum, default_value_t)]
    execution_provider: ExecutionProvider,
    /// Where the plugin runs: cpu, cuda, cuda:1
    #[arg(long, default_value = "cpu")]
    device: String,
    /// File to write
    #[arg(long, short, value_name = "FILE.onnx")]
    output: PathBuf,
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Influence(given) => influence(given, context),
    }
}

fn influence(given: &InfluenceArguments, context: &Context) -> anyhow::Result<Outcome> {
    check(given)?;
    let sample = given.sample.as_deref();
    let options = ExportOptions {
        model: given.model.clone(),
        output: given.class_scores.clone(),
        vectors: given.vectors.clone(),
        form: given.form,
        difference: match given.difference {
            Difference::OneSided => graph::Difference::OneSided,
            Difference::Central => graph::Difference::Central,
        },
        step: given.step,
        sample: sample.map(|path| open_data(path, &format!("--sample {}", path.display()))).transpose()?,
        preprocess: super::score::preprocess(&given.model, given.recipe.as_deref(), &given.set)?,
        expected_top_k: given.expected_top_k as usize,
        per_class: given.per_class,
        provider: given.execution_provider,
        device: given.device.clone(),
        threads: context.global.threads,
        out: given.output.clone(),
        onnxruntime: context.global.onnxruntime.clone(),
        plugin: context.global.plugin.clone(),
    };
    let exported = export(&options, &context.progress).map_err(|error| match error {
        InfluenceGraphError::Interrupted => anyhow::Error::new(Interrupted),
        other => anyhow::Error::new(other).context(format!("cannot write `{}`", given.output.display())),
    })?;
    let mut value = serde_json::Map::from_iter([("schema".to_owned(), "isal-export/1".into())]);
    if let serde_json::Value::Object(fields) = serde_json::to_value(&exported)? {
        value.extend(fields);
    }
    context.print(&text(given, &exported)?, &value)?;
    Ok(Outcome::Done)
}

/// What contradicts itself before anything is read.
fn check(given: &InfluenceArguments) -> Result<(), BadRequest> {
    if given.sample.is_none() && given.step.is_none() {
        return Err(BadRequest(
            "no step: give `--sample DATA`, images to choose it on, or choose it by hand: `--step 3e-5`".to_owned(),
        ));
    }
    if let Some(step) = given.step.filter(|step| !(*step > 0.0 && *step < 1.0)) {
        return Err(BadRequest(format!("`--step` is {step}, expected a number between 0 and 1, such as 3e-5")));
    }
    if given.form == ExportForm::Shadow {
        let what = if given.vectors.len() > 1 {
            Some("several `--vector`: write one shadow model each")
        } else if given.expected_top_k > 1 {
            Some("`--expected-top-k`: its formula is that of the arg-max")
        } else if given.per_class {
            Some("`--per-class`: it has the model's own outputs alone")
        } else if given.difference == Difference::Central {
            Some("`--difference central`: the model that is served is the other side")
        } else {
            None
        };
        if let Some(what) = what {
            return Err(BadRequest(format!("`--form shadow` does not go with {what}")));
        }
    }
    Ok(())
}

fn text(given: &InfluenceArguments, exported: &Exported) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let what = match (exported.form, given.difference) {
        (ExportForm::Shadow, _) => "shadow model".to_owned(),
        (ExportForm::Paired, Difference::OneSided) => "paired graph, one-sided".to_owned(),
        (ExportForm::Paired, Difference::Central) => "paired graph, central".to_owned(),
    };
    let file = exported.file.display();
    writeln!(text, "{file}: {what}, relative step {:e}, opset {}", exported.relative_step, exported.opset)?;
    match (&exported.agreement, &exported.judged_by) {
        (Some(agreement), Some(by)) => {
            writeln!(text, "Against {by} on {} images: {agreement}.", exported.sample_images)?;
        }
        _ => writeln!(text, "The step was given by hand; how well it ranks has not been measured.")?,
    }
    if let Some(proof) = &exported.proof {
        let on = if proof.of_sample { "images of the sample" } else { "images of noise" };
        write!(text, "ONNX Runtime {} runs it: all outputs finite on {} {on}", proof.onnxruntime, proof.images)?;
        match exported.form {
            ExportForm::Shadow => writeln!(text, ".")?,
            ExportForm::Paired if proof.bit_for_bit => writeln!(text, ", the model's own bit for bit.")?,
            ExportForm::Paired => writeln!(text, ", the model's own within {:.1e} of their scale.", proof.difference)?,
        }
    }
    if let (Some(formula), Some(step)) = (exported.formula, exported.step) {
        writeln!(text, "With o the model's answer and o~ the shadow's, step = {step:e}:\n  {formula}")?;
    }
    writeln!(text, "({SIGN})")?;
    Ok(text)
}
