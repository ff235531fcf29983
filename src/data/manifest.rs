//! Lists of image files: text in the forms of [`super::list_form`], or JSON lines; plain or gzipped.
//!
//! ```text
//! path,label,id                         {"path": "cats/1.jpg", "label": "cat", "id": "first"}
//! cats/1.jpg,cat,first                  {"file_name": "new/2.jpg"}
//! ```
//!
//! The path must be there; the label may be missing or empty (unlabelled); the id is the path unless given; other columns
//! are passed over, and so are a byte-order mark, carriage returns and empty lines. Spaces around cells mean nothing but around ids, which
//! may begin or end with one, unless the names of the columns have spaces around them too. Labels that are all whole numbers are
//! class numbers, otherwise names, whose classes are sorted. Relative paths count from the folder of the list and may not
//! leave it (`..`), so that a list from elsewhere cannot name files of yours by accident; an absolute path is taken as it
//! is. Backslashes divide a path as slashes do, unless a file of that very name is there. Missing files fail when they are
//! loaded.
//!
//! Opened with [`OpenOptions::fields`], a list keeps all that it says of each image besides its path, and none of it is a class:
//! the annotations of other tasks. Cells of text are texts under the names of their columns, empty ones left out; without a header
//! nothing names them, and none are kept.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::archive::{at, packing};
use super::error::TableProblem;
use super::files::{Files, Labels, Listing};
use super::list_form::{Delimiter, Form, LABELS, PATHS, first_of, id_of};
use super::names::Names;
use super::pixel_csv::whole_number;
use super::records::numbers_as_classes;
use super::{DataError, Decoding, OpenOptions};

/// Bytes of one line.
const MAX_LINE: u64 = 1 << 20;
/// A number beyond this is no class number.
const MAX_LABEL: u32 = 99_999;

/// What the lines read so far say.
struct Rows {
    /// The folder of the list.
    root: PathBuf,
    paths: Names,
    ids: Option<Names>,
    /// Every label as it is written, with the place at which it first came.
    written: HashMap<String, u32>,
    /// That place, one a line; [`Labels::NONE`] where there is no label.
    labels: Vec<u32>,
    /// What the list says of each image besides its path, as JSON, where that is kept. Nothing is a label then.
    fields: Option<Names>,
}

impl Rows {
    /// None yet, of the list at `list`.
    fn of(list: &Path, keep_fields: bool) -> Rows {
        let root = list.parent().unwrap_or(Path::new("")).to_path_buf();
        let fields = keep_fields.then(Names::default);
        Rows { root, paths: Names::default(), ids: None, written: HashMap::new(), labels: Vec::new(), fields }
    }

    /// Adds an image; `said` is all that the list says of it besides its path.
    fn add(
        &mut self,
        path: &str,
        label: Option<String>,
        id: Option<&str>,
        said: impl FnOnce() -> Map<String, Value>,
    ) -> Result<(), TableProblem> {
        let path = &*meant(&self.root, path)?;
        if id.is_some() && self.ids.is_none() {
            // Until here, every id was the path.
            self.ids = Some(self.paths.clone());
        }
        self.paths.push(path);
        if let Some(ids) = &mut self.ids {
            ids.push(id.unwrap_or(path));
        }
        if let Some(fields) = &mut self.fields {
            fields.push(&Value::Object(said()).to_string());
            return Ok(());
        }
        let new = u32::try_from(self.written.len()).unwrap_or(Labels::NONE);
        self.labels.push(label.map_or(Labels::NONE, |label| *self.written.entry(label).or_insert(new)));
        Ok(())
    }

    /// All lines.
    fn files(mut self, decoding: &Decoding) -> Result<Files, DataError> {
        let (classes, places) = classes(&self.written);
        for label in &mut self.labels {
            *label = places.get(*label as usize).copied().unwrap_or(Labels::NONE);
        }
        self.labels.shrink_to_fit();
        let labels = if self.written.is_empty() { Labels::Absent } else { Labels::Each(self.labels) };
        let Rows { root, paths, ids, fields, .. } = self;
        let listing = Listing { root, paths, ids, odd: BTreeMap::new(), labels, fields };
        Files::new(listing, classes, *decoding)
    }
}

