//! The unfinished part of a sweep on disk: what a killed sweep has already scored.
//!
//! A part covers a fixed range of pool positions and is a small score table of its own, so a sweep that
//! starts again reads the parts that are there, scores the rest, and ends with the same table.

use super::{BeliefColumn, Rows, ScoreError, ScoreRow, Stored};
use crate::durable;
use std::ops::Range;
use std::path::{Path, PathBuf};

const KEY: &str = "isal.sweep";
const SKIPPED: &str = "isal.skipped";

/// What was found out about one range of the pool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Part {
    /// Rows of the images that could be scored, in pool order.
    pub rows: Vec<ScoreRow>,
    /// Ids of the images that could not, with the reason.
    pub skipped: Vec<(String, String)>,
}

/// What is kept in memory of a part on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// How many rows it has.
    pub rows: usize,
    /// Ids of the images that could not be scored, with the reason.
    pub skipped: Vec<(String, String)>,
}

/// A folder of parts that belong to one sweep.
#[derive(Debug)]
pub struct Parts {
    folder: PathBuf,
    key: String,
    /// What the beliefs of the rows are.
    columns: Vec<BeliefColumn>,
    size: usize,
    /// Positions in the pool that the sweep covers; it begins where a part begins.
    covered: Range<usize>,
}

impl Parts {
    /// The parts of a sweep over the positions `covered` of a pool, `size` a part, in `folder`. `key` says all that the
    /// scores depend on; parts of another key are left alone and not read. `columns` are the beliefs of the rows.
    ///
    /// # Errors
    /// [`ScoreError::Durable`] when the folder cannot be made.
    pub fn open(
        folder: &Path,
        key: &str,
        columns: &[BeliefColumn],
        size: usize,
        covered: Range<usize>,
    ) -> Result<Parts, ScoreError> {
        durable::make_folder(folder)?;
        let (folder, key, columns) = (folder.to_path_buf(), key.to_owned(), columns.to_vec());
        Ok(Parts { folder, key, columns, size: size.max(1), covered })
    }

    /// Ranges of pool positions, one a part.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (size, Range { start, end }) = (self.size, self.covered.clone());
        (start..end).step_by(size).map(move |start| start..(start + size).min(end))
    }

    fn path(&self, range: &Range<usize>) -> PathBuf {
        self.folder.join(format!("{:09}-{:09}.parquet", range.start, range.end))
    }

    /// A part that an earlier run of the same sweep finished. All of it is read once, to see that it can be.
    pub fn finished(&self, range: &Range<usize>) -> Option<Finished> {
        // A part that cannot be read, or is another sweep's, is simply scored again.
        let (stored, provenance) = Stored::open(&self.path(range)).ok()?;
        if provenance.get(KEY) != Some(&self.key) || stored.columns() != self.columns {
            return None;
        }
        let skipped: Vec<(String, String)> = serde_json::from_str(provenance.get(SKIPPED)?).ok()?;
        let rows = stored.chunks().try_fold(0, |rows, chunk| chunk.ok().map(|chunk| rows + chunk.len()))?;
        (rows + skipped.len() == range.len()).then_some(Finished { rows, skipped })
    }

    /// Keeps a finished part.
    ///
    /// # Errors
    /// [`ScoreError`].
    pub fn write(&self, range: &Range<usize>, part: Part) -> Result<Finished, ScoreError> {
        let path = self.path(range);
        let skipped = serde_json::to_string(&part.skipped)
            .map_err(|e| ScoreError::Text { path: path.clone(), source: Box::new(e) })?;
        let provenance = [(KEY.to_owned(), self.key.clone()), (SKIPPED.to_owned(), skipped)].into_iter().collect();
        super::write(&provenance, Rows::Memory(&self.columns, &part.rows), &path)?;
        Ok(Finished { rows: part.rows.len(), skipped: part.skipped })
    }

    /// The rows of all parts, which are finished and have `rows` in all.
    pub fn stored(&self, rows: usize) -> Stored {
        Stored::new(self.ranges().map(|range| self.path(&range)).collect(), self.columns.clone(), rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_back_only_by_the_sweep_that_wrote_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let parts = Parts::open(folder.path(), "model a", &[], 2, 0..5).expect("opened");
        let ranges: Vec<_> = parts.ranges().collect();
        assert_eq!(ranges, [0..2, 2..4, 4..5]);
        let part = Part { rows: Vec::new(), skipped: vec![("x.png".to_owned(), "truncated".to_owned())] };
        let written = parts.write(&ranges[2], part.clone()).expect("written");
        assert_eq!(written, Finished { rows: 0, skipped: part.skipped });
        assert_eq!(parts.finished(&ranges[2]), Some(written));
        assert_eq!(parts.finished(&ranges[0]), None, "never written");
        let other = Parts::open(folder.path(), "model b", &[], 2, 0..5).expect("opened");
        assert_eq!(other.finished(&ranges[2]), None, "another sweep's");
    }

    #[test]
    fn a_part_that_lacks_images_is_scored_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let parts = Parts::open(folder.path(), "k", &[], 3, 0..3).expect("opened");
        parts.write(&(0..3), Part::default()).expect("written");
        assert_eq!(parts.finished(&(0..3)), None);
    }
}
