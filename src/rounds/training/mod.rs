//! How a model is trained in each round: by `isal` itself, or by a program of the user's.

mod command;
mod evaluation;
mod figure;
mod isal;
mod lists;
mod process;

pub use command::CommandError;

pub(super) use command::train_by_command;
pub(super) use figure::figure;
pub(super) use isal::train_ourselves;

use super::state::Figure;
use crate::data::{Augment, Labelled, Preprocess, Split, Test};
use crate::task::ModelOptions;
use crate::train::{Evaluate, Evaluation, Schedule, Shape, TrainOptions};
use std::path::PathBuf;

/// What a round's training came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Training {
    /// On the test images.
    pub(super) test: Option<Evaluation>,
    /// The measure of another task than one class an image there, where a program trained.
    pub(super) figure: Option<Figure>,
    /// Wall time.
    pub(super) seconds: f64,
}

/// Who trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `isal`, as `isal train` does.
    Isal,
    /// A program that is given lists of images and leaves an ONNX model.
    Command,
}

/// How a model is trained; the defaults are those of `isal train`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainPart {
    /// Who trains.
    pub kind: Kind,
    /// The program and its arguments, where a command trains.
    pub command: Vec<String>,
    /// Passes over the labelled images.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// Learning rate that the schedule starts from.
    pub learning_rate: f64,
    /// Epochs in which the rate rises from a tenth.
    pub warm_up: f64,
    /// How it falls.
    pub schedule: Shape,
    /// Momentum, in [0, 1).
    pub momentum: f64,
    /// Nesterov's form of it.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether biases, scales and shifts decay too.
    pub decay_all: bool,
    /// The largest norm of the gradient; a longer one is cut to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// What the learning rate of biases, scales and shifts is multiplied by.
    #[serde(skip_serializing_if = "is_one")]
    pub bias_rate: f64,
    /// Share of each target that is spread over all classes, in [0, 1).
    pub label_smoothing: f64,
    /// Mirror images left and right at random.
    pub flip: bool,
    /// Pixels of zeros around an image before a random window of its size is cut.
    pub pad_crop: usize,
    /// Patterns of the names of parameters that stay as they are, such as those of an encoder.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// Start from the weights of the round before instead of the model that was given.
    pub warm_start: bool,
    /// Train on the reference images as well, for a comparison: what somebody could do with their labels.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_reference: bool,
}

impl Default for TrainPart {
    fn default() -> Self {
        TrainPart {
            kind: Kind::Isal,
            command: Vec::new(),
            epochs: 30,
            batch_size: 32,
            learning_rate: 0.05,
            warm_up: 1.0,
            schedule: Shape::Cosine,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 5e-4,
            decay_all: false,
            clip_norm: None,
            bias_rate: 1.0,
            label_smoothing: 0.0,
            flip: false,
            pad_crop: 0,
            freeze: Vec::new(),
            warm_start: false,
            with_reference: false,
        }
    }
}

/// Whether a rate is as it is by default, and not written down.
fn is_one(rate: &f64) -> bool {
    *rate == 1.0
}

/// What a training needs to know besides its numbers and its images.
#[derive(Debug, Clone)]
pub struct Start {
    /// The model whose weights to start from.
    pub model: PathBuf,
    /// Its task, and its inputs besides the images.
    pub task: ModelOptions,
    /// Preprocessing.
    pub preprocess: Preprocess,
    /// Seed of the order, the augmentation and Dropout.
    pub seed: u64,
    /// Threads; 0 takes every core.
    pub threads: usize,
    /// Where the plugin runs.
    pub device: String,
    /// The plugin, when named.
    pub plugin: Option<PathBuf>,
    /// Folder for everything that is written.
    pub out: PathBuf,
}

impl TrainPart {
    /// A training by `isal` with these numbers; `test` is evaluated after the last epoch alone.
    pub fn options(&self, start: Start, train: Split<Labelled>, test: Option<Split<Test>>) -> TrainOptions {
        TrainOptions {
            model: start.model,
            task: start.task,
            class_names: None,
            train,
            test,
            evaluate: Evaluate::Last,
            preprocess: start.preprocess,
            augment: self.augment(start.seed),
            schedule: self.schedule(),
            momentum: self.momentum,
            nesterov: self.nesterov && self.momentum > 0.0,
            weight_decay: self.weight_decay,
            decay_all: self.decay_all,
            clip_norm: self.clip_norm,
            bias_rate: self.bias_rate,
            label_smoothing: self.label_smoothing,
            freeze: self.freeze.clone(),
            batch_size: self.batch_size,
            seed: start.seed,
            threads: start.threads,
            device: start.device,
            out: start.out,
            plugin: start.plugin,
        }
    }

