//! Features and class scores of the images that a joint strategy goes by.
//!
//! The features are what goes into the last layer of the model, or a value that is named, or those of another network with its
//! own recipe. They are kept by image under `embeddings/`, so that a command that goes on, or asks for another budget or
//! another strategy, does not compute them again.

mod kept;

use super::prepared::{Prepared, recipe_text};
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
use kept::{Kept, Key, Rows};
use ndarray::{Array2, Axis, concatenate};
use rayon::prelude::*;
use std::path::PathBuf;

/// Images a batch where none was asked for.
const BATCH: usize = 64;
/// Images that are kept at a time: what a kill can cost.
const PART: usize = 1024;

/// Where features come from: `VALUE`, `FILE.onnx` or `FILE.onnx:VALUE`.
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

impl From<&str> for Features {
    fn from(text: &str) -> Features {
        let encoder = |path: &str, value: Option<&str>| {
            let value = value.map(str::to_owned);
            Features::Encoder { path: path.into(), value }
        };
        match text.split_once(".onnx:") {
            Some((path, value)) => encoder(&format!("{path}.onnx"), Some(value)),
            None if text.ends_with(".onnx") => encoder(text, None),
            None => Features::Value(text.to_owned()),
        }
    }
}

/// A network, how it sees images, and what is read of it.
struct Reading {
    network: Network,
    recipe: Recipe,
    values: Vec<String>,
    /// Whether it is another network than the model, which stays the same from round to round.
    is_encoder: bool,
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
        let own = |values: Vec<String>| {
            let (network, recipe) = (prepared.network.clone(), prepared.recipe.clone());
            Reading { network, recipe, values, is_encoder: false }
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
        // What `auto` takes was said when the pool was swept.
        let library = Library::load(options.onnxruntime.as_deref())?;
        let provider = options.provider.settle(&library)?.provider;
        let session = SessionOptions { provider, threads: options.threads };
        Ok(Embedding { options, library, session, readings, beliefs, described })
    }

    /// The images of `dataset`, which is the `set`, that can be used; with each its position.
    pub(super) fn of(
        &self,
        set: &str,
        dataset: &Dataset,
        observer: &dyn Observer,
    ) -> Result<(Embedded, Vec<usize>), ScoringError> {
        let keys: Vec<Key> = (0..dataset.len()).into_par_iter().map(|position| kept::key(dataset, position)).collect();
        let mut columns: Vec<Array2<f32>> = Vec::new();
        let mut usable: Option<Vec<usize>> = None;
        for (number, reading) in self.readings.iter().enumerate() {
            let (positions, values) = self.read(&format!("{set}-{number}"), reading, dataset, &keys, observer)?;
            if usable.as_ref().is_some_and(|before| *before != positions) {
                return Err(ScoringError::NoFeatures {
                    path: reading.network.path.clone(),
                    reason: format!("cannot take the same {set} images as the encoder"),
                });
            }
            usable = Some(positions);
            columns.extend(values);
        }
        let usable = usable.unwrap_or_default();
        let logits = if self.beliefs { columns.pop() } else { None };
        let embedded = Embedded {
            features: columns.pop().unwrap_or_default(),
            logits: logits.unwrap_or_else(|| Array2::zeros((usable.len(), 0))),
            labels: usable.iter().map(|position| dataset.label(*position)).collect(),
        };
        Ok((embedded, usable))
    }

    /// What a network says of the images: those that are not kept are embedded first.
    fn read(
        &self,
        set: &str,
        reading: &Reading,
        dataset: &Dataset,
        keys: &[Key],
        observer: &dyn Observer,
    ) -> Result<(Vec<usize>, Vec<Array2<f32>>), ScoringError> {
        let folder = match (&self.options.embeddings, reading.is_encoder) {
            (Some(shared), true) => shared.clone(),
            _ => self.options.out.join("embeddings"),
        };
        let mut kept = Kept::open(&folder, &reading.text(), reading.values.len())?;
        let missing: Vec<usize> = (0..keys.len()).filter(|position| !kept.holds(keys[*position])).collect();
        if !missing.is_empty() {
            let name = format!("features of the {} images", set.split('-').next().unwrap_or(set));
            let stage = Stage::begin(observer, &name, missing.len() as u64, "images");
            let values: Vec<&str> = reading.values.iter().map(String::as_str).collect();
            let network = &reading.network;
            let mut embedder = Embedder::open(&self.library, &network.model, &network.path, &values, self.session)?;
            let loader = LoaderOptions {
                batch_size: self.options.batch_size.unwrap_or(BATCH),
                threads: (self.options.threads > 0).then_some(self.options.threads),
                strict: self.options.strict,
                ..LoaderOptions::default()
            };
            for positions in missing.chunks(PART) {
                let (mut rows, mut arrays) = (Rows::default(), vec![Vec::new(); reading.values.len()]);
                for batch in Loader::over(dataset.clone(), reading.recipe.clone(), positions.to_vec(), &loader)? {
                    let batch = batch?;
                    if observer.interrupted() {
                        return Err(InfluenceError::Cancelled.into());
                    }
                    rows.keys.extend(batch.indices.iter().map(|position| keys[*position]));
                    for (all, array) in arrays.iter_mut().zip(embedder.embed(batch.images.view())?) {
                        all.push(array);
                    }
                    observer.advance(batch.indices.len() as u64);
                }
                rows.values = arrays.iter().map(|batches| joined(batches)).collect();
                kept.write(&rows)?;
            }
            drop(stage);
        }
        kept.rows(keys)
    }
}

fn joined(batches: &[Array2<f32>]) -> Array2<f32> {
    let views: Vec<_> = batches.iter().map(|batch| batch.view()).collect();
    concatenate(Axis(0), &views).unwrap_or_default()
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
    Ok(Reading { network, recipe, values: vec![value], is_encoder: true })
}
