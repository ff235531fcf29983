//! `isal export`: files for other stacks.

use super::model_arguments::ModelArguments;
use super::recipe::RecipeOptions;
use super::{BadRequest, Context, Interrupted, Outcome, export_bundle, export_model, export_triton};
use crate::influence_graph::{ExportForm, ExportOptions, Exported, InfluenceGraphError, PairedDifference, export};
use crate::runtime::ExecutionProvider;
use crate::scores::SIGN;
use clap::{Args, Subcommand};
use isal_onnx::influence::TangentOptions;
use isal_onnx::tangent::Target;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Write files for other stacks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an influence graph: one run in any ONNX runtime gives predictions and influence
    #[command(after_help = EXAMPLES, after_long_help = format!("{ABOUT}\n\n{EXAMPLES}"))]
    Influence(Box<InfluenceArguments>),
    /// Write a model with weights that PyTorch trained, or with a new last layer
    #[command(after_help = export_model::EXAMPLES)]
    Model(Box<export_model::ModelArguments>),
    /// Write a Triton model repository: a model, its influence graph, its shadow
    #[command(after_help = export_triton::TRITON_EXAMPLES)]
    Triton(Box<export_triton::TritonArguments>),
    /// Write a folder for plain ONNX Runtime: model, influence graph, labels, and programs that score with them
    #[command(after_help = export_bundle::EXAMPLES)]
    Bundle(export_bundle::BundleArguments),
    /// Write the manifest with which KServe serves a repository
    #[command(after_help = export_triton::KSERVE_EXAMPLES)]
    Kserve(Box<export_triton::KserveArguments>),
}

const ABOUT: &str = "\
The file has the model's own outputs, then `influence` [N] ([N, D] for D vectors, in their order). The more negative an \
image's influence, the more labelling it is expected to lower the loss on the reference set.

The step between the two weight settings is chosen on the images of `--sample`, against the plugin's exact derivative \
where the plugin is there, else against the tangent graph, and where an operator has no tangent rule, by how well \
neighbouring steps agree. Where no step of the one-sided difference reaches a rank agreement of 0.9999, the second weight \
setting is held on the model's own side of every kink, which is tried as well and takes more time to run; under 0.999 is \
an error. The tangent form takes no step; with `--for-cpu` it has masks that stay in ONNX Runtime's own layout and 3x3 \
convolutions over small images as products of matrices, in float32, which a runtime that computes in float16 must not be \
given.

A shadow model is served beside the model it was made from. With o and o~ the answers (logits) of the model and its \
shadow, and step from the shadow's property `isal.influence.step`:
  d = (o~ - o) / step; influence = d[argmax(o)] - sum(softmax(o) * d)
Of probabilities p and p~, d = (log(p~) - log(p)) / step, and p in place of softmax(o).";

const EXAMPLES: &str = "\
Examples:
  isal export influence --model m.onnx --vector out/s.safetensors --sample pool/ -o influence.onnx
  isal export influence --model m.onnx --vector s.safetensors --form shadow --step 3e-5 -o s.onnx";

/// What to write, from what.
#[derive(Debug, Args)]
pub struct InfluenceArguments {
    /// The trained model
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    model: PathBuf,
    #[command(flatten)]
    about: ModelArguments,
    /// Names of the classes in the order of the class scores, one a line (default: the model's own, a file of labels beside
    /// it, the folders of the images)
    #[arg(long = "classes", value_name = "FILE", help_heading = "Model", hide_short_help = true)]
    class_names: Option<PathBuf>,
    /// Images to choose the step on, such as the pool; they need no labels
    #[arg(long, value_name = "DATA", help_heading = "Data")]
    sample: Option<PathBuf>,
    #[command(flatten)]
    recipe: RecipeOptions,
    /// A solved vector, as `isal score pool` leaves it in its folder; several give a column of influences each
    #[arg(long = "vector", value_name = "FILE", required = true, help_heading = "Influence")]
    vectors: Vec<PathBuf>,
    /// What is written (default: paired where weights are float32, else tangent)
    #[arg(long, value_enum, help_heading = "Influence")]
    form: Option<ExportForm>,
    /// Make the tangent form for ONNX Runtime's CPU provider: as exact, and faster there
    #[arg(long, help_heading = "Influence")]
    for_cpu: bool,
    /// Cut the vector's block in each layer to its leading N singular vectors: cheaper, and no longer exact; how exact is printed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Influence", hide_short_help = true)]
    tangent_rank: Option<u32>,
    /// Which difference the paired form takes
    #[arg(long, value_enum, default_value_t, help_heading = "Influence", hide_short_help = true)]
    difference: PairedDifference,
    /// The step ||eps s|| / ||weights||, where it is not to be chosen
    #[arg(long, value_name = "STEP", help_heading = "Influence", hide_short_help = true)]
    step: Option<f64>,
    /// Go on where the influences are all alike, or rank otherwise than the exact derivative; the summary warns
    #[arg(long, help_heading = "Influence", hide_short_help = true)]
    unproven: bool,
    /// 1: arg-max pseudo-labels; more: the expected gradient over the K most likely classes
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Influence", hide_short_help = true)]
    expected_top_k: u32,
    /// Where ONNX Runtime runs
    #[arg(long, value_enum, default_value_t, value_name = "NAME", help_heading = "Execution")]
    execution_provider: ExecutionProvider,
    /// Where the plugin runs: cpu, cuda, cuda:1
    #[arg(long, default_value = "cpu", help_heading = "Execution")]
    device: String,
    /// File to write
    #[arg(long, short, value_name = "FILE.onnx", help_heading = "Output")]
    output: PathBuf,
    /// Put the preprocessing into the graph: it takes 8-bit images [N, H, W, C] as they are decoded
    #[arg(long, help_heading = "Output", hide_short_help = true)]
    with_preprocessing: bool,
    /// Give the influence under every class as label besides, as output `influence_per_class` [N, C]
    #[arg(long, help_heading = "Output", hide_short_help = true)]
    per_class: bool,
    /// Give the factors of each image's gradient embedding besides: `gradient_embedding_residual` [N, C] and
    /// `gradient_embedding_features` [N, F], whose outer product it is
    #[arg(long, help_heading = "Output", hide_short_help = true)]
    embedding: bool,
}

