//! The requests that wait for a model, and which of them are run together.
//!
//! Requests are batched along the first axis, in the order in which they came, while they fit: the other axes are equal, and
//! the rows together are no more than the model takes. A batch is run as soon as it is full, has a preferred size, or its
//! first request has waited for as long as it may.

use super::refusal::Refusal;
use crate::runtime::Value;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A request as a model runs it.
#[derive(Debug)]
pub struct Job {
    /// Value of each input, in the model's order.
    pub inputs: Vec<Bytes>,
    /// Shape of each.
    pub shapes: Vec<Vec<usize>>,
    /// Rows along the first axis of every input; 1 where the model has no such axis.
    pub rows: usize,
    /// Outputs to compute, in the model's order.
    pub wanted: Vec<bool>,
    /// When it was taken.
    pub since: Instant,
    /// When it is of no use any more.
    pub deadline: Instant,
    /// Where the outputs go.
    pub answer: oneshot::Sender<Result<Vec<Option<Value>>, Refusal>>,
}

impl Job {
    /// Whether two can be rows of one batch.
    fn fits(&self, other: &Job) -> bool {
        self.shapes.len() == other.shapes.len()
            && self.shapes.iter().zip(&other.shapes).all(|(a, b)| a.len() == b.len() && a.get(1..) == b.get(1..))
    }
}

/// How requests become batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batching {
    /// Most rows of a run; 0 or 1: requests are not put together.
    pub max_rows: usize,
    /// Sizes that are run without waiting for more.
    pub preferred: Vec<usize>,
    /// How long the first request waits for others.
    pub delay: Duration,
}

/// The requests that wait for one version of a model.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    batching: Batching,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Nothing more comes.
    closed: bool,
    /// Nothing waits for others.
    hurried: bool,
}

/// The queue is full; the job comes back.
#[derive(Debug)]
pub struct Full(pub Job);

