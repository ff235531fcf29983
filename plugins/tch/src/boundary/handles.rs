//! Handles: numbers given out once and looked up at each call.

use crate::Failure;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// One count for handles of every kind, so that a vector's is never mistaken for a model's.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What the handles of one kind stand for.
pub(super) struct Handles<T> {
    what: &'static str,
    held: LazyLock<Mutex<HashMap<u64, Arc<T>>>>,
}

impl<T> Handles<T> {
    pub(super) const fn new(what: &'static str) -> Self {
        Handles { what, held: LazyLock::new(|| Mutex::new(HashMap::new())) }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, Arc<T>>> {
        lock(&self.held)
    }

    /// A new handle for `value`.
    pub(super) fn give(&self, value: T) -> u64 {
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        self.held().insert(handle, Arc::new(value));
        handle
    }

    /// What a handle stands for.
    pub(super) fn get(&self, handle: u64) -> Result<Arc<T>, Failure> {
        self.held().get(&handle).cloned().ok_or(Failure::Handle { what: self.what, handle })
    }

    /// Forgets a handle. What it stood for goes when the last call that uses it ends.
    pub(super) fn free(&self, handle: u64) -> Result<(), Failure> {
        let value = self.held().remove(&handle);
        // Dropped here, after the lock: freeing a large tensor does not hold up other calls.
        value.map(drop).ok_or(Failure::Handle { what: self.what, handle })
    }
}

/// Locks past poisoning: a panic was reported by the call it happened in, and a lock held then protects a value that
/// each operation either replaces whole or does not touch.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_means_one_thing_until_it_is_freed_and_nothing_after() {
        static NUMBERS: Handles<u32> = Handles::new("number");
        static WORDS: Handles<&str> = Handles::new("word");
        let (a, b) = (NUMBERS.give(7), WORDS.give("seven"));
        assert_ne!(a, b);
        assert_eq!(NUMBERS.get(a).ok().as_deref(), Some(&7));
        for wrong in [0, b, u64::MAX] {
            assert!(matches!(NUMBERS.get(wrong), Err(Failure::Handle { what: "number", handle }) if handle == wrong));
        }
        assert!(NUMBERS.free(a).is_ok());
        assert!(NUMBERS.get(a).is_err() && NUMBERS.free(a).is_err());
        assert_eq!(WORDS.get(b).ok().as_deref(), Some(&"seven"));
    }
}
