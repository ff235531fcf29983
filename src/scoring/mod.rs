//! `score pool` as stages: reference gradient and `s`, the sweep, the selection.
//!
//! Every stage is a file with its provenance in the output folder. A stage whose file is there, made from the same
//! inputs with the same options, is not done again; so a killed command goes on where it stopped, and another budget
//! or strategy costs no new sweep.

mod agreement;
mod ihvp;
mod outcome;
mod pair;
mod samples;

pub use ihvp::SolveKey;
pub use outcome::Outcome;
pub use samples::Samples;

use crate::causes::in_one_line;
use crate::classifier::{Classifier, ClassifierError};
use crate::data::{
    DataError, Dataset, HoldOut, Labelled, Loader, LoaderOptions, OnOverlap, Pool, Preprocess, PreprocessError, Recipe,
    RecipeError, Reference, Size, Split, SplitError, common_classes,
};
use crate::durable::{DurableError, FolderLock};
use crate::influence::{
    ArtefactError, Contraction, EngineError, GradientEngine as _, InfluenceError, OutputKind, PseudoLabels,
    SolvedVector, SolverOptions,
};
use crate::observe::Observer;
use crate::plugin::{LoadOptions, Plugin, PluginEngine, PluginError};
use crate::runtime::{ExecutionProvider, Library, RuntimeError, Session, SessionOptions};
use crate::scores::{Part, Parts, SIGN, ScoreError, ScoreTable};
use crate::select::{Needs, SelectError, StrategyOptions, select};
use crate::sweep::{InfluenceGraph, Native, Predictor, Scorer, SweepError, SweepOptions, SweepTimes, part_size, sweep};
use indexmap::IndexMap;
use isal_onnx::Scope;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the reference set comes from. Never from test data.
#[derive(Debug, Clone)]
pub enum ReferenceSet {
    /// Images that were set aside for it.
    Given(Dataset),
    /// A stratified, seeded part of the labelled set, which then takes no part in the curvature.
    HeldOut {
        /// Share of the labelled images, in (0, 1).
        fraction: f64,
        /// Seed of the draw.
        seed: u64,
    },
}

/// What computes the influence of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Engine {
    /// The network at two weight settings in one ONNX graph, on ONNX Runtime; float32, checked against `native`.
    #[default]
    Paired,
    /// The plugin's exact directional derivative.
    Native,
}

/// All that `score pool` is told.
#[derive(Debug, Clone)]
pub struct ScoreOptions {
    /// The trained classifier.
    pub model: PathBuf,
    /// Output with the class scores, where the model has several.
    pub output: Option<String>,
    /// Labelled images the model was trained on; needed for influence.
    pub labelled: Option<Split<Labelled>>,
    /// The reference set.
    pub reference: ReferenceSet,
    /// The images to choose from.
    pub pool: Split<Pool>,
    /// Preprocessing: the recipe beside the model with the overrides of the command line.
    pub preprocess: Preprocess,
    /// Images to select.
    pub budget: usize,
    /// How to select.
    pub strategy: StrategyOptions,
    /// How `s` is solved.
    pub solver: SolverOptions,
    /// Parameters that take part.
    pub scope: Scope,
    /// 1: the arg-max pseudo-label; more: the expected gradient over the most likely classes.
    pub expected_top_k: usize,
    /// What computes the influence.
    pub engine: Engine,
    /// Where ONNX Runtime runs.
    pub provider: ExecutionProvider,
    /// Where the plugin runs: `cpu`, `cuda`, `cuda:1`.
    pub device: String,
    /// Images a batch.
    pub batch_size: usize,
    /// Threads; 0 takes every core.
    pub threads: usize,
    /// Whether an image that cannot be used ends the command.
    pub strict: bool,
    /// Folder for everything that is written.
    pub out: PathBuf,
    /// Score file; `scores.parquet` in the folder when not given.
    pub scores: Option<PathBuf>,
    /// ONNX Runtime's library, when named.
    pub onnxruntime: Option<PathBuf>,
    /// The plugin, when named.
    pub plugin: Option<PathBuf>,
}

