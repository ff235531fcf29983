//! The thread that writes: it gathers what waits, and makes one transaction of it.

use super::keep::{Bounds, Keep, Place, Step};
use super::{Candidate, Inner, Kept, Message, locked};
use crate::data::harvest::{Graph, HarvestError, Hash, Part, Row, Store};
use crossbeam_channel::Receiver;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Requests, and bytes of them, in one transaction.
const TOGETHER: usize = 256;
const TOGETHER_BYTES: usize = 8 << 20;
/// How long a database that refused is left alone, and how often that is said.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Opens the database anew after it refused.
type Open = Box<dyn Fn() -> Result<Store, HarvestError> + Send>;

pub(super) struct Writer {
    inner: Arc<Inner>,
    receiver: Receiver<Message>,
    open: Open,
    opened: Option<Opened>,
    failed_at: Option<Instant>,
    said_at: Option<Instant>,
}

/// The database, and what it holds.
struct Opened {
    store: Store,
    keep: Keep,
    clears: u64,
    /// How many of the graphs that are served it knows.
    graphs: usize,
    /// Those that it knows.
    known: Vec<Arc<Kept>>,
}

impl Writer {
    /// Reads what `store` holds.
    pub(super) fn begin(inner: Arc<Inner>, receiver: Receiver<Message>, store: Store) -> Result<Writer, HarvestError> {
        let folder = inner.options.folder.clone();
        let opened = Opened::of(store, bounds(&inner))?;
        opened.publish(&inner);
        let open = Box::new(move || Store::create(&folder));
        Ok(Writer { inner, receiver, open, opened: Some(opened), failed_at: None, said_at: None })
    }

    /// Writes until it is told to end.
    pub(super) fn run(mut self) {
        while let Ok(message) = self.receiver.recv() {
            let (mut batch, mut bytes, mut ends) = (Vec::new(), 0, false);
            let mut next = Some(message);
            while let Some(message) = next {
                match message {
                    Message::Candidate(candidate) => {
                        bytes += candidate.bytes.len();
                        batch.push(candidate);
                    }
                    Message::End => ends = true,
                }
                let more = !ends && batch.len() < TOGETHER && bytes < TOGETHER_BYTES;
                next = more.then(|| self.receiver.try_recv().ok()).flatten();
            }
            self.write(&batch);
            self.inner.waiting.fetch_sub(bytes, Ordering::Relaxed);
            if ends {
                return;
            }
        }
    }

    fn write(&mut self, batch: &[Candidate]) {
        if batch.is_empty() {
            return;
        }
        match self.written(batch) {
            Ok(stored) => {
                self.inner.counts.stored.fetch_add(stored, Ordering::Relaxed);
                self.failed_at = None;
            }
            Err(error) => {
                self.inner.counts.failed.fetch_add(batch.len() as u64, Ordering::Relaxed);
                // What it holds now is known when it is opened again.
                self.opened = None;
                let Some(error) = error else { return };
                self.failed_at = Some(Instant::now());
                if self.said_at.is_none_or(|said| said.elapsed() > SAID_EVERY) {
                    self.said_at = Some(Instant::now());
                    let error = crate::error_chain::in_one_line(&error);
                    tracing::warn!(error, "the harvest is not written; requests are answered as before");
                }
            }
        }
    }

    /// One transaction; gives how many requests came in by it. No error is said where the last failure was just now.
    fn written(&mut self, batch: &[Candidate]) -> Result<u64, Option<HarvestError>> {
        if self.opened.is_none() {
            if self.failed_at.is_some_and(|failed| failed.elapsed() < AFTER_FAILURE) {
                return Err(None);
            }
            let store = (self.open)().map_err(Some)?;
            self.opened = Some(Opened::of(store, bounds(&self.inner)).map_err(Some)?);
        }
        let Some(opened) = &mut self.opened else { return Err(None) };
        let stored = opened.take(&self.inner, batch).map_err(Some)?;
        opened.publish(&self.inner);
        Ok(stored)
    }
}

fn bounds(inner: &Inner) -> Bounds {
    Bounds { images: inner.options.images, sample: inner.options.sample, bytes: inner.options.bytes }
}

