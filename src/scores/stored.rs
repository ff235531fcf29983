//! Score rows that lie in Parquet files: gone through piece by piece, as often as is asked, and never in memory all at once.

use super::columns::{Values, columns};
use super::table_file::{CHUNK, Chunks, Column, TableFile};
use super::{BeliefColumn, ScoreError, ScoreRow};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

/// Rows of several score files, one file after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    files: Vec<PathBuf>,
    columns: Vec<BeliefColumn>,
    rows: usize,
}

impl Stored {
    /// The rows of `files`, which are `rows` in all and have these beliefs.
    pub(super) fn new(files: Vec<PathBuf>, columns: Vec<BeliefColumn>, rows: usize) -> Stored {
        Stored { files, columns, rows }
    }

    /// The rows of one file, and its provenance.
    ///
    /// # Errors
    /// [`ScoreError::Content`] where it is no score table.
    pub fn open(path: &Path) -> Result<(Stored, IndexMap<String, String>), ScoreError> {
        let file = TableFile::open(path)?;
        let stored = Stored::new(vec![path.to_path_buf()], file.beliefs().to_vec(), file.rows());
        Ok((stored, file.provenance()))
    }

    /// Adds the rows of other files, of the same beliefs, after these.
    pub fn append(&mut self, other: Stored) {
        if self.files.is_empty() {
            self.columns = other.columns;
        }
        self.files.extend(other.files);
        self.rows += other.rows;
    }

    /// What the beliefs of the rows are.
    pub fn columns(&self) -> &[BeliefColumn] {
        &self.columns
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// One row, by its place among all; `None` past the end. Of the other rows of its group little more than the sizes of pages
    /// is read.
    ///
    /// # Errors
    /// [`ScoreError`] from the files.
    pub fn row(&self, place: usize) -> Result<Option<ScoreRow>, ScoreError> {
        let mut before = 0;
        for path in &self.files {
            let file = TableFile::open(path)?;
            match place - before {
                within if within < file.rows() => return file.row(within).map(Some),
                _ => before += file.rows(),
            }
        }
        Ok(None)
    }

    /// The numbers of a column, one a row: NaN where there is none, or where it is not known. `None` where no column of numbers
    /// is called so.
    ///
    /// # Errors
    /// [`ScoreError`] from the files.
    pub fn numbers(&self, name: &str) -> Result<Option<Vec<f64>>, ScoreError> {
        let Some((mut column, mut values)) = self.column(name).filter(|(_, values)| values.are_numbers()) else {
            return Ok(None);
        };
        let mut numbers = Vec::with_capacity(self.rows);
        while column.read(CHUNK, &mut values)? > 0 {
            values.each_number(|number| numbers.push(number));
            values.clear();
        }
        Ok(Some(numbers))
    }

    pub(super) fn chunks(&self) -> Chunks<'_> {
        Chunks::of(&self.files, &self.columns, self.rows)
    }

    /// The column of this name, and room for its values.
    pub(super) fn column(&self, name: &str) -> Option<(Column<'_>, Values)> {
        let all = columns(&self.columns);
        let place = all.iter().position(|column| column.name == name)?;
        let values = Values::none(all.get(place)?);
        Some((Column::of(&self.files, &self.columns, place), values))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Rows, SameAs, ScoreFormat, ScoreTable, write};
    use super::*;
    use crate::data::Content;

    /// Rows that repeat, differ, lack values and are not numbers.
    fn rows(count: u32) -> Vec<ScoreRow> {
        let row = |i: u32| ScoreRow {
            id: format!("class {}/ä {i:06}.png", i % 7),
            influence: (!i.is_multiple_of(5)).then(|| if i.is_multiple_of(11) { f64::NAN } else { f64::from(i).sin() }),
            beliefs: vec![f64::from(i % 10), f64::from(i % 100) / 100.0, f64::from(i).sqrt(), 0.5],
            label: i.is_multiple_of(3).then_some(u32::MAX - i),
            content: Content::from_bits(u64::from(i % 4_000) << 40),
            same_as: SameAs::ALL.get(i as usize % 6).copied(),
        };
        (0..count).map(row).collect()
    }