/// The path of a list in the folder `root`, or of a field of one, as it is meant; refuses one that means no file of the folder.
pub(super) fn meant<'a>(root: &Path, written: &'a str) -> Result<Cow<'a, str>, TableProblem> {
    let elsewhere = |kind| Err(TableProblem::Elsewhere { path: written.chars().take(200).collect(), kind });
    if written.starts_with("http://") || written.starts_with("https://") {
        return elsewhere("a web address");
    }
    if written.starts_with(r"\\") || matches!(written.as_bytes(), [b'a'..=b'z' | b'A'..=b'Z', b':', b'/' | b'\\', ..]) {
        return elsewhere("a path of another machine");
    }
    let path = match written.contains('\\') && !root.join(written).exists() {
        true => Cow::Owned(written.replace('\\', "/")),
        false => Cow::Borrowed(written),
    };
    if leaves(Path::new(&*path)) {
        return Err(TableProblem::Outside { path: written.to_string() });
    }
    Ok(path)
}

/// Reads a list of this form from `reader`; `path` is the file's.
pub(super) fn read(path: &Path, reader: impl Read, form: &Form, options: &OpenOptions) -> Result<Files, DataError> {
    let at_line = |line, problem| DataError::Table { path: path.to_path_buf(), line, problem };
    let mut rows = Rows::of(path, options.fields);
    let reader = without_mark(reader).map_err(|error| at(path)(packing(error)))?;
    let mut names: Vec<String> = Vec::new();
    match form.delimiter {
        Delimiter::Byte(delimiter) => {
            let syntax = |error: csv::Error| {
                let line = error.position().map_or(1, csv::Position::line);
                at_line(line, TableProblem::Syntax { message: error.to_string() })
            };
            let mut csv = csv::ReaderBuilder::new()
                .flexible(true)
                .has_headers(form.header)
                .delimiter(delimiter)
                .from_reader(reader);
            let mut exact = form.id;
            if form.header {
                let header = csv.headers().map_err(syntax)?;
                // A list with spaces around its names has them around its cells, where they mean nothing.
                exact = exact.filter(|column| header.get(*column).is_some_and(|name| name.trim() == name));
                names.extend(header.iter().map(|name| name.trim().to_owned()));
            }
            for record in csv.records() {
                let record = record.map_err(syntax)?;
                let line = record.position().map_or(0, csv::Position::line);
                let cells = record.iter().enumerate().map(|(column, cell)| match cell.trim() {
                    trimmed if Some(column) == exact && !trimmed.is_empty() => cell,
                    trimmed => trimmed,
                });
                add(&mut rows, form, &names, &cells.collect::<Vec<_>>()).map_err(|problem| at_line(line, problem))?;
            }
        }
        Delimiter::Spaces | Delimiter::None => {
            let mut header = form.header;
            each_line(path, reader, |bytes| {
                let text = std::str::from_utf8(bytes)
                    .map_err(|error| TableProblem::Syntax { message: format!("the line is no UTF-8: {error}") })?;
                if std::mem::take(&mut header) {
                    names.extend(form.cells(text).into_iter().map(str::to_owned));
                    return Ok(());
                }
                add(&mut rows, form, &names, &form.cells(text))
            })?;
        }
    }
    if !form.header {
        rows.fields = None;
    }
    rows.files(&options.decoding())
}

/// Adds a line of text; `names` are those of its columns, where it has a header.
fn add(rows: &mut Rows, form: &Form, names: &[String], cells: &[&str]) -> Result<(), TableProblem> {
    if cells.iter().all(|cell| cell.is_empty()) {
        return Ok(());
    }
    // Spreadsheets end lines in empty cells that were never meant.
    let meant = cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
    let cells = cells.get(..meant.max(form.columns)).unwrap_or(cells);
    if cells.len() != form.columns {
        return Err(TableProblem::Columns { found: cells.len(), expected: form.columns });
    }
    let cell = |column: Option<usize>| cells.get(column?).copied().filter(|cell| !cell.is_empty());
    let Some(path) = cell(Some(form.path)) else {
        let (found, expected) = (String::new(), "the path of an image");
        return Err(TableProblem::Value { column: form.path + 1, found, expected });
    };
    let said = || {
        let others =
            names.iter().zip(cells).enumerate().filter(|(place, (_, cell))| *place != form.path && !cell.is_empty());
        others.map(|(_, (name, cell))| (name.clone(), Value::from(*cell))).collect()
    };
    rows.add(path, cell(form.label).map(str::to_string), cell(form.id), said)
}

