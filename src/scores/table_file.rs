//! A Parquet score table, opened: what it says of itself, and its columns a piece at a time.

use super::parquet::{COLUMNS, Field};
use super::{ScoreError, ScoreRow};
use indexmap::IndexMap;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, DoubleType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Rows that are taken at a time.
pub(super) const CHUNK: usize = 1024;

/// Values of one column, row by row. Of an optional column, rows without a value have the level 0 and no place in `values`.
pub(super) struct Values<T: DataType> {
    pub(super) values: Vec<T::T>,
    /// One a row; empty where the column is not optional.
    pub(super) levels: Vec<i16>,
}

impl<T: DataType> Values<T> {
    pub(super) fn none() -> Self {
        Values { values: Vec::new(), levels: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.levels.clear();
    }

    /// Adds what `column` gives next, `most` rows at most. Gives how many there were.
    pub(super) fn read(&mut self, column: &mut ColumnReaderImpl<T>, most: usize) -> Result<usize, ParquetError> {
        Ok(column.read_records(most, Some(&mut self.levels), None, &mut self.values)?.0)
    }

    /// One entry a row.
    pub(super) fn optional(self) -> impl Iterator<Item = Option<T::T>> {
        let mut values = self.values.into_iter();
        self.levels.into_iter().map(move |level| if level == 0 { None } else { values.next() })
    }
}

/// An open score table.
pub(super) struct TableFile {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// Where in the file each of [`COLUMNS`] is.
    places: [usize; COLUMNS.len()],
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
        let mut places = [0; COLUMNS.len()];
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            let found = schema.columns().iter().position(|of| of.path().string() == column.name);
            *place = found.ok_or_else(|| content(format!("not a score table: no column `{}`", column.name)))?;
            let of = schema.column(*place);
            let found = (of.physical_type(), of.max_def_level(), of.max_rep_level());
            if found != (column.physical, i16::from(column.optional), 0) {
                let kind = |optional: bool| if optional { "optional" } else { "required" };
                let (found, wanted) = (format!("{} {}", kind(found.1 > 0), found.0), column.physical);
                let (name, expected) = (column.name, kind(column.optional));
                return Err(content(format!("column `{name}` is {found}, expected {expected} {wanted}")));
            }
        }
        Ok(TableFile { path: path.to_path_buf(), reader, places })
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

    fn column<T: DataType>(&self, group: usize, field: Field) -> Result<ColumnReaderImpl<T>, ScoreError> {
        let failed = |source| ScoreError::Parquet { path: self.path.clone(), source };
        let group = self.reader.get_row_group(group).map_err(failed)?;
        let column = group.get_column_reader(self.places[field as usize]).map_err(failed)?;
        T::get_column_reader(column).ok_or_else(|| {
            let name = COLUMNS[field as usize].name;
            failed(ParquetError::General(format!("column `{name}` is of another type")))
        })
    }
}

/// The row groups of files, one after the other.
struct Groups<'a> {
    files: std::slice::Iter<'a, PathBuf>,
    /// The file, and its next group.
    open: Option<(TableFile, usize)>,
}

impl Groups<'_> {
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
            self.open = Some((TableFile::open(path)?, 0));
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
pub(super) struct Column<'a, T: DataType> {
    groups: Groups<'a>,
    field: Field,
    reader: Option<ColumnReaderImpl<T>>,
}

impl<'a, T: DataType> Column<'a, T> {
    pub(super) fn of(files: &'a [PathBuf], field: Field) -> Self {
        Column { groups: Groups { files: files.iter(), open: None }, field, reader: None }
    }

    /// Adds the next `most` rows to `values`, fewer where there are no more. Gives how many there were.
    pub(super) fn read(&mut self, most: usize, values: &mut Values<T>) -> Result<usize, ScoreError> {
        let mut rows = 0;
        while rows < most {
            let Some(reader) = &mut self.reader else {
                let field = self.field;
                self.reader = self.groups.next(|file, group| file.column(group, field))?;
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

/// The columns of one row group.
struct Columns {
    id: ColumnReaderImpl<ByteArrayType>,
    influence: ColumnReaderImpl<DoubleType>,
    pseudo_label: ColumnReaderImpl<Int32Type>,
    confidence: ColumnReaderImpl<DoubleType>,
    entropy: ColumnReaderImpl<DoubleType>,
    margin: ColumnReaderImpl<DoubleType>,
    label: ColumnReaderImpl<Int32Type>,
}

impl Columns {
    fn of(file: &TableFile, group: usize) -> Result<Columns, ScoreError> {
        Ok(Columns {
            id: file.column(group, Field::Id)?,
            influence: file.column(group, Field::Influence)?,
            pseudo_label: file.column(group, Field::PseudoLabel)?,
            confidence: file.column(group, Field::Confidence)?,
            entropy: file.column(group, Field::Entropy)?,
            margin: file.column(group, Field::Margin)?,
            label: file.column(group, Field::Label)?,
        })
    }

    /// The next rows, [`CHUNK`] at most; empty after the last.
    fn next(&mut self) -> Result<Vec<ScoreRow>, ParquetError> {
        fn next<T: DataType>(
            column: &mut ColumnReaderImpl<T>,
            rows: &mut Vec<usize>,
        ) -> Result<Values<T>, ParquetError> {
            let mut values = Values::none();
            rows.push(values.read(column, CHUNK)?);
            Ok(values)
        }
        let mut lengths = Vec::new();
        let id = next(&mut self.id, &mut lengths)?;
        let influence = next(&mut self.influence, &mut lengths)?;
        let pseudo_label = next(&mut self.pseudo_label, &mut lengths)?;
        let confidence = next(&mut self.confidence, &mut lengths)?;
        let entropy = next(&mut self.entropy, &mut lengths)?;
        let margin = next(&mut self.margin, &mut lengths)?;
        let label = next(&mut self.label, &mut lengths)?;
        if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(ParquetError::General(format!("columns of different lengths: {lengths:?}")));
        }
        let beliefs = confidence.values.into_iter().zip(entropy.values).zip(margin.values);
        let labels = pseudo_label.values.into_iter().zip(label.optional());
        id.values
            .into_iter()
            .zip(influence.optional())
            .zip(beliefs)
            .zip(labels)
            .map(|(((id, influence), ((confidence, entropy), margin)), (pseudo_label, label))| {
                Ok(ScoreRow {
                    id: id.as_utf8()?.to_owned(),
                    influence,
                    pseudo_label: pseudo_label.cast_unsigned(),
                    confidence,
                    entropy,
                    margin,
                    label: label.map(i32::cast_unsigned),
                })
            })
            .collect()
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
    /// The rows of `files`, which are `rows` in all.
    pub(super) fn of(files: &'a [PathBuf], rows: usize) -> Self {
        Chunks { groups: Groups { files: files.iter(), open: None }, columns: None, left: rows, failed: false }
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