impl InfluenceArguments {
    /// Whether an option of the tangent form is given.
    fn asks_for_tangent(&self) -> bool {
        self.tangent_rank.is_some() || self.for_cpu
    }
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Influence(given) => influence(given, context),
        Command::Model(given) => export_model::run(given, context),
        Command::Bundle(given) => export_bundle::run(given, context),
        Command::Triton(given) => export_triton::run(given, context),
        Command::Kserve(given) => export_triton::run_kserve(given, context),
    }
}

fn influence(given: &InfluenceArguments, context: &Context) -> anyhow::Result<Outcome> {
    check(given)?;
    let sample = given.sample.as_deref();
    let task = given.about.options(&given.model, given.expected_top_k)?;
    let options = ExportOptions {
        model: given.model.clone(),
        preprocess: given.recipe.preprocess(&given.model, &task)?,
        task,
        class_names: given.class_names.clone(),
        vectors: given.vectors.clone(),
        form: given.form.or(given.asks_for_tangent().then_some(ExportForm::Tangent)),
        tangent: TangentOptions {
            rank: given.tangent_rank.map(|rank| rank as usize),
            target: if given.for_cpu { Target::Cpu } else { Target::Any },
        },
        difference: given.difference,
        step: given.step,
        unproven: super::score::unproven(given.unproven),
        sample: sample.map(|path| given.recipe.open(path, "--sample")).transpose()?,
        per_class: given.per_class,
        embedding: given.embedding,
        with_preprocessing: given.with_preprocessing,
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
    if let Some(step) = given.step.filter(|step| !(*step > 0.0 && *step < 1.0)) {
        return Err(BadRequest(format!("`--step` is {step}, expected a number between 0 and 1, such as 3e-5")));
    }
    let other = matches!(given.difference, PairedDifference::Central | PairedDifference::Held);
    let shadow = [
        (given.vectors.len() > 1, "several `--vector`: write one shadow model each"),
        (given.expected_top_k > 1, "`--expected-top-k`: its formula is that of the arg-max"),
        (given.per_class, "`--per-class`: it has the model's own outputs alone"),
        (given.embedding, "`--embedding`: it has the model's own outputs alone"),
        (given.with_preprocessing, "`--with-preprocessing`: it takes what the served model takes"),
        (other, "`--difference`: the model that is served is the other side"),
    ];
    let tangent = [
        (given.step.is_some(), "`--step`: it takes none"),
        (given.difference != PairedDifference::Auto, "`--difference`: it takes the derivative itself"),
    ];
    let of_tangent = [
        (given.tangent_rank.is_some(), "`--tangent-rank`, which is the tangent form's"),
        (given.for_cpu, "`--for-cpu`, which is the tangent form's"),
    ];
    let (form, excluded) = match given.form {
        Some(ExportForm::Shadow) => ("shadow", [&shadow[..], &of_tangent].concat()),
        Some(ExportForm::Paired) => ("paired", of_tangent.to_vec()),
        Some(ExportForm::Tangent) => ("tangent", tangent.to_vec()),
        None if given.asks_for_tangent() => ("tangent", tangent.to_vec()),
        None => return Ok(()),
    };
    match excluded.iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(BadRequest(format!("`--form {form}` does not go with {what}"))),
        None => Ok(()),
    }
}

fn text(given: &InfluenceArguments, exported: &Exported) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let what = match (exported.form, given.tangent_rank) {
        (ExportForm::Shadow, ..) => "shadow model".to_owned(),
        (ExportForm::Tangent, None) => "tangent graph, exact".to_owned(),
        (ExportForm::Tangent, Some(rank)) => format!("tangent graph of rank {rank}"),
        (ExportForm::Paired, _) => format!("paired graph, {}", exported.difference.unwrap_or_default()),
    };
    let step = exported.relative_step.map_or_else(String::new, |step| format!(", relative step {step:e}"));
    writeln!(text, "{}: {what}{step}, opset {}", exported.file.display(), exported.opset)?;
    match (&exported.agreement, &exported.judged_by) {
        (Some(agreement), Some(by)) => {
            writeln!(text, "Against {by} on {} images: {agreement}.", exported.sample_images)?;
        }
        _ => writeln!(text, "Agreement with the exact influences {}.", property(exported, "agreement"))?,
    }
    if let Some(proof) = &exported.proof {
        let on = if proof.of_sample { "images of the sample" } else { "images of noise" };
        write!(text, "ONNX Runtime {} runs it: all outputs finite on {} {on}", proof.onnxruntime, proof.images)?;
        match exported.form {
            ExportForm::Shadow => writeln!(text, ".")?,
            _ if proof.bit_for_bit => writeln!(text, ", the model's own bit for bit.")?,
            _ => writeln!(text, ", the model's own within {:.1e} of their scale.", proof.difference)?,
        }
    }
    if let (Some(formula), Some(step)) = (exported.formula, exported.step) {
        writeln!(text, "With o the model's answer and o~ the shadow's, step = {step:e}:\n  {formula}")?;
    }
    writeln!(text, "({SIGN})")?;
    Ok(text)
}

fn property<'a>(exported: &'a Exported, key: &str) -> &'a str {
    exported.metadata.get(key).map_or("unknown", String::as_str)
}