    /// The learning rate over the epochs.
    pub(in crate::rounds) fn schedule(&self) -> Schedule {
        let (base, shape) = (self.learning_rate, self.schedule.clone());
        Schedule { base, epochs: self.epochs, warm_up: self.warm_up, shape }
    }

    /// Random shifts and mirrorings.
    pub(in crate::rounds) fn augment(&self, seed: u64) -> Augment {
        Augment { pad_crop: self.pad_crop, horizontal_flip: self.flip, seed }
    }

    /// The first number that makes no sense, in words.
    pub fn problem(&self) -> Option<String> {
        match self.kind {
            Kind::Isal if !self.command.is_empty() => {
                return Some("train.command is given, and train.kind is not \"command\"".to_owned());
            }
            Kind::Command => return self.problem_of_command(),
            Kind::Isal => {}
        }
        let within = [
            ("learning-rate", self.learning_rate, f64::INFINITY),
            ("warm-up", self.warm_up, f64::INFINITY),
            ("momentum", self.momentum, 1.0),
            ("weight-decay", self.weight_decay, f64::INFINITY),
            ("label-smoothing", self.label_smoothing, 1.0),
            ("bias-rate", self.bias_rate, f64::INFINITY),
        ];
        let found = within.iter().find(|(_, value, end)| !(0.0..*end).contains(value));
        found
            .map(|(key, value, end)| format!("train.{key} is {value}, expected at least 0 and less than {end}"))
            .or_else(|| {
                let norm = self.clip_norm.filter(|norm| !(norm.is_finite() && *norm > 0.0))?;
                Some(format!("train.clip-norm is {norm}, expected a number above 0"))
            })
            .or_else(|| (self.epochs == 0).then(|| "train.epochs is 0, expected at least 1".to_owned()))
            .or_else(|| (self.batch_size == 0).then(|| "train.batch-size is 0, expected at least 1".to_owned()))
    }

    /// A command takes none of the numbers of our own training: what it needs stands in its arguments.
    fn problem_of_command(&self) -> Option<String> {
        if self.command.first().is_none_or(|program| program.trim().is_empty()) {
            return Some("train.kind is \"command\", and train.command names no program".to_owned());
        }
        let command = TrainPart { kind: Kind::Command, command: self.command.clone(), ..TrainPart::default() };
        let own = TrainPart { warm_start: self.warm_start, with_reference: self.with_reference, ..command };
        (*self != own).then(|| {
            "of [train], a command takes `kind`, `command`, `warm-start` and `with-reference` alone: give it other options \
             as arguments"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_training_are_checked() {
        let of = |part: TrainPart| part.problem();
        assert_eq!(of(TrainPart::default()), None);
        for (part, key) in [
            (TrainPart { momentum: 1.0, ..TrainPart::default() }, "momentum"),
            (TrainPart { learning_rate: f64::NAN, ..TrainPart::default() }, "learning-rate"),
            (TrainPart { epochs: 0, ..TrainPart::default() }, "epochs"),
            (TrainPart { bias_rate: -1.0, ..TrainPart::default() }, "bias-rate"),
            (TrainPart { clip_norm: Some(0.0), ..TrainPart::default() }, "clip-norm"),
        ] {
            assert!(of(part).expect("a problem").contains(key));
        }
    }

    #[test]
    fn a_command_is_named_and_takes_no_numbers_of_ours() {
        let command = |words: &[&str]| TrainPart {
            kind: Kind::Command,
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            ..TrainPart::default()
        };
        let taken = TrainPart { warm_start: true, with_reference: true, ..command(&["python3", "train.py"]) };
        assert_eq!(taken.problem(), None);
        assert!(command(&[]).problem().expect("a problem").contains("names no program"));
        assert!(TrainPart { epochs: 3, ..command(&["sh"]) }.problem().expect("a problem").contains("arguments"));
        let of_none = TrainPart { kind: Kind::Isal, ..command(&["sh"]) };
        assert!(of_none.problem().expect("a problem").contains("train.kind"));
    }
}