/// Why a pool could not be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoringError {
    /// The model file, or a graph built from it.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The strategy needs influence, and influence needs labelled images.
    #[error("strategy `{strategy}` needs labelled images to solve for the influence")]
    NoLabels {
        /// The strategy.
        strategy: &'static str,
    },
    /// A data set without class names cannot be matched to the model's outputs, or has another number of them.
    #[error("the labelled images have {found} classes, the model has {expected}")]
    Classes {
        /// Classes of the labelled data.
        found: usize,
        /// Outputs of the model.
        expected: usize,
    },
    /// The plugin's interpreter and ONNX Runtime compute different things.
    #[error(
        "the plugin and ONNX Runtime disagree on this model: relative difference {difference:.1e}, tolerance {tolerance:.0e}"
    )]
    Disagreement {
        /// Largest difference over the output scale.
        difference: f64,
        /// What is taken as rounding.
        tolerance: f64,
    },
    /// No step of the paired graph ranks images as the exact derivative does.
    #[error(
        "the best step of the paired graph, {step:e}, ranks the sample with Spearman {spearman:.4} against the exact influences, {wanted} is needed"
    )]
    PairedStep {
        /// The relative step.
        step: f64,
        /// Its rank agreement.
        spearman: f64,
        /// What is asked for.
        wanted: f64,
    },
    /// Every score came out as NaN or infinity.
    #[error("none of the {images} scores is a number: the model's weights or outputs are NaN or overflow")]
    NoScores {
        /// Images scored.
        images: usize,
    },
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Roles of data sets.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Preprocessing recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Preprocessing file.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// Solver and scores.
    #[error(transparent)]
    Influence(#[from] InfluenceError),
    /// The differentiating engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// `s` on disk.
    #[error(transparent)]
    Artefact(Box<ArtefactError>),
    /// The sweep.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The score files.
    #[error(transparent)]
    Scores(#[from] ScoreError),
    /// The selection.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Files and locks.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl ScoringError {
    /// Whether the work was stopped on request; what had finished is on disk.
    pub fn is_interruption(&self) -> bool {
        match self {
            ScoringError::Sweep(SweepError::Interrupted { .. }) => true,
            ScoringError::Influence(error) => matches!(error, InfluenceError::Cancelled),
            _ => false,
        }
    }
}

/// Everything up to the sweep: what will score, and where its numbers come from.
struct Prepared {
    classifier: Classifier,
    recipe: Recipe,
    classes: Vec<String>,
    pseudo_labels: PseudoLabels,
    provenance: IndexMap<String, String>,
}

/// Scores a pool and selects from it.
///
/// # Errors
/// [`ScoringError`]. Whatever stage had finished is kept and not done again by the same call.
pub fn score_pool(options: &ScoreOptions, observer: &dyn Observer) -> Result<Outcome, ScoringError> {
    let _lock = FolderLock::take(&options.out)?;
    let prepared = prepare(options)?;
    let needs_influence = options.strategy.row().needs == Needs::Influence;
    let scored = if needs_influence {
        with_influence(options, &prepared, observer)?
    } else {
        let library = Library::load(options.onnxruntime.as_deref())?;
        let session_options = SessionOptions { provider: options.provider, threads: options.threads };
        let session = Session::open(&library, &options.model, session_options)?;
        let mut provenance = prepared.provenance.clone();
        provenance.insert("engine".into(), format!("ONNX Runtime {}", library.version()));
        provenance.insert("execution provider".into(), session.provider().to_string());
        let mut scorer =
            Predictor { session, output: prepared.classifier.output.clone(), contraction: prepared.contraction() };
        sweep_stage(options, &prepared, &mut scorer, provenance, observer)?
    };
    let finite = |row: &crate::scores::ScoreRow| {
        if needs_influence { row.influence.is_some_and(f64::is_finite) } else { row.confidence.is_finite() }
    };
    if !scored.table.rows.is_empty() && !scored.table.rows.iter().any(finite) {
        return Err(ScoringError::NoScores { images: scored.table.rows.len() });
    }
    let selection = select(&scored.table.rows, options.budget, &options.strategy)?;
    outcome::write(options, &prepared, scored, selection)
}

/// What the sweep stage leaves.
struct Scored {
    table: ScoreTable,
    skipped: Vec<(String, String)>,
    /// Absent when the table was there already.
    times: Option<SweepTimes>,
    vector: Option<SolvedVector>,
    scores_path: PathBuf,
}

fn prepare(options: &ScoreOptions) -> Result<Prepared, ScoringError> {
    let classifier = Classifier::read(&options.model, options.output.as_deref())?;
    let sample = options.pool.dataset().load(0).ok().map(|image| Size { height: image.height(), width: image.width() });
    let recipe = Recipe::resolve(&options.preprocess, &classifier.input, sample)?;
    let classes = class_names(options, &classifier)?;
    let pseudo_labels = PseudoLabels::top(options.expected_top_k);
    let provenance = IndexMap::from([
        ("sign".to_owned(), SIGN.to_owned()),
        ("isal".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("model".to_owned(), options.model.display().to_string()),
        ("model sha256".to_owned(), classifier.sha256.clone()),
        (
            "class scores".to_owned(),
            format!("{} ({:?}), {} classes", classifier.output, classifier.kind, classifier.classes),
        ),
        ("preprocessing".to_owned(), recipe_text(&recipe)),
        ("pool sha256".to_owned(), options.pool.dataset().fingerprint()),
        ("batch size".to_owned(), options.batch_size.to_string()),
    ]);
    Ok(Prepared { classifier, recipe, classes, pseudo_labels, provenance })
}

/// Names of the classes in the order of the model's outputs: those it carries, else those of the labelled images.
fn class_names(options: &ScoreOptions, classifier: &Classifier) -> Result<Vec<String>, ScoringError> {
    if let Some(names) = &classifier.class_names {
        return Ok(names.clone());
    }
    let mut known: Vec<&Dataset> = options.labelled.iter().map(Split::dataset).collect();
    if let ReferenceSet::Given(reference) = &options.reference {
        known.push(reference);
    }
    let named = common_classes(&known);
    match named.len() {
        0 => Ok((0..classifier.classes).map(|c| c.to_string()).collect()),
        found if found == classifier.classes => Ok(named),
        found => Err(ScoringError::Classes { found, expected: classifier.classes }),
    }
}

impl Prepared {
    fn contraction(&self) -> Contraction {
        Contraction { output: self.classifier.kind, pseudo_labels: self.pseudo_labels, per_class: false }
    }
}

fn recipe_text(recipe: &Recipe) -> String {
    serde_json::to_string(recipe).unwrap_or_else(|_| format!("{recipe:?}"))
}

/// Hash of a data set together with the preprocessing it is seen through.
fn data_sha256(dataset: &Dataset, recipe: &Recipe) -> String {
    let digest = Sha256::new().chain_update(dataset.fingerprint()).chain_update(recipe_text(recipe)).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn with_influence(
    options: &ScoreOptions,
    prepared: &Prepared,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let strategy = options.strategy.row().name;
    let labelled = options.labelled.as_ref().ok_or(ScoringError::NoLabels { strategy })?;
    let labelled = Split::<Labelled>::new(labelled.dataset().with_classes(&prepared.classes)?)?;
    let (labelled, reference) = split(&labelled, &options.reference)?;
    let plugin = Plugin::find(options.plugin.as_deref())?;
    let described = plugin.describe()?;
    let description = format!("{} {} ({})", described.name, described.version, described.backend);
    let parameters = prepared
        .classifier
        .model
        .graph
        .parameters(&options.scope)
        .map_err(|source| ClassifierError::Model { path: options.model.clone(), source })?;
    let load = LoadOptions {
        parameters,
        loss_output: Some(prepared.classifier.logits.clone()),
        device: options.device.clone(),
        threads: u32::try_from(options.threads).unwrap_or(0),
        ..LoadOptions::default()
    };
    let mut engine = PluginEngine::from_model(&plugin, &prepared.classifier.model, &load)?;
    let key = SolveKey {
        model_sha256: prepared.classifier.sha256.clone(),
        labelled_sha256: data_sha256(labelled.dataset(), &prepared.recipe),
        reference_sha256: data_sha256(reference.dataset(), &prepared.recipe),
        scope: options.scope.to_string(),
        solver: options.solver.clone(),
        versions: BTreeMap::from([
            ("isal".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("plugin".to_owned(), description.clone()),
        ]),
    };
    let path = options.out.join("s.safetensors");
    let vector = match ihvp::saved(&path, &key, &engine) {
        Some(vector) => {
            observer.say(&format!("`{}` holds s for this model and these data; not solved again", path.display()));
            vector
        }
        None => solve_stage(
            options,
            prepared,
            (labelled.dataset(), reference.dataset()),
            &mut engine,
            &key,
            &path,
            observer,
        )?,
    };
    let mut provenance = prepared.provenance.clone();
    describe_vector(&vector, &mut provenance);
    provenance.insert("pseudo-labels".into(), pseudo_label_text(prepared.pseudo_labels, prepared.classifier.classes));
    let s = engine.upload(&vector.s)?;
    // The engine's model ends at the logits, whatever the file's own output is.
    let contraction = Contraction { output: OutputKind::Logits, ..prepared.contraction() };
    let mut native = Native { engine: &mut engine, s, contraction };
    let scored = match options.engine {
        Engine::Native => {
            provenance.insert("engine".into(), format!("native ({description}) on {}", options.device));
            sweep_stage(options, prepared, &mut native, provenance, observer)?
        }
        Engine::Paired => {
            let mut scorer = paired_scorer(options, prepared, &vector, &mut native, &mut provenance, observer)?;
            sweep_stage(options, prepared, &mut scorer, provenance, observer)?
        }
    };
    Ok(Scored { vector: Some(vector), ..scored })
}

/// Images of the pool on which the paired graph's step is chosen.
const STEP_SAMPLE: usize = 256;

/// The paired graph on ONNX Runtime: the one on disk where it was made from the same vector, else a new one.
fn paired_scorer(
    options: &ScoreOptions,
    prepared: &Prepared,
    vector: &SolvedVector,
    native: &mut dyn Scorer,
    provenance: &mut IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<InfluenceGraph, ScoringError> {
    let library = Library::load(options.onnxruntime.as_deref())?;
    let session_options = SessionOptions { provider: options.provider, threads: options.threads };
    let path = options.out.join("influence.onnx");
    let contraction = prepared.contraction();
    let (scorer, metadata) = match pair::saved(&path, &prepared.classifier, vector, prepared.pseudo_labels) {
        Some(metadata) => {
            let session = Session::open(&library, &path, session_options)?;
            (InfluenceGraph { session, output: prepared.classifier.output.clone(), contraction }, metadata)
        }
        None => {
            let pool = options.pool.dataset();
            let every = pool.len().div_ceil(STEP_SAMPLE).max(1);
            let positions: Vec<usize> = (0..pool.len()).step_by(every).collect();
            let loader = LoaderOptions { batch_size: STEP_SAMPLE, ..LoaderOptions::default() };
            let batch = Loader::over(pool.clone(), prepared.recipe.clone(), positions, &loader)?.next();
            let images = batch.ok_or(ScoringError::NoScores { images: 0 })??.images;
            let exact = native.score(images.view())?.influence.unwrap_or_default();
            let sample = pair::Sample {
                classifier: &prepared.classifier,
                vector,
                pseudo_labels: prepared.pseudo_labels,
                images,
                exact,
            };
            sample.build(&path, &library, session_options, contraction, observer)?
        }
    };
    let property = |key: &str| metadata.get(key).unwrap_or("unknown").to_owned();
    provenance.insert("engine".into(), format!("paired graph on ONNX Runtime {}", library.version()));
    provenance.insert("execution provider".into(), scorer.session.provider().to_string());
    provenance.insert("relative step".into(), property("relative step"));
    provenance.insert("agreement with the exact influences".into(), property("agreement"));
    Ok(scorer)
}

/// Reads labelled and reference images, checks the plugin against ONNX Runtime on some of them, and solves.
fn solve_stage(
    options: &ScoreOptions,
    prepared: &Prepared,
    (labelled, reference): (&Dataset, &Dataset),
    engine: &mut PluginEngine,
    key: &SolveKey,
    path: &Path,
    observer: &dyn Observer,
) -> Result<SolvedVector, ScoringError> {
    let loader = LoaderOptions {
        batch_size: options.batch_size,
        threads: (options.threads > 0).then_some(options.threads),
        strict: options.strict,
        ..LoaderOptions::default()
    };
    let read = |dataset: &Dataset, what: &str| -> Result<Samples, ScoringError> {
        observer.begin(&format!("reading {what} images"), dataset.len() as u64, "images");
        let samples = Samples::read(dataset, &prepared.recipe, prepared.classifier.classes, &loader, |n| {
            observer.advance(n as u64);
            !observer.interrupted()
        });
        observer.end();
        let samples = samples?;
        for skipped in &samples.skipped {
            observer.say(&format!("warning: {what} image left out: {}", in_one_line(&skipped.reason)));
        }
        Ok(samples)
    };
    let mut labelled = read(labelled, "labelled")?;
    let mut reference = read(reference, "reference")?;
    check_agreement(options, prepared, engine, &mut labelled, observer)?;
    ihvp::solve_and_save(engine, &mut labelled, &mut reference, key, path, observer)
}

/// Compares the plugin with ONNX Runtime on a few images; says so where ONNX Runtime is not to be had.
fn check_agreement(
    options: &ScoreOptions,
    prepared: &Prepared,
    engine: &mut PluginEngine,
    labelled: &mut Samples,
    observer: &dyn Observer,
) -> Result<(), ScoringError> {
    use crate::influence::Batches as _;
    let library = match Library::load(options.onnxruntime.as_deref()) {
        Ok(library) => library,
        Err(RuntimeError::Missing { .. }) if options.onnxruntime.is_none() => {
            observer.say("warning: ONNX Runtime is not there, so the plugin's outputs are not compared with it");
            return Ok(());
        }
        Err(other) => return Err(other.into()),
    };
    let session_options = SessionOptions { provider: ExecutionProvider::Cpu, threads: options.threads };
    let mut session = Session::open(&library, &options.model, session_options)?;
    let positions: Vec<usize> = (0..labelled.samples().min(8)).collect();
    let (images, _) = labelled.gather(&positions)?;
    agreement::check(engine, &mut session, images.view(), &prepared.classifier.output, prepared.classifier.kind)?;
    Ok(())
}

/// Labelled and reference images, disjoint.
fn split(
    labelled: &Split<Labelled>,
    reference: &ReferenceSet,
) -> Result<(Split<Labelled>, Split<Reference>), ScoringError> {
    Ok(match reference {
        ReferenceSet::Given(reference) => {
            let reference = Split::<Reference>::given(reference.clone(), labelled, None, OnOverlap::Refuse)?;
            (labelled.clone(), reference)
        }
        ReferenceSet::HeldOut { fraction, seed } => labelled.hold_out(HoldOut::Fraction(*fraction), *seed)?,
    })
}

fn describe_vector(vector: &SolvedVector, provenance: &mut IndexMap<String, String>) {
    let made = &vector.provenance;
    let mut put = |key: &str, value: String| {
        provenance.insert(key.to_owned(), value);
    };
    put("scope", made.scope.clone());
    let numbers: usize = vector.parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum();
    put("parameters", format!("{numbers} numbers in {} tensors", vector.parameters.len()));
    put("solver", made.solve.options.solver().to_owned());
    put("lambda", format!("{:.6e}", made.solve.lambda));
    put("iterations", made.solve.iterations.to_string());
    put("residual", format!("{:.3e}", made.solve.residual));
    if let Some(residual) = made.solve.held_out_residual {
        put("held-out residual", format!("{residual:.3e}"));
    }
    put("labelled sha256", made.labelled_sha256.clone());
    put("labelled images", made.solve.labelled_samples.to_string());
    put("reference sha256", made.reference_sha256.clone());
    put("reference images", made.reference_samples.to_string());
    put("reference loss", format!("{:.6}", made.reference_loss));
}

fn pseudo_label_text(pseudo_labels: PseudoLabels, classes: usize) -> String {
    match pseudo_labels {
        PseudoLabels::ArgMax => "arg-max".to_owned(),
        expected => format!("expected gradient over the {} most likely classes", expected.effective(classes)),
    }
}

/// Sweeps the pool, or takes the table that the same sweep left.
fn sweep_stage(
    options: &ScoreOptions,
    prepared: &Prepared,
    scorer: &mut dyn Scorer,
    provenance: IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let scores_path = options.scores.clone().unwrap_or_else(|| options.out.join("scores.parquet"));
    crate::scores::ScoreFormat::of(&scores_path)?;
    let key = serde_json::to_string(&provenance).unwrap_or_default();
    let parts = Parts::open(&options.out.join("parts"), &key, part_size(options.batch_size), options.pool.len())?;
    let sweep_options = SweepOptions {
        batch_size: options.batch_size,
        threads: (options.threads > 0).then_some(options.threads),
        strict: options.strict,
        classes: prepared.classes.clone(),
    };
    let (Part { rows, skipped }, times) =
        sweep(options.pool.dataset(), &prepared.recipe, scorer, &parts, &sweep_options, observer)?;
    let table = ScoreTable { provenance, rows };
    table.write(&scores_path)?;
    for (id, reason) in skipped.iter().take(5) {
        observer.say(&format!("warning: pool image `{id}` left out: {reason}"));
    }
    if skipped.len() > 5 {
        observer.say(&format!("warning: and {} more pool images left out; all are in run.json", skipped.len() - 5));
    }
    let times = (times.images > 0).then_some(times);
    Ok(Scored { table, skipped, times, vector: None, scores_path })
}
