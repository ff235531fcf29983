//! Harvest: of every model that gives influences, the requests that are most worth labelling are kept, and a random sample of the
//! others to compare with; each request once.
//!
//! Answers do not wait for it. A request that may be kept is copied into a queue with a bound, and a thread writes what the queue holds
//! into [`data::harvest`](crate::data::harvest) in transactions. What finds the queue full is dropped and counted. What was counted as
//! stored survives a kill.
//!
//! The sample is of those whose keyed hash is lowest, which is uniform over the requests that differ, whatever their order, and the same
//! after a restart (A. Broder, "On the resemblance and containment of documents", 1997, section 3).

mod keep;
mod writer;

use super::datatype::Datatype;
use super::model::Version;
use super::tensor::Tensor;
use crate::data::Recipe;
use crate::data::harvest::{Form, Graph, HarvestError, Part, Store};
use crate::runtime::Texts;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use twox_hash::XxHash3_64;

/// Requests that wait to be written.
const QUEUE: usize = 1024;
/// Bytes of them.
const QUEUE_BYTES: usize = 64 << 20;

/// What is kept, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HarvestOptions {
    /// The folder of the harvest.
    pub folder: PathBuf,
    /// Requests of lowest influence that are kept of each model.
    pub images: usize,
    /// Requests in the random sample of the others, of each model.
    pub sample: usize,
    /// Bytes of all requests that are kept.
    pub bytes: u64,
}

/// Keeps requests. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Harvest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: HarvestOptions,
    /// What random numbers of requests are made from.
    seed: u64,
    queue: Sender<Message>,
    waiting: AtomicUsize,
    counts: Counts,
    /// The influence graphs that are served, in the order in which they were loaded.
    graphs: Mutex<Vec<Arc<Kept>>>,
    /// What is kept of each model.
    held: Mutex<BTreeMap<(String, Part), Held>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What happened to requests since the server began.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Written, and there after a kill.
    pub(super) stored: AtomicU64,
    /// Not looked at, because too many waited.
    pub(super) dropped: AtomicU64,
    /// Not written, because the disk or the database refused.
    pub(super) failed: AtomicU64,
}

/// What is kept of one model in one part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) images: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
enum Message {
    Candidate(Candidate),
    /// Write what there is, and end.
    End,
}

/// A request, or a row of one, that may be kept.
#[derive(Debug)]
struct Candidate {
    of: Arc<Kept>,
    form: Form,
    bytes: Bytes,
    influence: f32,
    priority: u64,
}

/// A version of a model whose requests are kept.
#[derive(Debug)]
pub(super) struct Kept {
    model: String,
    graph: Graph,
    bars: Bars,
}

/// What a request must be below to be kept, by the last transaction.
#[derive(Debug)]
struct Bars {
    influence: AtomicU32,
    priority: AtomicU64,
}

impl Bars {
    /// Everything is kept.
    fn open() -> Bars {
        Bars { influence: AtomicU32::new(f32::INFINITY.to_bits()), priority: AtomicU64::new(u64::MAX) }
    }

    fn set(&self, (influence, priority): (f32, u64)) {
        self.influence.store(influence.to_bits(), Ordering::Relaxed);
        self.priority.store(priority, Ordering::Relaxed);
    }

