//! What a run is made of, as its file says it.

use crate::data::Augment;
use crate::influence::SolverOptions;
use crate::select::{Filters, StrategyOptions};
use crate::train::{Schedule, Shape};
use std::path::PathBuf;

/// A run. Paths are taken from the folder that the command is called in.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunConfig {
    /// Decides the first images, the order of training and what a strategy draws: another seed is another run.
    #[serde(default)]
    pub seed: u64,
    /// Trainings in all; between two of them images are selected and labelled.
    pub rounds: usize,
    /// The untrained, or pretrained, model that each round's training starts from.
    pub model: PathBuf,
    /// The images.
    pub data: DataPart,
    /// How many labels, and when.
    pub labels: LabelsPart,
    /// How a model is trained.
    #[serde(default)]
    pub train: TrainPart,
    /// How images are selected: a strategy with its options.
    #[serde(default = "StrategyOptions::influence_batch")]
    pub select: StrategyOptions,
    /// What every selection keeps to.
    #[serde(default)]
    pub filters: Filters,
    /// How `s` is solved, for strategies that go by influence.
    #[serde(default)]
    pub solver: Option<SolverOptions>,
}

/// The images of a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataPart {
    /// Labelled images, whose labels are taken as unknown until they are selected.
    pub pool: PathBuf,
    /// Labelled images that influence is measured on; never test images.
    #[serde(default)]
    pub reference: Option<PathBuf>,
    /// Features of a joint strategy: a value of the model, or another network as `ENCODER.onnx` or `ENCODER.onnx:VALUE`; what
    /// goes into the model's last layer where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// What a joint strategy serves in the place of the reference set: images with or without labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PathBuf>,
    /// Labelled images that every round's model is evaluated on, and nothing else is done with.
    pub test: PathBuf,
}

/// A number of images, or a share of the pool.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// So many.
    Count(usize),
    /// A share, in (0, 1), of the whole pool as it was at first.
    Share(f64),
}

impl Amount {
    /// Images, of a pool of `pool`; `None` where it is no such number.
    pub fn of(self, pool: usize) -> Option<usize> {
        match self {
            Amount::Count(count) => Some(count).filter(|count| *count > 0),
            Amount::Share(share) if share > 0.0 && share < 1.0 => Some(((share * pool as f64).round() as usize).max(1)),
            Amount::Share(_) => None,
        }
    }
}

/// How many labels, and when.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LabelsPart {
    /// Labelled before the first training.
    pub initial: Amount,
    /// Whether these are as many of each class as there can be; else they are drawn from all alike.
    #[serde(default)]
    pub balanced: bool,
    /// Labelled after each training but the last.
    pub budget: Amount,
}

/// How a model is trained; the defaults are those of `isal train`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainPart {
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
    /// Share of each target that is spread over all classes, in [0, 1).
    pub label_smoothing: f64,
    /// Mirror images left and right at random.
    pub flip: bool,
    /// Pixels of zeros around an image before a random window of its size is cut.
    pub pad_crop: usize,
    /// Start from the weights of the round before instead of the model that was given.
    pub warm_start: bool,
}

impl Default for TrainPart {
    fn default() -> Self {
        TrainPart {
            epochs: 30,
            batch_size: 32,
            learning_rate: 0.05,
            warm_up: 1.0,
            schedule: Shape::Cosine,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 5e-4,
            decay_all: false,
            label_smoothing: 0.0,
            flip: false,
            pad_crop: 0,
            warm_start: false,
        }
    }
}

impl TrainPart {
    /// The learning rate over the epochs.
    pub(super) fn schedule(&self) -> Schedule {
        let (base, shape) = (self.learning_rate, self.schedule.clone());
        Schedule { base, epochs: self.epochs, warm_up: self.warm_up, shape }
    }

    /// Random shifts and mirrorings.
    pub(super) fn augment(&self, seed: u64) -> Augment {
        Augment { pad_crop: self.pad_crop, horizontal_flip: self.flip, seed }
    }

    /// The first number that makes no sense, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let within = [
            ("learning-rate", self.learning_rate, f64::INFINITY),
            ("warm-up", self.warm_up, f64::INFINITY),
            ("momentum", self.momentum, 1.0),
            ("weight-decay", self.weight_decay, f64::INFINITY),
            ("label-smoothing", self.label_smoothing, 1.0),
        ];
        let found = within.iter().find(|(_, value, end)| !(0.0..*end).contains(value));
        found
            .map(|(key, value, end)| format!("train.{key} is {value}, expected at least 0 and less than {end}"))
            .or_else(|| (self.epochs == 0).then(|| "train.epochs is 0, expected at least 1".to_owned()))
            .or_else(|| (self.batch_size == 0).then(|| "train.batch-size is 0, expected at least 1".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        rounds = 3
        model = "model.onnx"
        data = { pool = "pool", test = "test" }
        labels = { initial = 40, budget = 0.02 }
    "#;

    #[test]
    fn what_is_left_out_has_the_defaults_and_what_is_misspelt_is_refused() {
        let config: RunConfig = toml::from_str(LEAST).expect("a configuration");
        assert_eq!(config.train, TrainPart::default());
        assert_eq!(config.select.row().name, "influence-batch");
        assert_eq!((config.labels.initial.of(2000), config.labels.budget.of(2000)), (Some(40), Some(40)));
        for (from, to) in [("rounds", "round"), ("budget", "budgets"), ("pool =", "pools =")] {
            let error = toml::from_str::<RunConfig>(&LEAST.replace(from, to)).expect_err("refused").to_string();
            assert!(error.contains(to.trim_end_matches(" =")), "{error}");
        }
    }

    #[test]
    fn shares_are_of_the_pool_and_at_least_one_image() {
        assert_eq!(Amount::Share(0.001).of(100), Some(1));
        assert_eq!([Amount::Share(1.0), Amount::Share(-0.1), Amount::Count(0)].map(|a| a.of(100)), [None; 3]);
    }

    #[test]
    fn numbers_of_the_training_are_checked() {
        let of = |part: TrainPart| part.problem();
        assert_eq!(of(TrainPart::default()), None);
        for (part, key) in [
            (TrainPart { momentum: 1.0, ..TrainPart::default() }, "momentum"),
            (TrainPart { learning_rate: f64::NAN, ..TrainPart::default() }, "learning-rate"),
            (TrainPart { epochs: 0, ..TrainPart::default() }, "epochs"),
        ] {
            assert!(of(part).expect("a problem").contains(key));
        }
    }
}
