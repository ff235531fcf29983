//! A slice of a pool, for several machines that score one pool together.
//!
//! Slices are contiguous and cut where the sweep's parts end, so that every batch of a slice is a batch of the unbroken
//! sweep, and its scores are the same bytes. Slices differ by at most one part; a pool of fewer parts than slices leaves
//! some of them empty.

use super::merge::MergeError;
use crate::sweep::part_size;
use indexmap::IndexMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

/// `2/3`: the second of three slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// Its number, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// How many slices there are.
    pub fn of(self) -> usize {
        self.of
    }

    /// Positions of the pool of `total` images that this slice covers, for batches of `batch_size`.
    pub fn positions(self, total: usize, batch_size: usize) -> Range<usize> {
        let size = part_size(batch_size);
        let parts = total.div_ceil(size);
        let cut = |number: usize| (parts.saturating_mul(number) / self.of).saturating_mul(size).min(total);
        cut(self.number - 1)..cut(self.number)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let wrong = || format!("expected NUMBER/COUNT with 1 <= NUMBER <= COUNT, such as 2/3, found `{text}`");
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let (number, of) = (number.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if number == 0 || number > of {
            return Err(wrong());
        }
        Ok(Shard { number, of })
    }
}

/// What the score file of a slice says besides the provenance that all slices share.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShardFacts {
    pub(super) shard: Shard,
    pub(super) positions: Range<usize>,
    /// Images of the whole pool.
    pub(super) total: usize,
    /// Images of the slice that could not be scored, with the reason.
    pub(super) skipped: Vec<(String, String)>,
    /// Names of the classes.
    pub(super) classes: Vec<String>,
    /// The pool as it was named where the slice was scored.
    pub(super) pool: String,
}

/// Keys of a shard's own facts begin with this.
const OWN: &str = "shard";

impl ShardFacts {
    /// Adds the facts to a table's provenance.
    pub(super) fn store(&self, provenance: &mut IndexMap<String, String>) {
        let Range { start, end } = self.positions;
        for (key, value) in [
            ("shard", self.shard.to_string()),
            ("shard images", format!("{start}..{end} of {}", self.total)),
            ("shard skipped", serde_json::json!(self.skipped).to_string()),
            ("shard classes", serde_json::json!(self.classes).to_string()),
            ("shard pool", self.pool.clone()),
        ] {
            provenance.insert(key.to_owned(), value);
        }
    }

    /// Takes the facts out of the provenance of a table of `rows` rows; what stays is what an unbroken sweep would have written.
    ///
    /// # Errors
    /// [`MergeError::NotAShard`] for the table of a whole pool, or facts that contradict the rows.
    pub(super) fn take(
        provenance: &mut IndexMap<String, String>,
        rows: usize,
        path: &Path,
    ) -> Result<ShardFacts, MergeError> {
        let refused = |reason: String| MergeError::NotAShard { path: path.to_path_buf(), reason };
        let mut fact = |key: &str| {
            let lacks =
                || refused(format!("it has no `{key}` in its provenance; `isal score pool --shard` writes one"));
            provenance.shift_remove(key).ok_or_else(lacks)
        };
        let unclear = |key: &str, text: &str| refused(format!("its `{key}` is `{text}`"));
        let shard: Shard = fact("shard")?.parse().map_err(refused)?;
        let text = fact("shard images")?;
        let numbers: Option<Vec<usize>> =
            text.replace("..", " ").replace("of", " ").split_whitespace().map(|n| n.parse().ok()).collect();
        let Some([start, end, total]) = numbers.as_deref() else { return Err(unclear("shard images", &text)) };
        let (positions, total) = (*start..*end, *total);
        let text = fact("shard skipped")?;
        let skipped: Vec<_> = serde_json::from_str(&text).map_err(|_| unclear("shard skipped", &text))?;
        let text = fact("shard classes")?;
        let classes = serde_json::from_str(&text).map_err(|_| unclear("shard classes", &text))?;
        let pool = fact("shard pool")?;
        provenance.retain(|key, _| !key.starts_with(OWN));
        let (rows, images) = (rows + skipped.len(), positions.len());
        if rows != images {
            return Err(refused(format!("it holds {rows} images, shard {shard} has {images}")));
        }
        Ok(ShardFacts { shard, positions, total, skipped, classes, pool })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_whole_parts_that_cover_the_pool_once_whatever_their_number() {
        for total in [0, 1, 255, 256, 600, 4_000, 60_000] {
            for batch in [1, 8, 64, 250, 5_000] {
                for of in [1, 2, 3, 7, 100] {
                    let slices: Vec<_> = (1..=of).map(|number| Shard { number, of }.positions(total, batch)).collect();
                    assert_eq!((slices[0].start, slices[of - 1].end), (0, total));
                    for pair in slices.windows(2) {
                        assert_eq!(pair[0].end, pair[1].start);
                    }
                    let size = part_size(batch);
                    assert!(slices.iter().all(|s| s.start % size == 0 || s.start == total), "{total} {batch} {of}");
                    let longest = slices.iter().map(Range::len).max().unwrap_or(0);
                    assert!(longest <= total.div_ceil(size).div_ceil(of) * size, "{total} {batch} {of}: {longest}");
                }
            }
        }
    }

    #[test]
    fn a_shard_is_written_as_number_of_count() {
        let shard: Shard = "2/3".parse().expect("parsed");
        assert_eq!((shard.number(), shard.of(), shard.to_string().as_str()), (2, 3, "2/3"));
        for wrong in ["", "2", "0/3", "4/3", "-1/3", "a/b", "1/0", "1/2/3"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
