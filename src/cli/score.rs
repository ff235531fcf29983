//! `isal score`: the main job, `score pool`, and what `score merge` shares with it.

use super::model_arguments::ModelArguments;
use super::recipe::RecipeOptions;
use super::server::ServerArguments;
use super::to_label::ToLabelOptions;
use super::{BadRequest, Context, Interrupted, Outcome, merge};
use crate::data::{Dataset, Labelled, Pool, Split};
use crate::families::default_solver;
use crate::influence::{SOLVERS, SolverOptions};
use crate::influence_graph::{PairedDifference, Unproven};
use crate::observe::Observer as _;
use crate::report::figure;
use crate::runtime::ExecutionProvider;
use crate::scores::{SIGN, ScoreFormat, belief};
use crate::scoring::{
    CurvatureImages, CurvatureOptions, Engine, Features, ModelSource, Outcome as Scored, ReferenceSet, ScoreOptions,
    Shard, Source, score_pool,
};
use crate::select::{Duplicates, Filters, Needs, Rule, STRATEGIES, StrategyOptions, StrategyRow, Target, WithoutBoxes};
use crate::task::ModelOptions;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Score images.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Score an unlabelled pool by influence and select the images to label next
    #[command(after_help = EXAMPLES, after_long_help = format!("{ABOUT}\n\n{EXAMPLES}\n{BY_SERVER}"))]
    Pool(Box<PoolOptions>),
    /// Join the shards of a pool that were scored apart, and select from the whole
    #[command(after_help = merge::AFTER)]
    Merge(merge::MergeOptions),
}

const ABOUT: &str = "\
The more negative an image's influence, the more labelling it is expected to lower the loss on the reference set. \
The folder given with -o gets selection.json, the scores, s.safetensors, report.html and run.json. The same command \
continues after an interruption, and another budget or strategy costs no new sweep.";

const EXAMPLES: &str = "\
Examples:
  isal score pool --model model.onnx --labeled labeled/ --pool pool/ --budget 100 -o round-0
  isal score pool --influence round-0/influence.onnx --pool pool/ --budget 100 -o elsewhere";

/// Behind the examples of `--help`.
const BY_SERVER: &str = "  isal score pool --influence influence.onnx --server http://gpu:8000 --server-model digits \
--pool pool/ --budget 100 -o out";

/// Options that were settled when an influence graph was written.
const MADE_WITH_THE_GRAPH: [&str; 27] = [
    "model",
    "labeled",
    "reference",
    "reference_fraction",
    "engine",
    "difference",
    "unproven",
    "tangent_rank",
    "solver",
    "damping",
    "curvature",
    "curvature_samples",
    "scope",
    "expected_top_k",
    "task",
    "loss",
    "decode",
    "bind",
    "class_scores",
    "inputs",
    "noised_score_thresh",
    "class_names",
    "recipe",
    "set",
    "device",
    "target",
    "features",
];

