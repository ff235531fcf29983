//! One version of a model: its sessions, its queue, and the threads that run one on the other.

use super::batch;
use super::datatype::Datatype;
use super::harvest::{Harvest, Kept};
use super::limits::Limits;
use super::queue::Queue;
use super::repository::Found;
use super::signature::{Signature, SignatureError};
use super::stats::Stats;
use super::warmup::{self, WarmupError};
use crate::data::{Preprocess, PreprocessError, Recipe, RecipeError};
use crate::network::Network;
use crate::runtime::{ByteSession, ExecutionProvider, Library, RuntimeError, SessionOptions, threads_for};
use isal_onnx::Model;
use isal_onnx::influence::{INFLUENCE, InfluenceMetadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a version of a model cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is no sound model.
    #[error("`{}`: {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: isal_onnx::Error,
    },
    /// ONNX Runtime does not take it.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// It does not go together with its configuration.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It does not warm up as its configuration says.
    #[error(transparent)]
    Warmup(#[from] WarmupError),
    /// The preprocessing beside it cannot be read.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The preprocessing does not fit the model.
    #[error("preprocessing of `{}`: {source}", path.display())]
    Recipe {
        /// The model.
        path: PathBuf,
        /// What does not fit.
        source: RecipeError,
    },
    /// An influence graph whose recipe cannot be read.
    #[error("`{}` carries preprocessing that is no recipe: {source}", path.display())]
    Carried {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        source: Arc<serde_json::Error>,
    },
    /// The system gives no thread.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// The system's reason.
        source: std::io::Error,
    },
}

/// How models are run.
#[derive(Debug, Clone)]
pub struct Running {
    /// Where ONNX Runtime runs.
    pub provider: ExecutionProvider,
    /// Threads that all sessions of a model share; 0 takes every core.
    pub threads: usize,
    /// Sessions of a model, where its `config.pbtxt` says nothing.
    pub instances: usize,
    /// Bounds on the queue and on time.
    pub limits: Limits,
}

/// One version of a model, ready to answer.
#[derive(Debug)]
pub struct Version {
    /// The model's name.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// What it takes and gives.
    pub signature: Signature,
    /// Names of the elements of each output, in the model's order; empty where they have none.
    pub labels: Vec<Vec<String>>,
    /// How encoded images become the model's one input, where that is known.
    pub recipe: Option<Recipe>,
    /// What an influence graph says of itself.
    pub influence: Option<InfluenceMetadata>,
    /// SHA-256 of its file's content, where it is an influence graph.
    pub sha256: Option<String>,
    /// By what its requests are kept for labelling, where they are.
    pub(super) kept: Option<Arc<Kept>>,
    /// The execution provider that runs it.
    pub provider: ExecutionProvider,
    /// What it has done.
    pub stats: Arc<Stats>,
    /// What waits for it.
    pub queue: Arc<Queue>,
}

