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

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path};

use super::archive::{at, packing};
use super::error::TableProblem;
use super::files::{Files, Labels, Listing};
use super::names::Names;
use super::records::numbers_as_classes;
use super::{DataError, Limits};

/// Bytes of one line.
const MAX_LINE: u64 = 1 << 20;
/// A number beyond this is no class number.
const MAX_LABEL: u32 = 99_999;

/// What the lines read so far say.
#[derive(Default)]
struct Rows {
    paths: Names,
    ids: Option<Names>,
    /// Every label as it is written, with the place at which it first came.
    written: HashMap<String, u32>,
    /// That place, one a line; [`Labels::NONE`] where there is no label.
    labels: Vec<u32>,
}

impl Rows {
    fn add(&mut self, path: &str, label: Option<String>, id: Option<&str>) -> Result<(), TableProblem> {
        check(path)?;
        if id.is_some() && self.ids.is_none() {
            // Until here, every id was the path.
            self.ids = Some(self.paths.clone());
        }
        self.paths.push(path);
        if let Some(ids) = &mut self.ids {
            ids.push(id.unwrap_or(path));
        }
        let new = u32::try_from(self.written.len()).unwrap_or(Labels::NONE);
        self.labels.push(label.map_or(Labels::NONE, |label| *self.written.entry(label).or_insert(new)));
        Ok(())
    }

    /// All lines of the list at `list`.
    fn files(mut self, list: &Path, limits: &Limits) -> Result<Files, DataError> {
        let (classes, places) = classes(&self.written);
        for label in &mut self.labels {
            *label = places.get(*label as usize).copied().unwrap_or(Labels::NONE);
        }
        self.labels.shrink_to_fit();
        let labels = if self.written.is_empty() { Labels::Absent } else { Labels::Each(self.labels) };
        let root = list.parent().unwrap_or(Path::new("")).to_path_buf();
        let listing = Listing { root, paths: self.paths, ids: self.ids, odd: BTreeMap::new(), labels };
        Files::new(listing, classes, *limits)
    }
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
    let mut rows = Rows::default();
    for record in csv.records() {
        let record = record.map_err(syntax)?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != header.len() {
            return Err(at_line(line, TableProblem::Columns { found: record.len(), expected: header.len() }));
        }
        let cell = |column: Option<usize>| record.get(column?).filter(|cell| !cell.is_empty());
        let written = cell(Some(path_column)).unwrap_or_default();
        rows.add(written, cell(label_column).map(str::to_string), cell(id_column))
            .map_err(|problem| at_line(line, problem))?;
    }
    rows.files(path, limits)
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
    let mut rows = Rows::default();
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
        rows.add(&parsed.path, text(parsed.label), text(parsed.id).as_deref()).map_err(at_line)?;
    }
    rows.files(path, limits)
}

/// Class names, and of every written label its class.
fn classes(written: &HashMap<String, u32>) -> (Vec<String>, Vec<u32>) {
    let number = |label: &str| label.parse::<u32>().ok().filter(|number| *number <= MAX_LABEL);
    let mut labels: Vec<(&str, u32)> = written.iter().map(|(label, place)| (label.as_str(), *place)).collect();
    labels.sort_unstable();
    let numbers: Option<Vec<u32>> = labels.iter().map(|(label, _)| number(label)).collect();
    let classes = match &numbers {
        Some(numbers) => numbers_as_classes(numbers.iter().max().map_or(0, |highest| *highest as usize + 1)),
        None => labels.iter().map(|(label, _)| label.to_string()).collect(),
    };
    let numbers = numbers.unwrap_or_else(|| (0..).take(labels.len()).collect());
    let mut places = vec![Labels::NONE; labels.len()];
    for ((_, place), class) in labels.iter().zip(numbers) {
        places.get_mut(*place as usize).into_iter().for_each(|of| *of = class);
    }
    (classes, places)
}

/// Refuses a path that means no file of the list's folder.
fn check(written: &str) -> Result<(), TableProblem> {
    let path = Path::new(written);
    if written.is_empty() {
        let (found, expected) = (String::new(), "the path of an image");
        return Err(TableProblem::Value { column: 1, found, expected });
    }
    if path.is_absolute() {
        return Ok(());
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
    Ok(())
}
