//! Finding texts that occur twice among very many, without keeping them: eight bytes a text.
//!
//! A first pass keeps a hash of every text. Only where two hashes are equal a second pass looks at the texts themselves, and
//! only at those of these hashes.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The first pass.
pub(crate) struct Repeats(Vec<u64>);

impl Repeats {
    /// Room for so many texts.
    pub(crate) fn expecting(texts: usize) -> Repeats {
        Repeats(Vec::with_capacity(texts))
    }

    /// Takes note of a text.
    pub(crate) fn add(&mut self, text: &str) {
        self.0.push(hash(text));
    }

    /// What the second pass looks for; `None` where all texts differ.
    pub(crate) fn suspects(mut self) -> Option<Suspects> {
        self.0.sort_unstable();
        let equal = self.0.array_windows().filter(|[a, b]| a == b);
        let hashes: HashSet<u64> = equal.map(|[hash, _]| *hash).collect();
        let seen = HashSet::new();
        (!hashes.is_empty()).then_some(Suspects { hashes, seen, repeated: BTreeSet::new() })
    }
}

/// The second pass over the same texts.
pub(crate) struct Suspects {
    hashes: HashSet<u64>,
    seen: HashSet<String>,
    repeated: BTreeSet<String>,
}

impl Suspects {
    /// Looks at a text.
    pub(crate) fn add(&mut self, text: &str) {
        if self.hashes.contains(&hash(text)) && !self.seen.insert(text.to_owned()) {
            self.repeated.insert(text.to_owned());
        }
    }

    /// The first, as texts are ordered, of those that occur more than once.
    pub(crate) fn first(self) -> Option<String> {
        self.repeated.into_iter().next()
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_a_hash_alone_are_no_repetition() {
        // Were `a` and `b` to collide, the second pass would tell them apart.
        let hashes = [hash("a"), hash("b")].into_iter().collect();
        let mut suspects = Suspects { hashes, seen: HashSet::new(), repeated: BTreeSet::new() };
        ["a", "b", "c"].iter().for_each(|text| suspects.add(text));
        assert_eq!(suspects.first(), None);
    }

    #[test]
    fn the_first_of_the_repeated_texts_is_named() {
        let texts = ["d", "c", "a", "d", "b", "c", "c"];
        let mut repeats = Repeats::expecting(texts.len());
        texts.iter().for_each(|text| repeats.add(text));
        let mut suspects = repeats.suspects().expect("some repeat");
        texts.iter().for_each(|text| suspects.add(text));
        assert_eq!(suspects.first().as_deref(), Some("c"));
        let mut different = Repeats::expecting(2);
        ["a", "b"].iter().for_each(|text| different.add(text));
        assert!(different.suspects().is_none());
    }
}