impl Queue {
    /// An empty queue of at most `limit` requests.
    pub fn new(batching: Batching, limit: usize) -> Queue {
        Queue { state: Mutex::default(), arrived: Condvar::new(), batching, limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most requests that wait.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Requests that wait now.
    pub fn len(&self) -> usize {
        self.state().jobs.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a request.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push(&self, job: Job) -> Result<(), Full> {
        let mut state = self.state();
        if state.jobs.len() >= self.limit {
            // Those that nobody waits for any more take no place.
            state.jobs.retain(|job| !job.answer.is_closed());
            if state.jobs.len() >= self.limit {
                return Err(Full(job));
            }
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// From now on no request waits for others to be run with: the server ends.
    pub fn hurry(&self) {
        self.state().hurried = true;
        self.arrived.notify_all();
    }

    /// Lets [`Queue::next`] end once nothing waits.
    pub fn close(&self) {
        self.state().closed = true;
        self.arrived.notify_all();
    }

    /// The next batch, waited for; nothing once the queue is closed and empty.
    pub fn next(&self) -> Option<Vec<Job>> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            // What nobody waits for any more is not run.
            state.jobs.retain(|job| !job.answer.is_closed() && job.deadline > now);
            let Some(first) = state.jobs.front() else {
                if state.closed {
                    return None;
                }
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let until = first.since + self.batching.delay;
            let (requests, complete) = self.batch(&state.jobs);
            if complete || state.closed || state.hurried || now >= until {
                let batch = state.jobs.drain(..requests).collect();
                if !state.jobs.is_empty() {
                    self.arrived.notify_one();
                }
                return Some(batch);
            }
            let waited = self.arrived.wait_timeout(state, until.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many of the first jobs make a batch, and whether there is nothing to wait for.
    fn batch(&self, jobs: &VecDeque<Job>) -> (usize, bool) {
        let Some(first) = jobs.front() else { return (0, false) };
        let most = self.batching.max_rows;
        if most <= 1 {
            return (1, true);
        }
        let (mut rows, mut preferred) = (0, None);
        for (at, job) in jobs.iter().enumerate() {
            if !first.fits(job) || at > 0 && rows + job.rows > most {
                return (preferred.unwrap_or(at), true);
            }
            rows += job.rows;
            if self.batching.preferred.contains(&rows) {
                preferred = Some(at + 1);
            }
        }
        match preferred {
            _ if rows >= most => (jobs.len(), true),
            Some(requests) => (requests, true),
            None => (jobs.len(), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Receiver = oneshot::Receiver<Result<Vec<Option<Value>>, Refusal>>;

    fn job(shape: &[usize]) -> (Job, Receiver) {
        let (answer, receiver) = oneshot::channel();
        let since = Instant::now();
        let job = Job {
            inputs: vec![Bytes::new()],
            shapes: vec![shape.to_vec()],
            rows: shape[0],
            wanted: vec![true],
            since,
            deadline: since + Duration::from_secs(3600),
            answer,
        };
        (job, receiver)
    }

    /// Sizes in rows of the batches that these jobs make, all of them there before the first batch is asked for.
    fn batches(batching: Batching, shapes: &[&[usize]]) -> Vec<Vec<usize>> {
        let queue = Queue::new(batching, 100);
        let mut receivers = Vec::new();
        for shape in shapes {
            let (job, receiver) = job(shape);
            queue.push(job).expect("room");
            receivers.push(receiver);
        }
        queue.close();
        let mut found = Vec::new();
        while let Some(batch) = queue.next() {
            found.push(batch.iter().map(|job| job.rows).collect());
        }
        found
    }

    #[test]
    fn requests_are_put_together_in_order_while_they_fit() {
        let to_4 = Batching { max_rows: 4, ..Batching::default() };
        let same: &[&[usize]] = &[&[1, 3], &[2, 3], &[1, 3], &[2, 3], &[3, 3]];
        assert_eq!(batches(to_4.clone(), same), [vec![1, 2, 1], vec![2], vec![3]]);
        let other_axes: &[&[usize]] = &[&[1, 3], &[1, 3], &[1, 4], &[1, 3]];
        assert_eq!(batches(to_4.clone(), other_axes), [vec![1, 1], vec![1], vec![1]]);
        let other_rank: &[&[usize]] = &[&[1, 3], &[1, 3, 1]];
        assert_eq!(batches(to_4, other_rank), [vec![1], vec![1]]);
        assert_eq!(batches(Batching::default(), same), [vec![1], vec![2], vec![1], vec![2], vec![3]]);
    }

    #[test]
    fn the_largest_preferred_size_is_run_at_once() {
        let batching = Batching { max_rows: 8, preferred: vec![2, 4], delay: Duration::from_secs(3600) };
        let queue = Queue::new(batching, 100);
        let mut receivers = Vec::new();
        for _ in 0..5 {
            let (job, receiver) = job(&[1, 3]);
            queue.push(job).expect("room");
            receivers.push(receiver);
        }
        assert_eq!(queue.next().expect("a batch").len(), 4);
        assert_eq!(queue.len(), 1, "the fifth waits for others");
    }

    #[test]
    fn a_full_queue_takes_no_more_until_somebody_gives_up() {
        let queue = Queue::new(Batching::default(), 2);
        let (first, receiver) = job(&[1]);
        let (second, _second) = job(&[1]);
        let (third, _third) = job(&[1]);
        assert!(queue.push(first).is_ok() && queue.push(second).is_ok());
        let Full(third) = queue.push(third).expect_err("full");
        drop(receiver);
        assert!(queue.push(third).is_ok(), "the first gave up");
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn what_is_late_or_given_up_is_not_run() {
        let queue = Queue::new(Batching::default(), 10);
        let (mut late, late_receiver) = job(&[1]);
        late.deadline = Instant::now();
        let (given_up, receiver) = job(&[1]);
        drop(receiver);
        let (kept, _kept) = job(&[7]);
        for job in [late, given_up, kept] {
            queue.push(job).expect("room");
        }
        assert_eq!(queue.next().expect("the third").first().map(|job| job.rows), Some(7));
        queue.close();
        assert!(queue.next().is_none());
        assert!(late_receiver.blocking_recv().is_err(), "whoever waits learns that nothing comes");
    }

    #[test]
    fn a_lone_request_waits_no_longer_than_the_delay() {
        let batching = Batching { max_rows: 8, preferred: Vec::new(), delay: Duration::from_millis(20) };
        let queue = Queue::new(batching, 10);
        let (job, _receiver) = job(&[1]);
        let since = job.since;
        queue.push(job).expect("room");
        assert_eq!(queue.next().expect("it").len(), 1);
        assert!(since.elapsed() >= Duration::from_millis(20));
    }
}
