//! The whole loop: train, evaluate, score, select, label, again.
//!
//! The labels are there already and are revealed as images are selected, so that what a strategy is worth can be measured.
//! Each stage is a folder that its own command could go on with, and a round begins when `labeled.json` says which images
//! it has; so a run that was killed anywhere goes on by the same call, and ends as an unbroken one does.

mod config;
mod error;
mod initial;
mod recorded;
mod setting;
mod state;

pub use config::{Amount, DataPart, LabelsPart, RunConfig, TrainPart};
pub use error::RoundsError;
pub use recorded::{Recorded, recorded};
pub use setting::{Setting, SettingError};
pub use state::Round;

use crate::data::{Dataset, Labelled, OnOverlap, OpenOptions, Pool, Preprocess, Reference, Split, Test};
use crate::durable::{self, FolderLock};
use crate::influence::{DEFAULT_SOLVER, SolverOptions};
use crate::influence_graph::{PairedDifference, Unproven};
use crate::observe::Observer;
use crate::report::{Curve, Line};
use crate::runtime::ExecutionProvider;
use crate::scoring::{
    CurvatureOptions, Features, ModelSource, ReferenceSet, ScoreOptions, ScoringError, Source, score_pool,
};
use crate::select::{Duplicates, Needs};
use crate::task::{self, ModelOptions, TaskModel};
use crate::train::{Evaluate, TrainOptions, Trained, train};
use isal_onnx::Scope;
use state::Layout;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Name and version of the form of a run's `run.json`, and of its `curve.json`.
const SCHEMA: &str = "isal-rounds/1";

/// Where a run computes and what it leaves; nothing of this changes what comes out, but for rounding.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Folder for everything that is written.
    pub out: PathBuf,
    /// Where ONNX Runtime runs.
    pub provider: ExecutionProvider,
    /// Where the plugin runs.
    pub device: String,
    /// Threads; 0 takes every core.
    pub threads: usize,
    /// The plugin, when named.
    pub plugin: Option<PathBuf>,
    /// ONNX Runtime's library, when named.
    pub onnxruntime: Option<PathBuf>,
}

/// A run, as far as it got.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Run {
    /// Version of this object.
    pub schema: String,
    /// How images were selected.
    pub strategy: String,
    /// Its seed.
    pub seed: u64,
    /// Rounds it has in all.
    pub rounds: usize,
    /// The rounds that have ended.
    pub ended: Vec<Round>,
}

/// What a run is, so that a folder is not gone on with as another.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Version of this object.
    pub schema: String,
    /// What the run was asked for.
    pub config: RunConfig,
    /// SHA-256 of the model's file.
    pub model: String,
    /// Fingerprint of the pool.
    pub pool: String,
    /// Fingerprint of the reference set, where there is one.
    pub reference: Option<String>,
    /// Fingerprint of the test set.
    pub test: String,
}

/// Carries a run to its end, from wherever it was left.
///
/// # Errors
/// [`RoundsError`]. Whatever had finished is kept and not done again by the same call.
pub fn run(config: &RunConfig, execution: &Execution, observer: &dyn Observer) -> Result<Run, RoundsError> {
    let _lock = FolderLock::take(&execution.out)?;
    let going = Going::prepare(config, execution, observer)?;
    let mut run = going.layout().so_far(config)?;
    while run.ended.len() < config.rounds {
        let ended = going.round(run.ended.len())?;
        observer.say(&describe(&ended, config.rounds));
        run.ended.push(ended);
        state::write(&going.layout().curve(), &run)?;
    }
    durable::write_bytes(&going.layout().picture(), picture(&run).as_bytes())?;
    Ok(run)
}

/// How far the run in a folder got.
///
/// # Errors
/// [`RoundsError::NoRun`], or files that are none of a run.
pub fn status(folder: &Path) -> Result<Run, RoundsError> {
    let layout = Layout(folder);
    let identity: Identity =
        state::read(&layout.run())?.ok_or_else(|| RoundsError::NoRun { folder: folder.to_path_buf() })?;
    layout.so_far(&identity.config)
}