/// What to score, with what, into what.
#[derive(Debug, Args)]
pub struct PoolOptions {
    /// The trained model
    #[arg(long, value_name = "FILE.onnx", required_unless_present = "influence", help_heading = "Model")]
    model: Option<PathBuf>,
    /// An influence.onnx that an earlier run wrote, instead of a model
    ///
    /// It carries preprocessing, classes and provenance, so neither labels nor the plugin are needed.
    #[arg(long, value_name = "FILE.onnx", conflicts_with_all = MADE_WITH_THE_GRAPH, help_heading = "Model")]
    influence: Option<PathBuf>,
    #[command(flatten)]
    about: ModelArguments,
    /// Names of the classes in the order of the class scores, one a line (default: the model's own, a file of labels beside
    /// it, the folders of the images)
    #[arg(long = "classes", value_name = "FILE", help_heading = "Model", hide_short_help = true)]
    class_names: Option<PathBuf>,
    /// The labelled images it was trained on (needed for influence)
    ///
    /// For tasks other than one class an image, a list that says more of each, or a folder of images and masks: docs/TASKS.md.
    #[arg(long, alias = "labelled", value_name = "DATA", help_heading = "Data")]
    labeled: Option<PathBuf>,
    /// The images to choose from
    ///
    /// Their labels, where they have any, are never used.
    #[arg(long, value_name = "DATA", help_heading = "Data")]
    pool: PathBuf,
    /// Labelled images of the reference set (default: held out of --labeled)
    ///
    /// The selection is to lower the model's loss on these.
    #[arg(long, value_name = "DATA", conflicts_with = "reference_fraction", help_heading = "Data")]
    reference: Option<PathBuf>,
    /// Share of the labelled images to hold out as the reference set
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, help_heading = "Data", hide_short_help = true)]
    reference_fraction: f64,
    #[command(flatten)]
    recipe: RecipeOptions,
    /// End at the first image, or box, that cannot be used, instead of leaving it out
    #[arg(long, help_heading = "Data", hide_short_help = true)]
    strict: bool,
    /// Which parameters: weights, head, all, or name patterns
    ///
    /// weights: those of two axes or more; head: the last layer.
    #[arg(long, default_value = "weights", value_name = "NAME", help_heading = "Influence")]
    scope: String,
    /// How the inverse-Hessian-vector product is solved: a name, or a file such as those in configs/solver
    #[arg(long, value_name = "NAME|FILE.toml", long_help = solver_help())]
    #[arg(help_heading = "Influence", hide_short_help = true)]
    solver: Option<String>,
    /// Damping lambda: a number, or `auto` for a share of the curvature's largest eigenvalue
    #[arg(long, default_value = "auto", value_name = "LAMBDA", help_heading = "Influence", hide_short_help = true)]
    damping: String,
    /// Images that the curvature is the mean over (default: labeled)
    ///
    /// Images of the pool have no labels, so they are for solvers on the Gauss-Newton matrix.
    #[arg(long, value_enum, value_name = "IMAGES", help_heading = "Influence", hide_short_help = true)]
    curvature: Option<CurvatureImages>,
    /// How many of them at most, spread evenly over the sets (default: 1000)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Influence", hide_short_help = true)]
    curvature_samples: Option<u32>,
    /// What computes the influence (default: paired, or tangent where the weights are narrower than float32)
    #[arg(long, value_enum, help_heading = "Influence", hide_short_help = true)]
    engine: Option<Engine>,
    /// Which difference the paired graph takes
    #[arg(long, value_enum, default_value_t, help_heading = "Influence", hide_short_help = true)]
    difference: PairedDifference,
    /// Go on where the influences are all alike, or rank otherwise than the exact derivative; the summary warns
    #[arg(long, help_heading = "Influence", hide_short_help = true)]
    unproven: bool,
    /// Cut the tangent graph's direction to R singular vectors a layer: cheaper, and no longer exact; its rank agreement with
    /// the exact influences is printed
    #[arg(long, value_name = "R|exact", value_parser = tangent_rank, default_value = "exact")]
    #[arg(help_heading = "Influence", hide_short_help = true)]
    tangent_rank: Rank,
    /// 1: arg-max pseudo-labels; more: the expected gradient over the K most likely classes
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Influence", hide_short_help = true)]
    expected_top_k: u32,
    /// Images to select
    #[arg(long, value_name = "N", required_unless_present = "shard", help_heading = "Selection")]
    budget: Option<usize>,
    #[arg(long, default_value = STRATEGIES[0].name, value_name = "NAME", help_heading = "Selection")]
    #[arg(help = strategy_names(true), long_help = strategy_help(true))]
    strategy: String,
    /// What a joint strategy serves: reference, pool, both together, or images with or without labels of where the model will run
    ///
    /// Default: what the strategy says; influence-batch serves the reference set, and the pool where there is none.
    #[arg(long, value_name = "reference|pool|pool+reference|DATA", help_heading = "Selection", hide_short_help = true)]
    target: Option<PathBuf>,
    /// Features of a joint strategy: a value of the model, or another network as ENCODER.onnx or ENCODER.onnx:VALUE (default:
    /// what goes into the model's last layer)
    #[arg(long, value_name = "VALUE|FILE.onnx", help_heading = "Selection", hide_short_help = true)]
    features: Option<String>,
    /// Select so many of each class at most, by the class that the model believes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Selection", hide_short_help = true)]
    per_class: Option<u32>,
    /// Select so many of each source at most: of the folder that an id begins with
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Selection", hide_short_help = true)]
    per_source: Option<u32>,
    /// Pass over near-duplicates of selected and labelled images: those nearer than D, one minus the cosine of features
    #[arg(long, value_name = "D", help_heading = "Selection", hide_short_help = true)]
    apart: Option<f64>,
    /// What becomes of images in which a detector finds no box: they have the influence of images that show nothing, or are left
    /// out as the reference implementation does
    #[arg(long, value_enum, default_value_t, value_name = "score|leave-out")]
    #[arg(help_heading = "Selection", hide_short_help = true)]
    without_boxes: WithoutBoxes,
    /// Seed of the reference hold-out and of whatever a strategy draws
    #[arg(long, default_value_t = 0, help_heading = "Selection", hide_short_help = true)]
    seed: u64,
    /// Images that are not to be selected, such as a test set: pool images that show the same are left out, as those are that
    /// show a labelled or a reference image; may be given more than once
    #[arg(long, value_name = "DATA", help_heading = "Selection", hide_short_help = true)]
    exclude: Vec<PathBuf>,
    /// Select every copy of an image, and images that are labelled already
    #[arg(long, help_heading = "Selection", hide_short_help = true)]
    keep_duplicates: bool,
    /// Where ONNX Runtime runs
    #[arg(long, value_enum, default_value_t, value_name = "NAME", help_heading = "Execution")]
    execution_provider: ExecutionProvider,
    /// Where the plugin runs: cpu, cuda, cuda:1
    #[arg(long, default_value = "cpu", help_heading = "Execution")]
    device: String,
    /// Images a batch (default: the fastest of 8 to 256 on images of the pool; 64 for a shard, since shards must agree)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536), value_name = "N")]
    #[arg(help_heading = "Execution", hide_short_help = true)]
    batch_size: Option<u32>,
    /// Score slice I of N, for several machines that score one pool; `isal score merge` joins the slices and selects
    #[arg(long, value_name = "I/N", conflicts_with = "scores", help_heading = "Execution", hide_short_help = true)]
    shard: Option<Shard>,
    /// Folder for everything that is written
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
    /// Score file: .parquet, .csv or .jsonl (default: scores.parquet in the folder)
    #[arg(long, value_name = "FILE", help_heading = "Output", hide_short_help = true)]
    scores: Option<PathBuf>,
    #[command(flatten)]
    to_label: ToLabelOptions,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Pool(options) => pool(options, context),
        Command::Merge(options) => merge::run(options, context),
    }
}

