//! The images of the lowest keys among very many, each once however many copies of it there are.

use crate::data::Content;
use crate::lowest::{Lowest, Total};
use std::collections::HashMap;

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
    /// Whether it comes before an image of this key and id: the lower key first, and of equal keys the lower id.
    pub fn is_before(&self, key: f64, id: &str) -> bool {
        (Total::of(self.key), self.id.as_str()) < (Total::of(key), id)
    }
}

/// Keys first, then ids.
type Place = (Total, String);

struct Held<T> {
    /// As it was given: of the two zeros, the one that it was.
    key: f64,
    content: Option<Content>,
    held: T,
}

/// The images with the lowest keys so far, a given number at most. Ids are distinct, so which these are, and their order, do
/// not depend on the order in which they are offered.
pub struct Ranking<T> {
    lowest: Lowest<Place, Held<T>>,
    /// Where those are that are held once alone.
    places: HashMap<Content, Place>,
}

impl<T> Ranking<T> {
    /// Of `most` images.
    pub fn of(most: usize) -> Ranking<T> {
        Ranking { lowest: Lowest::of(most), places: HashMap::new() }
    }

    /// Offers an image; `held` is called where it is taken. Of those that are offered with the same `content`, the first in
    /// order has a place at most; without a content an image stands for itself.
    pub fn offer(&mut self, key: f64, id: &str, content: Option<Content>, held: impl FnOnce() -> T) {
        let is_after = |place: &Place| (place.0, place.1.as_str()) < (Total::of(key), id);
        if self.lowest.takes_nothing() || self.lowest.bar().is_some_and(is_after) {
            return;
        }
        if let Some(copy) = content.and_then(|content| self.places.get(&content)) {
            if is_after(copy) {
                return;
            }
            self.lowest.remove(copy);
        }
        let place = (Total::of(key), id.to_owned());
        self.places.extend(content.map(|content| (content, place.clone())));
        let out = self.lowest.add(place, Held { key, content, held: held() });
        if let Some(content) = out.and_then(|(_, out)| out.content) {
            self.places.remove(&content);
        }
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.lowest.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The images, the lowest key first.
    pub fn lowest(self) -> Vec<Ranked<T>> {
        let ranked = |((_, id), Held { key, held, .. }): (Place, Held<T>)| Ranked { key, id, held };
        self.lowest.into_sorted().map(ranked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn the_lowest_are_those_of_a_whole_sort_without_copies_and_no_more_are_held(
            images in prop::collection::vec(
                (prop::sample::select(vec![-1.0, -0.0, 0.0, 0.5, 2.0]), prop::option::of(0_u64..6)), 0..40),
            most in 0_usize..45,
        ) {
            let mut ranking = Ranking::of(most);
            let mut expected = Vec::new();
            for (place, (key, content)) in images.into_iter().enumerate() {
                let (id, content) = (format!("{}", place * 7 % 41), content.map(Content::from_bits));
                ranking.offer(key, &id, content, || place);
                prop_assert!(ranking.len() <= most);
                prop_assert!(ranking.places.len() <= most);
                expected.push((key, id, content));
            }
            expected.sort_by(|a, b| (a.0, &a.1).partial_cmp(&(b.0, &b.1)).expect("numbers"));
            let mut seen = HashSet::new();
            expected.retain(|(_, _, content)| content.is_none_or(|content| seen.insert(content)));
            expected.truncate(most);
            let expected: Vec<(f64, String)> = expected.into_iter().map(|(key, id, _)| (key, id)).collect();
            let found: Vec<(f64, String)> = ranking.lowest().into_iter().map(|r| (r.key, r.id)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
