//! `isal train`: any ONNX model in place.

use super::model_arguments::ModelArguments;
use super::recipe::RecipeOptions;
use super::{BadRequest, Context, Interrupted, Outcome};
use crate::data::{Augment, Labelled, Split, Test};
use crate::train::{Evaluate, Schedule, Shape, TrainError, TrainOptions, train};
use clap::Args;
use std::path::{Path, PathBuf};

/// What to train, on what.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Options {
    /// The model to start from
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    model: PathBuf,
    #[command(flatten)]
    about: ModelArguments,
    /// Names of the classes in the order of the class scores, one a line (default: the model's own, a file of labels beside
    /// it, the folders of the images)
    #[arg(long = "classes", value_name = "FILE", help_heading = "Model", hide_short_help = true)]
    class_names: Option<PathBuf>,
    /// Labelled images to learn from
    #[arg(long, value_name = "DATA", help_heading = "Data")]
    train: PathBuf,
    /// Labelled images to evaluate on after each epoch
    #[arg(long, value_name = "DATA", help_heading = "Data")]
    test: Option<PathBuf>,
    /// Mirror images left and right at random
    #[arg(long, help_heading = "Data")]
    flip: bool,
    /// Pixels of zeros around an image before a random window of its size is cut
    #[arg(long, default_value_t = 0, value_name = "PIXELS", help_heading = "Data", hide_short_help = true)]
    pad_crop: usize,
    #[command(flatten)]
    recipe: RecipeOptions,
    /// End at the first box that is none (empty, outside of its image), instead of leaving it out
    #[arg(long, help_heading = "Data", hide_short_help = true)]
    strict: bool,
    /// Parameters that stay as they are, by patterns of their names such as "layer1.*"
    ///
    /// A BatchNormalization whose scale and shift are both frozen goes by its running statistics and leaves them as they are.
    /// `isal graph show --scope all` lists the names.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', num_args = 1.., help_heading = "Training")]
    freeze: Vec<String>,
    /// Passes over the training images
    #[arg(long, default_value_t = 30, value_name = "N", help_heading = "Training")]
    epochs: usize,
    /// Images a step
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536), value_name = "N")]
    #[arg(help_heading = "Training")]
    batch_size: u32,
    /// Learning rate that the schedule starts from
    #[arg(long, default_value_t = 0.05, value_name = "RATE", help_heading = "Training")]
    learning_rate: f64,
    /// How it falls
    #[arg(long, default_value = "cosine", value_parser = ["cosine", "step", "constant"], help_heading = "Training")]
    schedule: String,
    /// Epochs at which a step schedule falls (default: half and three quarters of the way)
    #[arg(long, value_delimiter = ',', value_name = "EPOCHS", help_heading = "Training", hide_short_help = true)]
    milestones: Vec<usize>,
    /// What a step schedule multiplies the rate by
    #[arg(long, default_value_t = 0.1, value_name = "FACTOR", help_heading = "Training", hide_short_help = true)]
    step_factor: f64,
    /// Epochs in which the rate rises from a tenth
    #[arg(long, default_value_t = 1.0, value_name = "EPOCHS", help_heading = "Training", hide_short_help = true)]
    warm_up: f64,
    /// Momentum
    #[arg(long, default_value_t = 0.9, help_heading = "Training", hide_short_help = true)]
    momentum: f64,
    /// Plain momentum instead of Nesterov's
    #[arg(long, help_heading = "Training", hide_short_help = true)]
    no_nesterov: bool,
    /// Weight decay
    #[arg(long, default_value_t = 5e-4, value_name = "DECAY", help_heading = "Training", hide_short_help = true)]
    weight_decay: f64,
    /// Let biases, scales and shifts decay too
    #[arg(long, help_heading = "Training", hide_short_help = true)]
    decay_all: bool,
    /// Cut the gradient to this norm where it is longer
    #[arg(long, value_name = "NORM", help_heading = "Training", hide_short_help = true)]
    clip_norm: Option<f64>,
    /// What the learning rate of biases, scales and shifts is multiplied by
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", help_heading = "Training", hide_short_help = true)]
    bias_rate: f64,
    /// Share of each target that is spread over all classes
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", help_heading = "Training", hide_short_help = true)]
    label_smoothing: f64,
    /// Seed of order, augmentation and Dropout
    #[arg(long, default_value_t = 0, help_heading = "Training", hide_short_help = true)]
    seed: u64,
    /// Where to compute: cpu, cuda, cuda:1
    #[arg(long, default_value = "cpu", help_heading = "Execution")]
    device: String,
    /// Folder for everything that is written
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
}

