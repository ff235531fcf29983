//! The options of a scoring run.

use super::{CurvatureOptions, Features, Shard};
use crate::data::{Dataset, Labelled, Pool, Preprocess, Split};
use crate::inference_client::ServerOptions;
use crate::influence::SolverOptions;
use crate::influence_graph::{PairedDifference, Unproven};
use crate::runtime::ExecutionProvider;
use crate::select::{Duplicates, Filters, StrategyOptions, WithoutBoxes};
use crate::task::ModelOptions;
use isal_onnx::Scope;
use std::path::PathBuf;

/// Where the reference set comes from. Never from test data.
#[derive(Debug, Clone)]
pub enum ReferenceSet {
    /// Images that were set aside for it.
    Given(Dataset),
    /// A stratified, seeded part of the labelled set, which then takes no part in the curvature.
    HeldOut {
        /// Share of the labelled images, in (0, 1).
        fraction: f64,
        /// Seed of the draw.
        seed: u64,
    },
}

/// What computes the influence of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// The network at two weight settings in one ONNX graph, on ONNX Runtime; float32, checked against `native`.
    Paired,
    /// The network and its exact derivative in one ONNX graph, on ONNX Runtime; for weights of any floating type.
    Tangent,
    /// The plugin's exact directional derivative.
    Native,
}

/// What the scores come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A trained model; for influence, with labelled images and the plugin.
    Model(Box<ModelSource>),
    /// An influence graph that an earlier run wrote. ONNX Runtime is all that it needs.
    Influence(PathBuf),
}

/// A model, and how to compute influence from it.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The trained model.
    pub model: PathBuf,
    /// Its task, and its inputs besides the images.
    pub task: ModelOptions,
    /// A file with the names of the classes in the order of the class scores, one a line.
    pub class_names: Option<PathBuf>,
    /// Labelled images the model was trained on; needed for influence.
    pub labelled: Option<Split<Labelled>>,
    /// The reference set.
    pub reference: ReferenceSet,
    /// Preprocessing: the recipe beside the model with the overrides of the command line.
    pub preprocess: Preprocess,
    /// How `s` is solved.
    pub solver: SolverOptions,
    /// Which images the curvature is the mean over.
    pub curvature: CurvatureOptions,
    /// Parameters that take part.
    pub scope: Scope,
    /// What computes the influence; where not given, the paired graph for float32 weights, else the tangent graph.
    pub engine: Option<Engine>,
    /// Which difference the paired graph takes.
    pub difference: PairedDifference,
    /// What becomes of a graph that does not rank a sample of the pool as the exact derivative does.
    pub unproven: Unproven,
    /// Singular vectors a layer that the tangent graph's direction is cut to.
    pub tangent_rank: Option<usize>,
    /// Where the plugin runs: `cpu`, `cuda`, `cuda:1`.
    pub device: String,
    /// The plugin, when named.
    pub plugin: Option<PathBuf>,
}

impl ScoreOptions {
    /// The strategy that puts images in an order, and how many are looked at: those of a rule's shortlist, or as many as filters
    /// may pass over.
    pub(super) fn first_pass(&self) -> (StrategyOptions, usize) {
        let (by, count) = self.strategy.first_pass(self.budget);
        let joint = self.strategy.rule().is_some();
        (by, if joint { count } else { self.filters.candidates(count) })
    }
}

/// All options of `score pool`.
#[derive(Debug, Clone)]
pub struct ScoreOptions {
    /// What the scores come from.
    pub source: Source,
    /// The images to choose from.
    pub pool: Split<Pool>,
    /// The pool as the user named it.
    pub pool_name: String,
    /// What [`OpenOptions::jpeg_least_side`](crate::data::OpenOptions::jpeg_least_side) all sets were opened with.
    pub jpeg_least_side: Option<u32>,
    /// The slice of it to score; all of it where `None`.
    pub shard: Option<Shard>,
    /// Images to select. A slice selects nothing: [`super::merge()`] does, from the whole.
    pub budget: usize,
    /// How to select.
    pub strategy: StrategyOptions,
    /// Images that are not to be selected, besides the labelled and the reference images: pool images that show the same are
    /// left out too.
    pub exclude: Vec<Dataset>,
    /// What a joint strategy that serves the reference set is to serve in its place: images with or without labels.
    pub target: Option<Dataset>,
    /// What the selection keeps to.
    pub filters: Filters,
    /// Where the features of a joint strategy come from.
    pub features: Features,
    /// Folder in which those of another network are kept for other runs too; `embeddings` in the folder when not given.
    pub embeddings: Option<PathBuf>,
    /// What becomes of pool images that show the same as a labelled, a reference, an excluded or another pool image.
    pub duplicates: Duplicates,
    /// What runs the graph, or the model, in the place of ONNX Runtime here.
    pub server: Option<ServerOptions>,
    /// What becomes of images in which a detector finds no box.
    pub without_boxes: WithoutBoxes,
    /// Where ONNX Runtime runs.
    pub provider: ExecutionProvider,
    /// Images a batch; found by trying where `None`.
    pub batch_size: Option<usize>,
    /// Threads; 0 takes every core.
    pub threads: usize,
    /// Whether the outcome has what the model believes of each selected image, where that is more than a number.
    pub guesses: bool,
    /// Whether an image that cannot be used ends the command.
    pub strict: bool,
    /// Folder for everything that is written.
    pub out: PathBuf,
    /// Score file; `scores.parquet` in the folder when not given.
    pub scores: Option<PathBuf>,
    /// ONNX Runtime's library, when named.
    pub onnxruntime: Option<PathBuf>,
}