pub(super) fn pool(given: &PoolOptions, context: &Context) -> anyhow::Result<Outcome> {
    let options = score_options(given, context)?;
    if given.shard.is_some() {
        given.to_label.refuse_of_a_shard()?;
    }
    if let Source::Model(from) = &options.source {
        given.to_label.check(from)?;
    }
    let mut outcome = score_pool(&options, &context.progress).map_err(|error| {
        if error.is_interruption() {
            anyhow::Error::new(error).context(Interrupted)
        } else {
            anyhow::Error::new(error).context("cannot score the pool")
        }
    })?;
    let left_out = given.to_label.write(&mut outcome, options.pool.dataset(), &given.output)?;
    left_out.iter().for_each(|sentence| context.progress.say(sentence));
    print(&outcome, context)?;
    Ok(Outcome::Done)
}

/// What to do and what was found, the first of the selection, how it was found, and what was written.
pub(super) fn print(outcome: &Scored, context: &Context) -> anyhow::Result<()> {
    let mut text = String::new();
    writeln!(text, "{}\n", outcome.summary.headline)?;
    for sentence in outcome.summary.main_lines() {
        writeln!(text, "{sentence}")?;
    }
    if let Some(selection) = &outcome.selection {
        let shown: Vec<_> = selection.selected.iter().take(10).collect();
        let any = |name: &str| shown.iter().any(|chosen| chosen.belief(name).is_some());
        let (guess, sure) = (any(belief::PSEUDO_LABEL), any(belief::CONFIDENCE));
        let known = shown.iter().any(|chosen| chosen.influence.is_some());
        let row = |cells: [&str; 5]| {
            let [rank, id, influence, label, confidence] = cells;
            let mut line = format!("{rank:>4}  {id:<28}");
            for (is, cell, width) in [(known, influence, 12), (guess, label, 6), (sure, confidence, 6)] {
                line += &if is { format!(" {cell:>width$}") } else { String::new() };
            }
            line.trim_end().to_owned()
        };
        writeln!(text, "\n{}", row(["rank", "image", "influence", "guess", "sure"]))?;
        for chosen in shown {
            let dash = || "-".to_owned();
            let influence = chosen.influence.map_or_else(dash, figure);
            let sure = chosen.belief(belief::CONFIDENCE).map_or_else(dash, |c| format!("{:.0} %", 100.0 * c));
            let label = chosen.belief(belief::PSEUDO_LABEL).map_or_else(dash, |label| label.to_string());
            writeln!(text, "{}", row([&chosen.rank.to_string(), &chosen.id, &influence, &label, &sure]))?;
        }
        if selection.selected.len() > 10 {
            writeln!(text, "      ... and {} more in selection.json", selection.selected.len() - 10)?;
        }
        if selection.selected.iter().any(|chosen| chosen.influence.is_some()) {
            writeln!(text, "({SIGN})")?;
        }
    }
    writeln!(text, "\nHow these numbers were found:")?;
    for sentence in &outcome.summary.details {
        writeln!(text, "  {sentence}")?;
    }
    writeln!(text)?;
    for (what, path) in &outcome.files {
        writeln!(text, "{what}: {}", path.display())?;
    }
    context.print(&text, outcome)
}

