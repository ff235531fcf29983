//! The images of a run: opened, with their classes settled, and checked against each other.

use super::config::RunConfig;
use super::draw::{Purpose, draw};
use super::{RoundsError, training::Kind};
use crate::classifier::{class_names, names_of_fields};
use crate::data::{Dataset, Labelled, OnOverlap, OpenOptions, Pool, Reference, Served, Split, Test, common_classes};
use crate::families::LabelKind;
use crate::task::{ModelError, TaskModel};
use std::collections::BTreeSet;
use std::path::Path;

/// The images of a run.
#[derive(Debug)]
pub(super) struct Sets {
    /// To choose from; without labels where people give them.
    pub(super) pool: Dataset,
    /// To measure influence on.
    pub(super) reference: Option<Dataset>,
    /// What a joint strategy serves in the place of the reference set.
    pub(super) target: Option<Dataset>,
    /// To evaluate on.
    pub(super) test: Split<Test>,
    /// Names of the classes, in which the labels of all three count.
    pub(super) classes: Vec<String>,
}

impl Sets {
    /// Opens the sets, whose images are labelled with `kind`. `model` is the one that the run starts from, where it has one.
    pub(super) fn open(
        config: &RunConfig,
        kind: Option<LabelKind>,
        model: Option<&TaskModel>,
    ) -> Result<Sets, RoundsError> {
        let fields = kind != Some(LabelKind::Class);
        let open = |what, path: &Path| {
            let opened = Dataset::open_present(path, &OpenOptions { fields, ..OpenOptions::default() });
            opened.map_err(|source| RoundsError::data(what, path, source))
        };
        let pool = open("data.pool", &config.data.pool)?;
        let reference = config.data.reference.as_deref().map(|path| open("data.reference", path)).transpose()?;
        let target = config.data.target.as_deref().map(|path| open("data.target", path)).transpose()?;
        let test = open("data.test", &config.data.test)?;
        let classes = classes(config, (model, fields), &pool, reference.as_ref(), &test)?;
        let words = [
            ("skip", &config.oracle.skip, "to leave out", true),
            ("empty", &config.oracle.empty, "that show nothing", fields),
        ];
        if let Some((key, word, what, _)) =
            words.iter().find(|(_, word, _, is)| *is && config.asks_people() && classes.contains(word))
        {
            return Err(RoundsError::Config(format!(
                "`{word}` is a class and the label of images {what}: set oracle.{key} to another word"
            )));
        }
        let as_pool = |source| RoundsError::data("data.pool", &config.data.pool, source);
        let no_classes = classes.is_empty() && (config.asks_people() || config.train.kind == Kind::Command);
        if no_classes && matches!(kind, Some(LabelKind::Boxes | LabelKind::Classes | LabelKind::Mask)) {
            return Err(RoundsError::Config(
                "data.classes is missing: neither the model nor the images say what the classes are called".to_owned(),
            ));
        }
        let pool = match config.asks_people() {
            true if fields => pool.described(Vec::new(), &classes),
            true => pool.with_labels(Vec::new(), &classes),
            false => pool.with_classes(&classes).map_err(as_pool)?,
        };
        let as_reference = |source| RoundsError::data("data.reference", config.reference_path(), source);
        let reference = match (reference, config.data.reference_images) {
            (Some(all), Some(count)) => {
                if count == 0 || count > all.len() {
                    return Err(RoundsError::Config(format!(
                        "data.reference-images is {count}, expected 1 to {}, the images of data.reference",
                        all.len()
                    )));
                }
                let drawn = draw(&all, count, true, Purpose::Reference, config.seed);
                Some(all.subset(&drawn).map_err(as_reference)?)
            }
            (None, Some(_)) => {
                return Err(RoundsError::Config("data.reference-images needs data.reference".to_owned()));
            }
            (reference, None) => reference,
        };
        let as_test = |source| RoundsError::data("data.test", &config.data.test, source);
        let test = Split::<Test>::new(test.with_classes(&classes).map_err(as_test)?)?;
        Ok(Sets { pool, reference, target, test, classes })
    }

    /// Checks that every image of the pool which a run may reveal has its label, and that the test set shares no image with any
    /// other, nor the reference set with the pool.
    pub(super) fn check(&self, config: &RunConfig) -> Result<(), RoundsError> {
        if config.asks_people() {
            let pool = Split::<Pool>::new(self.pool.clone())?;
            return self.check_with(&pool);
        }
        self.check_with(&Split::<Labelled>::new(self.pool.clone())?)
    }

    fn check_with<R: crate::data::Role>(&self, pool: &Split<R>) -> Result<(), RoundsError> {
        self.test.check_disjoint(pool)?;
        if let Some(given) = &self.reference {
            Split::<Reference>::given(given.clone(), pool, Some(&self.test), OnOverlap::Refuse)?;
        }
        if let Some(target) = &self.target {
            self.test.check_disjoint(&Split::<Served>::new(target.clone())?)?;
        }
        Ok(())
    }
}

/// The classes of a run: those of its file; where people or a program have part in it, those that the model names; else those of
/// the images.
fn classes(
    config: &RunConfig,
    (model, fields): (Option<&TaskModel>, bool),
    pool: &Dataset,
    reference: Option<&Dataset>,
    test: &Dataset,
) -> Result<Vec<String>, RoundsError> {
    if let Some(given) = &config.data.classes {
        // Graphs that a user brings do not say how many there are.
        if let Some(model) = model.filter(|model| model.classes > 0 && model.classes != given.len()) {
            let (given, found) = (given.len(), model.classes);
            return Err(RoundsError::Config(format!("data.classes names {given} classes, and the model has {found}")));
        }
        let names: BTreeSet<&String> = given.iter().collect();
        if names.len() != given.len() || names.iter().any(|name| name.trim().is_empty()) {
            return Err(RoundsError::Config("data.classes names a class twice, or has an empty name".to_owned()));
        }
        return Ok(given.clone());
    }
    if !config.asks_people() && config.train.kind == Kind::Isal {
        return Ok(pool.classes().to_vec());
    }
    let labelled: Vec<&Dataset> = match config.asks_people() {
        true => reference.into_iter().chain([test]).collect(),
        false => [pool].into_iter().chain(reference).chain([test]).collect(),
    };
    match model {
        Some(model) if model.classes == 0 => {
            Ok(names_of_fields(&labelled).map(|names| names.names).unwrap_or_default())
        }
        Some(model) => {
            // The folders of a task of another kind are no classes.
            let labelled: Vec<&Dataset> = match fields {
                true => labelled.into_iter().filter(|data| data.has_classes_of_fields()).collect(),
                false => labelled,
            };
            let names = class_names(&model.network, model.classes, None, &labelled, None);
            Ok(names.map_err(ModelError::from)?.names)
        }
        None => Ok(common_classes(&labelled)),
    }
}