impl Version {
    /// Loads a version out of `path`.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(
        library: &Library,
        (name, number, path): (&str, u64, &Path),
        found: &Found,
        running: &Running,
        (stats, harvest): (Arc<Stats>, Option<&Harvest>),
    ) -> Result<Version, LoadError> {
        // Read here first: ONNX Runtime would follow external data anywhere.
        let model = Model::read(path).map_err(|source| LoadError::Model { path: path.to_path_buf(), source })?;
        let influence = InfluenceMetadata::of(&model);
        let sha256 = influence.as_ref().map(|_| model.sha256());
        let recipe = recipe(model, path, influence.as_ref())?;
        let instances = match &found.config {
            Some(config) => config.instance_group.iter().map(|g| usize::try_from(g.count.max(1)).unwrap_or(1)).sum(),
            None => 0,
        };
        let instances = if instances == 0 { running.instances } else { instances }.clamp(1, 64);
        let threads = (threads_for(running.threads) / instances).max(1);
        let options = SessionOptions { provider: running.provider, threads };
        let mut sessions = Vec::with_capacity(instances);
        for _ in 0..instances {
            sessions.push(ByteSession::open(library, path, options)?);
        }
        let (inputs, outputs, provider) = match sessions.first() {
            Some(session) => (session.inputs(), session.outputs(), session.provider()),
            None => (&[][..], &[][..], running.provider),
        };
        let signature = Signature::of(name, (inputs, outputs), found.config.as_ref(), instances, &running.limits)?;
        let carried = carried_classes(influence.as_ref());
        let labels = signature.outputs.iter().map(|output| match found.labels.get(&output.name) {
            Some(labels) => labels.clone(),
            None if output.shape.len() == 2 && output.shape[1] == Some(carried.len()) => carried.clone(),
            None => Vec::new(),
        });
        let labels = labels.collect();
        let recipe = recipe.filter(|recipe| takes_images(&signature, recipe));
        let queue = Arc::new(Queue::new(signature.batching.clone(), signature.queue));
        let mut version = Version {
            name: name.to_owned(),
            number,
            signature,
            labels,
            recipe,
            influence,
            sha256,
            kept: None,
            provider,
            stats,
            queue,
        };
        // From here on dropping the version ends the threads.
        for mut session in sessions {
            warmup::run(&mut session, &version.signature, &running.limits)?;
            version.start(session)?;
        }
        if let Some(harvest) = harvest.filter(|_| version.is_of_one_input() && version.influence_output().is_some()) {
            let sha256 = version.sha256.as_deref().unwrap_or_default();
            version.kept = Some(harvest.keep(name, number, sha256, version.recipe.as_ref()));
        }
        Ok(version)
    }

    /// Which output holds influences, where it is an influence graph. A shadow model is none: it has the model's outputs alone.
    pub fn influence_output(&self) -> Option<usize> {
        self.influence.as_ref()?;
        self.signature.outputs.iter().position(|output| output.name == INFLUENCE)
    }

    /// Whether a request can be kept as one image or one array.
    fn is_of_one_input(&self) -> bool {
        matches!(self.signature.inputs.as_slice(), [input] if input.datatype != Datatype::Bytes)
    }

    /// A thread that runs the queue's batches on `session` until the queue is closed.
    fn start(&self, mut session: ByteSession) -> Result<(), LoadError> {
        let (queue, stats) = (Arc::clone(&self.queue), Arc::clone(&self.stats));
        let influence = self.influence_output();
        let batched = self.signature.max_batch > 0;
        let work = move || {
            while let Some(jobs) = queue.next() {
                batch::run(&mut session, jobs, batched, influence, &stats);
            }
        };
        let thread = std::thread::Builder::new().name(format!("{}/{}", self.name, self.number));
        thread.spawn(work).map(drop).map_err(|source| LoadError::Thread { source })
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The preprocessing that an influence graph carries, or that stands in a `.toml` beside a model.
fn recipe(model: Model, path: &Path, influence: Option<&InfluenceMetadata>) -> Result<Option<Recipe>, LoadError> {
    if let Some(text) = influence.and_then(|metadata| metadata.get("preprocessing")) {
        let carried = |source| LoadError::Carried { path: path.to_path_buf(), source: Arc::new(source) };
        return serde_json::from_str(text).map(Some).map_err(carried);
    }
    let beside = path.with_extension("toml");
    // A link could lead anywhere.
    if !std::fs::symlink_metadata(&beside).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let preprocess = Preprocess::beside(path)?;
    let Ok(network) = Network::of(model, path) else { return Ok(None) };
    let recipe = network.recipe(&preprocess, None);
    recipe.map(Some).map_err(|source| LoadError::Recipe { path: path.to_path_buf(), source })
}

/// Whether the one input takes what the recipe makes.
fn takes_images(signature: &Signature, recipe: &Recipe) -> bool {
    let (_, second, third, fourth) = recipe.batch_shape(1);
    match signature.inputs.as_slice() {
        [input] => {
            let axes = [second, third, fourth];
            input.shape.len() == 4
                && signature.max_batch > 0
                && input.shape[1..].iter().zip(axes).all(|(size, made)| size.is_none_or(|size| size == made))
        }
        _ => false,
    }
}

fn carried_classes(influence: Option<&InfluenceMetadata>) -> Vec<String> {
    influence
        .and_then(|metadata| metadata.get("classes"))
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