/// The strategy of that name, with the seed where it draws; or the one that a file says.
pub(super) fn strategy(name: &str, seed: u64) -> anyhow::Result<StrategyOptions> {
    if name.ends_with(".toml") {
        let text = std::fs::read_to_string(name).with_context(|| format!("cannot read `{name}`"))?;
        return toml::from_str(&text).map_err(|e| BadRequest(format!("`{name}`: {e}")).into());
    }
    Ok(StrategyOptions::named(name)?.seeded(seed))
}

/// Strategies, with those that choose jointly or without: scores alone are not enough for these.
fn strategies(joint: bool) -> impl Iterator<Item = &'static StrategyRow> {
    STRATEGIES.iter().filter(move |row| joint || row.needs != Needs::Embedding)
}

/// Strategies by name, for `-h`, which has room for some.
pub(super) fn strategy_names(joint: bool) -> String {
    const SHOWN: usize = 7;
    let names: Vec<&str> = strategies(joint).map(|row| row.name).take(SHOWN).collect();
    let others = if strategies(joint).count() > SHOWN { ", others (--help)" } else { "" };
    format!("How to select: {}{others}, or a FILE.toml", names.join(", "))
}

/// Every strategy by name, for `--help`.
pub(super) fn strategy_help(joint: bool) -> String {
    let rows: Vec<String> = strategies(joint).map(|row| format!("  {:<19} {}", row.name, row.about)).collect();
    format!("How to select: a file such as those in configs/strategy, or one of\n{}", rows.join("\n"))
}

/// What `--keep-duplicates` means.
pub(super) fn duplicates(keep: bool) -> Duplicates {
    if keep { Duplicates::Keep } else { Duplicates::LeaveOut }
}

/// Refuses a budget of nothing before any work is done.
pub(super) fn at_least_one(budget: Option<usize>) -> Result<(), BadRequest> {
    match budget {
        Some(0) => Err(BadRequest("`--budget` is 0, expected at least 1".into())),
        _ => Ok(()),
    }
}

