//! The images a strategy chose, and the file they are handed on in.

use indexmap::IndexMap;
use serde_json::Number;
use std::path::{Path, PathBuf};

use super::joint::Chosen;
use super::strategy::StrategyOptions;
use crate::durable::{self, DurableError};
use crate::scores::{SIGN, SameAs, ScoreError};

/// Name and version of the form of `selection.json`.
pub const SCHEMA: &str = "isal-selection/3";

/// Why nothing could be selected, or a selection not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// No strategy of this name.
    #[error("no strategy is called `{name}`, expected one of {known:?}")]
    UnknownStrategy {
        /// The name given.
        name: String,
        /// Every name there is.
        known: Vec<&'static str>,
    },
    /// A budget of zero.
    #[error("the budget is 0, expected at least 1")]
    NoBudget,
    /// A pool without images.
    #[error("the pool holds no scored image")]
    EmptyPool,
    /// Two images of one id, whose order would be undefined.
    #[error("sample id `{id}` occurs twice in the pool")]
    DoubledId {
        /// The id.
        id: String,
    },
    /// The influence strategy over scores that hold none.
    #[error("sample `{id}` has no influence; score the pool with a solved vector, or take another strategy")]
    NoInfluence {
        /// The first sample without.
        id: String,
    },
    /// A strategy that chooses by more than scores.
    #[error(
        "strategy `{strategy}` chooses jointly by features of the images, which scores alone do not hold: `isal score pool` computes them"
    )]
    NeedsImages {
        /// The strategy.
        strategy: &'static str,
    },
    /// A strategy over a task whose model does not say what it goes by.
    #[error("strategy `{strategy}` goes by `{belief}`, which this task does not have; it has {}", listed(there))]
    NoBelief {
        /// The strategy.
        strategy: &'static str,
        /// The column it goes by.
        belief: &'static str,
        /// The beliefs there are.
        there: Vec<String>,
    },
    /// Images without a pseudo box are to be left out of a task without boxes.
    #[error(
        "images without a pseudo box cannot be left out: the model does not say how many boxes it finds in an image"
    )]
    NoBoxes,
    /// The file system refused the write.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The scores could not be read.
    #[error(transparent)]
    Scores(#[from] ScoreError),
    /// The file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a selection of this version, or the selection could not be put in words.
    #[error("`{name}` is no selection")]
    Json {
        /// The file.
        name: String,
        /// The reason.
        source: serde_json::Error,
    },
    /// A file of another form or version.
    #[error("`{}` has schema `{found}`, expected `{SCHEMA}`", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: String,
    },
}

/// Names as a sentence has them.
fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

/// One image to label.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Selected {
    /// 1 for the first to label.
    pub rank: usize,
    /// Sample id, as the data source gives it.
    pub id: String,
    /// The number it was ordered by, the lowest first; of an image that was chosen jointly, minus what it adds to those
    /// before it.
    pub score: f64,
    /// Influence on the reference loss, if it is known.
    pub influence: Option<f64>,
    /// What the model believes of it, by the names of the table's columns; `None` where that is no finite number.
    #[serde(flatten)]
    pub beliefs: IndexMap<String, Option<Number>>,
    /// Images of the pool that show the same, this one included; a label for one is a label for all. Absent where images
    /// were drawn by id, without a look at the others.
    pub copies: Option<usize>,
}

impl Selected {
    /// A belief by its name, where it is known.
    pub fn belief(&self, name: &str) -> Option<f64> {
        self.beliefs.get(name)?.as_ref()?.as_f64()
    }
}

/// Pool images that were not considered because an image that shows the same, pixel for pixel, makes a label for them useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// They are labelled images.
    pub labelled: usize,
    /// They are reference images.
    pub reference: usize,
    /// They were named as not to be selected.
    pub excluded: usize,
    /// They are copies of selected images.
    pub copies: usize,
    /// The model finds no box in them, and such images were to be left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_boxes: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl LeftOut {
    /// Counts an image of a known set.
    pub fn count(&mut self, set: SameAs) {
        match set {
            SameAs::Labelled => self.labelled += 1,
            SameAs::Reference => self.reference += 1,
            SameAs::Excluded => self.excluded += 1,
        }
    }

    /// Those that are in a known set.
    pub fn known(&self) -> usize {
        self.labelled + self.reference + self.excluded
    }
}

/// What a strategy chose.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// [`SCHEMA`].
    pub schema: String,
    /// [`SIGN`]: how an influence is to be read.
    pub sign: String,
    /// The strategy and its options.
    pub strategy: StrategyOptions,
    /// Images asked for.
    pub budget: usize,
    /// Images in the pool.
    pub pool: usize,
    /// Images left out because their score is not a number.
    pub not_finite: usize,
    /// Images left out because they need no label of their own.
    pub left_out: LeftOut,
    /// Images asked for beyond what the pool could give.
    pub shortfall: usize,
    /// The images, the first to label first.
    pub selected: Vec<Selected>,
}