impl Opened {
    fn of(store: Store, bounds: Bounds) -> Result<Opened, HarvestError> {
        let (mut keep, clears) = read(&store, bounds)?;
        let steps = keep.trim();
        if !steps.is_empty() {
            let change = store.change()?;
            for (model, step) in steps {
                if let Step::Remove(hash) = step {
                    change.remove(&model, hash)?;
                }
            }
            change.commit()?;
        }
        Ok(Opened { store, keep, clears, graphs: 0, known: Vec::new() })
    }

    fn take(&mut self, inner: &Inner, batch: &[Candidate]) -> Result<u64, HarvestError> {
        let mut change = self.store.change()?;
        if change.clears()? != self.clears {
            // Somebody cleared it: what it holds is read again.
            drop(change);
            (self.keep, self.clears) = read(&self.store, bounds(inner))?;
            self.graphs = 0;
            change = self.store.change()?;
        }
        let served = locked(&inner.graphs).clone();
        let changed =
            served.len() != self.known.len() || served.iter().zip(&self.known).any(|(a, b)| !Arc::ptr_eq(a, b));
        if changed || self.graphs == 0 {
            for kept in &served {
                if let Some((number, turn)) = self.keep.serve(&kept.model, &kept.graph.sha256) {
                    change.graph(&kept.model, number, &Graph { turn, ..kept.graph.clone() })?;
                }
            }
            self.graphs = served.len();
            self.known = served;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut stored = 0;
        for candidate in batch {
            let model = candidate.of.model.as_str();
            let Some(graph) = self.keep.number(model, &candidate.of.graph.sha256) else { continue };
            let hash = Hash::of(&candidate.form, &candidate.bytes);
            let bytes = candidate.bytes.len() as u64;
            let Candidate { influence, priority, .. } = *candidate;
            let place = Place { part: Part::Lowest, influence, graph, priority, bytes };
            for (model, step) in self.keep.offer(model, hash, place) {
                let (hash, part, with_bytes) = match step {
                    Step::Add(hash, part) => (hash, part, true),
                    Step::Renew(hash, part) => (hash, part, false),
                    Step::Move(hash, part) => {
                        change.set_part(&model, hash, part)?;
                        continue;
                    }
                    Step::Remove(hash) => {
                        change.remove(&model, hash)?;
                        continue;
                    }
                };
                let form = candidate.form.clone();
                let row = Row { part, influence, priority, graph, since_ms, form, bytes };
                change.put(&model, hash, &row, with_bytes.then_some(&candidate.bytes))?;
                stored += 1;
            }
        }
        change.commit()?;
        Ok(stored)
    }

    /// Says what is kept, and what a request must be below to be kept.
    fn publish(&self, inner: &Inner) {
        let held = self.keep.held().map(|(model, part, held)| ((model.to_owned(), part), held)).collect();
        *locked(&inner.held) = held;
        for kept in locked(&inner.graphs).iter() {
            let number = self.keep.number(&kept.model, &kept.graph.sha256);
            kept.bars.set(self.keep.bars(&kept.model, number));
        }
    }
}

fn read(store: &Store, bounds: Bounds) -> Result<(Keep, u64), HarvestError> {
    let view = store.view()?;
    let mut keep = Keep::new(bounds);
    for (model, number, graph) in view.graphs()? {
        keep.known_graph(&model, number, &graph);
    }
    view.each(|model, hash, row| {
        keep.known_row(model, hash, &row);
        Ok::<(), HarvestError>(())
    })?;
    Ok((keep, view.clears()?))
}

#[cfg(test)]
mod tests {
    use super::super::{Bars, Counts, HarvestOptions};
    use super::*;
    use crate::data::harvest::Form;
    use bytes::Bytes;
    use redb::StorageBackend;
    use std::io;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::sync::{Mutex, MutexGuard};

    /// A disk that can be full: it takes no more bytes than it has then.
    #[derive(Debug, Clone, Default)]
    struct Disk(Arc<(Mutex<Vec<u8>>, AtomicBool)>);

    impl Disk {
        fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
            self.0.0.lock().expect("no panic")
        }

        fn fill(&self, full: bool) {
            self.0.1.store(full, Ordering::Relaxed);
        }

