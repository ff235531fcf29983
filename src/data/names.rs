//! Many names in little room: each is kept as what it does not share with the name before it.
//!
//! File names of a data set mostly differ from their neighbours in a few characters, so a name costs some ten bytes here,
//! where a `String` costs its length and thirty to fifty more. Every [`WHOLE`]th name is kept whole, and reading any other
//! begins there.

use std::ops::Range;

use crate::repeats::Repeats;

/// A name is read through fewer names than this.
const WHOLE: usize = 16;

/// A list of names that only grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Of every name: the bytes it shares with the one before, the bytes that follow them (both as [`number`] reads them),
    /// and these bytes.
    bytes: Vec<u8>,
    /// Where in `bytes` every [`WHOLE`]th name begins.
    starts: Vec<usize>,
    len: usize,
    last: String,
}

impl Names {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a name.
    pub(crate) fn push(&mut self, name: &str) {
        let shared = if self.len.is_multiple_of(WHOLE) {
            self.starts.push(self.bytes.len());
            0
        } else {
            name.bytes().zip(self.last.bytes()).take_while(|(a, b)| a == b).count()
        };
        let rest = name.as_bytes().get(shared..).unwrap_or_default();
        put_number(&mut self.bytes, shared);
        put_number(&mut self.bytes, rest.len());
        self.bytes.extend_from_slice(rest);
        self.len += 1;
        self.last.clear();
        self.last.push_str(name);
    }

    /// Gives back what was set aside for growing.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.starts.shrink_to_fit();
    }

    /// The name at a position.
    pub(crate) fn get(&self, index: usize) -> Option<String> {
        let mut at = *self.starts.get(index / WHOLE).filter(|_| index < self.len)?;
        let mut name = Vec::new();
        for _ in 0..=index % WHOLE {
            at = self.next(at, &mut name)?;
        }
        String::from_utf8(name).ok()
    }

    /// Calls `visit` with every name, in order.
    pub(crate) fn each(&self, mut visit: impl FnMut(&str)) {
        let (mut at, mut name) = (0, Vec::new());
        while let Some(next) = self.next(at, &mut name) {
            at = next;
            visit(std::str::from_utf8(&name).unwrap_or_default());
        }
    }

    /// The first, as texts are ordered, of the names that occur more than once.
    pub(crate) fn repeated(&self) -> Option<String> {
        let mut repeats = Repeats::expecting(self.len);
        self.each(|name| repeats.add(name));
        let mut suspects = repeats.suspects()?;
        self.each(|name| suspects.add(name));
        suspects.first()
    }

    /// Turns `name`, the name before the one that begins at `at`, into that one; gives where the next begins.
    fn next(&self, at: usize, name: &mut Vec<u8>) -> Option<usize> {
        let (shared, at) = number(&self.bytes, at)?;
        let (len, at) = number(&self.bytes, at)?;
        let rest: Range<usize> = at..at + len;
        name.truncate(shared);
        name.extend_from_slice(self.bytes.get(rest)?);
        Some(at + len)
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The number at a place, and the place after it.
fn number(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let (mut number, mut shift) = (0_usize, 0);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some((number, at));
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(names: &[String]) -> Names {
        let mut list = Names::default();
        names.iter().for_each(|name| list.push(name));
        list.shrink();
        list
    }

    proptest! {
        #[test]
        fn names_come_back_as_they_were_put_in(names in prop::collection::vec("[a-cä/é€]{0,200}|.{0,3}", 0..60)) {
            let list = listed(&names);
            prop_assert_eq!(list.len(), names.len());
            for (index, name) in names.iter().enumerate() {
                prop_assert_eq!(list.get(index), Some(name.clone()));
            }
            prop_assert_eq!(list.get(names.len()), None);
            let mut all = Vec::new();
            list.each(|name| all.push(name.to_owned()));
            prop_assert_eq!(&all, &names);
            let mut sorted = names.clone();
            sorted.sort();
            let repeated = sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
            prop_assert_eq!(list.repeated(), repeated);
        }
    }

    #[test]
    fn a_name_that_differs_in_a_few_digits_costs_a_dozen_bytes() {
        let names: Vec<String> = (0..100_000).map(|i| format!("some class/a camera's prefix-{i:06}.png")).collect();
        let list = listed(&names);
        let held = list.bytes.capacity() + list.starts.capacity() * size_of::<usize>();
        // Two lengths, on average 1.1 digits and `.png`; a sixteenth of 39 bytes and of a place.
        assert!(held < 11 * names.len(), "{held} bytes for {} names", names.len());
    }
}
