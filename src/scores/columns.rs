//! The columns of a score table: the one list from which files are written, read and checked.

use super::{SameAs, ScoreRow};
use crate::data::Content;
use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Double,
    U32,
    U64,
}

impl Kind {
    /// How Parquet holds it: an unsigned number in a signed one of the same bits.
    pub(super) fn physical(self) -> Type {
        match self {
            Kind::Text => Type::BYTE_ARRAY,
            Kind::Double => Type::DOUBLE,
            Kind::U32 => Type::INT32,
            Kind::U64 => Type::INT64,
        }
    }

    fn note(self) -> &'static str {
        match self {
            Kind::Text => " (UTF8)",
            Kind::Double => "",
            Kind::U32 => " (UINT_32)",
            Kind::U64 => " (UINT_64)",
        }
    }
}

/// The value of one column in one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Absent,
    Text(ByteArray),
    Double(f64),
    U32(u32),
    U64(u64),
}

/// A column, and where its values stand in a row.
pub(super) struct ColumnSpec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) optional: bool,
    /// The value in a row.
    get: fn(&ScoreRow) -> Cell,
    /// Puts a value into a row; `None` where the row cannot have it.
    set: fn(&mut ScoreRow, Cell) -> Option<()>,
}

/// Names of columns that are read alone.
pub(super) const INFLUENCE: &str = "influence";
pub(super) const CONTENT: &str = "content";

/// The columns, in the order of the fields of [`ScoreRow`].
pub(super) const COLUMNS: [ColumnSpec; 9] = [
    ColumnSpec {
        name: "id",
        kind: Kind::Text,
        optional: false,
        get: |row| Cell::Text(row.id.as_str().into()),
        set: |row, cell| text(&cell).map(|id| row.id = id.to_owned()),
    },
    ColumnSpec {
        name: INFLUENCE,
        kind: Kind::Double,
        optional: true,
        get: |row| row.influence.map_or(Cell::Absent, Cell::Double),
        set: |row, cell| present(cell, double).map(|influence| row.influence = influence),
    },
    ColumnSpec {
        name: "pseudo_label",
        kind: Kind::U32,
        optional: false,
        get: |row| Cell::U32(row.pseudo_label),
        set: |row, cell| u32(cell).map(|label| row.pseudo_label = label),
    },
    ColumnSpec {
        name: "confidence",
        kind: Kind::Double,
        optional: false,
        get: |row| Cell::Double(row.confidence),
        set: |row, cell| double(cell).map(|confidence| row.confidence = confidence),
    },
    ColumnSpec {
        name: "entropy",
        kind: Kind::Double,
        optional: false,
        get: |row| Cell::Double(row.entropy),
        set: |row, cell| double(cell).map(|entropy| row.entropy = entropy),
    },
    ColumnSpec {
        name: "margin",
        kind: Kind::Double,
        optional: false,
        get: |row| Cell::Double(row.margin),
        set: |row, cell| double(cell).map(|margin| row.margin = margin),
    },
    ColumnSpec {
        name: "label",
        kind: Kind::U32,
        optional: true,
        get: |row| row.label.map_or(Cell::Absent, Cell::U32),
        set: |row, cell| present(cell, u32).map(|label| row.label = label),
    },
    ColumnSpec {
        name: CONTENT,
        kind: Kind::U64,
        optional: false,
        get: |row| Cell::U64(row.content.bits()),
        set: |row, cell| u64(cell).map(|bits| row.content = Content::from_bits(bits)),
    },
    ColumnSpec {
        name: "same_as",
        kind: Kind::Text,
        optional: true,
        get: |row| row.same_as.map_or(Cell::Absent, |set| Cell::Text(set.name().into())),
        set: |row, cell| present(cell, |cell| SameAs::named(text(&cell)?)).map(|set| row.same_as = set),
    },
];

fn text(cell: &Cell) -> Option<&str> {
    match cell {
        Cell::Text(bytes) => bytes.as_utf8().ok(),
        _ => None,
    }
}

fn double(cell: Cell) -> Option<f64> {
    match cell {
        Cell::Double(value) => Some(value),
        _ => None,
    }
}

fn u32(cell: Cell) -> Option<u32> {
    match cell {
        Cell::U32(value) => Some(value),
        _ => None,
    }
}

fn u64(cell: Cell) -> Option<u64> {
    match cell {
        Cell::U64(value) => Some(value),
        _ => None,
    }
}

/// The value of an optional column: `Some(None)` where it is absent, `None` where it is no value.
fn present<T>(cell: Cell, value: impl FnOnce(Cell) -> Option<T>) -> Option<Option<T>> {
    if cell == Cell::Absent { Some(None) } else { value(cell).map(Some) }
}

/// Where in [`COLUMNS`] a column is.
pub(super) fn place(name: &str) -> usize {
    COLUMNS.iter().position(|column| column.name == name).unwrap_or(COLUMNS.len())
}

/// The columns as a Parquet schema.
pub(super) fn schema() -> String {
    let columns = COLUMNS.iter().map(|ColumnSpec { name, kind, optional, .. }| {
        let repetition = if *optional { "OPTIONAL" } else { "REQUIRED" };
        format!("{repetition} {} {name}{};", kind.physical(), kind.note())
    });
    format!("message scores {{ {} }}", columns.collect::<Vec<_>>().join(" "))
}

