//! A Parquet score table, opened: what it says of itself, and its columns a piece at a time.

use super::columns::{CONTENT, ColumnSpec, Values, columns, is_taken};
use super::{BeliefColumn, BeliefKind, ScoreError, ScoreRow};
use indexmap::IndexMap;
use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Rows that are taken at a time.
pub(super) const CHUNK: usize = 1024;

/// An open score table.
pub(super) struct TableFile {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// What the beliefs of its rows are.
    beliefs: Vec<BeliefColumn>,
    /// Where in the file each column is.
    places: Vec<usize>,
}

impl TableFile {
    /// Opens a score table.
    ///
    /// # Errors
    /// [`ScoreError::Content`] where it is none.
    pub(super) fn open(path: &Path) -> Result<TableFile, ScoreError> {
        let refused = |source| ScoreError::Parquet { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(|e| refused(ParquetError::External(Box::new(e))))?;
        let reader = SerializedFileReader::new(file).map_err(refused)?;
        let content = |reason| ScoreError::Content { path: path.to_path_buf(), reason };
        let schema = reader.metadata().file_metadata().schema_descr();
        // A column that is not one of every table's is a belief.
        let own = schema.columns().iter().filter(|column| !is_taken(&column.path().string()));
        let beliefs: Vec<BeliefColumn> = own
            .map(|column| {
                let (name, of, required) =
                    (column.path().string(), column.physical_type(), column.max_def_level() == 0);
                match (of, required && column.max_rep_level() == 0) {
                    (Type::DOUBLE, true) => Ok(BeliefColumn { name, kind: BeliefKind::Number }),
                    (Type::INT32, true) => Ok(BeliefColumn { name, kind: BeliefKind::Whole }),
                    _ => {
                        let found = if required { "required" } else { "optional" };
                        Err(format!("column `{name}` is {found} {of}, expected a required DOUBLE or INT32"))
                    }
                }
            })
            .collect::<Result<_, _>>()
            .map_err(content)?;
        let mut places = Vec::new();
        for column in columns(&beliefs) {
            let found = schema.columns().iter().position(|of| of.path().string() == column.name);
            let missing = || match column.name.as_str() {
                // All before it were there.
                CONTENT => "it has no column `content`: an earlier version wrote it; score the pool again".to_owned(),
                name => format!("not a score table: no column `{name}`"),
            };
            let place = found.ok_or_else(|| content(missing()))?;
            let of = schema.column(place);
            let physical = column.kind.physical();
            let found = (of.physical_type(), of.max_def_level(), of.max_rep_level());
            if found != (physical, i16::from(column.optional), 0) {
                let kind = |optional: bool| if optional { "optional" } else { "required" };
                let (found, wanted) = (format!("{} {}", kind(found.1 > 0), found.0), physical);
                let (name, expected) = (&column.name, kind(column.optional));
                return Err(content(format!("column `{name}` is {found}, expected {expected} {wanted}")));
            }
            places.push(place);
        }
        Ok(TableFile { path: path.to_path_buf(), reader, beliefs, places })
    }

    /// What the beliefs of its rows are.
    pub(super) fn beliefs(&self) -> &[BeliefColumn] {
        &self.beliefs
    }

    /// Its rows, as it says.
    pub(super) fn rows(&self) -> usize {
        usize::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// What stands in its key-value metadata.
    pub(super) fn provenance(&self) -> IndexMap<String, String> {
        let pairs = self.reader.metadata().file_metadata().key_value_metadata().into_iter().flatten();
        pairs.map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default())).collect()
    }

    /// The row at a place of the file.
    pub(super) fn row(&self, place: usize) -> Result<ScoreRow, ScoreError> {
        let failed = |source| ScoreError::Parquet { path: self.path.clone(), source };
        let lost = || failed(ParquetError::General(format!("no row {place}")));
        let (mut group, mut within) = (0, place);
        loop {
            let rows = self.reader.metadata().row_groups().get(group).ok_or_else(lost)?.num_rows();
            let rows = usize::try_from(rows).map_err(|_| lost())?;
            if within < rows {
                break;
            }
            (group, within) = (group + 1, within - rows);
        }
        let mut rows = [ScoreRow::default()];
        for (place, spec) in columns(&self.beliefs).iter().enumerate() {
            let (mut column, mut values) = (self.column(group, place)?, Values::none(spec));
            let skipped = Values::skip(&mut column, within).map_err(failed)?;
            let read = values.read(&mut column, 1).map_err(failed)?;
            if (skipped, read) != (within, 1) {
                return Err(lost());
            }
            values.put(spec, &mut rows).map_err(failed)?;
        }
        let [row] = rows;
        Ok(row)
    }

    /// The column at `place` of the table's in a row group.
    fn column(&self, group: usize, place: usize) -> Result<ColumnReader, ScoreError> {
        let failed = |source| ScoreError::Parquet { path: self.path.clone(), source };
        let group = self.reader.get_row_group(group).map_err(failed)?;
        let lacks = || failed(ParquetError::General(format!("no column at {place}")));
        group.get_column_reader(*self.places.get(place).ok_or_else(lacks)?).map_err(failed)
    }
}