impl Selection {
    pub(super) fn new(
        strategy: StrategyOptions,
        budget: usize,
        pool: usize,
        not_finite: usize,
        left_out: LeftOut,
        selected: Vec<Selected>,
    ) -> Self {
        let shortfall = budget - selected.len();
        let (schema, sign) = (SCHEMA.to_owned(), SIGN.to_owned());
        Selection { schema, sign, strategy, budget, pool, not_finite, left_out, shortfall, selected }
    }

    /// What a rule chose jointly among the images of this selection, which are its candidates.
    #[must_use]
    pub fn chosen_from(self, strategy: StrategyOptions, budget: usize, chosen: &[Chosen]) -> Self {
        let of = |(rank, chosen): (usize, &Chosen)| {
            let candidate = self.selected.get(chosen.place)?;
            Some(Selected { rank, score: -chosen.gain, ..candidate.clone() })
        };
        let selected: Vec<Selected> = (1..).zip(chosen).filter_map(of).collect();
        let copies = selected.iter().map(|image| image.copies.unwrap_or(1) - 1).sum();
        let left_out = LeftOut { copies, ..self.left_out };
        Selection::new(strategy, budget, self.pool, self.not_finite, left_out, selected)
    }

    /// No image at all.
    pub fn nothing(strategy: StrategyOptions, budget: usize) -> Self {
        Selection::new(strategy, budget, 0, 0, LeftOut::default(), Vec::new())
    }

    /// Writes `selection.json`, all or nothing.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &Path) -> Result<(), SelectError> {
        let mut json = serde_json::to_string_pretty(self)
            .map_err(|source| SelectError::Json { name: path.display().to_string(), source })?;
        json.push('\n');
        Ok(durable::write_bytes(path, json.as_bytes())?)
    }

    /// Reads `selection.json` back.
    ///
    /// # Errors
    /// A file that is no selection, or one of another version.
    pub fn read(path: &Path) -> Result<Self, SelectError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| SelectError::Read { path: path.to_owned(), source })?;
        let unclear = |source| SelectError::Json { name: path.display().to_string(), source };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(unclear)?;
        match value.get("schema").and_then(|schema| schema.as_str()) {
            Some(SCHEMA) => serde_json::from_value(value).map_err(unclear),
            found => Err(SelectError::Schema { path: path.to_owned(), found: found.unwrap_or("none").to_owned() }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::super::{NoOptions, Random};
    use super::*;

    fn selection(strategy: StrategyOptions) -> Selection {
        let selected = vec![
            Selected {
                rank: 1,
                id: "ä/1.png".to_owned(),
                score: -0.25,
                influence: Some(-0.25),
                beliefs: IndexMap::from([
                    ("pseudo_label".to_owned(), Some(3.into())),
                    ("confidence".to_owned(), Number::from_f64(0.5)),
                ]),
                copies: Some(2),
            },
            Selected {
                rank: 2,
                id: "2".to_owned(),
                score: 0.5,
                influence: None,
                beliefs: IndexMap::from([("confidence".to_owned(), None)]),
                copies: None,
            },
        ];
        Selection::new(strategy, 5, 9, 7, LeftOut { labelled: 3, copies: 1, ..LeftOut::default() }, selected)
    }

    #[test]
    fn a_selection_is_read_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("selection.json");
        for strategy in [StrategyOptions::Influence(NoOptions {}), StrategyOptions::Random(Random { seed: 7 })] {
            selection(strategy).write(&path).unwrap();
            assert_eq!(Selection::read(&path).unwrap(), selection(strategy));
        }
    }

    #[test]
    fn the_file_has_its_schema_the_sign_and_the_images_in_order() {
        let json = serde_json::to_value(selection(StrategyOptions::Random(Random { seed: 7 }))).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expected =
            ["schema", "sign", "strategy", "budget", "pool", "not_finite", "left_out", "shortfall", "selected"];
        assert_eq!(keys, expected);
        assert_eq!((json["schema"].as_str(), json["sign"].as_str()), (Some("isal-selection/3"), Some(SIGN)));
        assert_eq!(json["strategy"], serde_json::json!({"strategy": "random", "seed": 7}));
        assert_eq!(json["shortfall"], 3);
        insta::assert_snapshot!(
            serde_json::to_string(&json["selected"][0]).unwrap(),
            @r#"{"rank":1,"id":"ä/1.png","score":-0.25,"influence":-0.25,"pseudo_label":3,"confidence":0.5,"copies":2}"#
        );
    }

    #[test]
    fn another_schema_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("selection.json");
        std::fs::write(&path, r#"{"schema":"isal-selection/1"}"#).unwrap();
        let error = Selection::read(&path).unwrap_err();
        assert!(error.to_string().contains("isal-selection/1"), "{error}");
        std::fs::write(&path, "[]").unwrap();
        assert!(Selection::read(&path).is_err());
    }
}
