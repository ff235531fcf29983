//! Batches of preprocessed images: decoded in parallel, handed out in order, never many ahead.
//!
//! Threads of its own decode small blocks of positions. The consumer asks for new blocks as it takes finished
//! ones, so at most [`LoaderOptions::prefetch`] batches (and at least one block a thread) exist at any time: memory
//! is bounded by batch and prefetch, whatever the pool. Blocks are put back in order before they become
//! batches, so what comes out depends on neither the threads nor the batch size.
//!
//! Where a recipe gives images sizes of their own ([`Recipe::free`]), a batch in the given order has images of one size: those of the
//! smallest size come first, whatever the order of the positions. Shuffled ones share batches with others that are as
//! upright or as wide as they, as torchvision's trainers group them, filled up to the largest of the batch. Either costs a look at the
//! beginning of every image file before the first batch.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ndarray::{Array4, ArrayView4};
use rayon::prelude::*;

use super::augment::Augment;
use super::decode::DecodeError;
use super::normaliser::Normaliser;
use super::seeded::Seeded;
use super::{Content, DataError, Dataset, Image, Recipe, RecipeError, Size};

/// Images ready for the model.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In the recipe's layout: `[N, C, H, W]` or `[N, H, W, C]`.
    pub images: Array4<f32>,
    /// Positions in the data set, one an image.
    pub indices: Vec<usize>,
    /// Labels, one an image.
    pub labels: Vec<Option<u32>>,
    /// What the images show, one an image; empty unless [`LoaderOptions::contents`] asks for it.
    pub contents: Vec<Content>,
}

/// An image that gave no input for the model.
#[derive(Debug)]
pub struct Skipped {
    /// Position in the data set.
    pub index: usize,
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: DataError,
}

/// In which order positions come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// That of the data set.
    #[default]
    Given,
    /// Every order equally likely, picked by seed and epoch.
    Shuffled {
        /// The seed.
        seed: u64,
    },
}

/// How batches are made.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// Images a batch; the last may have fewer.
    pub batch_size: usize,
    /// Order of the positions.
    pub order: Order,
    /// Which pass over the data this is; varies shuffling and augmentation.
    pub epoch: u64,
    /// Random variation, for training.
    pub augment: Option<Augment>,
    /// Decoding threads; as many as the machine has cores where `None`.
    pub threads: Option<usize>,
    /// Batches made ahead of the one in use.
    pub prefetch: usize,
    /// Whether an image that cannot be used ends the loading instead of being skipped.
    pub strict: bool,
    /// Whether batches say what their images show, before the recipe.
    pub contents: bool,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions {
            batch_size: 64,
            order: Order::Given,
            epoch: 0,
            augment: None,
            threads: None,
            prefetch: 2,
            strict: false,
            contents: false,
        }
    }
}

/// Floats of a block at which handing it over costs nothing beside making it.
const BLOCK_FLOATS: usize = 16 << 10;

/// The positions of a pass, in the order in which they come.
enum Positions {
    /// Those from 0 to before this one: a pool has too many to list them.
    All(usize),
    Listed(Vec<usize>),
}

impl Positions {
    fn len(&self) -> usize {
        match self {
            Positions::All(len) => *len,
            Positions::Listed(positions) => positions.len(),
        }
    }

    fn slice(&self, range: Range<usize>) -> Vec<usize> {
        match self {
            Positions::All(_) => range.collect(),
            Positions::Listed(positions) => positions.get(range).unwrap_or_default().to_vec(),
        }
    }
}

struct Job {
    number: usize,
    positions: Vec<usize>,
}

struct Block {
    number: usize,
    /// Floats of the good images, one after the other.
    floats: Vec<f32>,
    /// Their sizes.
    sizes: Vec<Size>,
    /// Positions in order, with what went wrong.
    results: Vec<(usize, Result<Option<Content>, DataError>)>,
}

struct Shared {
    dataset: Dataset,
    recipe: Recipe,
    normaliser: Normaliser,
    augment: Option<Augment>,
    epoch: u64,
    contents: bool,
}

