//! Finished parts go to disk on a thread of their own, while the next ones are scored.

use crate::scores::{Finished, Part, Parts, ScoreError};
use crossbeam_channel::{Sender, bounded};
use std::ops::Range;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Instant;

/// Parts that may wait for the disk. One more is being written, and one scored: so many rows are under way at most.
const WAITING: usize = 2;

/// A part with its place among the parts of the sweep.
type Placed = (usize, Part);

/// The writing thread.
pub(super) struct Writer<'scope> {
    queue: Sender<Placed>,
    thread: ScopedJoinHandle<'scope, Written>,
}

/// What the thread leaves.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Parts that are safe on disk, with their places.
    pub(super) parts: Vec<(usize, Finished)>,
    /// Seconds spent on them.
    pub(super) seconds: f64,
    /// Why it stopped before the end.
    pub(super) failure: Option<ScoreError>,
}

impl<'scope> Writer<'scope> {
    /// Starts the thread; `ranges` are the positions that each part covers.
    pub(super) fn start<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        parts: &'env Parts,
        ranges: &'env [Range<usize>],
    ) -> Self {
        let (queue, finished) = bounded::<Placed>(WAITING);
        let thread = scope.spawn(move || {
            let mut written = Written::default();
            for (place, part) in finished {
                let Some(range) = ranges.get(place) else { continue };
                let began = Instant::now();
                let result = parts.write(range, part);
                written.seconds += began.elapsed().as_secs_f64();
                match result {
                    Ok(finished) => written.parts.push((place, finished)),
                    // Leaving drops the queue's other end, which is how the sweep learns of it.
                    Err(error) => {
                        written.failure = Some(error);
                        break;
                    }
                }
            }
            written
        });
        Writer { queue, thread }
    }

    /// Hands a part over, waiting while too many wait already. `false` where the thread has given up.
    pub(super) fn write(&self, place: usize, part: Part) -> bool {
        self.queue.send((place, part)).is_ok()
    }

    /// Waits until all that was handed over is written.
    pub(super) fn finish(self) -> Written {
        drop(self.queue);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
