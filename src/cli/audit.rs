//! `isal audit`: how far to trust the influences of a model.

use super::model_arguments::ModelArguments;
use super::recipe::RecipeOptions;
use super::score::{check_reference, solver, solver_help};
use super::{BadRequest, Context, Interrupted, Outcome};
use crate::audit::{self, AuditOptions, Retraining};
use crate::data::{Dataset, Labelled, Pool, Split};
use crate::influence_graph::{PairedDifference, Unproven};
use crate::observe::Observer as _;
use crate::rounds::{self, Execution, Kind, RoundSource, TrainPart};
use crate::runtime::ExecutionProvider;
use crate::scoring::{CurvatureOptions, Engine, Features, ModelSource, ReferenceSet, ScoreOptions, Source};
use crate::select::{Duplicates, Filters, STRATEGIES, StrategyOptions, WithoutBoxes};
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which model, on which images, and how long.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{ABOUT}\n\n{EXAMPLES}"))]
pub struct Options {
    /// A run of `isal run`, a round of which says the model, images and settings
    #[arg(long, value_name = "FOLDER", help_heading = "Run", conflicts_with_all = SAID_BY_RUN)]
    run: Option<PathBuf>,
    /// Which round, counted from 1 (default: the last that has its model)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "run")]
    #[arg(help_heading = "Run")]
    round: Option<u32>,
    /// The trained model
    #[arg(long, value_name = "FILE.onnx", required_unless_present = "run", help_heading = "Model")]
    model: Option<PathBuf>,
    #[command(flatten)]
    about: ModelArguments,
    /// The labelled images it was trained on
    #[arg(long, alias = "labelled", value_name = "DATA", required_unless_present = "run", help_heading = "Data")]
    labeled: Option<PathBuf>,
    /// The images whose order is looked at
    #[arg(long, value_name = "DATA", required_unless_present = "run", help_heading = "Data")]
    pool: Option<PathBuf>,
    /// How many of them, spread evenly over the pool
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..))]
    #[arg(help_heading = "Data", hide_short_help = true)]
    images: u32,
    /// Labelled images of the reference set (default: held out of --labeled)
    #[arg(long, value_name = "DATA", conflicts_with = "reference_fraction", help_heading = "Data")]
    reference: Option<PathBuf>,
    /// Share of the labelled images to hold out as the reference set
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, help_heading = "Data", hide_short_help = true)]
    reference_fraction: f64,
    #[command(flatten)]
    recipe: RecipeOptions,
    /// Which parameters: weights, head, all, or name patterns
    #[arg(long, default_value = "weights", value_name = "NAME", help_heading = "Influence", hide_short_help = true)]
    scope: String,
    /// How the inverse-Hessian-vector product is solved: a name, or a file such as those in configs/solver
    #[arg(long, value_name = "NAME|FILE.toml", long_help = solver_help())]
    #[arg(help_heading = "Influence", hide_short_help = true)]
    solver: Option<String>,
    /// Damping lambda: a number, or `auto` for a share of the curvature's largest eigenvalue
    #[arg(long, default_value = "auto", value_name = "LAMBDA", help_heading = "Influence", hide_short_help = true)]
    damping: String,
    /// How long to train on halves of the labelled images: 90s, 10m, 2h; 0: no training
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = time, help_heading = "Training")]
    time: Duration,
    /// The model whose weights each training starts from (default: --model itself, as fine-tuning does)
    ///
    /// Give the untrained model that yours was trained from, so that trainings on halves are like the model's own.
    #[arg(long, value_name = "FILE.onnx", help_heading = "Training")]
    initial: Option<PathBuf>,
    /// Epochs and rates: the part [train] of a run's configuration (default: those of `isal train`)
    ///
    /// A file with that part alone will do.
    #[arg(long, value_name = "FILE.toml", help_heading = "Training", hide_short_help = true)]
    training: Option<PathBuf>,
    /// Most halves
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(6..))]
    #[arg(help_heading = "Training", hide_short_help = true)]
    halves: u32,
    /// Trainings on each half: two or more show how far training itself agrees
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    #[arg(help_heading = "Training", hide_short_help = true)]
    trainings: u32,
    /// Decides the reference hold-out, the halves and the trainings
    #[arg(long, default_value_t = 0, help_heading = "Training", hide_short_help = true)]
    seed: u64,
    /// Where ONNX Runtime runs
    #[arg(long, value_enum, default_value_t, value_name = "NAME", help_heading = "Execution")]
    execution_provider: ExecutionProvider,
    /// Where the plugin runs: cpu, cuda, cuda:1
    #[arg(long, default_value = "cpu", help_heading = "Execution")]
    device: String,
    /// Folder for everything that is written
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
}