/// An iterator over the batches of one pass.
///
/// With [`LoaderOptions::strict`] the first bad image, in order, is the iterator's last item. Otherwise bad images
/// are left out, the images after them move up, and [`Loader::skipped`] lists them.
pub struct Loader {
    shared: Arc<Shared>,
    order: Positions,
    batch_size: usize,
    block_len: usize,
    strict: bool,
    jobs: Option<Sender<Job>>,
    blocks: Receiver<Block>,
    workers: Vec<JoinHandle<()>>,
    /// Blocks that may be under way or waiting at once.
    ahead: usize,
    /// Next position in `order` to give out.
    next_position: usize,
    next_job: usize,
    next_block: usize,
    waiting: BTreeMap<usize, Block>,
    /// Good images that wait for their batch to fill.
    floats: Vec<f32>,
    sizes: Vec<Size>,
    indices: Vec<usize>,
    contents: Vec<Content>,
    skipped: Vec<Skipped>,
    /// Of each position the number of the group that shares batches, where not all do.
    groups: Option<HashMap<usize, usize>>,
    finished: bool,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("images", &self.order.len())
            .field("batch_size", &self.batch_size)
            .field("skipped", &self.skipped.len())
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// Starts decoding `dataset` by `recipe`.
    pub fn new(dataset: Dataset, recipe: Recipe, options: &LoaderOptions) -> Result<Self, DataError> {
        let order = match options.order {
            Order::Given => Positions::All(dataset.len()),
            Order::Shuffled { seed } => {
                let mut positions: Vec<usize> = (0..dataset.len()).collect();
                Seeded::new("order", &[seed, options.epoch]).shuffle(&mut positions);
                Positions::Listed(positions)
            }
        };
        Self::start(dataset, recipe, order, options)
    }

    /// Starts decoding the given positions, in their order ([`LoaderOptions::order`] is not looked at).
    pub fn over(
        dataset: Dataset,
        recipe: Recipe,
        positions: Vec<usize>,
        options: &LoaderOptions,
    ) -> Result<Self, DataError> {
        let len = dataset.len();
        if let Some(&index) = positions.iter().find(|&&index| index >= len) {
            return Err(DataError::Position { index, len });
        }
        Self::start(dataset, recipe, Positions::Listed(positions), options)
    }

    fn start(dataset: Dataset, recipe: Recipe, order: Positions, options: &LoaderOptions) -> Result<Self, DataError> {
        let LoaderOptions { batch_size, epoch, augment, threads, prefetch, strict, contents, .. } = *options;
        for (what, value) in [("batch size", batch_size), ("number of threads", threads.unwrap_or(1))] {
            if value == 0 {
                return Err(DataError::Zero { what });
            }
        }
        let (order, groups) = match recipe.free {
            true => grouped(&dataset, &recipe, order.slice(0..order.len()), options),
            false => (order, None),
        };
        let block_len = (BLOCK_FLOATS / recipe.len()).clamp(1, batch_size);
        let threads = threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
            .min(order.len().div_ceil(block_len))
            .max(1);
        let ahead = (prefetch.max(1).saturating_mul(batch_size)).div_ceil(block_len).max(threads);
        let normaliser = recipe.normaliser();
        let shared = Arc::new(Shared { dataset, recipe, normaliser, augment, epoch, contents });
        let (jobs, job_queue) = unbounded::<Job>();
        let (finished, blocks) = bounded::<Block>(ahead);
        let workers = (0..threads)
            .map(|_| {
                let (shared, job_queue, finished) = (Arc::clone(&shared), job_queue.clone(), finished.clone());
                std::thread::spawn(move || {
                    for job in job_queue {
                        // The loader was dropped: nobody wants the rest.
                        if finished.send(make(&shared, job)).is_err() {
                            break;
                        }
                    }
                })
            })
            .collect();
        let mut loader = Loader {
            shared,
            order,
            batch_size,
            block_len,
            strict,
            jobs: Some(jobs),
            blocks,
            workers,
            ahead,
            next_position: 0,
            next_job: 0,
            next_block: 0,
            waiting: BTreeMap::new(),
            floats: Vec::new(),
            sizes: Vec::new(),
            groups,
            indices: Vec::new(),
            contents: Vec::new(),
            skipped: Vec::new(),
            finished: false,
        };
        loader.order_blocks();
        Ok(loader)
    }

    /// Images of the pass, bad ones included.
    pub fn images(&self) -> usize {
        self.order.len()
    }

