//! How much memory requests take altogether, and the bound on it.

use super::refusal::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of all requests that are being read or answered.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    bytes: Arc<AtomicUsize>,
    limit: usize,
}

/// Bytes of one request; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    ledger: Ledger,
    bytes: usize,
}

impl Ledger {
    /// Nothing held, at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Ledger {
        Ledger { bytes: Arc::default(), limit }
    }

    /// A request that holds nothing yet.
    pub(super) fn begin(&self) -> Held {
        Held { ledger: self.clone(), bytes: 0 }
    }

    /// Bytes that are held now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Takes more.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.ledger.limit;
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= limit);
        match self.ledger.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Refusal::Full { limit }),
        }
    }
}

impl Held {
    /// What it holds now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds nothing any more.
    pub(super) fn give_back(&mut self) {
        self.ledger.bytes.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_free_again() {
        let ledger = Ledger::new(10);
        let mut first = ledger.begin();
        first.take(6).expect("room");
        let mut second = ledger.begin();
        assert!(matches!(second.take(5), Err(Refusal::Full { limit: 10 })));
        second.take(4).expect("room");
        assert!(second.take(usize::MAX).is_err());
        drop(first);
        assert_eq!(ledger.bytes(), 4);
        drop(second);
        assert_eq!(ledger.bytes(), 0);
    }
}