/// The bytes after a byte-order mark, where there is one.
fn without_mark(mut reader: impl Read) -> std::io::Result<impl Read> {
    let mut start = Vec::new();
    reader.by_ref().take(3).read_to_end(&mut start)?;
    let start = if start == [0xef, 0xbb, 0xbf] { Vec::new() } else { start };
    Ok(std::io::Cursor::new(start).chain(reader))
}

/// Calls `visit` with the bytes of every line that has some.
fn each_line(
    path: &Path,
    reader: impl Read,
    mut visit: impl FnMut(&[u8]) -> Result<(), TableProblem>,
) -> Result<(), DataError> {
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    for line in 1.. {
        let at_line = |problem| DataError::Table { path: path.to_path_buf(), line, problem };
        bytes.clear();
        let mut bounded = reader.by_ref().take(MAX_LINE + 1);
        if bounded.read_until(b'\n', &mut bytes).map_err(|error| at(path)(packing(error)))? == 0 {
            break;
        }
        if bytes.len() as u64 > MAX_LINE {
            return Err(at_line(TableProblem::LongLine { limit: MAX_LINE }));
        }
        if !bytes.trim_ascii().is_empty() {
            visit(&bytes).map_err(at_line)?;
        }
    }
    Ok(())
}

/// Reads a list of JSON lines from `reader`; `path` is the file's. Keys are those of [`super::list_form`].
pub(super) fn read_json_lines(path: &Path, reader: impl Read, options: &OpenOptions) -> Result<Files, DataError> {
    let mut rows = Rows::of(path, options.fields);
    let reader = without_mark(reader).map_err(|error| at(path)(packing(error)))?;
    each_line(path, reader, |bytes| {
        let parsed: serde_json::Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| TableProblem::Syntax { message: error.to_string() })?;
        let names = parsed.keys().map(String::as_str);
        let value = |place: usize| parsed.iter().nth(place);
        let text = |place: Option<usize>, expected| match place.and_then(value) {
            None | Some((_, Value::Null)) => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some((_, Value::Number(number))) => Ok(Some(number.to_string())),
            Some((key, found)) => {
                let found = found.to_string().chars().take(40).collect();
                Err(TableProblem::Key { key: key.clone(), found, expected })
            }
        };
        let place = first_of(&PATHS, names.clone());
        let written = match place.and_then(value) {
            Some((_, Value::String(path))) if !path.is_empty() => path,
            Some((key, found)) => {
                let found = found.to_string().chars().take(40).collect();
                return Err(TableProblem::Key { key: key.clone(), found, expected: "the path of an image" });
            }
            None => return Err(TableProblem::NoPaths { found: names.map(str::to_owned).collect() }),
        };
        let label = match options.fields {
            true => None,
            false => text(first_of(&LABELS, names.clone()), "the name or number of a class")?,
        };
        let id = text(id_of(names), "a text or a number")?;
        rows.add(written, label, id.as_deref(), || {
            let others = parsed.iter().enumerate().filter(|(at, _)| Some(*at) != place);
            others.map(|(_, (key, value))| (key.clone(), value.clone())).collect()
        })
    })?;
    rows.files(&options.decoding())
}

/// Class names, and of every written label its class.
fn classes(written: &HashMap<String, u32>) -> (Vec<String>, Vec<u32>) {
    let number = |label: &str| whole_number(label).filter(|number| *number <= MAX_LABEL);
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

/// Whether a relative path leads out of the folder that it counts from.
fn leaves(path: &Path) -> bool {
    if path.is_absolute() {
        return false;
    }
    let mut depth = 0_i64;
    path.components().any(|component| {
        depth += match component {
            Component::ParentDir => -1,
            Component::Normal(_) => 1,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => 0,
        };
        depth < 0
    })
}
