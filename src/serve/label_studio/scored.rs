//! A score table, by the ids of its images.

use super::Known;
use crate::hex::hex;
use crate::scores::{Rows, ScoreError, Stored, belief};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// Influences and pseudo-labels by id.
#[derive(Debug)]
pub(super) struct Scored {
    known: HashMap<Box<str>, Known>,
    /// Of the file.
    pub(super) sha256: String,
}

impl Scored {
    /// Reads a table: a `.parquet` file, or the one in the folder of `isal score pool`.
    pub(super) fn read(path: &Path) -> Result<Scored, ScoreError> {
        let file = if path.is_dir() { path.join("scores.parquet") } else { path.to_path_buf() };
        let (stored, _) = Stored::open(&file)?;
        let rows = Rows::Files(&stored);
        let class = rows.belief(belief::PSEUDO_LABEL);
        let mut known = HashMap::with_capacity(rows.len());
        rows.each(|row| {
            let class = class.and_then(|at| row.beliefs.get(at)).filter(|class| class.is_finite() && **class >= 0.0);
            let influence = row.influence.filter(|influence| influence.is_finite());
            known.insert(row.id.as_str().into(), Known { influence, class: class.map(|class| *class as usize) });
            Ok::<(), ScoreError>(())
        })?;
        let refused = |e: std::io::Error| ScoreError::Content { path: file.clone(), reason: e.to_string() };
        let sha256 = hex(Sha256::digest(std::fs::read(&file).map_err(refused)?));
        Ok(Scored { known, sha256 })
    }

    /// What the table says of the image with this id, or with this path: ids are the ends of paths, and the longest is meant.
    pub(super) fn find(&self, id: Option<&str>, path: &str) -> Option<Known> {
        if let Some(known) = id.and_then(|id| self.known.get(id)) {
            return Some(*known);
        }
        let mut rest = path.trim_start_matches('/');
        loop {
            if let Some(known) = self.known.get(rest) {
                return Some(*known);
            }
            rest = rest.split_once('/')?.1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{BeliefColumn, ScoreRow, ScoreTable};

    #[test]
    fn images_are_found_by_id_or_by_the_end_of_their_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let row = |id: &str, influence: f64, class: f64| ScoreRow {
            id: id.to_owned(),
            influence: Some(influence),
            beliefs: vec![class],
            ..ScoreRow::default()
        };
        let table = ScoreTable {
            columns: vec![BeliefColumn::whole(belief::PSEUDO_LABEL)],
            rows: vec![row("a/x.png", -1.0, 2.0), row("x.png", -2.0, 0.0), row("y.png", f64::NAN, f64::NAN)],
            ..ScoreTable::default()
        };
        table.write(&folder.path().join("scores.parquet")).expect("written");
        let scored = Scored::read(folder.path()).expect("read");
        let known = |influence, class| Some(Known { influence, class });
        assert_eq!(scored.find(Some("a/x.png"), "elsewhere"), known(Some(-1.0), Some(2)));
        assert_eq!(scored.find(None, "/mnt/pool/a/x.png"), known(Some(-1.0), Some(2)));
        assert_eq!(scored.find(Some("unknown"), "mnt/b/x.png"), known(Some(-2.0), Some(0)));
        assert_eq!(scored.find(None, "y.png"), known(None, None));
        assert_eq!(scored.find(None, "z.png"), None);
        assert_eq!(scored.sha256.len(), 64);
        assert!(Scored::read(&folder.path().join("nowhere")).is_err());
    }
}
