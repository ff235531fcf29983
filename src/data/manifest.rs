//! Lists of image files: CSV with a header, or JSON lines; plain or gzipped.
//!
//! ```text
//! path,label,id                         {"path": "cats/1.jpg", "label": "cat", "id": "first"}
//! cats/1.jpg,cat,first                  {"path": "new/2.jpg"}
//! ```
//!
//! `path` must be there; `label` may be missing or empty (unlabelled); `id` is the path as it is written unless given;
//! other columns are passed over. Labels that are all whole numbers are class numbers, otherwise names, whose classes are
//! sorted. Relative paths count from the folder of the list and may not leave it (`..`), so that a list from elsewhere
//! cannot name files of yours by accident; an absolute path is taken as it is. Missing files fail when they are loaded.

use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use super::archive::{at, packing};
use super::error::TableProblem;
use super::files::{Entry, Files};
use super::records::numbers_as_classes;
use super::{DataError, Limits};

/// Bytes of one line.
const MAX_LINE: u64 = 1 << 20;
/// A number beyond this is no class number.
const MAX_LABEL: u32 = 99_999;

struct Row {
    line: u64,
    path: String,
    label: Option<String>,
    id: Option<String>,
}

/// Whether the first line of a CSV file is a list's header.
pub(super) fn is_header(line: &str) -> bool {
    line.trim_start_matches('\u{feff}')
        .split(',')
        .any(|cell| cell.trim().trim_matches('"').eq_ignore_ascii_case("path"))
}

/// Reads a CSV list from `reader`; `path` is the file's.
pub(super) fn read_csv(path: &Path, reader: impl Read, limits: &Limits) -> Result<Files, DataError> {
    let at_line = |line, problem| DataError::Table { path: path.to_path_buf(), line, problem };
    let syntax = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        at_line(line, TableProblem::Syntax { message: error.to_string() })
    };
    let mut csv = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(reader);
    let header = csv.headers().map_err(syntax)?.clone();
    let column =
        |name: &str| header.iter().position(|cell| cell.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name));
    let path_column = column("path").ok_or_else(|| at_line(1, TableProblem::MissingColumn { name: "path" }))?;
    let (label_column, id_column) = (column("label"), column("id"));
    let mut rows = Vec::new();
    for record in csv.records() {
        let record = record.map_err(syntax)?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != header.len() {
            return Err(at_line(line, TableProblem::Columns { found: record.len(), expected: header.len() }));
        }
        let cell = |column: Option<usize>| Some(record.get(column?)?.to_string()).filter(|cell| !cell.is_empty());
        let path = cell(Some(path_column)).unwrap_or_default();
        rows.push(Row { line, path, label: cell(label_column), id: cell(id_column) });
    }
    files(path, rows, limits)
}

/// Reads a list of JSON lines from `reader`; `path` is the file's.
pub(super) fn read_json_lines(path: &Path, reader: impl Read, limits: &Limits) -> Result<Files, DataError> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Name {
        Text(String),
        Number(i64),
    }
    #[derive(serde::Deserialize)]
    struct Line {
        path: String,
        #[serde(default)]
        label: Option<Name>,
        #[serde(default)]
        id: Option<Name>,
    }
    let text = |name: Option<Name>| {
        let text = name.map(|name| match name {
            Name::Text(text) => text,
            Name::Number(number) => number.to_string(),
        });
        text.filter(|text| !text.is_empty())
    };
    let mut reader = BufReader::new(reader);
    let mut rows = Vec::new();
    for line in 1.. {
        let at_line = |problem| DataError::Table { path: path.to_path_buf(), line, problem };
        let mut bytes = Vec::new();
        let mut bounded = reader.by_ref().take(MAX_LINE + 1);
        if bounded.read_until(b'\n', &mut bytes).map_err(|error| at(path)(packing(error)))? == 0 {
            break;
        }
        if bytes.len() as u64 > MAX_LINE {
            return Err(at_line(TableProblem::LongLine { limit: MAX_LINE }));
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let parsed: Line = serde_json::from_slice(&bytes)
            .map_err(|error| at_line(TableProblem::Syntax { message: error.to_string() }))?;
        rows.push(Row { line, path: parsed.path, label: text(parsed.label), id: text(parsed.id) });
    }
    files(path, rows, limits)
}

fn files(list: &Path, rows: Vec<Row>, limits: &Limits) -> Result<Files, DataError> {
    let folder = list.parent().unwrap_or(Path::new(""));
    let (classes, labels) = classes(rows.iter().map(|row| row.label.as_deref()));
    let entries = rows.into_iter().zip(labels).map(|(row, label)| {
        let at_line = |problem| DataError::Table { path: list.to_path_buf(), line: row.line, problem };
        let path = resolve(folder, &row.path).map_err(at_line)?;
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Ok(Entry { id: row.id.unwrap_or(row.path), path, bytes, label })
    });
    Files::new(entries.collect::<Result<_, DataError>>()?, classes, *limits)
}

/// Class names, and of every row its place among them.
fn classes<'a>(labels: impl Iterator<Item = Option<&'a str>> + Clone) -> (Vec<String>, Vec<Option<u32>>) {
    let number = |label: &str| label.parse::<u32>().ok().filter(|number| *number <= MAX_LABEL);
    if labels.clone().flatten().all(|label| number(label).is_some()) {
        let numbers: Vec<Option<u32>> = labels.map(|label| number(label?)).collect();
        let count = numbers.iter().flatten().max().map_or(0, |highest| *highest as usize + 1);
        return (numbers_as_classes(count), numbers);
    }
    let mut names: Vec<String> = labels.clone().flatten().map(str::to_string).collect();
    names.sort_unstable();
    names.dedup();
    let place = |label: &str| names.binary_search_by(|name| name.as_str().cmp(label)).ok().map(|place| place as u32);
    let places = labels.map(|label| place(label?)).collect();
    (names, places)
}

/// The file that a path in a list means.
fn resolve(folder: &Path, written: &str) -> Result<PathBuf, TableProblem> {
    let path = Path::new(written);
    if written.is_empty() {
        let (found, expected) = (String::new(), "the path of an image");
        return Err(TableProblem::Value { column: 1, found, expected });
    }
    if path.is_absolute() {
        return Ok(path.to_path_buf());
    }
    let mut depth = 0_i64;
    for component in path.components() {
        depth += match component {
            Component::ParentDir => -1,
            Component::Normal(_) => 1,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => 0,
        };
        if depth < 0 {
            return Err(TableProblem::Outside { path: written.to_string() });
        }
    }
    Ok(folder.join(path))
}
