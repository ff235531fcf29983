//! The lowest of very many keys, without keeping the others.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// An image with its key, and what is held for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked<T> {
    /// The number it is ordered by.
    pub key: f64,
    /// Sample id.
    pub id: String,
    /// What came with it.
    pub held: T,
}

impl<T> Ranked<T> {
    /// The lower key first, and of equal keys the lower id. Adding zero makes -0.0 and 0.0 the same key.
    fn order(&self, key: f64, id: &str) -> Ordering {
        (self.key + 0.0).total_cmp(&(key + 0.0)).then_with(|| self.id.as_str().cmp(id))
    }

    /// Whether it comes before an image of this key and id.
    pub fn is_before(&self, key: f64, id: &str) -> bool {
        self.order(key, id).is_lt()
    }
}

/// [`Ranked`] in the order of keys and ids alone.
struct Ordered<T>(Ranked<T>);

impl<T> Ord for Ordered<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.order(other.0.key, &other.0.id)
    }
}

impl<T> PartialOrd for Ordered<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Ordered<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Ordered<T> {}

/// The images with the lowest keys so far, a given number at most. Ids are distinct, so which these are, and their order, do
/// not depend on the order in which they are offered.
pub struct Ranking<T> {
    most: usize,
    /// The highest on top.
    heap: BinaryHeap<Ordered<T>>,
}

impl<T> Ranking<T> {
    /// Of `most` images.
    pub fn of(most: usize) -> Ranking<T> {
        Ranking { most, heap: BinaryHeap::new() }
    }

    /// Offers an image; `held` is called where it is taken.
    pub fn offer(&mut self, key: f64, id: &str, held: impl FnOnce() -> T) {
        if self.heap.len() >= self.most {
            if self.heap.peek().is_none_or(|highest| highest.0.is_before(key, id)) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Ordered(Ranked { key, id: id.to_owned(), held: held() }));
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The images, the lowest key first.
    pub fn lowest(self) -> Vec<Ranked<T>> {
        self.heap.into_sorted_vec().into_iter().map(|ordered| ordered.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_lowest_are_those_of_a_whole_sort_and_no_more_are_held(
            keys in prop::collection::vec(prop::sample::select(vec![-1.0, -0.0, 0.0, 0.5, 2.0]), 0..40),
            most in 0_usize..45,
        ) {
            let mut ranking = Ranking::of(most);
            for (place, key) in keys.iter().enumerate() {
                ranking.offer(*key, &format!("{}", place * 7 % 41), || place);
                prop_assert!(ranking.len() <= most);
            }
            let mut expected: Vec<(f64, String)> =
                keys.iter().enumerate().map(|(place, key)| (*key, format!("{}", place * 7 % 41))).collect();
            expected.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
            expected.truncate(most);
            let found: Vec<(f64, String)> = ranking.lowest().into_iter().map(|r| (r.key, r.id)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