/// Options that a run says.
const SAID_BY_RUN: [&str; 19] = [
    "model",
    "task",
    "loss",
    "decode",
    "bind",
    "class_scores",
    "inputs",
    "labeled",
    "pool",
    "reference",
    "reference_fraction",
    "recipe",
    "set",
    "jpeg_least_side",
    "scope",
    "solver",
    "damping",
    "initial",
    "training",
];

const ABOUT: &str = "\
Says how well s was solved; whether the order of the pool stands under another solver, a tenth and ten times the damping, \
another curvature and either half of the reference images; and whether influences are true: of random halves of the labelled \
images, the reference loss after training on them against the sum of their influences (the linear datamodelling score). \
More negative influence = labelling the image is expected to lower the reference loss more. The folder gets audit.html, \
audit.json and audit.svg; the same command goes on after an interruption, and with more time trains on more halves.";

const EXAMPLE: &str = "\
Example: isal audit --run runs/birds --round 3 -o audit";

const EXAMPLES: &str = "\
Examples:
  isal audit --run runs/birds --round 3 -o audit
  isal audit --model model.onnx --labeled labeled/ --reference reference/ --pool pool/ --initial untrained.onnx -o audit
  isal audit --model model.onnx --labeled labeled/ --pool pool/ --training run.toml --time 1h -o audit";

/// A configuration of which the training alone is read.
#[derive(serde::Deserialize)]
struct WithTraining {
    train: TrainPart,
}

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let options = audit_options(given, context)?;
    let audit = audit::audit(&options, &context.progress).map_err(|error| {
        if error.is_interruption() {
            anyhow::Error::new(error).context(Interrupted)
        } else {
            anyhow::Error::new(error).context("cannot audit the influences")
        }
    })?;
    audit::write(&audit, &given.output)?;
    let page = given.output.join("audit.html");
    context.print(&format!("{}\npage: {}", audit::text(&audit), page.display()), &audit)?;
    Ok(Outcome::Done)
}

/// What is audited, and how its model was trained.
struct Audited {
    source: ModelSource,
    pool: Dataset,
    pool_name: String,
    initial: PathBuf,
    numbers: TrainPart,
}

fn audit_options(given: &Options, context: &Context) -> anyhow::Result<AuditOptions> {
    let Audited { source, pool, pool_name, initial, numbers } = match &given.run {
        Some(run) => of_run(run, given, context)?,
        None => of_options(given, context)?,
    };
    let pool = pool.subset(&pool.spread(given.images as usize))?;
    let score = ScoreOptions {
        source: Source::Model(Box::new(source.clone())),
        pool: Split::<Pool>::new(pool)?,
        pool_name,
        jpeg_least_side: given.recipe.jpeg_least_side,
        shard: None,
        budget: 1,
        strategy: StrategyOptions::named(STRATEGIES[0].name)?,
        exclude: Vec::new(),
        target: None,
        filters: Filters::default(),
        features: Features::default(),
        embeddings: None,
        duplicates: Duplicates::Keep,
        server: None,
        provider: given.execution_provider,
        batch_size: Some(64),
        threads: context.global.threads,
        without_boxes: WithoutBoxes::Score,
        guesses: false,
        strict: false,
        out: given.output.clone(),
        scores: None,
        onnxruntime: context.global.onnxruntime.clone(),
    };
    let retraining = match given.time.is_zero() {
        true => None,
        false => {
            check(&numbers, given)?;
            let (halves, trainings) = (given.halves as usize, given.trainings as usize);
            Some(Retraining { initial, numbers, time: given.time, halves, trainings })
        }
    };
    Ok(AuditOptions { source, score, seed: given.seed, retraining, out: given.output.clone() })
}

/// A round of a run.
fn of_run(folder: &Path, given: &Options, context: &Context) -> anyhow::Result<Audited> {
    let execution = Execution {
        out: folder.to_path_buf(),
        provider: given.execution_provider,
        device: given.device.clone(),
        threads: context.global.threads,
        plugin: context.global.plugin.clone(),
        onnxruntime: context.global.onnxruntime.clone(),
    };
    let round = given.round.map(|round| round as usize - 1);
    let RoundSource { round, config, source, unlabelled } = rounds::round_source(&execution, round, &context.progress)?;
    if unlabelled.is_empty() {
        let folder = folder.display();
        let text =
            format!("round {} of `{folder}` has labelled the whole pool: there is no order to look at", round + 1);
        return Err(BadRequest(text).into());
    }
    context.progress.say(&format!(
        "round {} of `{}`, {} images without a label",
        round + 1,
        folder.display(),
        unlabelled.len()
    ));
    let source = ModelSource { engine: Some(Engine::Native), unproven: Unproven::Used, ..source };
    Ok(Audited {
        pool: unlabelled,
        pool_name: config.data.pool.display().to_string(),
        // Not the weights of the round before, which may have seen the images that a half leaves out.
        initial: config.model.unwrap_or_else(|| source.model.clone()),
        // The reference images are among the labelled ones then, and a part of all of them is held out.
        numbers: TrainPart { with_reference: false, ..config.train },
        source,
    })
}

