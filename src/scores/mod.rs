//! The score table: what a sweep says of every pool image, and the files it is kept in.
//!
//! The more negative `influence`, the more labelling that image is expected to lower the loss on the
//! reference set. Every file carries that sentence and the provenance of its numbers.

mod beliefs;
mod columns;
mod known;
mod parquet;
mod parts;
mod rows;
mod stored;
mod table_file;
mod text;

pub use beliefs::{BeliefColumn, BeliefKind, belief};
pub use columns::is_taken;
pub use known::{KnownImages, SameAs};
pub use parts::{Finished, Part, Parts};
pub use rows::Rows;
pub use stored::Stored;

use crate::data::Content;
use crate::durable::{self, DurableError};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

/// How the sign of an influence is to be read; stands wherever influences are shown.
pub const SIGN: &str = "more negative influence = labelling the image is expected to lower the reference loss more";

/// What one pool image got.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoreRow {
    /// Sample id, as the data source gives it.
    pub id: String,
    /// Influence on the reference loss; see [`SIGN`]. Absent when the strategy needed none.
    pub influence: Option<f64>,
    /// What the model believes, a number for each of the table's [`BeliefColumn`]s; NaN where it is not known.
    pub beliefs: Vec<f64>,
    /// The true label where the pool happens to have one. Never used for scoring.
    pub label: Option<u32>,
    /// What the image shows; equal for images of equal pixels. In Parquet its 64 bits as an unsigned number, in text 16
    /// hexadecimal digits.
    pub content: Content,
    /// The images that are known already and show the same, where the image is among some.
    pub same_as: Option<SameAs>,
}

/// Rows in pool order, with where they come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoreTable {
    /// Model and data hashes, solver, damping, scope, engine, the sign's meaning.
    pub provenance: IndexMap<String, String>,
    /// What the beliefs of the rows are.
    pub columns: Vec<BeliefColumn>,
    /// One row an image that could be scored.
    pub rows: Vec<ScoreRow>,
}

/// Why a score file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The file system refused.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The extension names no format.
    #[error("`{}`: expected a name ending in .parquet, .csv or .jsonl", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The Parquet library refused, while writing or reading.
    #[error("`{}`: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: ::parquet::errors::ParquetError,
    },
    /// A text row could not be written.
    #[error("`{}`: {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file that is not a score table of this program.
    #[error("`{}`: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The formats a table can be written in, by extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreFormat {
    /// Parquet, provenance in the key-value metadata.
    Parquet,
    /// CSV with a header; provenance beside it in `run.json`.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl ScoreFormat {
    /// The format that the extension of `path` names.
    ///
    /// # Errors
    /// [`ScoreError::Format`].
    pub fn of(path: &Path) -> Result<ScoreFormat, ScoreError> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("parquet") => Ok(ScoreFormat::Parquet),
            Some("csv") => Ok(ScoreFormat::Csv),
            Some("jsonl") => Ok(ScoreFormat::Jsonl),
            _ => Err(ScoreError::Format { path: path.to_path_buf() }),
        }
    }
}

/// Writes a table, all or nothing, in the format that the extension names. The bytes depend on the rows alone, not on where
/// they are.
///
/// # Errors
/// [`ScoreError`].
pub fn write(provenance: &IndexMap<String, String>, rows: Rows, path: &Path) -> Result<(), ScoreError> {
    let format = ScoreFormat::of(path)?;
    durable::write(path, |file| match format {
        ScoreFormat::Parquet => parquet::write(provenance, rows, file, path),
        ScoreFormat::Csv => text::write_csv(rows, file, path),
        ScoreFormat::Jsonl => text::write_jsonl(rows, file, path),
    })
}

impl ScoreTable {
    /// Writes the table, all or nothing, in the format that the extension names.
    ///
    /// # Errors
    /// [`ScoreError`].
    pub fn write(&self, path: &Path) -> Result<(), ScoreError> {
        write(&self.provenance, Rows::Memory(&self.columns, &self.rows), path)
    }