        fn check(&self) -> Result<(), io::Error> {
            match self.0.1.load(Ordering::Relaxed) {
                true => Err(io::Error::from(io::ErrorKind::StorageFull)),
                false => Ok(()),
            }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> Result<u64, io::Error> {
            Ok(self.bytes().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            let start = offset as usize;
            out.copy_from_slice(&self.bytes()[start..start + out.len()]);
            Ok(())
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            self.check()?;
            self.bytes().resize(len as usize, 0);
            Ok(())
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            self.check()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            self.check()?;
            let start = offset as usize;
            self.bytes()[start..start + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    fn writer(disk: &Disk) -> Writer {
        let (queue, receiver) = crossbeam_channel::bounded(1);
        let options = HarvestOptions { folder: "of the test".into(), images: 100, sample: 0, bytes: 1 << 30 };
        let graph = Graph { sha256: "g".to_owned(), version: 1, turn: 0, recipe: None };
        let kept = Arc::new(Kept { model: "m".to_owned(), graph, bars: Bars::open() });
        let inner = Arc::new(Inner {
            options,
            seed: 0,
            queue,
            waiting: AtomicUsize::new(0),
            counts: Counts::default(),
            graphs: Mutex::new(vec![kept]),
            held: Mutex::default(),
            writer: Mutex::default(),
        });
        let disk = disk.clone();
        let open = Box::new(move || Store::with_backend(disk.clone(), Path::new("the test's")));
        let opened = Opened::of(open().expect("made"), bounds(&inner)).expect("read");
        Writer { inner, receiver, open, opened: Some(opened), failed_at: None, said_at: None }
    }

    fn candidate(writer: &Writer, number: u8, bytes: usize) -> Candidate {
        let of = Arc::clone(&locked(&writer.inner.graphs)[0]);
        let form = Form::Numbers { datatype: "UINT8".to_owned(), shape: vec![bytes] };
        let influence = -f32::from(number);
        Candidate { of, form, bytes: Bytes::from(vec![number; bytes]), influence, priority: number.into() }
    }

    fn reopened(disk: &Disk) -> Store {
        Store::with_backend(disk.clone(), Path::new("the test's")).expect("opened")
    }

    #[test]
    fn a_full_disk_loses_what_it_refused_and_nothing_else() {
        let disk = Disk::default();
        let mut writer = writer(&disk);
        let first: Vec<Candidate> = (0..10).map(|number| candidate(&writer, number, 10_000)).collect();
        writer.write(&first);
        let counts = |writer: &Writer| {
            let of = &writer.inner.counts;
            (of.stored.load(Ordering::Relaxed), of.failed.load(Ordering::Relaxed))
        };
        assert_eq!(counts(&writer), (10, 0));
        disk.fill(true);
        let second: Vec<Candidate> = (10..15).map(|number| candidate(&writer, number, 10_000)).collect();
        writer.write(&second);
        // Left alone for a while: this fails without the disk being tried.
        writer.write(&second);
        assert_eq!(counts(&writer), (10, 10));
        disk.fill(false);
        writer.failed_at = None;
        writer.write(&second);
        assert_eq!(counts(&writer), (15, 10), "it goes on by itself");
        drop(writer);
        let store = reopened(&disk);
        let view = store.view().expect("a view");
        let mut found = Vec::new();
        view.each(|model, hash, row| {
            let bytes = view.bytes(model, hash)?;
            assert!(bytes.len() == 10_000 && bytes.iter().all(|byte| f32::from(*byte) == -row.influence));
            assert_eq!(Hash::of(&row.form, &bytes), hash);
            found.push(bytes[0]);
            Ok::<(), HarvestError>(())
        })
        .expect("read");
        found.sort_unstable();
        assert_eq!(found, (0..15).collect::<Vec<u8>>());
        assert_eq!(view.graphs().expect("read").len(), 1);
    }

    #[test]
    fn what_somebody_cleared_is_gone_and_comes_again() {
        let disk = Disk::default();
        let mut writer = writer(&disk);
        let all: Vec<Candidate> = (0..5).map(|number| candidate(&writer, number, 100)).collect();
        writer.write(&all);
        let opened = writer.opened.as_ref().expect("open");
        let change = opened.store.change().expect("a change");
        assert_eq!(change.clear(Some("another")).expect("cleared"), 0);
        assert_eq!(change.clear(None).expect("cleared"), 5);
        change.commit().expect("written");
        writer.write(&all[..2]);
        drop(writer);
        let mut rows = 0;
        let store = reopened(&disk);
        let view = store.view().expect("a view");
        view.each(|_, _, _| {
            rows += 1;
            Ok::<(), HarvestError>(())
        })
        .expect("read");
        assert_eq!((rows, view.graphs().expect("read").len()), (2, 1));
    }
}