/// What the options say.
fn of_options(given: &Options, context: &Context) -> anyhow::Result<Audited> {
    let said = |path: &Option<PathBuf>, option: &str| {
        path.clone().ok_or_else(|| BadRequest(format!("`{option}` is missing, or `--run`")))
    };
    let (model, labelled, pool) =
        (said(&given.model, "--model")?, said(&given.labeled, "--labeled")?, said(&given.pool, "--pool")?);
    check_reference(given.reference.as_deref(), given.reference_fraction)?;
    let scope = given.scope.parse().map_err(|e| BadRequest(format!("`--scope {}`: {e}", given.scope)))?;
    let task = given.about.options(&model, 1)?;
    let open = |path: &Path, option: &str| given.recipe.open_for(&task, path, option, false);
    let source = ModelSource {
        preprocess: given.recipe.preprocess(&model, &task)?,
        task: task.clone(),
        class_names: None,
        labelled: Some(Split::<Labelled>::new(open(&labelled, "--labeled")?)?),
        reference: match &given.reference {
            Some(path) => ReferenceSet::Given(open(path, "--reference")?),
            None => ReferenceSet::HeldOut { fraction: given.reference_fraction, seed: given.seed },
        },
        solver: solver(given.solver.as_deref(), &task, &given.damping)?,
        curvature: CurvatureOptions::default(),
        scope,
        engine: Some(Engine::Native),
        difference: PairedDifference::Auto,
        unproven: Unproven::Used,
        tangent_rank: None,
        device: given.device.clone(),
        plugin: context.global.plugin.clone(),
        model: model.clone(),
    };
    Ok(Audited {
        source,
        pool: given.recipe.open(&pool, "--pool")?,
        pool_name: pool.display().to_string(),
        initial: given.initial.clone().unwrap_or(model),
        numbers: numbers(given.training.as_deref())?,
    })
}

/// The numbers of a training: those of a run's configuration, or of a file that holds nothing else.
fn numbers(path: Option<&Path>) -> anyhow::Result<TrainPart> {
    let Some(path) = path else { return Ok(TrainPart::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let named = |error: toml::de::Error| BadRequest(format!("`{}`: {error}", path.display()));
    let table: toml::Table = toml::from_str(&text).map_err(named)?;
    Ok(match table.contains_key("train") {
        true => toml::from_str::<WithTraining>(&text).map_err(named)?.train,
        false => toml::from_str(&text).map_err(named)?,
    })
}

/// That an audit can train by these numbers.
fn check(numbers: &TrainPart, given: &Options) -> anyhow::Result<()> {
    let from = given.training.as_ref().or(given.run.as_ref());
    let bad = |problem: String| match from {
        Some(path) => Err(BadRequest(format!("`{}`: {problem}", path.display())).into()),
        None => Err(BadRequest(problem).into()),
    };
    if numbers.kind == Kind::Command {
        return bad("train.kind is \"command\", and an audit trains by itself; `--time 0` trains nothing".to_owned());
    }
    if numbers.with_reference {
        return bad(
            "train.with-reference trains on the images that an audit measures the loss on: leave it out".to_owned()
        );
    }
    numbers.problem().map_or(Ok(()), bad)
}

/// `90`, `90s`, `10m` or `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.strip_suffix(['s', 'm', 'h']) {
        None => (text, 1.0),
        Some(number) if text.ends_with('s') => (number, 1.0),
        Some(number) if text.ends_with('m') => (number, 60.0),
        Some(number) => (number, 3600.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * factor);
    let expected = || "expected a time such as 90s, 10m or 2h".to_owned();
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        let seconds = |text| time(text).map(|time| time.as_secs_f64());
        assert_eq!(["90", "90s", "1.5m", "2h", "0"].map(seconds), [90.0, 90.0, 90.0, 7200.0, 0.0].map(Ok));
        for wrong in ["", "m", "-1m", "10d", "inf", "NaNs"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