/// Refuses a share of the labelled images that is none, where no reference set is given.
pub(super) fn check_reference(given: Option<&Path>, fraction: f64) -> Result<(), BadRequest> {
    if given.is_some() || (fraction > 0.0 && fraction < 1.0) {
        return Ok(());
    }
    Err(BadRequest(format!("`--reference-fraction` is {fraction}, expected a share between 0 and 1")))
}

fn score_options(given: &PoolOptions, context: &Context) -> anyhow::Result<ScoreOptions> {
    at_least_one(given.budget)?;
    check_reference(given.reference.as_deref(), given.reference_fraction)?;
    if let Some(path) = &given.scores {
        ScoreFormat::of(path)?;
    }
    let source = match &given.influence {
        Some(path) => Source::Influence(path.clone()),
        None => Source::Model(Box::new(model_source(given, context)?)),
    };
    let open = |path: &Path, option: &str| given.recipe.open(path, option);
    let aim = aim(given)?;
    if given.without_boxes == WithoutBoxes::LeaveOut && aim.strategy.draws() {
        let text =
            format!("`--without-boxes leave-out` does not go with strategy `{}`, which scores nothing", given.strategy);
        return Err(BadRequest(text).into());
    }
    Ok(ScoreOptions {
        source,
        pool: Split::<Pool>::new(open(&given.pool, "--pool")?)?,
        pool_name: given.pool.display().to_string(),
        jpeg_least_side: given.recipe.jpeg_least_side,
        shard: given.shard,
        budget: given.budget.unwrap_or_default(),
        strategy: aim.strategy,
        target: aim.target,
        filters: filters(given)?,
        features: given.features.as_deref().map(Features::from).unwrap_or_default(),
        embeddings: None,
        exclude: given.exclude.iter().map(|path| open(path, "--exclude")).collect::<Result<_, _>>()?,
        duplicates: duplicates(given.keep_duplicates),
        server: given.server.options()?,
        without_boxes: given.without_boxes,
        guesses: given.to_label.shows_guesses(),
        provider: given.execution_provider,
        batch_size: given.batch_size.map(|n| n as usize),
        threads: context.global.threads,
        strict: given.strict,
        out: given.output.clone(),
        scores: given.scores.clone(),
        onnxruntime: context.global.onnxruntime.clone(),
    })
}

fn filters(given: &PoolOptions) -> anyhow::Result<Filters> {
    if let Some(apart) = given.apart.filter(|apart| !(*apart > 0.0 && *apart < 2.0)) {
        return Err(BadRequest(format!("`--apart` is {apart}, expected a number between 0 and 2")).into());
    }
    let most = |given: Option<u32>| given.map(|most| most as usize);
    Ok(Filters { per_class: most(given.per_class), per_source: most(given.per_source), apart: given.apart })
}

/// A strategy and the images that it serves in the place of the reference set.
struct Aim {
    strategy: StrategyOptions,
    target: Option<Dataset>,
}

fn aim(given: &PoolOptions) -> anyhow::Result<Aim> {
    let strategy = strategy(&given.strategy, given.seed)?;
    let Some(path) = &given.target else { return Ok(Aim { strategy, target: None }) };
    let (target, dataset) = match path.to_str() {
        Some("reference") => (Target::Reference, None),
        Some("pool") => (Target::Pool, None),
        Some("pool+reference") => (Target::PoolAndReference, None),
        _ => {
            // In the place of the reference set, with the pool where the strategy says so.
            let own = strategy.rule().and_then(Rule::target);
            let target = own.filter(|target| *target == Target::PoolAndReference).unwrap_or(Target::Reference);
            (target, Some(given.recipe.open(path, "--target")?))
        }
    };
    match strategy.aimed_at(target) {
        Some(strategy) => Ok(Aim { strategy, target: dataset }),
        None => {
            let text = format!(
                "strategy `{}` does not serve `--target {}`: influence-batch and the like do",
                given.strategy,
                path.display()
            );
            Err(BadRequest(text).into())
        }
    }
}