fn describe(ended: &Round, rounds: usize) -> String {
    let worth = match (ended.test_accuracy, ended.test_loss) {
        (Some(accuracy), _) => format!("accuracy {:.2} %", 100.0 * accuracy),
        (None, Some(loss)) => format!("loss {loss:.4}"),
        (None, None) => "a loss that is no number".to_owned(),
    };
    format!("round {} of {rounds}: {} labels, {worth} on the test images", ended.round + 1, ended.labeled)
}

/// Labels against what they were worth, as SVG.
fn picture(run: &Run) -> String {
    let point = |round: &Round| match round.test_accuracy {
        Some(accuracy) => Some((round.labeled as f64, 100.0 * accuracy)),
        None => Some((round.labeled as f64, round.test_loss?)),
    };
    let accuracy = run.ended.iter().any(|round| round.test_accuracy.is_some());
    let line = Line { points: run.ended.iter().filter_map(point).collect(), ..Line::default() };
    let worth = if accuracy { "test accuracy, %" } else { "test loss" };
    Curve { title: format!("{}, seed {}", run.strategy, run.seed), across: "labels", up: worth, lines: vec![line] }
        .svg()
}

impl Layout<'_> {
    /// The run of this configuration, with the rounds that have ended.
    fn so_far(&self, config: &RunConfig) -> Result<Run, RoundsError> {
        Ok(Run {
            schema: SCHEMA.to_owned(),
            strategy: config.select.row().name.to_owned(),
            seed: config.seed,
            rounds: config.rounds,
            ended: state::read::<Run>(&self.curve())?.map(|run| run.ended).unwrap_or_default(),
        })
    }
}

/// A run under way.
struct Going<'a> {
    config: &'a RunConfig,
    execution: &'a Execution,
    observer: &'a dyn Observer,
    task: ModelOptions,
    model_sha256: String,
    preprocess: Preprocess,
    pool: Dataset,
    /// Positions in the pool by id.
    places: HashMap<String, usize>,
    reference: Option<Dataset>,
    target: Option<Dataset>,
    test: Split<Test>,
    initial: usize,
    budget: usize,
}

impl<'a> Going<'a> {
    /// Reads and checks everything, and settles what the folder's run is.
    fn prepare(
        config: &'a RunConfig,
        execution: &'a Execution,
        observer: &'a dyn Observer,
    ) -> Result<Self, RoundsError> {
        let bad = |text: String| Err(RoundsError::Config(text));
        if let Some(problem) = config.train.problem() {
            return bad(problem);
        }
        if config.rounds == 0 {
            return bad("rounds is 0, expected at least 1".to_owned());
        }
        if config.select.row().needs == Needs::Influence && config.data.reference.is_none() {
            return bad(format!(
                "strategy `{}` needs data.reference: labelled images that are neither trained on nor tested on. A part \
                 held out of the few labels of the first rounds would be too small to go by",
                config.select.row().name
            ));
        }
        let task = ModelOptions { task: task::beside(&config.model)?, ..ModelOptions::default() };
        let model_sha256 = TaskModel::read(&config.model, &task)?.network.sha256;
        let open = |what, path: &Path| {
            let opened = Dataset::open_present(path, &task.opening(OpenOptions::default()));
            opened.map_err(|source| RoundsError::data(what, path, source))
        };
        let pool = open("data.pool", &config.data.pool)?;
        let reference = config.data.reference.as_deref().map(|path| open("data.reference", path)).transpose()?;
        let target = config.data.target.as_deref().map(|path| open("data.target", path)).transpose()?;
        let test = open("data.test", &config.data.test)?;
        let as_pool = |source| RoundsError::data("data.test", &config.data.test, source);
        let test = Split::<Test>::new(test.with_classes(pool.classes()).map_err(as_pool)?)?;
        let images = |key: &str, amount: Amount| {
            let refused = || format!("labels.{key} is no number of images from 1 on, and no share between 0 and 1");
            amount.of(pool.len()).ok_or_else(|| RoundsError::Config(refused()))
        };
        let (initial, budget) = (images("initial", config.labels.initial)?, images("budget", config.labels.budget)?);
        let wanted = budget.saturating_mul(config.rounds - 1).saturating_add(initial);
        if wanted > pool.len() {
            let (rounds, images) = (config.rounds, pool.len());
            return bad(format!("{rounds} rounds label {wanted} images in all, and the pool holds {images}"));
        }
        let going = Going {
            preprocess: Preprocess::beside(&config.model)?,
            places: (0..pool.len()).map(|place| (pool.id(place), place)).collect(),
            config,
            execution,
            observer,
            task,
            model_sha256,
            pool,
            reference,
            target,
            test,
            initial,
            budget,
        };
        going.settle_identity()?;
        Ok(going)
    }

