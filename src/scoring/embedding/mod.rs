//! Features and class scores of the images that a joint strategy goes by.
//!
//! The features are what goes into the last layer of the model, or a value that is named, or those of another network with its
//! own recipe. Of every set they are kept in parts under `embeddings/`, so that a command that goes on, or asks for another
//! budget of the same shortlist, does not compute them again.

mod kept;

use super::prepared::{Prepared, data_sha256, recipe_text};
use super::stages::runtime;
use super::{ModelSource, ScoreOptions, ScoringError};
use crate::data::{Dataset, Image, Loader, LoaderOptions, Preprocess, Recipe, Size};
use crate::influence::InfluenceError;
use crate::network::Network;
use crate::observe::{Observer, Stage};
use crate::runtime::{Library, SessionOptions};
use crate::select::Embedded;
use crate::sweep::Embedder;
use crate::task::{SINGLE_LABEL, Task};
use isal_exporters::losses::OUTPUTS;
use isal_onnx::influence::last_layer;
use kept::{Kept, Part};
use ndarray::{Array2, Axis, concatenate};
use std::path::PathBuf;

/// Images a batch where none was asked for.
const BATCH: usize = 64;
/// Images a part: what a kill can cost.
const PART: usize = 1024;

/// Where features come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Features {
    /// What goes into the last layer of the model.
    #[default]
    LastLayer,
    /// A value of the model, an output or an inner one.
    Value(String),
    /// Another network's.
    Encoder {
        /// Its file; the recipe is the one beside it, or what the file says.
        path: PathBuf,
        /// Its value; its first output where it is not said.
        value: Option<String>,
    },
}

/// A network, how it sees images, and what is read of it.
struct Reading {
    network: Network,
    recipe: Recipe,
    values: Vec<String>,
}

impl Reading {
    /// All that its numbers depend on besides the images.
    fn text(&self) -> String {
        format!("{} {:?} {}", self.network.sha256, self.values, recipe_text(&self.recipe))
    }
}

/// What embeds images.
pub(super) struct Embedding<'a> {
    options: &'a ScoreOptions,
    library: Library,
    session: SessionOptions,
    /// Of features, and then of class scores, which one network may give both of.
    readings: Vec<Reading>,
    /// Whether class scores are the last of what is read.
    beliefs: bool,
    /// Where the features come from, for people.
    pub(super) described: String,
}

impl<'a> Embedding<'a> {
    /// Finds the values that are read.
    pub(super) fn new(
        from: &ModelSource,
        options: &'a ScoreOptions,
        (prepared, task): (&Prepared, &Task),
        beliefs: bool,
        observer: &dyn Observer,
    ) -> Result<Self, ScoringError> {
        let strategy = options.strategy.row().name;
        let logits = task.bindings.iter().find(|(input, _)| task.name == SINGLE_LABEL && input == OUTPUTS);
        let logits = logits.map(|(_, value)| value.clone());
        if beliefs && logits.is_none() {
            return Err(ScoringError::NoClassScores { strategy, task: task.name.clone() });
        }
        let no_features = |reason: String| ScoringError::NoFeatures { path: from.model.clone(), reason };
        let graph = &prepared.network.model.graph;
        let own = |values: Vec<String>| Reading {
            network: prepared.network.clone(),
            recipe: prepared.recipe.clone(),
            values,
        };
        let scores = logits.clone().filter(|_| beliefs);
        let (readings, described) = match &options.features {
            Features::LastLayer => {
                let logits = logits.ok_or_else(|| no_features("is no classifier of one class an image".to_owned()))?;
                let found = last_layer(graph, &logits);
                let (value, width) = found.ok_or_else(|| no_features("does not end in a dense layer".to_owned()))?;
                let described = format!("`{value}`, {width} numbers that go into the last layer");
                (vec![own([Some(value), scores].into_iter().flatten().collect())], described)
            }
            Features::Value(value) => {
                let known = graph.producer(value).is_some() || graph.outputs.iter().any(|output| output.name == *value);
                if !known {
                    return Err(no_features(format!("has no value `{value}`")));
                }
                let values = [Some(value.clone()), scores].into_iter().flatten().collect();
                (vec![own(values)], format!("`{value}` of the model"))
            }
            Features::Encoder { path, value } => {
                let encoder = encoder(path, value.as_deref(), options, observer)?;
                let described = format!("`{}` of `{}`", encoder.values.join(" "), path.display());
                (std::iter::once(encoder).chain(scores.map(|scores| own(vec![scores]))).collect(), described)
            }
        };
        let (library, session) = runtime(options, observer)?;
        Ok(Embedding { options, library, session, readings, beliefs, described })
    }

