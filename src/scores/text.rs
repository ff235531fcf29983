//! A score table as CSV and as JSON lines.

use super::columns::COLUMNS;
use super::{Rows, ScoreError};
use std::io::Write;
use std::path::Path;

fn refused<E: std::error::Error + Send + Sync + 'static>(path: &Path) -> impl Fn(E) -> ScoreError + '_ {
    |e| ScoreError::Text { path: path.to_path_buf(), source: Box::new(e) }
}

/// One header line, one line a row; an absent value is an empty field.
pub(super) fn write_csv(rows: Rows, file: impl Write, path: &Path) -> Result<(), ScoreError> {
    let mut writer = csv::Writer::from_writer(file);
    if rows.is_empty() {
        writer.write_record(COLUMNS.iter().map(|column| column.name)).map_err(refused(path))?;
    }
    rows.each(|row| writer.serialize(row).map_err(refused(path)))?;
    writer.flush().map_err(refused(path))
}

/// One object a line, fields as in [`super::ScoreRow`].
pub(super) fn write_jsonl(rows: Rows, mut file: impl Write, path: &Path) -> Result<(), ScoreError> {
    rows.each(|row| {
        serde_json::to_writer(&mut file, row).map_err(refused(path))?;
        file.write_all(b"\n").map_err(refused(path))
    })
}
