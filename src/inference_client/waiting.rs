//! An answer that is still to come.

use super::ClientError;
use crate::observe::Observer;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use std::time::Duration;

/// How often the observer is asked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a request that is under way has to say.
#[derive(Debug)]
enum News<T> {
    /// A line for people.
    Line(String),
    /// Its end.
    End(Result<T, ClientError>),
}

/// An answer that is still to come.
#[derive(Debug)]
pub struct Waiting<T>(Receiver<News<T>>);

/// The other end.
#[derive(Debug)]
pub(super) struct Told<T>(Sender<News<T>>);

impl<T> Told<T> {
    /// Says something to whoever waits.
    pub(super) fn say(&self, line: String) {
        // Nobody may wait any more.
        let _ = self.0.send(News::Line(line));
    }

    pub(super) fn end(&self, result: Result<T, ClientError>) {
        let _ = self.0.send(News::End(result));
    }
}

/// Both ends.
pub(super) fn waiting<T>() -> (Told<T>, Waiting<T>) {
    let (sender, receiver) = unbounded();
    (Told(sender), Waiting(receiver))
}

impl<T> Waiting<T> {
    /// An answer that is there.
    pub fn ready(answer: T) -> Waiting<T> {
        let (sender, receiver) = bounded(1);
        // There is room for one.
        let _ = sender.send(News::End(Ok(answer)));
        Waiting(receiver)
    }

    /// Waits for it; says to the observer what happens meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Interrupted`] where the observer asks to stop; else that of the request.
    pub fn wait(self, observer: &dyn Observer) -> Result<T, ClientError> {
        loop {
            match self.0.recv_timeout(LOOK_EVERY) {
                Ok(News::Line(line)) => observer.say(&line),
                Ok(News::End(result)) => return result,
                Err(RecvTimeoutError::Timeout) if !observer.interrupted() => {}
                // A task that is gone without a word was ended with the client.
                Err(_) => return Err(ClientError::Interrupted),
            }
        }
    }
}