    fn columns() -> Vec<BeliefColumn> {
        let numbers = ["confidence", "entropy", "margin"].map(BeliefColumn::number);
        std::iter::once(BeliefColumn::whole("pseudo_label")).chain(numbers).collect()
    }

    /// The rows in files of these lengths.
    fn stored(folder: &Path, rows: &[ScoreRow], lengths: &[usize]) -> Stored {
        let (mut stored, mut left) = (Stored::default(), rows);
        for (number, length) in lengths.iter().cycle().enumerate() {
            let (these, after) = left.split_at(*length.min(&left.len()));
            let path = folder.join(format!("{number}.parquet"));
            write(&IndexMap::new(), Rows::Memory(&columns(), these), &path).expect("written");
            stored.append(Stored::open(&path).expect("a table").0);
            left = after;
            if left.is_empty() {
                break;
            }
        }
        stored
    }

    #[test]
    fn rows_in_files_make_the_bytes_that_the_same_rows_in_memory_make() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // More than one row group, in parts that end nowhere near a group's or a page's end; one of them is empty.
        let rows = rows(150_000);
        let stored = stored(folder.path(), &rows, &[1_024, 1_000, 0, 70_000, 1]);
        assert_eq!(stored.len(), rows.len());
        let provenance = IndexMap::from([("sign".to_owned(), "as it is".to_owned())]);
        for name in ["whole.parquet", "whole.csv", "whole.jsonl"] {
            let (memory, files) = (folder.path().join(name), folder.path().join(format!("joined-{name}")));
            assert!(ScoreFormat::of(&memory).is_ok());
            write(&provenance, Rows::Memory(&columns(), &rows), &memory).expect("written");
            write(&provenance, Rows::Files(&stored), &files).expect("written");
            let read = |path: &Path| std::fs::read(path).expect("read");
            assert!(read(&memory) == read(&files), "{name} differs");
        }
        let read = ScoreTable::read_parquet(&folder.path().join("joined-whole.parquet")).expect("read");
        let bits = |row: &ScoreRow| {
            let known = (row.content, row.same_as);
            (row.id.clone(), row.influence.map(f64::to_bits), row.label, row.beliefs[2].to_bits(), known)
        };
        assert!(read.rows.iter().map(bits).eq(rows.iter().map(bits)), "the rows come back");
    }

    #[test]
    fn every_pass_sees_all_rows_in_order_and_stops_where_it_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = rows(5_000);
        let stored = stored(folder.path(), &rows, &[1_500, 7]);
        let view = Rows::Files(&stored);
        let ids = |view: Rows| {
            let mut ids = Vec::new();
            view.each(|row| {
                ids.push(row.id.clone());
                Ok::<(), ScoreError>(())
            })
            .expect("read");
            ids
        };
        assert_eq!(ids(view), ids(Rows::Memory(&columns(), &rows)));
        let influences = |view: Rows| {
            let mut influences = Vec::new();
            view.influences(|influence| influences.push(influence.to_bits())).expect("read");
            influences
        };
        assert_eq!(influences(view), influences(Rows::Memory(&columns(), &rows)));
        let contents = |view: Rows| {
            let mut contents = Vec::new();
            view.contents(|content| contents.push(content)).expect("read");
            contents
        };
        assert_eq!(contents(view), rows.iter().map(|row| row.content).collect::<Vec<_>>());
        assert_eq!(contents(view), contents(Rows::Memory(&columns(), &rows)));
        let mut seen = 0;
        let found = view.any(|row| {
            seen += 1;
            row.id == rows[2_000].id
        });
        assert_eq!((found.expect("read"), seen), (true, 2_001));
        assert!(!view.any(|row| row.id.is_empty()).expect("read"));
    }

    #[test]
    fn single_rows_and_single_columns_are_those_of_a_whole_pass() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Several row groups in one file, and an empty file before the last.
        let rows = rows(140_000);
        let stored = stored(folder.path(), &rows, &[139_000, 0, 1_000]);
        for place in [0, 1, 1_023, 1_024, 65_535, 65_536, 138_999, 139_000, 139_999] {
            let row = stored.row(place).expect("read").expect("a row");
            let bits = |row: &ScoreRow| format!("{row:?}");
            assert_eq!(bits(&row), bits(&rows[place]), "{place}");
        }
        assert_eq!(stored.row(140_000).expect("read"), None);
        let column = |name: &str| stored.numbers(name).expect("read").expect("a column");
        let same = |found: Vec<f64>, expected: Vec<f64>| {
            assert!(found.iter().map(|x| x.to_bits()).eq(expected.iter().map(|x| x.to_bits())));
        };
        same(column("influence"), rows.iter().map(|row| row.influence.unwrap_or(f64::NAN)).collect());
        same(column("pseudo_label"), rows.iter().map(|row| row.beliefs[0]).collect());
        same(column("entropy"), rows.iter().map(|row| row.beliefs[2]).collect());
        assert_eq!((stored.numbers("id").expect("read"), stored.numbers("size").expect("read")), (None, None));
    }

    #[test]
    fn files_that_lost_rows_or_are_other_tables_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let stored = stored(folder.path(), &rows(3_000), &[1_000]);
        write(&IndexMap::new(), Rows::Memory(&columns(), &rows(400)), &folder.path().join("2.parquet"))
            .expect("written");
        let pass = Rows::Files(&stored).each(|_| Ok::<(), ScoreError>(()));
        assert!(pass.is_err_and(|e| e.to_string().contains("lost")), "a pass");
        let whole = folder.path().join("whole.parquet");
        let written = write(&IndexMap::new(), Rows::Files(&stored), &whole).expect_err("refused").to_string();
        assert!(written.contains("600 rows were lost"), "{written}");
        assert!(!whole.exists(), "nothing is left of it");

        let other = folder.path().join("other.parquet");
        let of_schema = |schema: &str| {
            let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).expect("a schema"));
            let file = std::fs::File::create(&other).expect("a file");
            let writer = parquet::file::writer::SerializedFileWriter::new(file, schema, Default::default());
            writer.expect("a writer").close().expect("closed");
            Stored::open(&other).expect_err("refused").to_string()
        };
        let said = of_schema("message scores { REQUIRED BYTE_ARRAY id (UTF8); }");
        assert!(said.contains("no column `influence`"), "{said}");
        let said = of_schema("message scores { REQUIRED BYTE_ARRAY id (UTF8); REQUIRED DOUBLE influence; }");
        assert!(said.contains("column `influence` is required DOUBLE, expected optional DOUBLE"), "{said}");
        let odd = "message scores { REQUIRED BYTE_ARRAY id (UTF8); OPTIONAL DOUBLE influence; OPTIONAL DOUBLE confidence; \
                   OPTIONAL INT32 label (UINT_32); REQUIRED INT64 content (UINT_64); OPTIONAL BYTE_ARRAY same_as (UTF8); }";
        let said = of_schema(odd);
        assert!(said.contains("`confidence` is optional DOUBLE, expected a required DOUBLE or INT32"), "{said}");
        let earlier = "message scores { REQUIRED BYTE_ARRAY id (UTF8); OPTIONAL DOUBLE influence; REQUIRED INT32 pseudo_label \
                       (UINT_32); REQUIRED DOUBLE confidence; REQUIRED DOUBLE entropy; REQUIRED DOUBLE margin; OPTIONAL INT32 \
                       label (UINT_32); }";
        let said = of_schema(earlier);
        assert!(said.contains("an earlier version wrote it; score the pool again"), "{said}");
    }
}