fn model_source(given: &PoolOptions, context: &Context) -> anyhow::Result<ModelSource> {
    // The parser asks for a model wherever there is no influence graph.
    let model = given.model.clone().unwrap_or_default();
    if given.tangent_rank.0.is_some() && given.engine != Some(Engine::Tangent) {
        return Err(BadRequest("`--tangent-rank` goes with `--engine tangent`".into()).into());
    }
    if given.difference != PairedDifference::Auto && given.engine.is_some_and(|engine| engine != Engine::Paired) {
        return Err(BadRequest("`--difference` goes with `--engine paired`".into()).into());
    }
    let needs = strategy(&given.strategy, given.seed)?.row().needs;
    if (matches!(needs, Needs::Influence | Needs::Embedding) || given.apart.is_some()) && given.labeled.is_none() {
        let text = format!("strategy `{}` needs `--labeled`: the images the model was trained on", given.strategy);
        return Err(BadRequest(text).into());
    }
    let scope = given.scope.parse().map_err(|e| BadRequest(format!("`--scope {}`: {e}", given.scope)))?;
    let task = given.about.options(&model, given.expected_top_k)?;
    let open = |path: &Path, option: &str| given.recipe.open_for(&task, path, option, given.strict);
    Ok(ModelSource {
        preprocess: given.recipe.preprocess(&model, &task)?,
        task: task.clone(),
        model,
        class_names: given.class_names.clone(),
        labelled: given
            .labeled
            .as_deref()
            .map(|path| open(path, "--labeled"))
            .transpose()?
            .map(Split::<Labelled>::new)
            .transpose()?,
        reference: match &given.reference {
            Some(path) => ReferenceSet::Given(open(path, "--reference")?),
            None => ReferenceSet::HeldOut { fraction: given.reference_fraction, seed: given.seed },
        },
        solver: solver(given.solver.as_deref(), &task, &given.damping)?,
        curvature: CurvatureOptions { images: given.curvature, samples: given.curvature_samples.map(|n| n as usize) },
        scope,
        engine: given.engine,
        difference: given.difference,
        unproven: unproven(given.unproven),
        tangent_rank: given.tangent_rank.0,
        device: given.device.clone(),
        plugin: context.global.plugin.clone(),
    })
}

/// What `--unproven` asks for.
pub(super) fn unproven(given: bool) -> Unproven {
    if given { Unproven::Used } else { Unproven::Refused }
}

/// Singular vectors a layer; `None` is all.
#[derive(Debug, Clone, Copy)]
struct Rank(Option<usize>);

fn tangent_rank(text: &str) -> Result<Rank, String> {
    match (text, text.parse()) {
        ("exact", _) => Ok(Rank(None)),
        (_, Ok(rank)) if rank >= 1 => Ok(Rank(Some(rank))),
        _ => Err("expected `exact`, or a number of singular vectors from 1 on".to_owned()),
    }
}

/// Every solver by name, for `--help`.
pub(super) fn solver_help() -> String {
    let rows: Vec<String> = SOLVERS.iter().map(|row| format!("  {:<22} {}", row.name, row.about)).collect();
    format!(
        "How the inverse-Hessian-vector product is solved: a file such as those in configs/solver, or one of\n{}\n\n\
         Detectors take {} by default.",
        rows.join("\n"),
        default_solver(Some("fcos"))
    )
}

/// The solver of this name or file, else the default of the task.
pub(super) fn solver(name: Option<&str>, task: &ModelOptions, damping: &str) -> anyhow::Result<SolverOptions> {
    let name = name.unwrap_or_else(|| default_solver(task.built_in()));
    let options = if name.ends_with(".toml") {
        let text = std::fs::read_to_string(name).with_context(|| format!("cannot read `{name}`"))?;
        toml::from_str(&text).map_err(|e| BadRequest(format!("`{name}`: {e}")))?
    } else {
        SolverOptions::named(name)?
    };
    if damping == "auto" {
        return Ok(options);
    }
    let lambda: f64 =
        damping.parse().ok().filter(|l: &f64| l.is_finite() && *l >= 0.0).ok_or_else(|| {
            BadRequest(format!("`--damping` is `{damping}`, expected `auto` or a number of at least 0"))
        })?;
    Ok(options.damped(lambda))
}