    /// Images left out so far, in order.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The images left out, when the pass is over.
    pub fn into_skipped(mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    /// Keeps as many blocks under way as may be.
    fn order_blocks(&mut self) {
        while self.next_job < self.next_block + self.ahead && self.next_position < self.order.len() {
            let end = (self.next_position + self.block_len).min(self.order.len());
            let positions = self.order.slice(self.next_position..end);
            let job = Job { number: self.next_job, positions };
            // The queue is open while the loader lives.
            if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
                return;
            }
            self.next_position = end;
            self.next_job += 1;
        }
    }

    /// How many of the waiting images may share the next batch, whatever its size.
    fn together(&self) -> usize {
        let Some(groups) = &self.groups else { return self.indices.len() };
        let first = self.indices.first().map(|index| groups.get(index));
        self.indices.iter().take_while(|index| Some(groups.get(index)) == first).count()
    }

    /// The next block in order; `None` after the last.
    fn take_block(&mut self) -> Option<Block> {
        if self.next_block == self.next_job {
            return None;
        }
        let block = loop {
            if let Some(block) = self.waiting.remove(&self.next_block) {
                break block;
            }
            let block = self.blocks.recv().ok()?;
            self.waiting.insert(block.number, block);
        };
        self.next_block += 1;
        self.order_blocks();
        Some(block)
    }