/// Values of one column, row by row. Of an optional column, rows without a value have the level 0 and no place among the
/// values.
pub(super) struct Values {
    pub(super) data: Data,
    /// One a row; empty where the column is not optional.
    levels: Vec<i16>,
    optional: bool,
}

/// The values that are present.
pub(super) enum Data {
    Text(Vec<ByteArray>),
    Double(Vec<f64>),
    U32(Vec<i32>),
    U64(Vec<i64>),
}

impl Values {
    /// None yet, of this column.
    pub(super) fn none(column: &ColumnSpec) -> Values {
        let data = match column.kind {
            Kind::Text => Data::Text(Vec::new()),
            Kind::Double => Data::Double(Vec::new()),
            Kind::U32 => Data::U32(Vec::new()),
            Kind::U64 => Data::U64(Vec::new()),
        };
        Values { data, levels: Vec::new(), optional: column.optional }
    }

    /// Those of `column` in these rows.
    pub(super) fn of(column: &ColumnSpec, rows: &[ScoreRow]) -> Values {
        let mut values = Values::none(column);
        for row in rows {
            let cell = (column.get)(row);
            if column.optional {
                values.levels.push(i16::from(cell != Cell::Absent));
            }
            match (&mut values.data, cell) {
                (Data::Text(of), Cell::Text(value)) => of.push(value),
                (Data::Double(of), Cell::Double(value)) => of.push(value),
                (Data::U32(of), Cell::U32(value)) => of.push(value.cast_signed()),
                (Data::U64(of), Cell::U64(value)) => of.push(value.cast_signed()),
                // What is absent has no place.
                _ => {}
            }
        }
        values
    }

    pub(super) fn clear(&mut self) {
        self.levels.clear();
        match &mut self.data {
            Data::Text(values) => values.clear(),
            Data::Double(values) => values.clear(),
            Data::U32(values) => values.clear(),
            Data::U64(values) => values.clear(),
        }
    }

    /// Adds what `column` gives next, `most` rows at most. Gives how many there were.
    pub(super) fn read(&mut self, column: &mut ColumnReader, most: usize) -> Result<usize, ParquetError> {
        let levels = Some(&mut self.levels);
        let (rows, _, _) = match (column, &mut self.data) {
            (ColumnReader::ByteArrayColumnReader(column), Data::Text(values)) => {
                column.read_records(most, levels, None, values)?
            }
            (ColumnReader::DoubleColumnReader(column), Data::Double(values)) => {
                column.read_records(most, levels, None, values)?
            }
            (ColumnReader::Int32ColumnReader(column), Data::U32(values)) => {
                column.read_records(most, levels, None, values)?
            }
            (ColumnReader::Int64ColumnReader(column), Data::U64(values)) => {
                column.read_records(most, levels, None, values)?
            }
            _ => return Err(ParquetError::General("a column is of another type than its file says".to_owned())),
        };
        Ok(rows)
    }

    /// Writes all of them.
    pub(super) fn write(&self, column: &mut SerializedColumnWriter) -> Result<(), ParquetError> {
        let levels = self.optional.then_some(self.levels.as_slice());
        match &self.data {
            Data::Text(values) => column.typed::<ByteArrayType>().write_batch(values, levels, None)?,
            Data::Double(values) => column.typed::<DoubleType>().write_batch(values, levels, None)?,
            Data::U32(values) => column.typed::<Int32Type>().write_batch(values, levels, None)?,
            Data::U64(values) => column.typed::<Int64Type>().write_batch(values, levels, None)?,
        };
        Ok(())
    }

    /// Puts the values into `rows`, one a row.
    pub(super) fn put(self, column: &ColumnSpec, rows: &mut [ScoreRow]) -> Result<(), ParquetError> {
        let mut cells: Box<dyn Iterator<Item = Cell>> = match self.data {
            Data::Text(values) => Box::new(values.into_iter().map(Cell::Text)),
            Data::Double(values) => Box::new(values.into_iter().map(Cell::Double)),
            Data::U32(values) => Box::new(values.into_iter().map(|value| Cell::U32(value.cast_unsigned()))),
            Data::U64(values) => Box::new(values.into_iter().map(|value| Cell::U64(value.cast_unsigned()))),
        };
        let mut levels = self.levels.into_iter();
        for row in rows {
            let absent = self.optional && levels.next() == Some(0);
            let cell = if absent { Some(Cell::Absent) } else { cells.next() };
            cell.and_then(|cell| (column.set)(row, cell)).ok_or_else(|| {
                ParquetError::General(format!("column `{}` lacks values or has some that mean nothing", column.name))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_the_fields_of_a_row_in_their_order() {
        let row = serde_json::to_value(ScoreRow::default()).expect("an object");
        let fields: Vec<&String> = row.as_object().expect("an object").keys().collect();
        assert_eq!(fields, COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>());
        for (at, column) in COLUMNS.iter().enumerate() {
            assert_eq!(place(column.name), at);
        }
    }
}