    /// Reads a Parquet table back.
    ///
    /// # Errors
    /// [`ScoreError::Content`] when it is not one of ours.
    pub fn read_parquet(path: &Path) -> Result<ScoreTable, ScoreError> {
        parquet::read(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ScoreTable {
        let row = |id: &str, influence, label| ScoreRow {
            id: id.to_owned(),
            influence,
            beliefs: vec![3.0, 0.1 + 0.2, f64::MIN_POSITIVE],
            label,
            content: Content::from_bits(u64::MAX - id.len() as u64),
            same_as: label.map(|label| if label == 7 { SameAs::Reference } else { SameAs::Labelled }),
        };
        ScoreTable {
            provenance: IndexMap::from([("sign".to_owned(), SIGN.to_owned())]),
            columns: vec![
                BeliefColumn::whole("pseudo_label"),
                BeliefColumn::number("confidence"),
                BeliefColumn::number("loss"),
            ],
            rows: vec![
                row("a,\"quoted\"/ä.png", Some(-1.0e-300), Some(7)),
                row("b", None, None),
                row("c\nnewline", Some(f64::INFINITY), Some(0)),
            ],
        }
    }

    #[test]
    fn parquet_gives_back_every_bit_and_the_provenance() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("scores.parquet");
        table().write(&path).expect("written");
        assert_eq!(ScoreTable::read_parquet(&path).expect("read"), table());
    }

    #[test]
    fn an_empty_table_is_a_valid_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let empty = ScoreTable { rows: Vec::new(), ..table() };
        for name in ["scores.parquet", "scores.csv", "scores.jsonl"] {
            empty.write(&folder.path().join(name)).expect(name);
        }
        let read = ScoreTable::read_parquet(&folder.path().join("scores.parquet")).expect("read");
        assert_eq!(read, empty);
        let header = |table: &ScoreTable| {
            let path = folder.path().join("header.csv");
            table.write(&path).expect("written");
            std::fs::read_to_string(&path).expect("read").lines().next().map(str::to_owned)
        };
        assert_eq!(header(&empty), header(&table()), "the header does not hang on the rows");
    }

    #[test]
    fn csv_and_jsonl_hold_the_same_values() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let csv_path = folder.path().join("scores.csv");
        table().write(&csv_path).expect("csv");
        let text = std::fs::read_to_string(&csv_path).expect("read");
        let expected = "id,influence,pseudo_label,confidence,loss,label,content,same_as\n\
                        \"a,\"\"quoted\"\"/ä.png\",-1e-300,3,0.30000000000000004,2.2250738585072014e-308,7,\
                        ffffffffffffffee,reference\n\
                        b,,3,0.30000000000000004,2.2250738585072014e-308,,fffffffffffffffe,\n";
        assert!(text.starts_with(expected), "{text}");

        let jsonl_path = folder.path().join("scores.jsonl");
        table().write(&jsonl_path).expect("jsonl");
        let text = std::fs::read_to_string(&jsonl_path).expect("read");
        let first: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("json");
        assert_eq!(first["id"], "a,\"quoted\"/ä.png");
        assert_eq!(first["influence"].as_f64(), Some(-1.0e-300));
        assert_eq!((first["pseudo_label"].as_u64(), first["loss"].as_f64()), (Some(3), Some(f64::MIN_POSITIVE)));
        assert_eq!((first["content"].as_str(), &first["label"]), (Some("ffffffffffffffee"), &serde_json::json!(7)));
        assert_eq!(text.lines().count(), 3, "a newline in an id does not break a line");
    }

    #[test]
    fn a_whole_number_that_is_not_known_stays_so() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("scores.parquet");
        let mut table = table();
        table.rows[0].beliefs[0] = f64::NAN;
        table.write(&path).expect("written");
        assert!(ScoreTable::read_parquet(&path).expect("read").rows[0].beliefs[0].is_nan());
    }

    #[test]
    fn an_unknown_extension_is_refused_with_the_ones_that_work() {
        let error = table().write(Path::new("scores.xlsx")).expect_err("refused");
        assert!(error.to_string().contains(".parquet"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("scores.parquet");
        std::fs::write(&path, b"PAR1 and nothing more").expect("written");
        assert!(ScoreTable::read_parquet(&path).is_err());
    }
}