const AFTER: &str = "\
The folder given with -o gets model.onnx, its recipe model.toml, metrics.json, and a checkpoint after each epoch. The \
same command goes on after an interruption and ends with the same weights.

Examples:
  isal train --model resnet20.onnx --train cifar.tgz#train --test cifar.tgz#test --flip -o trained
  isal train --model start.onnx --train labeled/ --freeze \"layer[12].*\" -o tuned";

pub(super) fn run(given: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let options = train_options(given, context)?;
    let trained = train(&options, &context.progress).map_err(|error| match error {
        TrainError::Interrupted { .. } => anyhow::Error::new(error).context(Interrupted),
        other => anyhow::Error::new(other).context("cannot train"),
    })?;
    let mut text = format!("{}: {} epochs", trained.model.display(), trained.epochs.len());
    if let Some(last) = trained.epochs.last() {
        let accuracy =
            |share: Option<f64>| share.map_or_else(String::new, |a| format!(", accuracy {:.2} %", 100.0 * a));
        text += &format!(", training loss {:.4}{}", last.train_loss, accuracy(last.train_accuracy));
        if let Some(test) = last.test {
            text += &format!("; test loss {:.4}{} of {} images", test.loss, accuracy(test.accuracy), test.images);
        }
    }
    context.print(&text, &trained)?;
    Ok(Outcome::Done)
}

fn train_options(given: &Options, context: &Context) -> anyhow::Result<TrainOptions> {
    let within = |name: &str, value: f64, range: std::ops::Range<f64>| {
        if range.contains(&value) {
            return Ok(());
        }
        Err(BadRequest(format!("`{name}` is {value}, expected at least {} and less than {}", range.start, range.end)))
    };
    within("--momentum", given.momentum, 0.0..1.0)?;
    within("--label-smoothing", given.label_smoothing, 0.0..1.0)?;
    within("--learning-rate", given.learning_rate, 0.0..f64::INFINITY)?;
    within("--weight-decay", given.weight_decay, 0.0..f64::INFINITY)?;
    within("--bias-rate", given.bias_rate, 0.0..f64::INFINITY)?;
    if let Some(norm) = given.clip_norm.filter(|norm| !(norm.is_finite() && *norm > 0.0)) {
        return Err(BadRequest(format!("`--clip-norm` is {norm}, expected a number above 0")).into());
    }
    within("--warm-up", given.warm_up, 0.0..f64::INFINITY)?;
    let shape = match given.schedule.as_str() {
        "constant" => Shape::Constant,
        "step" => {
            let usual = || vec![given.epochs / 2, given.epochs * 3 / 4];
            let milestones = if given.milestones.is_empty() { usual() } else { given.milestones.clone() };
            Shape::Step { milestones, factor: given.step_factor }
        }
        _ => Shape::Cosine,
    };
    let task = given.about.options(&given.model, 1)?;
    if given.label_smoothing > 0.0 && !task.is_single_label() {
        return Err(BadRequest("`--label-smoothing` is for tasks of one class an image".into()).into());
    }
    let open = |path: &Path, option: &str| given.recipe.open_for(&task, path, option, given.strict);
    let train = Split::<Labelled>::new(open(&given.train, "--train")?)?;
    let test = match &given.test {
        Some(path) => {
            let test = open(path, "--test")?;
            // Boxes count as the model does, by names, which a small set may lack.
            let of_boxes = train.dataset().has_classes_of_fields();
            let test = if of_boxes { test } else { test.with_classes(train.dataset().classes())? };
            let test = Split::<Test>::new(test)?;
            test.check_disjoint(&train)?;
            Some(test)
        }
        None => None,
    };
    Ok(TrainOptions {
        freeze: given.freeze.clone(),
        model: given.model.clone(),
        preprocess: given.recipe.preprocess(&given.model, &task)?,
        task,
        class_names: given.class_names.clone(),
        train,
        test,
        evaluate: Evaluate::EachEpoch,
        augment: Augment { pad_crop: given.pad_crop, horizontal_flip: given.flip, seed: given.seed },
        schedule: Schedule { base: given.learning_rate, epochs: given.epochs, warm_up: given.warm_up, shape },
        momentum: given.momentum,
        nesterov: !given.no_nesterov && given.momentum > 0.0,
        weight_decay: given.weight_decay,
        decay_all: given.decay_all,
        clip_norm: given.clip_norm,
        bias_rate: given.bias_rate,
        label_smoothing: given.label_smoothing,
        batch_size: given.batch_size as usize,
        seed: given.seed,
        threads: context.global.threads,
        device: given.device.clone(),
        out: given.output.clone(),
        plugin: context.global.plugin.clone(),
    })
}