    fn let_in(&self, influence: f32, priority: u64) -> bool {
        influence < f32::from_bits(self.influence.load(Ordering::Relaxed))
            || priority < self.priority.load(Ordering::Relaxed)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Harvest {
    /// Opens the harvest, or makes it, and starts the thread that writes.
    ///
    /// # Errors
    /// [`HarvestError`] where it cannot be opened or made.
    pub fn start(options: HarvestOptions) -> Result<Harvest, HarvestError> {
        let store = Store::create(&options.folder)?;
        let (queue, receiver): (_, Receiver<Message>) = crossbeam_channel::bounded(QUEUE);
        let inner = Arc::new(Inner {
            seed: store.seed(),
            options,
            queue,
            waiting: AtomicUsize::new(0),
            counts: Counts::default(),
            graphs: Mutex::default(),
            held: Mutex::default(),
            writer: Mutex::default(),
        });
        let writer = writer::Writer::begin(Arc::clone(&inner), receiver, store)?;
        let thread = std::thread::Builder::new().name("isal-harvest".to_owned()).spawn(|| writer.run());
        let folder = inner.options.folder.clone();
        let thread = thread.map_err(|source| HarvestError::Io { doing: "start a thread for", path: folder, source })?;
        *locked(&inner.writer) = Some(thread);
        Ok(Harvest(inner))
    }

    /// What is kept, and where.
    pub fn options(&self) -> &HarvestOptions {
        &self.0.options
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// What is kept of each model now.
    pub(super) fn held(&self) -> BTreeMap<(String, Part), Held> {
        locked(&self.0.held).clone()
    }

    /// A version whose requests are to be kept from now on; it was loaded after all others.
    pub(super) fn keep(&self, model: &str, version: u64, sha256: &str, recipe: Option<&Recipe>) -> Arc<Kept> {
        let graph = Graph { sha256: sha256.to_owned(), version, turn: 0, recipe: recipe.cloned() };
        let kept = Arc::new(Kept { model: model.to_owned(), graph, bars: Bars::open() });
        let mut graphs = locked(&self.0.graphs);
        graphs.retain(|other| (other.model.as_str(), other.graph.sha256.as_str()) != (model, sha256));
        graphs.push(Arc::clone(&kept));
        kept
    }

    /// Offers the rows of an answered request: `input` as the client sent it, and the influence of each row.
    pub(super) fn offer(&self, version: &Version, input: &Tensor, influences: &[f64]) {
        let Some(kept) = &version.kept else { return };
        let encoded = input.datatype == Datatype::Bytes;
        let form = match encoded {
            true => Form::Encoded,
            false => {
                let batched = version.signature.max_batch > 0 || input.shape.first() == Some(&1);
                let shape = input.shape.iter().skip(usize::from(batched)).copied().collect();
                Form::Numbers { datatype: input.datatype.name().to_owned(), shape }
            }
        };
        let rows = influences.len();
        if rows == 0 || (!encoded && !input.data.len().is_multiple_of(rows)) {
            return;
        }
        let mut texts = Texts(&input.data);
        let length = input.data.len() / rows;
        for (row, influence) in influences.iter().enumerate() {
            let piece = match encoded {
                true => texts.next().and_then(Result::ok),
                false => input.data.get(row * length..(row + 1) * length),
            };
            let Some(piece) = piece else { return };
            let influence = *influence as f32;
            let priority = XxHash3_64::oneshot_with_seed(self.0.seed, piece);
            if influence.is_nan() || !kept.bars.let_in(influence, priority) {
                continue;
            }
            self.0.push(kept, &form, piece, influence, priority);
        }
    }

    /// Writes what waits, for as long as `within`, and ends.
    pub(super) fn end(&self, within: Duration) {
        if self.0.queue.send_timeout(Message::End, within).is_err() {
            tracing::warn!("the harvest was not written to its end");
            return;
        }
        let thread = locked(&self.0.writer).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the harvest's writer failed");
        }
    }
}

impl Inner {
    fn push(&self, kept: &Arc<Kept>, form: &Form, piece: &[u8], influence: f32, priority: u64) {
        let room = |waiting: usize| waiting.checked_add(piece.len()).filter(|sum| *sum <= QUEUE_BYTES);
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A copy: the piece may be part of a body of many megabytes.
        let bytes = Bytes::copy_from_slice(piece);
        let candidate = Candidate { of: Arc::clone(kept), form: form.clone(), bytes, influence, priority };
        if self.queue.try_send(Message::Candidate(candidate)).is_err() {
            self.waiting.fetch_sub(piece.len(), Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
