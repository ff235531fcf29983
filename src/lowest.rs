//! The lowest of very many values, without keeping the others.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A number in the total order of floats. Both zeros are one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Total(f64);

impl Total {
    /// Adding zero turns -0.0 into 0.0 and leaves every other number as it is.
    pub(crate) fn of(value: f64) -> Total {
        Total(value + 0.0)
    }

    /// The number.
    pub(crate) fn value(self) -> f64 {
        self.0
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Total {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Total {}

/// The lowest keys so far, a given number at most, and what is held for each. Which these are does not depend on the order in
/// which they come.
#[derive(Debug, Clone)]
pub(crate) struct Lowest<K, T> {
    most: usize,
    held: BTreeMap<K, T>,
}

impl<K: Ord, T> Lowest<K, T> {
    /// Of `most` keys.
    pub(crate) fn of(most: usize) -> Lowest<K, T> {
        Lowest { most, held: BTreeMap::new() }
    }

    /// The highest of them; `None` while there is room for any key.
    pub(crate) fn bar(&self) -> Option<&K> {
        self.held.last_key_value().map(|(key, _)| key).filter(|_| self.held.len() >= self.most)
    }

    /// Whether not even the lowest key would be taken.
    pub(crate) fn takes_nothing(&self) -> bool {
        self.most == 0
    }

    /// Adds a key that is not there yet. Gives what has no place any more, which may be what was added.
    pub(crate) fn add(&mut self, key: K, value: T) -> Option<(K, T)> {
        self.held.insert(key, value);
        if self.held.len() > self.most { self.held.pop_last() } else { None }
    }

    /// Takes a key away.
    pub(crate) fn remove(&mut self, key: &K) {
        self.held.remove(key);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// All of them, the lowest first.
    pub(crate) fn into_sorted(self) -> impl DoubleEndedIterator<Item = (K, T)> {
        self.held.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_lowest_are_those_of_a_whole_sort_and_no_more_are_held(
            keys in prop::collection::hash_set(0_u32..100, 0..40),
            most in 0_usize..45,
        ) {
            let mut lowest = Lowest::of(most);
            for key in &keys {
                let was = lowest.bar().copied();
                let out = lowest.add(*key, ());
                prop_assert!(lowest.len() <= most);
                prop_assert!(was.is_none_or(|bar| out == Some((bar.max(*key), ()))));
            }
            let mut expected: Vec<u32> = keys.into_iter().collect();
            expected.sort_unstable();
            expected.truncate(most);
            prop_assert_eq!(lowest.into_sorted().map(|(key, ())| key).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn floats_are_ordered_and_both_zeros_are_one() {
        assert_eq!(Total::of(-0.0), Total::of(0.0));
        assert!(Total::of(-1.0) < Total::of(0.0) && Total::of(1.0) < Total::of(f64::INFINITY));
    }
}