    fn layout(&self) -> Layout<'a> {
        Layout(&self.execution.out)
    }

    /// Checks that every image of the pool, each of which may be selected, has its label, and that no two sets share an image.
    fn check_sets(&self) -> Result<(), RoundsError> {
        let labels = Split::<Labelled>::new(self.pool.clone())?;
        match &self.reference {
            Some(given) => {
                Split::<Reference>::given(given.clone(), &labels, Some(&self.test), OnOverlap::Refuse)?;
            }
            None => self.test.check_disjoint(&labels)?,
        }
        Ok(())
    }

    /// Checks the sets and writes what the run is, or checks that the folder's is the same, whose sets were checked then.
    fn settle_identity(&self) -> Result<(), RoundsError> {
        let identity = Identity {
            schema: SCHEMA.to_owned(),
            config: self.config.clone(),
            model: self.model_sha256.clone(),
            pool: self.pool.fingerprint(),
            reference: self.reference.as_ref().map(Dataset::fingerprint),
            test: self.test.dataset().fingerprint(),
        };
        let path = self.layout().run();
        let Some(found) = state::read::<Identity>(&path)? else {
            self.check_sets()?;
            return state::write(&path, &identity);
        };
        let differing = [
            ("version", found.schema != identity.schema),
            ("configuration", found.config != identity.config),
            ("model", found.model != identity.model),
            ("pool", found.pool != identity.pool),
            ("reference set", found.reference != identity.reference),
            ("test set", found.test != identity.test),
        ];
        match differing.into_iter().find(|(_, differs)| *differs) {
            Some((what, _)) => Err(RoundsError::Another { folder: self.execution.out.clone(), what }),
            None => Ok(()),
        }
    }

    /// Trains, evaluates, and selects for the next round where there is one.
    fn round(&self, round: usize) -> Result<Round, RoundsError> {
        let labelled = self.labelled(round)?;
        let trained = self.train(round, &labelled)?;
        let mut score_s = None;
        if round + 1 < self.config.rounds && self.layout().labeled(round + 1)?.is_none() {
            let began = Instant::now();
            self.layout().settle(round + 1, self.select(round, &labelled)?)?;
            score_s = Some(began.elapsed().as_secs_f64());
        }
        let test = trained.epochs.last().and_then(|epoch| epoch.test);
        Ok(Round {
            round,
            labeled: labelled.len(),
            test_loss: test.map(|test| test.loss).filter(|loss| loss.is_finite()),
            test_accuracy: test.and_then(|test| test.accuracy),
            train_s: trained.epochs.iter().map(|epoch| epoch.seconds).sum(),
            score_s,
        })
    }

    /// Positions of the images that are labelled in `round`, in the order of the pool.
    fn labelled(&self, round: usize) -> Result<Vec<usize>, RoundsError> {
        if self.layout().labeled(0)?.is_none() {
            let drawn = initial::initial(&self.pool, self.initial, self.config.labels.balanced, self.config.seed);
            self.layout().settle(0, drawn.into_iter().map(|place| self.pool.id(place)).collect())?;
        }
        let mut labelled = Vec::new();
        for round in 0..=round {
            for id in self.layout().labeled(round)?.unwrap_or_default() {
                labelled.push(*self.places.get(&id).ok_or(RoundsError::Lost { id, round })?);
            }
        }
        labelled.sort_unstable();
        Ok(labelled)
    }

    /// The seed of whatever is drawn in `round`.
    fn seed(&self, round: usize) -> u64 {
        self.config.seed.wrapping_mul(1_000_003).wrapping_add(round as u64)
    }

    fn subset(&self, positions: &[usize]) -> Result<Dataset, RoundsError> {
        self.pool.subset(positions).map_err(|source| RoundsError::data("data.pool", &self.config.data.pool, source))
    }

    fn train(&self, round: usize, labelled: &[usize]) -> Result<Trained, RoundsError> {
        let out = self.layout().round(round).join("trained");
        // The file that a training writes last.
        if let Some(trained) = state::read::<Trained>(&out.join("metrics.json"))? {
            return Ok(trained);
        }
        let recipe = &self.config.train;
        let before = round.checked_sub(1).filter(|_| recipe.warm_start);
        let options = TrainOptions {
            model: before.map_or_else(|| self.config.model.clone(), |before| self.model(before)),
            task: self.task.clone(),
            class_names: None,
            train: Split::<Labelled>::new(self.subset(labelled)?)?,
            test: Some(self.test.clone()),
            evaluate: Evaluate::Last,
            preprocess: self.preprocess.clone(),
            augment: recipe.augment(self.seed(round)),
            schedule: recipe.schedule(),
            momentum: recipe.momentum,
            nesterov: recipe.nesterov && recipe.momentum > 0.0,
            weight_decay: recipe.weight_decay,
            decay_all: recipe.decay_all,
            label_smoothing: recipe.label_smoothing,
            batch_size: recipe.batch_size,
            seed: self.seed(round),
            threads: self.execution.threads,
            device: self.execution.device.clone(),
            out,
            plugin: self.execution.plugin.clone(),
        };
        let trained = train(&options, self.observer);
        trained.map_err(|source| RoundsError::Train { round, source: Box::new(source) })
    }

    /// The trained model of a round.
    fn model(&self, round: usize) -> PathBuf {
        self.layout().round(round).join("trained").join("model.onnx")
    }

    /// Ids of the images to label after `round`, the most useful first.
    fn select(&self, round: usize, labelled: &[usize]) -> Result<Vec<String>, RoundsError> {
        let open: Vec<usize> = (0..self.pool.len()).filter(|place| labelled.binary_search(place).is_err()).collect();
        let model = self.model(round);
        let failed = |source: ScoringError| RoundsError::Score { round, source: Box::new(source) };
        let source = ModelSource {
            preprocess: Preprocess::beside(&model)?,
            task: ModelOptions { task: task::beside(&model)?, ..ModelOptions::default() },
            model,
            class_names: None,
            labelled: Some(Split::<Labelled>::new(self.subset(labelled)?)?),
            reference: match &self.reference {
                Some(reference) => ReferenceSet::Given(reference.clone()),
                // Not looked at: a strategy that goes by influence has one given.
                None => ReferenceSet::HeldOut { fraction: 0.2, seed: self.config.seed },
            },
            solver: match &self.config.solver {
                Some(solver) => solver.clone(),
                None => SolverOptions::named(DEFAULT_SOLVER).map_err(|e| failed(e.into()))?,
            },
            curvature: CurvatureOptions::default(),
            scope: Scope::Weights,
            engine: None,
            difference: PairedDifference::Auto,
            unproven: Unproven::Refused,
            tangent_rank: None,
            device: self.execution.device.clone(),
            plugin: self.execution.plugin.clone(),
        };
        let options = ScoreOptions {
            source: Source::Model(Box::new(source)),
            pool: Split::<Pool>::new(self.subset(&open)?)?,
            pool_name: self.config.data.pool.display().to_string(),
            jpeg_least_side: None,
            shard: None,
            budget: self.budget,
            strategy: self.config.select.seeded(self.seed(round)),
            exclude: Vec::new(),
            target: self.target.clone(),
            filters: self.config.filters,
            features: self.config.data.features.as_deref().map(Features::from).unwrap_or_default(),
            embeddings: Some(self.execution.out.join("embeddings")),
            duplicates: Duplicates::LeaveOut,
            provider: self.execution.provider,
            batch_size: None,
            threads: self.execution.threads,
            strict: false,
            out: self.layout().round(round).join("scored"),
            scores: None,
            onnxruntime: self.execution.onnxruntime.clone(),
        };
        let outcome = score_pool(&options, self.observer).map_err(failed)?;
        Ok(outcome
            .selection
            .map(|selection| selection.selected.into_iter().map(|s| s.id).collect())
            .unwrap_or_default())
    }
}