    fn take_batch(&mut self, len: usize) -> Result<Batch, DataError> {
        let later = self.sizes.split_off(len.min(self.sizes.len()));
        let sizes = std::mem::replace(&mut self.sizes, later);
        let channels = self.shared.recipe.channels.count();
        let floats = sizes.iter().map(|size| size.height * size.width * channels).sum::<usize>();
        let rest = self.floats.split_off(floats.min(self.floats.len()));
        let pixels = std::mem::replace(&mut self.floats, rest);
        let later = self.indices.split_off(len);
        let indices = std::mem::replace(&mut self.indices, later);
        let later = self.contents.split_off(len.min(self.contents.len()));
        let contents = std::mem::replace(&mut self.contents, later);
        let labels = indices.iter().map(|&index| self.shared.dataset.label(index)).collect();
        let images =
            stacked(&self.shared.recipe, pixels, &sizes).ok_or(DataError::Position { index: len, len: floats })?;
        Ok(Batch { images, indices, labels, contents })
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished && self.together() == self.indices.len() && self.indices.len() < self.batch_size {
            let Some(block) = self.take_block() else {
                self.finished = true;
                break;
            };
            for (index, result) in block.results {
                match result {
                    Ok(content) => {
                        self.indices.push(index);
                        self.contents.extend(content);
                    }
                    Err(error) if self.strict => {
                        self.finished = true;
                        self.indices.clear();
                        self.contents.clear();
                        self.floats.clear();
                        self.sizes.clear();
                        return Some(Err(error));
                    }
                    Err(reason) => {
                        self.skipped.push(Skipped { index, id: self.shared.dataset.id(index), reason });
                    }
                }
            }
            self.floats.extend_from_slice(&block.floats);
            self.sizes.extend_from_slice(&block.sizes);
        }
        match self.together().min(self.batch_size) {
            0 => None,
            len => Some(self.take_batch(len)),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.jobs = None;
        // Blocks that nobody will take must not hold a worker in `send`.
        let (_, nobody) = bounded(0);
        self.blocks = nobody;
        for worker in self.workers.drain(..) {
            // A panic in a worker has already been reported by the panic hook.
            let _ = worker.join();
        }
    }
}

/// Positions in an order in which those that share batches stand together, and the group of each.
fn grouped(
    dataset: &Dataset,
    recipe: &Recipe,
    positions: Vec<usize>,
    options: &LoaderOptions,
) -> (Positions, Option<HashMap<usize, usize>>) {
    // An image that cannot be read is left out later.
    let size = |index: &usize| dataset.size(*index).map_or(recipe.size, |size| recipe.size_of(size));
    let sizes: Vec<Size> = positions.par_iter().map(size).collect();
    let mut sized: Vec<(usize, Size)> = positions.into_iter().zip(sizes).collect();
    let mut groups = HashMap::new();
    let order = match options.order {
        Order::Given => {
            sized.sort_by_key(|(_, size)| (size.height, size.width));
            let mut numbers = HashMap::new();
            for (index, size) in &sized {
                let next = numbers.len();
                groups.insert(*index, *numbers.entry((size.height, size.width)).or_insert(next));
            }
            sized.into_iter().map(|(index, _)| index).collect()
        }
        Order::Shuffled { .. } => {
            let (upright, wide): (Vec<_>, Vec<_>) = sized.iter().partition(|(_, size)| size.height > size.width);
            let batches = |of: Vec<(usize, Size)>| -> Vec<Vec<usize>> {
                let of: Vec<usize> = of.into_iter().map(|(index, _)| index).collect();
                of.chunks(options.batch_size.max(1)).map(<[usize]>::to_vec).collect()
            };
            let mut batches: Vec<Vec<usize>> = batches(upright).into_iter().chain(batches(wide)).collect();
            let seed = if let Order::Shuffled { seed } = options.order { seed } else { 0 };
            Seeded::new("batches", &[seed, options.epoch]).shuffle(&mut batches);
            for (number, batch) in batches.iter().enumerate() {
                groups.extend(batch.iter().map(|index| (*index, number)));
            }
            batches.concat()
        }
    };
    (Positions::Listed(order), Some(groups))
}

/// Images of these sizes, one after the other, as a batch.
fn stacked(recipe: &Recipe, floats: Vec<f32>, sizes: &[Size]) -> Option<Array4<f32>> {
    let first = *sizes.first()?;
    if sizes.iter().all(|size| *size == first) {
        return Array4::from_shape_vec(recipe.shape_of(sizes.len(), first), floats).ok();
    }
    let (mut rest, mut each) = (floats.as_slice(), Vec::with_capacity(sizes.len()));
    for size in sizes {
        let (own, others) = rest.split_at_checked(size.height * size.width * recipe.channels.count())?;
        each.push(ArrayView4::from_shape(recipe.shape_of(1, *size), own).ok()?);
        rest = others;
    }
    Some(recipe.joined(&each))
}

/// A block of images of sizes of their own.
fn make_free(shared: &Shared, job: Job) -> Block {
    let (mut floats, mut sizes, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for index in job.positions {
        let mut own = None;
        let result = guarded(shared, index, |pixels| {
            let size = shared.recipe.filled(Size { height: pixels.height(), width: pixels.width() });
            own = Some((shared.normaliser.own_size(pixels, size)?, size));
            Ok(())
        });
        if let (Ok(_), Some((image, size))) = (&result, own) {
            floats.extend(image);
            sizes.push(size);
        }
        results.push((index, result));
    }
    Block { number: job.number, floats, sizes, results }
}

fn make(shared: &Shared, job: Job) -> Block {
    if shared.recipe.free {
        return make_free(shared, job);
    }
    let numbers = shared.recipe.len();
    let mut floats = vec![0.0; numbers * job.positions.len()];
    let mut good = 0;
    let mut results = Vec::with_capacity(job.positions.len());
    for index in job.positions {
        let start = good * numbers;
        let place = floats.get_mut(start..start + numbers).unwrap_or_default();
        let result = guarded(shared, index, |pixels| shared.normaliser.apply(pixels, place));
        good += usize::from(result.is_ok());
        results.push((index, result));
    }
    floats.truncate(good * numbers);
    Block { number: job.number, floats, sizes: vec![shared.recipe.size; good], results }
}

/// A panic counts as a bad image: a block that never came would leave the consumer waiting.
fn guarded(
    shared: &Shared,
    index: usize,
    finish: impl FnOnce(&Image) -> Result<(), RecipeError>,
) -> Result<Option<Content>, DataError> {
    let guarded = std::panic::AssertUnwindSafe(|| prepare(shared, index, finish));
    std::panic::catch_unwind(guarded).unwrap_or_else(|payload| {
        let source = DecodeError::panicked(payload.as_ref());
        Err(DataError::Decode { id: shared.dataset.id(index), source })
    })
}

/// Decodes an image and takes it through the recipe; `finish` makes floats of the 8-bit samples.
fn prepare(
    shared: &Shared,
    index: usize,
    finish: impl FnOnce(&Image) -> Result<(), RecipeError>,
) -> Result<Option<Content>, DataError> {
    let image = shared.dataset.load(index)?;
    let content = shared.contents.then(|| Content::of(&image));
    let failed = |source| DataError::Preprocess { id: shared.dataset.id(index), source };
    let mut pixels = shared.recipe.pixels_of(image).map_err(failed)?;
    if let Some(augment) = &shared.augment {
        pixels = augment.apply(pixels, shared.epoch, index);
    }
    finish(&pixels).map_err(failed)?;
    Ok(content)
}