    /// The images of `dataset`, which is the `set`, that can be used; with each its position.
    pub(super) fn of(
        &self,
        set: &str,
        dataset: &Dataset,
        observer: &dyn Observer,
    ) -> Result<(Embedded, Vec<usize>), ScoringError> {
        let mut columns: Vec<Array2<f32>> = Vec::new();
        let mut positions: Option<Vec<usize>> = None;
        let stage = Stage::begin(
            observer,
            &format!("features of the {set} images"),
            (dataset.len() * self.readings.len()) as u64,
            "images",
        );
        for (number, reading) in self.readings.iter().enumerate() {
            let part = self.read(&format!("{set}-{number}"), reading, dataset, observer)?;
            if positions.as_ref().is_some_and(|before| *before != part.positions) {
                return Err(ScoringError::NoFeatures {
                    path: reading.network.path.clone(),
                    reason: format!("cannot take the same {set} images as the encoder"),
                });
            }
            positions = Some(part.positions);
            columns.extend(part.values);
        }
        drop(stage);
        let positions = positions.unwrap_or_default();
        let rows = positions.len();
        let logits = if self.beliefs { columns.pop() } else { None };
        let embedded = Embedded {
            features: columns.pop().unwrap_or_default(),
            logits: logits.unwrap_or_else(|| Array2::zeros((rows, 0))),
            labels: positions.iter().map(|position| dataset.label(*position)).collect(),
        };
        Ok((embedded, positions))
    }

    fn read(
        &self,
        name: &str,
        reading: &Reading,
        dataset: &Dataset,
        observer: &dyn Observer,
    ) -> Result<Part, ScoringError> {
        let key = format!("{} {}", reading.text(), data_sha256(dataset, &reading.recipe));
        let kept = Kept::open(&self.options.out.join("embeddings").join(name), key)?;
        let batch_size = self.options.batch_size.unwrap_or(BATCH);
        let loader = LoaderOptions {
            batch_size,
            threads: (self.options.threads > 0).then_some(self.options.threads),
            strict: self.options.strict,
            ..LoaderOptions::default()
        };
        let mut embedder = None;
        let mut all: Vec<Part> = Vec::new();
        for start in (0..dataset.len()).step_by(PART) {
            let range = start..(start + PART).min(dataset.len());
            let part = match kept.read(&range, reading.values.len()) {
                Some(part) => {
                    observer.advance(range.len() as u64);
                    part
                }
                None => {
                    let embedder = match &mut embedder {
                        Some(embedder) => embedder,
                        empty => {
                            let values: Vec<&str> = reading.values.iter().map(String::as_str).collect();
                            let network = &reading.network;
                            empty.insert(Embedder::open(
                                &self.library,
                                &network.model,
                                &network.path,
                                &values,
                                self.session,
                            )?)
                        }
                    };
                    let mut part = Part::default();
                    let positions = range.clone().collect();
                    for batch in Loader::over(dataset.clone(), reading.recipe.clone(), positions, &loader)? {
                        let batch = batch?;
                        if observer.interrupted() {
                            return Err(InfluenceError::Cancelled.into());
                        }
                        part.add(&batch.indices, embedder.embed(batch.images.view())?);
                        observer.advance(batch.indices.len() as u64);
                    }
                    kept.write(&range, &part)?;
                    part
                }
            };
            all.push(part);
        }
        Ok(joined(all, reading.values.len()))
    }
}

fn joined(parts: Vec<Part>, values: usize) -> Part {
    let positions = parts.iter().flat_map(|part| part.positions.iter().copied()).collect();
    let column = |value: usize| {
        let rows: Vec<_> = parts.iter().filter_map(|part| part.values.get(value)).map(|rows| rows.view()).collect();
        concatenate(Axis(0), &rows).unwrap_or_default()
    };
    Part { positions, values: (0..values).map(column).collect() }
}

/// Another network, as its file and the recipe beside it say.
fn encoder(
    path: &std::path::Path,
    value: Option<&str>,
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<Reading, ScoringError> {
    let network = Network::read(path, &[])?;
    let size = |_, image: Image| Ok(Size { height: image.height(), width: image.width() });
    let sample = super::usable::first_usable("pool", options.pool.dataset(), observer, size)?;
    let recipe = network.recipe(&Preprocess::beside(path)?, sample)?;
    let no_features = |reason| ScoringError::NoFeatures { path: path.to_path_buf(), reason };
    let graph = &network.model.graph;
    let value = match value {
        Some(value) if graph.producer(value).is_none() => return Err(no_features(format!("has no value `{value}`"))),
        Some(value) => value.to_owned(),
        None => match graph.outputs.first() {
            Some(output) => output.name.clone(),
            None => return Err(no_features("has no output".to_owned())),
        },
    };
    Ok(Reading { network, recipe, values: vec![value] })
}
