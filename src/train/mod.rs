//! Training of any ONNX classifier in place, through the plugin.
//!
//! The architecture is born as ONNX and the trained weights are written back into the same graph, so "export to ONNX" is
//! exact by construction. Stochastic gradient descent with momentum and weight decay on the mean softmax cross-entropy;
//! seeded, so that one machine gives the same weights again; a killed training goes on from its last whole epoch and ends
//! with the weights of an unbroken one.

mod checkpoint;
mod schedule;
mod write_back;

pub use schedule::{Schedule, Shape};

use crate::classifier::{CLASS_NAMES, Classifier, ClassifierError, ClassifierOptions, class_names};
use crate::data::{
    Augment, DataError, Dataset, Labelled, Loader, LoaderOptions, Order, Preprocess, Recipe, RecipeError, Size, Split,
    SplitError, Test,
};
use crate::durable::{self, DurableError, FolderLock};
use crate::error_chain::in_one_line;
use crate::influence::Annotations;
use crate::influence::{EngineError, GradientEngine as _};
use crate::observe::Observer;
use crate::plugin::{LoadOptions, Plugin, PluginEngine, PluginError, TrainStep};
use crate::task::{CLASS_WEIGHTS, Task};
use checkpoint::Checkpoint;
use isal_onnx::{Model, Scope};
use isal_plugin_abi::Status;
use ndarray::{Array2, ArrayView2};
use std::path::PathBuf;
use std::time::Instant;

/// What to train, on what, and how.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The model whose weights to start from.
    pub model: PathBuf,
    /// Its class scores and its inputs besides the images.
    pub classifier: ClassifierOptions,
    /// A file with the names of the classes in the order of the class scores, one a line.
    pub class_names: Option<PathBuf>,
    /// Images to learn from.
    pub train: Split<Labelled>,
    /// Images to evaluate on after each epoch, never to learn from.
    pub test: Option<Split<Test>>,
    /// Preprocessing.
    pub preprocess: Preprocess,
    /// Random shifts and mirrorings.
    pub augment: Augment,
    /// Learning rate.
    pub schedule: Schedule,
    /// Momentum, in [0, 1).
    pub momentum: f64,
    /// Nesterov's form of it.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether biases, scales and shifts decay too.
    pub decay_all: bool,
    /// Share of each target that is spread over all classes, in [0, 1).
    pub label_smoothing: f64,
    /// Images a step.
    pub batch_size: usize,
    /// Seed of the order, the augmentation and Dropout.
    pub seed: u64,
    /// Threads; 0 takes every core.
    pub threads: usize,
    /// Where the plugin runs.
    pub device: String,
    /// Folder for everything that is written.
    pub out: PathBuf,
    /// The plugin, when named.
    pub plugin: Option<PathBuf>,
}

/// What an epoch measured.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// At its first step.
    pub learning_rate: f64,
    /// Mean loss over the augmented training images, each before its step.
    pub train_loss: f64,
    /// Share of them that was classified rightly.
    pub train_accuracy: f64,
    /// On the test images, where there are any.
    pub test: Option<Evaluation>,
    /// Wall time.
    pub seconds: f64,
}

/// What an evaluation measured.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of the images that is classified rightly.
    pub accuracy: f64,
    /// Images it was measured on.
    pub images: usize,
}

/// A finished training.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Trained {
    /// Version of this object.
    pub schema: &'static str,
    /// The model with the trained weights.
    pub model: PathBuf,
    /// SHA-256 of it.
    pub model_sha256: String,
    /// Every epoch.
    pub epochs: Vec<Epoch>,
}

/// Why a training did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// Roles of data sets.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Loss or weights left the floats.
    #[error("the training diverged in epoch {epoch} ({reason}); lower the learning rate, which is {learning_rate}")]
    Diverged {
        /// Counted from 1.
        epoch: usize,
        /// At that point.
        learning_rate: f64,
        /// What the plugin said.
        reason: String,
    },
    /// No image that could be used.
    #[error("none of the {images} training images could be used; the first, `{id}`: {reason}")]
    NoImages {
        /// How many there are.
        images: usize,
        /// Id of the first.
        id: String,
        /// Why it was left out.
        reason: String,
    },
    /// The folder holds a training with other options or data.
    #[error("`{}` holds another training; choose another folder, or remove it", folder.display())]
    Another {
        /// The folder.
        folder: PathBuf,
    },
    /// A checkpoint could not be written or read.
    #[error("checkpoint `{}`", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The observer asked to stop; the last whole epoch is on disk.
    #[error("interrupted after {epochs} epochs")]
    Interrupted {
        /// Whole epochs that are on disk.
        epochs: usize,
    },
    /// Images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Preprocessing.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Files and locks.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// Trains, or goes on with a training that was stopped.
