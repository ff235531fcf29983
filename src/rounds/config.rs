//! What a run is made of, as its file says it.

use super::training::{Kind, TrainPart};
use crate::annotation_tools::{ToolForm, Words};
use crate::families::LabelKind;
use crate::influence::SolverOptions;
use crate::select::{Filters, Needs, Rule, StrategyOptions, Target, WithoutBoxes};
use crate::task::{self, ModelOptions};
use isal_onnx::Scope;
use std::path::{Path, PathBuf};

/// A run. Paths are taken from the folder that the command is called in.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunConfig {
    /// Decides the first images, the order of training and what a strategy draws: another seed is another run.
    #[serde(default)]
    pub seed: u64,
    /// Trainings in all; between two of them images are selected and labelled.
    pub rounds: usize,
    /// The untrained, or pretrained, model that each round's training starts from; a command that trains may do without.
    #[serde(default)]
    pub model: Option<PathBuf>,
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
    /// Of what and towards what influence is, for strategies that go by it.
    #[serde(default, skip_serializing_if = "InfluencePart::is_usual")]
    pub influence: InfluencePart,
    /// Where labels come from.
    #[serde(default)]
    pub oracle: OraclePart,
    /// What stays on disk.
    #[serde(default)]
    pub output: OutputPart,
}

impl RunConfig {
    /// Whether people give the labels.
    pub fn asks_people(&self) -> bool {
        self.oracle.kind == OracleKind::Human
    }

    /// The built-in task of the model that it starts from, as far as that can be read; that of classifiers where there is no model.
    pub fn task(&self) -> Option<String> {
        let task = self.model.as_deref().map_or(Ok(None), task::beside).ok()?;
        ModelOptions { task, ..ModelOptions::default() }.built_in().map(str::to_owned)
    }

    /// It without what may change on the way: what stays on disk, and when people's labels are enough.
    pub(super) fn what_decides(&self) -> RunConfig {
        let oracle = OraclePart { partial: false, forms: Vec::new(), ..self.oracle.clone() };
        RunConfig { oracle, output: OutputPart::default(), ..self.clone() }
    }

    /// The reference set's path, for messages.
    pub(super) fn reference_path(&self) -> &Path {
        self.data.reference.as_deref().unwrap_or(Path::new(""))
    }

    /// The first thing that makes no run, in words, as far as that can be seen without the data.
    pub(super) fn problem(&self) -> Option<String> {
        let found = [
            (self.rounds == 0, "rounds is 0, expected at least 1"),
            (
                self.model.is_none() && self.train.kind == Kind::Isal,
                "model is missing: the ONNX model that each round's training starts from",
            ),
            (
                self.labels.initial.is_some() == self.labels.initial_labels.is_some(),
                "labels needs one of initial (how many images are labelled first) and initial-labels (a list of labels that \
                 are there)",
            ),
            (
                self.asks_people() && self.labels.balanced,
                "labels.balanced needs the classes of the pool, which people have yet to say: leave it out, or give \
                 labels.initial-labels",
            ),
            (
                self.labels.budget_in == BudgetIn::Boxes && matches!(self.labels.budget, Amount::Share(_)),
                "labels.budget is a share of the pool, and labels.budget-in = \"boxes\" takes a number of boxes",
            ),
            (
                self.labels.budget_in == BudgetIn::Boxes && self.asks_people(),
                "labels.budget-in = \"boxes\" needs a pool whose boxes are known, which people have yet to draw",
            ),
            (self.influence.expected_top_k == 0, "influence.expected-top-k is 0, expected at least 1"),
            (
                self.influence.noised_score_thresh.is_some_and(|score| !(0.05..1.0).contains(&score)),
                "influence.noised-score-thresh is no score from 0.05 on and below 1",
            ),
            (self.oracle.skip.trim().is_empty(), "oracle.skip is empty, expected the label of images to leave out"),
            (
                self.oracle.forms.iter().any(|form| !ToolForm::OF_RUNS.contains(form)),
                "oracle.forms takes `label-studio`, `cvat`, `coco`, `yolo`, `voc`; lists and images are written in any case",
            ),
            (
                self.oracle.empty.trim().is_empty(),
                "oracle.empty is empty, expected the label of images that show nothing",
            ),
            (
                self.oracle.empty == self.oracle.skip,
                "oracle.empty and oracle.skip are one word: an image that shows nothing is not one to leave out",
            ),
        ];
        let found = found.into_iter().find_map(|(is, problem)| is.then(|| problem.to_owned()));
        let found = found.or_else(|| self.influence.scope().err());
        found.or_else(|| self.train.problem()).or_else(|| self.problem_with_reference())
    }

