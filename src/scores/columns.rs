//! The columns of a score table: the one list from which files are written, read and checked. Those of the beliefs are the
//! task's own and stand between the influence and the rest.

use super::{BeliefColumn, BeliefKind, SameAs, ScoreRow};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnSpec {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) optional: bool,
    field: Field,
}

/// The part of a row that a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Influence,
    Belief(usize),
    Label,
    Content,
    SameAs,
}

/// Names of the columns that every table has.
pub(super) const ID: &str = "id";
pub(super) const INFLUENCE: &str = "influence";
pub(super) const LABEL: &str = "label";
pub(super) const CONTENT: &str = "content";
pub(super) const SAME_AS: &str = "same_as";

/// Whether a belief cannot be called so.
pub fn is_taken(name: &str) -> bool {
    [ID, INFLUENCE, LABEL, CONTENT, SAME_AS].contains(&name)
}

/// The columns of a table with these beliefs, in their order.
pub(super) fn columns(beliefs: &[BeliefColumn]) -> Vec<ColumnSpec> {
    let column = |name: &str, kind, optional, field| ColumnSpec { name: name.to_owned(), kind, optional, field };
    let mut columns =
        vec![column(ID, Kind::Text, false, Field::Id), column(INFLUENCE, Kind::Double, true, Field::Influence)];
    columns.extend(beliefs.iter().enumerate().map(|(place, belief)| {
        let kind = match belief.kind {
            BeliefKind::Number => Kind::Double,
            BeliefKind::Whole => Kind::U32,
        };
        column(&belief.name, kind, false, Field::Belief(place))
    }));
    columns.extend([
        column(LABEL, Kind::U32, true, Field::Label),
        column(CONTENT, Kind::U64, false, Field::Content),
        column(SAME_AS, Kind::Text, true, Field::SameAs),
    ]);
    columns
}

impl ColumnSpec {
    /// The value in a row.
    pub(super) fn get(&self, row: &ScoreRow) -> Cell {
        match self.field {
            Field::Id => Cell::Text(row.id.as_str().into()),
            Field::Influence => row.influence.map_or(Cell::Absent, Cell::Double),
            Field::Belief(place) => {
                let belief = row.beliefs.get(place).copied().unwrap_or(f64::NAN);
                match self.kind {
                    Kind::U32 => Cell::U32(whole(belief)),
                    _ => Cell::Double(belief),
                }
            }
            Field::Label => row.label.map_or(Cell::Absent, Cell::U32),
            Field::Content => Cell::U64(row.content.bits()),
            Field::SameAs => row.same_as.map_or(Cell::Absent, |set| Cell::Text(set.name().into())),
        }
    }

    /// Puts a value into a row; `None` where the row cannot have it.
    fn set(&self, row: &mut ScoreRow, cell: Cell) -> Option<()> {
        match self.field {
            Field::Id => text(&cell).map(|id| row.id = id.to_owned()),
            Field::Influence => present(cell, double).map(|influence| row.influence = influence),
            Field::Belief(_) => match self.kind {
                Kind::U32 => u32(cell).map(|whole| if whole == UNKNOWN { f64::NAN } else { f64::from(whole) }),
                _ => double(cell),
            }
            .map(|belief| row.beliefs.push(belief)),
            Field::Label => present(cell, u32).map(|label| row.label = label),
            Field::Content => u64(cell).map(|bits| row.content = Content::from_bits(bits)),
            Field::SameAs => present(cell, |cell| SameAs::named(text(&cell)?)).map(|set| row.same_as = set),
        }
    }
}

/// A whole number that is not known.
const UNKNOWN: u32 = u32::MAX;

/// A belief as a whole number.
fn whole(belief: f64) -> u32 {
    let fits = belief >= 0.0 && belief < f64::from(UNKNOWN) && belief.fract() == 0.0;
    if fits { belief as u32 } else { UNKNOWN }
}

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

/// The columns as a Parquet schema.
pub(super) fn schema(columns: &[ColumnSpec]) -> String {
    let columns = columns.iter().map(|ColumnSpec { name, kind, optional, .. }| {
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
            let cell = column.get(row);
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

    /// Whether they are numbers to reckon with.
    pub(super) fn are_numbers(&self) -> bool {
        matches!(self.data, Data::Double(_) | Data::U32(_))
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

    /// Passes over the next `most` rows of a column.
    pub(super) fn skip(column: &mut ColumnReader, most: usize) -> Result<usize, ParquetError> {
        match column {
            ColumnReader::ByteArrayColumnReader(column) => column.skip_records(most),
            ColumnReader::DoubleColumnReader(column) => column.skip_records(most),
            ColumnReader::Int32ColumnReader(column) => column.skip_records(most),
            ColumnReader::Int64ColumnReader(column) => column.skip_records(most),
            _ => Err(ParquetError::General("a column is of another type than its file says".to_owned())),
        }
    }

    /// Calls `visit` with the number of every row: NaN where there is none, or where it is not known.
    pub(super) fn each_number(&self, mut visit: impl FnMut(f64)) {
        let mut numbers: Box<dyn Iterator<Item = f64>> = match &self.data {
            Data::Double(values) => Box::new(values.iter().copied()),
            Data::U32(values) => Box::new(values.iter().map(|value| match value.cast_unsigned() {
                UNKNOWN => f64::NAN,
                whole => f64::from(whole),
            })),
            Data::Text(_) | Data::U64(_) => Box::new(std::iter::empty()),
        };
        if !self.optional {
            numbers.for_each(visit);
            return;
        }
        self.levels
            .iter()
            .for_each(|level| visit(if *level == 0 { f64::NAN } else { numbers.next().unwrap_or(f64::NAN) }));
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
            cell.and_then(|cell| column.set(row, cell)).ok_or_else(|| {
                ParquetError::General(format!("column `{}` lacks values or has some that mean nothing", column.name))
            })?;
        }
        Ok(())
    }
}