///
/// # Errors
/// [`TrainError`]; whole epochs are kept.
pub fn train(options: &TrainOptions, observer: &dyn Observer) -> Result<Trained, TrainError> {
    let _lock = FolderLock::take(&options.out)?;
    let classifier = Classifier::read_with(&options.model, &options.classifier)?;
    classifier.check_differentiable()?;
    let names = class_names(&classifier, options.class_names.as_deref(), &[options.train.dataset()], None)?;
    names.say(observer);
    let train = Split::<Labelled>::new(options.train.dataset().with_classes(&names.names)?)?;
    let test = match &options.test {
        Some(test) => Some(Split::<Test>::new(test.dataset().with_classes(&names.names)?)?),
        None => None,
    };
    let options = &TrainOptions { train, test, ..options.clone() };
    let sample = options.train.dataset().load(0).ok().map(|i| Size { height: i.height(), width: i.width() });
    let recipe = classifier.recipe(&options.preprocess, sample)?;
    let in_model = |source| ClassifierError::Model { path: options.model.clone(), source };
    let parameters = classifier.model.graph.parameters(&Scope::All).map_err(in_model)?;
    let plugin = Plugin::find(options.plugin.as_deref())?;
    let load = LoadOptions {
        parameters,
        task: Some(Task::single_label(&classifier.logits, classifier.classes).map_err(PluginError::from)?),
        device: options.device.clone(),
        threads: u32::try_from(options.threads).unwrap_or(0),
        ..LoadOptions::default()
    };
    let mut engine = PluginEngine::from_model(&plugin, &classifier.model, &load)?;

    let key = key(options, &classifier, &recipe);
    let path = options.out.join("checkpoint.safetensors");
    let mut history = Vec::new();
    if let Some(checkpoint) = Checkpoint::load(&path)? {
        if checkpoint.key != key {
            return Err(TrainError::Another { folder: options.out.clone() });
        }
        engine.set_state(&checkpoint.state)?;
        history = checkpoint.history;
        observer.say(&format!("going on after epoch {} of {}", history.len(), options.schedule.epochs));
    }
    while history.len() < options.schedule.epochs {
        let number = history.len();
        let epoch = one_epoch(options, &classifier, &recipe, &mut engine, number, observer)?;
        observer.say(&describe(&epoch, options.schedule.epochs));
        history.push(epoch);
        let checkpoint = Checkpoint { key: key.clone(), history: history.clone(), state: engine.state()? };
        checkpoint.save(&path)?;
    }
    // The file as it came: its own inputs and outputs, with other weights.
    let mut model = Model::read(&options.model).map_err(in_model)?;
    model.graph.lift_constants();
    let names = serde_json::to_string(&names.names).unwrap_or_default();
    model.metadata.insert(CLASS_NAMES.to_owned(), names);
    write_back::write_back(&mut model, &engine.state()?).map_err(in_model)?;
    finish(options, &model, history)
}

fn finish(options: &TrainOptions, model: &Model, epochs: Vec<Epoch>) -> Result<Trained, TrainError> {
    let path = options.out.join("model.onnx");
    let in_model = |source| ClassifierError::Model { path: path.clone(), source };
    model.write(&path).map_err(in_model)?;
    // The recipe travels with the weights: what the model was trained on is what it must be fed.
    let preprocess = toml::to_string(&std::collections::BTreeMap::from([("preprocess", &options.preprocess)]));
    durable::write_bytes(&options.out.join("model.toml"), preprocess.unwrap_or_default().as_bytes())?;
    let trained = Trained { schema: "isal-training/1", model: path.clone(), model_sha256: model.sha256(), epochs };
    let json = serde_json::to_vec_pretty(&trained).unwrap_or_default();
    durable::write_bytes(&options.out.join("metrics.json"), &json)?;
    Ok(trained)
}

fn describe(epoch: &Epoch, epochs: usize) -> String {
    let test = epoch
        .test
        .map_or_else(String::new, |t| format!("; test loss {:.4}, accuracy {:.2} %", t.loss, 100.0 * t.accuracy));
    format!(
        "epoch {}/{epochs}: loss {:.4}, accuracy {:.2} %{test} ({:.1} s)",
        epoch.epoch,
        epoch.train_loss,
        100.0 * epoch.train_accuracy,
        epoch.seconds
    )
}

/// All that the weights depend on, as text.
fn key(options: &TrainOptions, classifier: &Classifier, recipe: &Recipe) -> String {
    serde_json::json!({
        "isal": env!("CARGO_PKG_VERSION"),
        "model": classifier.sha256,
        "train": options.train.dataset().fingerprint(),
        "test": options.test.as_ref().map(|t| t.dataset().fingerprint()),
        "recipe": recipe,
        "augment": options.augment,
        "schedule": options.schedule,
        "momentum": options.momentum,
        "nesterov": options.nesterov,
        "weight decay": options.weight_decay,
        "decay all": options.decay_all,
        "label smoothing": options.label_smoothing,
        "batch size": options.batch_size,
        "seed": options.seed,
    })
    .to_string()
}