    /// What the reference set is asked for and cannot give.
    fn problem_with_reference(&self) -> Option<String> {
        let strategy = self.select.row().name;
        let served = self.select.rule().and_then(Rule::target).filter(|target| *target != Target::Pool);
        // As a shortlist may, too.
        let goes_by_influence = self.select.first_pass(1).0.row().needs == Needs::Influence;
        if !self.train.with_reference {
            let both = served == Some(Target::PoolAndReference);
            if both && self.data.reference.is_none() && self.data.target.is_none() {
                return Some(format!(
                    "strategy `{strategy}` serves the pool and the reference set together: give data.reference, or data.target"
                ));
            }
            return (goes_by_influence && self.data.reference.is_none()).then(|| {
                format!(
                    "strategy `{strategy}` needs data.reference: labelled images that are neither trained on nor tested on. \
                     A part held out of the few labels of the first rounds would be too small to go by"
                )
            });
        }
        if self.data.reference.is_none() {
            return Some("train.with-reference needs data.reference: the images to train on as well".to_owned());
        }
        let serves_it = served.is_some() && self.data.target.is_none();
        (goes_by_influence || serves_it).then(|| {
            format!(
                "strategy `{strategy}` goes by the reference set, which train.with-reference trains on too, so that the model's \
                 loss there says nothing of other images: take `random` or another strategy that does not go by it{}",
                if goes_by_influence { "" } else { ", serve the pool with select.target, or give data.target" }
            )
        })
    }
}

/// The parameters and the pseudo-label that influence goes by.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct InfluencePart {
    /// Which parameters: `weights`, `head`, `all`, or patterns of names, as `isal score pool --scope` has them.
    pub scope: String,
    /// Of a classifier, how many of the likeliest classes the expected influence is over; 1: the likeliest alone.
    pub expected_top_k: usize,
    /// Of a detector, the score above which a detection is a pseudo box; that of the task where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noised_score_thresh: Option<f32>,
    /// What becomes of images in which a detector finds no box.
    #[serde(skip_serializing_if = "scores_them")]
    pub without_boxes: WithoutBoxes,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn scores_them(what: &WithoutBoxes) -> bool {
    *what == WithoutBoxes::Score
}

impl Default for InfluencePart {
    fn default() -> Self {
        let without_boxes = WithoutBoxes::default();
        InfluencePart { scope: "weights".to_owned(), expected_top_k: 1, noised_score_thresh: None, without_boxes }
    }
}

impl InfluencePart {
    /// Whether it is what is taken where nothing is said.
    fn is_usual(&self) -> bool {
        *self == InfluencePart::default()
    }

    /// The parameters.
    pub(super) fn scope(&self) -> Result<Scope, String> {
        self.scope.parse().map_err(|error| format!("influence.scope is `{}`: {error}", self.scope))
    }
}

/// The images of a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataPart {
    /// The images to choose from. Their labels are taken as unknown until they are selected, or are not there where people
    /// label.
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
    /// Take so many of these, drawn by the seed and of every class as many as there can be, instead of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_images: Option<usize>,
    /// Names of the classes in the order of the class scores, where neither the model nor the images say them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
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
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LabelsPart {
    /// Images drawn by the seed, labelled before the first training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Amount>,
    /// Labels of images of the pool that are there already, instead: a list, or image folders by class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_labels: Option<PathBuf>,
    /// Whether these are as many of each class as there can be; else they are drawn uniformly.
    #[serde(default)]
    pub balanced: bool,
    /// Labelled after each training but the last.
    pub budget: Amount,
    /// What the budget counts.
    #[serde(default, skip_serializing_if = "BudgetIn::is_images")]
    pub budget_in: BudgetIn,
    /// What images are labelled with, where no model says it: class, classes, boxes, mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<LabelKind>,
}

