//! Training of any ONNX model in place, through the plugin and the loss graph of its task.
//!
//! The architecture is born as ONNX and the trained weights are written back into the same graph, so "export to ONNX" is
//! exact by construction. Stochastic gradient descent with momentum and weight decay on the mean loss of a batch;
//! seeded, so that one machine gives the same weights again; a killed training goes on from its last whole epoch and ends
//! with the weights of an unbroken one.

mod checkpoint;
mod error;
mod freeze;
mod schedule;
mod write_back;

pub use error::TrainError;
pub use schedule::{Schedule, Shape};

use crate::classifier::{CLASS_NAMES, class_names, names_of_fields};
use crate::data::{Augment, Dataset, Labelled, Loader, LoaderOptions, Order, Preprocess, Recipe, Size, Split, Test};
use crate::durable::{self, FolderLock};
use crate::error_chain::in_one_line;
use crate::families::{self, Family, Setting};
use crate::influence::{Annotation, Annotations, GradientEngine as _};
use crate::network::NetworkError;
use crate::observe::Observer;
use crate::plugin::{LoadOptions, Plugin, PluginEngine, PluginError, TrainStep};
use crate::task::{self, ModelOptions, TaskModel};
use checkpoint::Checkpoint;
use isal_onnx::{Model, Scope};
use isal_plugin_abi::Status;
use ndarray::{ArrayViewD, Ix2};
use std::path::PathBuf;
use std::time::Instant;

/// What to train, on what, and how.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The model whose weights to start from.
    pub model: PathBuf,
    /// Its task, and its inputs besides the images.
    pub task: ModelOptions,
    /// A file with the names of the classes in the order of the class scores, one a line.
    pub class_names: Option<PathBuf>,
    /// Images to learn from.
    pub train: Split<Labelled>,
    /// Images to evaluate on, never to learn from.
    pub test: Option<Split<Test>>,
    /// After which epochs.
    pub evaluate: Evaluate,
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
    /// The largest norm of the gradient; a longer one is cut to it.
    pub clip_norm: Option<f64>,
    /// What the learning rate of biases, scales and shifts is multiplied by.
    pub bias_rate: f64,
    /// Share of each target that is spread over all classes, in [0, 1).
    pub label_smoothing: f64,
    /// Patterns of the names of parameters that stay as they are. A BatchNormalization whose scale and shift both do is taken by
    /// its running statistics, as in use, and leaves them as they are too.
    pub freeze: Vec<String>,
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

/// When a training is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluate {
    /// After each epoch.
    EachEpoch,
    /// After the last one alone.
    Last,
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
    /// Share of them that was classified rightly, where images have one class each.
    pub train_accuracy: Option<f64>,
    /// On the test images, where there are any and they were due.
    pub test: Option<Evaluation>,
    /// Wall time.
    pub seconds: f64,
}

/// What an evaluation measured.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Share of the images that is classified rightly, where images have one class each.
    pub accuracy: Option<f64>,
    /// Images it was measured on.
    pub images: usize,
}

/// A finished training.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Trained {
    /// Version of this object.
    pub schema: String,
    /// The model with the trained weights.
    pub model: PathBuf,
    /// SHA-256 of it.
    pub model_sha256: String,
    /// Every epoch.
    pub epochs: Vec<Epoch>,
}