fn one_epoch(
    options: &TrainOptions,
    classifier: &Classifier,
    recipe: &Recipe,
    engine: &mut PluginEngine,
    number: usize,
    observer: &dyn Observer,
) -> Result<Epoch, TrainError> {
    let began = Instant::now();
    let loader_options = LoaderOptions {
        batch_size: options.batch_size,
        order: Order::Shuffled { seed: options.seed },
        epoch: number as u64,
        augment: Some(options.augment).filter(|a| a.pad_crop > 0 || a.horizontal_flip),
        threads: (options.threads > 0).then_some(options.threads),
        ..LoaderOptions::default()
    };
    let dataset = options.train.dataset();
    let mut loader = Loader::new(dataset.clone(), recipe.clone(), &loader_options)?;
    let steps = dataset.len().div_ceil(options.batch_size).max(1);
    observer.begin(&format!("epoch {}", number + 1), dataset.len() as u64, "images");
    let (mut loss_sum, mut right, mut images) = (0.0, 0, 0);
    for (step, batch) in (&mut loader).enumerate() {
        let batch = batch?;
        if observer.interrupted() {
            observer.end();
            return Err(TrainError::Interrupted { epochs: number });
        }
        let learning_rate = options.schedule.rate(number as f64 + step as f64 / steps as f64);
        let train_step = TrainStep {
            learning_rate,
            momentum: options.momentum,
            weight_decay: options.weight_decay,
            decay_all: options.decay_all,
            nesterov: options.nesterov,
            seed: options.seed ^ ((number * steps + step) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        };
        let annotations = annotations(&batch.labels, classifier.classes, options.label_smoothing);
        let (loss, outputs) =
            engine.train_step(&train_step, batch.images.view(), &annotations).map_err(|error| match error {
                PluginError::Call { status, message, .. } if status == Status::NOT_FINITE.0 => {
                    TrainError::Diverged { epoch: number + 1, learning_rate, reason: message }
                }
                other => other.into(),
            })?;
        loss_sum += loss;
        right += correct(outputs.view(), &batch.labels);
        images += batch.labels.len();
        observer.advance(batch.labels.len() as u64);
    }
    observer.end();
    if let (0, Some(first)) = (images, loader.skipped().first()) {
        let (id, reason) = (first.id.clone(), in_one_line(&first.reason));
        return Err(TrainError::NoImages { images: dataset.len(), id, reason });
    }
    if number == 0 {
        for skipped in loader.skipped() {
            let reason = in_one_line(&skipped.reason);
            observer.say(&format!("warning: training image `{}` left out: {reason}", skipped.id));
        }
    }
    let test = match &options.test {
        Some(test) => Some(evaluate(engine, test.dataset(), recipe, options.batch_size)?),
        None => None,
    };
    Ok(Epoch {
        epoch: number + 1,
        learning_rate: options.schedule.rate(number as f64),
        train_loss: loss_sum / images.max(1) as f64,
        train_accuracy: right as f64 / images.max(1) as f64,
        test,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// One-hot weights, a share of each spread over all classes.
fn annotations(labels: &[Option<u32>], classes: usize, smoothing: f64) -> Annotations {
    let mut weights = Array2::from_elem((labels.len(), classes), (smoothing / classes as f64) as f32);
    for (mut row, label) in weights.rows_mut().into_iter().zip(labels) {
        if let Some(entry) = label.and_then(|l| row.get_mut(l as usize)) {
            *entry += (1.0 - smoothing) as f32;
        }
    }
    Annotations::numbers(CLASS_WEIGHTS, weights)
}

fn correct(outputs: ArrayView2<f32>, labels: &[Option<u32>]) -> usize {
    let best = |row: ndarray::ArrayView1<f32>| {
        row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (c, x)| if *x > best.1 { (c, *x) } else { best }).0
    };
    outputs.outer_iter().zip(labels).filter(|(row, label)| label.is_some_and(|l| l as usize == best(*row))).count()
}

/// Loss and accuracy of the engine's model, in evaluation mode, on labelled images.
///
/// # Errors
/// A bad image, or the engine's error.
pub fn evaluate(
    engine: &mut PluginEngine,
    dataset: &Dataset,
    recipe: &Recipe,
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    let options = LoaderOptions { batch_size, ..LoaderOptions::default() };
    let (mut loss, mut right, mut images) = (0.0, 0, 0);
    for batch in Loader::new(dataset.clone(), recipe.clone(), &options)? {
        let batch = batch?;
        let outputs = engine.forward(batch.images.view())?;
        right += correct(outputs.view(), &batch.labels);
        images += batch.labels.len();
        loss += cross_entropy(outputs.view(), &batch.labels);
    }
    let count = images.max(1) as f64;
    Ok(Evaluation { loss: loss / count, accuracy: right as f64 / count, images })
}

/// Sum over the batch of `-log softmax(o)[label]`, in float64.
fn cross_entropy(outputs: ArrayView2<f32>, labels: &[Option<u32>]) -> f64 {
    let mut sum = 0.0;
    for (row, label) in outputs.outer_iter().zip(labels) {
        let top = row.iter().fold(f64::NEG_INFINITY, |a, b| a.max(f64::from(*b)));
        let log_sum = row.iter().map(|o| (f64::from(*o) - top).exp()).sum::<f64>().ln() + top;
        sum += label.and_then(|l| row.get(l as usize)).map_or(0.0, |o| log_sum - f64::from(*o));
    }
    sum
}