/// What is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BudgetIn {
    /// Images.
    #[default]
    Images,
    /// The boxes that are drawn on them; an image without any costs as much as one box, since somebody has to look at it.
    Boxes,
}

impl BudgetIn {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_images(&self) -> bool {
        *self == BudgetIn::Images
    }
}

/// Where labels come from.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OraclePart {
    /// From the pool itself, or from people.
    pub kind: OracleKind,
    /// What people write where an image cannot be recognised or is of no use; it is never offered again.
    pub skip: String,
    /// What people write of an image that they have looked at and that shows nothing of what is asked for: it is labelled then.
    #[serde(skip_serializing_if = "is_empty_word")]
    pub empty: String,
    /// Go on with the images that have a label, whenever some of a list have; the others go back to the pool.
    pub partial: bool,
    /// Forms of annotation tools that lists are written in besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<ToolForm>,
}

fn is_empty_word(word: &str) -> bool {
    word == Words::default().empty
}

/// Who labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OracleKind {
    /// The pool is labelled, and labels are revealed as images are selected.
    Simulated,
    /// People: the run stops until `isal label import` has taken their labels.
    Human,
}

impl Default for OraclePart {
    fn default() -> Self {
        let Words { skip, empty } = Words::default();
        OraclePart {
            kind: OracleKind::Simulated,
            skip: skip.to_owned(),
            empty: empty.to_owned(),
            partial: false,
            forms: Vec::new(),
        }
    }
}

/// What stays on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OutputPart {
    /// Which models.
    pub keep: Keep,
}

/// Which trained models, and what only they need, stay on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// That of every round.
    #[default]
    All,
    /// That of the last round alone.
    Last,
    /// None, once the run has ended.
    None,
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
        assert_eq!(
            (config.labels.initial.and_then(|n| n.of(2000)), config.labels.budget.of(2000)),
            (Some(40), Some(40))
        );
        for (from, to) in [("rounds", "round"), ("budget", "budgets"), ("pool =", "pools =")] {
            let error = toml::from_str::<RunConfig>(&LEAST.replace(from, to)).expect_err("refused").to_string();
            assert!(error.contains(to.trim_end_matches(" =")), "{error}");
        }
    }

    #[test]
    fn the_runs_in_configs_are_runs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/rounds");
        for file in std::fs::read_dir(folder).expect("a folder") {
            let path = file.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a file");
            let config: RunConfig = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(config.problem(), None, "{}", path.display());
        }
    }

    #[test]
    fn shares_are_of_the_pool_and_at_least_one_image() {
        assert_eq!(Amount::Share(0.001).of(100), Some(1));
        assert_eq!([Amount::Share(1.0), Amount::Share(-0.1), Amount::Count(0)].map(|a| a.of(100)), [None; 3]);
    }

    #[test]
    fn what_makes_no_run_is_said_by_its_key() {
        let of = |from: &str, to: &str| {
            let config: RunConfig = toml::from_str(&LEAST.replace(from, to)).expect("a configuration");
            config.problem()
        };
        assert_eq!(of("rounds", "rounds"), None);
        for (from, to, key) in [
            ("rounds = 3", "rounds = 0", "rounds"),
            ("model = \"model.onnx\"", "", "model"),
            ("initial = 40", "initial = 40, initial-labels = \"list.csv\"", "initial-labels"),
            ("initial = 40, ", "", "initial"),
            ("rounds", "oracle = { kind = \"human\", skip = \" \" }\nrounds", "skip"),
        ] {
            let problem = of(from, to).unwrap_or_default();
            assert!(problem.contains(key), "{to}: {problem}");
        }
        let human = LEAST.replace("initial", "balanced = true, initial") + "oracle = { kind = \"human\" }";
        let human: RunConfig = toml::from_str(&human).expect("a configuration");
        assert!(human.problem().expect("a problem").contains("balanced"));
    }
}