/// Trains, or goes on with a training that was stopped.
///
/// # Errors
/// [`TrainError`]; whole epochs are kept. A pattern of [`TrainOptions::freeze`] that matches no parameter, and patterns that leave
/// none to train.
pub fn train(options: &TrainOptions, observer: &dyn Observer) -> Result<Trained, TrainError> {
    let _lock = FolderLock::take(&options.out)?;
    let model = TaskModel::read(&options.model, &options.task)?;
    model.check_differentiable()?;
    let TaskModel { network, task, classes, .. } = &model;
    let sample = options.train.dataset().load(0).ok().map(|i| Size { height: i.height(), width: i.width() });
    let recipe = network.recipe(&options.preprocess, sample)?;
    let names = match *classes {
        0 => names_of_fields(&[options.train.dataset()]),
        classes => {
            let named = options.task.is_single_label() || options.train.dataset().has_classes_of_fields();
            let folders: &[&Dataset] = if named { &[options.train.dataset()] } else { &[] };
            let names = class_names(network, classes, options.class_names.as_deref(), folders, None)?;
            names.say(observer);
            Some(names)
        }
    };
    let setting = Setting::of(task, recipe.clone(), names);
    let names = setting.classes.clone();
    let family = families::of(&task.name, setting);
    let Augment { pad_crop, horizontal_flip, .. } = options.augment;
    if (pad_crop > 0 && family.is_tied_to_places()) || (horizontal_flip && !family.follows_mirroring()) {
        return Err(TrainError::Augmented { task: task.name.clone() });
    }
    let train = Split::<Labelled>::new(family.as_the_model_counts(options.train.dataset())?)?;
    let test = match &options.test {
        Some(test) => Some(Split::<Test>::new(family.as_the_model_counts(test.dataset())?)?),
        None => None,
    };
    let options = &TrainOptions { train, test, ..options.clone() };
    families::say_dropped("training", options.train.dataset(), observer);
    if let Some(test) = &options.test {
        families::say_dropped("test", test.dataset(), observer);
    }
    let plugin = Plugin::find(options.plugin.as_deref())?;
    let frozen = &options.freeze;
    let freezing = |source| TrainError::from(NetworkError::model(&options.model, source));
    let trained = freeze::without(&network.model, frozen).map_err(freezing)?;
    if trained.parameters.is_empty() {
        return Err(TrainError::AllFrozen { patterns: frozen.to_vec() });
    }
    if !frozen.is_empty() {
        let (left, all) = (trained.parameters.len(), network.parameters(&Scope::All)?.len());
        observer.say(&format!("{left} of {all} parameters are trained, {} are frozen", all - left));
    }
    let load = LoadOptions::for_task(task, trained.parameters, &options.device, options.threads);
    let mut engine = PluginEngine::from_model(&plugin, &trained.model, &load)?;

    let key = key(options, &model, &recipe);
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
        let epoch = one_epoch(options, family.as_ref(), &recipe, &mut engine, number, observer)?;
        observer.say(&describe(&epoch, options.schedule.epochs));
        history.push(epoch);
        let checkpoint = Checkpoint { key: key.clone(), history: history.clone(), state: engine.state()? };
        checkpoint.save(&path)?;
    }
    // The file as it came: its own inputs and outputs, with other weights.
    let in_model = |source| NetworkError::model(&options.model, source);
    let mut model = Model::read(&options.model).map_err(in_model)?;
    model.graph.lift_constants();
    if !names.is_empty() {
        model.metadata.insert(CLASS_NAMES.to_owned(), serde_json::to_string(&names).unwrap_or_default());
    }
    write_back::write_back(&mut model, &engine.state()?).map_err(in_model)?;
    finish(options, &model, history)
}

fn finish(options: &TrainOptions, model: &Model, epochs: Vec<Epoch>) -> Result<Trained, TrainError> {
    let path = options.out.join("model.onnx");
    model.write(&path).map_err(|source| NetworkError::model(&path, source))?;
    // What the model was trained on is what it must be fed, and for: recipe and task travel with the weights.
    let beside = task::text_beside(&options.out, &options.preprocess, options.task.task.as_ref())?;
    durable::write_bytes(&options.out.join("model.toml"), beside.as_bytes())?;
    let trained =
        Trained { schema: "isal-training/1".to_owned(), model: path.clone(), model_sha256: model.sha256(), epochs };
    let json = serde_json::to_vec_pretty(&trained).unwrap_or_default();
    durable::write_bytes(&options.out.join("metrics.json"), &json)?;
    Ok(trained)
}

fn is_augmented(augment: &Augment) -> bool {
    augment.pad_crop > 0 || augment.horizontal_flip
}

fn describe(epoch: &Epoch, epochs: usize) -> String {
    let accuracy = |share: Option<f64>| share.map_or_else(String::new, |a| format!(", accuracy {:.2} %", 100.0 * a));
    let test = epoch.test.map_or_else(String::new, |t| format!("; test loss {:.4}{}", t.loss, accuracy(t.accuracy)));
    let (loss, right) = (epoch.train_loss, accuracy(epoch.train_accuracy));
    format!("epoch {}/{epochs}: loss {loss:.4}{right}{test} ({:.1} s)", epoch.epoch, epoch.seconds)
}

