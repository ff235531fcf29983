//! A score table as CSV and as JSON lines.

use super::columns::{CONTENT, Cell, ColumnSpec, columns};
use super::{Rows, ScoreError, ScoreRow};
use crate::data::Content;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::io::Write;
use std::path::Path;

fn refused<E: std::error::Error + Send + Sync + 'static>(path: &Path) -> impl Fn(E) -> ScoreError + '_ {
    |e| ScoreError::Text { path: path.to_path_buf(), source: Box::new(e) }
}

/// One header line, one line a row; an absent value is an empty field.
pub(super) fn write_csv(rows: Rows, file: impl Write, path: &Path) -> Result<(), ScoreError> {
    let columns = columns(rows.columns());
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(columns.iter().map(|column| &column.name)).map_err(refused(path))?;
    rows.each(|row| {
        let values: Vec<Plain> = columns.iter().map(|column| Plain::of(column, row)).collect();
        writer.serialize(values).map_err(refused(path))
    })?;
    writer.flush().map_err(refused(path))
}

/// One object a line, a field for each column.
pub(super) fn write_jsonl(rows: Rows, mut file: impl Write, path: &Path) -> Result<(), ScoreError> {
    let columns = columns(rows.columns());
    rows.each(|row| {
        serde_json::to_writer(&mut file, &Line { columns: &columns, row }).map_err(refused(path))?;
        file.write_all(b"\n").map_err(refused(path))
    })
}

/// A value as text formats have it.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Plain {
    Absent(Option<()>),
    Text(String),
    Number(f64),
    Whole(u32),
    Content(Content),
}

impl Plain {
    fn of(column: &ColumnSpec, row: &ScoreRow) -> Plain {
        match column.get(row) {
            Cell::Absent => Plain::Absent(None),
            Cell::Text(text) => Plain::Text(text.as_utf8().unwrap_or_default().to_owned()),
            Cell::Double(number) => Plain::Number(number),
            Cell::U32(whole) => Plain::Whole(whole),
            Cell::U64(bits) => {
                debug_assert_eq!(column.name, CONTENT, "the one column of this kind");
                Plain::Content(Content::from_bits(bits))
            }
        }
    }
}

/// A row with the names of its columns.
struct Line<'a> {
    columns: &'a [ColumnSpec],
    row: &'a ScoreRow,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for column in self.columns {
            map.serialize_entry(&column.name, &Plain::of(column, self.row))?;
        }
        map.end()
    }
}