/// The row groups of files, one after the other.
struct Groups<'a> {
    files: std::slice::Iter<'a, PathBuf>,
    /// The beliefs that every file has.
    beliefs: &'a [BeliefColumn],
    /// The file, and its next group.
    open: Option<(TableFile, usize)>,
}

impl<'a> Groups<'a> {
    fn of(files: &'a [PathBuf], beliefs: &'a [BeliefColumn]) -> Self {
        Groups { files: files.iter(), beliefs, open: None }
    }

    /// What `take` makes of the next group; `None` after the last.
    fn next<R>(
        &mut self,
        take: impl FnOnce(&TableFile, usize) -> Result<R, ScoreError>,
    ) -> Result<Option<R>, ScoreError> {
        loop {
            if let Some((file, group)) = &mut self.open
                && *group < file.reader.num_row_groups()
            {
                *group += 1;
                return take(file, *group - 1).map(Some);
            }
            let Some(path) = self.files.next() else { return Ok(None) };
            let file = TableFile::open(path)?;
            if file.beliefs() != self.beliefs {
                let reason = "its columns are other than those of the files before it".to_owned();
                return Err(ScoreError::Content { path: path.clone(), reason });
            }
            self.open = Some((file, 0));
        }
    }

    fn failed(&self, source: ParquetError) -> ScoreError {
        let path = self.open.as_ref().map(|(file, _)| file.path.clone()).unwrap_or_default();
        ScoreError::Parquet { path, source }
    }

    fn content(&self, reason: impl Into<String>) -> ScoreError {
        let path = self.open.as_ref().map(|(file, _)| file.path.clone()).unwrap_or_default();
        ScoreError::Content { path, reason: reason.into() }
    }
}

/// One column of files, one after the other.
pub(super) struct Column<'a> {
    groups: Groups<'a>,
    place: usize,
    reader: Option<ColumnReader>,
}

impl<'a> Column<'a> {
    /// The column at this place.
    pub(super) fn of(files: &'a [PathBuf], beliefs: &'a [BeliefColumn], place: usize) -> Self {
        Column { groups: Groups::of(files, beliefs), place, reader: None }
    }

    /// Adds the next `most` rows to `values`, fewer where there are no more. Gives how many there were.
    pub(super) fn read(&mut self, most: usize, values: &mut Values) -> Result<usize, ScoreError> {
        let mut rows = 0;
        while rows < most {
            let Some(reader) = &mut self.reader else {
                let place = self.place;
                self.reader = self.groups.next(|file, group| file.column(group, place))?;
                if self.reader.is_none() {
                    break;
                }
                continue;
            };
            match values.read(reader, most - rows).map_err(|source| self.groups.failed(source))? {
                0 => self.reader = None,
                read => rows += read,
            }
        }
        Ok(rows)
    }
}

/// All columns of one row group.
struct Columns(Vec<(ColumnSpec, ColumnReader)>);

impl Columns {
    fn of(file: &TableFile, group: usize) -> Result<Columns, ScoreError> {
        let specs = columns(file.beliefs()).into_iter().enumerate();
        specs.map(|(place, spec)| Ok((spec, file.column(group, place)?))).collect::<Result<_, _>>().map(Columns)
    }

    /// The next rows, [`CHUNK`] at most; empty after the last.
    fn next(&mut self) -> Result<Vec<ScoreRow>, ParquetError> {
        let mut rows = Vec::new();
        for (place, (column, reader)) in self.0.iter_mut().enumerate() {
            let mut values = Values::none(column);
            let read = values.read(reader, CHUNK)?;
            if place == 0 {
                rows.resize(read, ScoreRow::default());
            } else if read != rows.len() {
                let (first, name) = (rows.len(), &column.name);
                return Err(ParquetError::General(format!("{first} values of `id` and {read} of `{name}`")));
            }
            values.put(column, &mut rows)?;
        }
        Ok(rows)
    }
}

/// Rows of files, one file after the other, [`CHUNK`] at most at a time. Nothing comes after an error.
pub(super) struct Chunks<'a> {
    groups: Groups<'a>,
    columns: Option<Columns>,
    /// Rows that must still come.
    left: usize,
    failed: bool,
}

impl<'a> Chunks<'a> {
    /// The rows of `files`, which are `rows` in all and have these beliefs.
    pub(super) fn of(files: &'a [PathBuf], beliefs: &'a [BeliefColumn], rows: usize) -> Self {
        Chunks { groups: Groups::of(files, beliefs), columns: None, left: rows, failed: false }
    }

    fn read(&mut self) -> Result<Option<Vec<ScoreRow>>, ScoreError> {
        loop {
            let Some(columns) = &mut self.columns else {
                self.columns = self.groups.next(Columns::of)?;
                if self.columns.is_some() {
                    continue;
                }
                return if self.left == 0 { Ok(None) } else { Err(self.groups.content("it has lost rows")) };
            };
            let rows = columns.next().map_err(|source| self.groups.failed(source))?;
            if rows.is_empty() {
                self.columns = None;
                continue;
            }
            let left = self.left.checked_sub(rows.len());
            self.left = left.ok_or_else(|| self.groups.content("it has more rows than it says"))?;
            return Ok(Some(rows));
        }
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Vec<ScoreRow>, ScoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}