/// All that the weights depend on, as text.
fn key(options: &TrainOptions, model: &TaskModel, recipe: &Recipe) -> String {
    let mut key = serde_json::json!({
        "isal": env!("CARGO_PKG_VERSION"),
        "model": model.network.sha256,
        "task": model.task.loss_text(),
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
    });
    if !options.freeze.is_empty() {
        key["freeze"] = options.freeze.clone().into();
    }
    if let Some(norm) = options.clip_norm {
        key["clip norm"] = norm.into();
    }
    if options.bias_rate != 1.0 {
        key["bias rate"] = options.bias_rate.into();
    }
    key.to_string()
}

fn one_epoch(
    options: &TrainOptions,
    family: &dyn Family,
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
        augment: Some(options.augment).filter(is_augmented),
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
            clip_norm: options.clip_norm,
            bias_rate: options.bias_rate,
            nesterov: options.nesterov,
            seed: options.seed ^ ((number * steps + step) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        };
        let mirrored =
            |index| loader_options.augment.is_some_and(|augment| augment.mirrors(loader_options.epoch, index));
        let annotations = families::annotations_seen(family, dataset, &batch.indices, mirrored, TrainError::from)?;
        let annotations = smoothed(annotations, options.label_smoothing);
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
    let due = options.evaluate == Evaluate::EachEpoch || number + 1 == options.schedule.epochs;
    let test = match options.test.as_ref().filter(|_| due) {
        Some(test) => Some(evaluate(engine, family, test.dataset(), recipe, options.batch_size)?),
        None => None,
    };
    Ok(Epoch {
        epoch: number + 1,
        learning_rate: options.schedule.rate(number as f64),
        train_loss: loss_sum / images.max(1) as f64,
        train_accuracy: family.goes_by_labels().then(|| right as f64 / images.max(1) as f64),
        test,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Weights of classes of which a share is spread over all.
fn smoothed(annotations: Annotations, smoothing: f64) -> Annotations {
    if smoothing == 0.0 {
        return annotations;
    }
    annotations.map(|annotation| match annotation {
        Annotation::Float(weights) => {
            let classes = weights.shape().last().copied().unwrap_or(1).max(1) as f64;
            let spread = |weight: f32| (f64::from(weight) * (1.0 - smoothing) + smoothing / classes) as f32;
            Annotation::Float(weights.mapv(spread))
        }
        whole => whole,
    })
}

/// How many of the images are classified rightly by class scores `[N, C]`; 0 where outputs are something else.
fn correct(outputs: ArrayViewD<f32>, labels: &[Option<u32>]) -> usize {
    let Ok(outputs) = outputs.into_dimensionality::<Ix2>() else { return 0 };
    let best = |row: ndarray::ArrayView1<f32>| {
        row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (c, x)| if *x > best.1 { (c, *x) } else { best }).0
    };
    outputs.outer_iter().zip(labels).filter(|(row, label)| label.is_some_and(|l| l as usize == best(*row))).count()
}

/// Loss and accuracy of the engine's model, in evaluation mode, on annotated images.
///
/// # Errors
/// A bad image, or the engine's error.
pub fn evaluate(
    engine: &mut PluginEngine,
    family: &dyn Family,
    dataset: &Dataset,
    recipe: &Recipe,
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    let options = LoaderOptions { batch_size, ..LoaderOptions::default() };
    let (mut loss, mut right, mut images) = (0.0, 0, 0);
    for batch in Loader::new(dataset.clone(), recipe.clone(), &options)? {
        let batch = batch?;
        let annotations = families::annotations(family, dataset, &batch.indices, TrainError::from)?;
        loss += engine.losses(batch.images.view(), &annotations)?.into_iter().map(f64::from).sum::<f64>();
        if family.goes_by_labels() {
            right += correct(engine.forward(batch.images.view())?.view().into_dyn(), &batch.labels);
        }
        images += batch.indices.len();
    }
    let count = images.max(1) as f64;
    let accuracy = family.goes_by_labels().then(|| right as f64 / count);
    Ok(Evaluation { loss: loss / count, accuracy, images })
}
