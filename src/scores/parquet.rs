//! A score table as Parquet: one column a field, provenance in the key-value metadata.

use super::table_file::{CHUNK, Column, Values};
use super::{Rows, ScoreError, ScoreRow, ScoreTable, Stored};
use indexmap::IndexMap;
use parquet::basic::{Compression, Type};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const SCHEMA: &str = "message scores {
    REQUIRED BYTE_ARRAY id (UTF8);
    OPTIONAL DOUBLE influence;
    REQUIRED INT32 pseudo_label (UINT_32);
    REQUIRED DOUBLE confidence;
    REQUIRED DOUBLE entropy;
    REQUIRED DOUBLE margin;
    OPTIONAL INT32 label (UINT_32);
}";

/// A column as [`SCHEMA`] has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnSpec {
    pub(super) name: &'static str,
    pub(super) physical: Type,
    pub(super) optional: bool,
}

/// A place in [`COLUMNS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Influence,
    PseudoLabel,
    Confidence,
    Entropy,
    Margin,
    Label,
}

/// The columns in the order of [`SCHEMA`].
pub(super) const COLUMNS: [ColumnSpec; 7] = [
    ColumnSpec { name: "id", physical: Type::BYTE_ARRAY, optional: false },
    ColumnSpec { name: "influence", physical: Type::DOUBLE, optional: true },
    ColumnSpec { name: "pseudo_label", physical: Type::INT32, optional: false },
    ColumnSpec { name: "confidence", physical: Type::DOUBLE, optional: false },
    ColumnSpec { name: "entropy", physical: Type::DOUBLE, optional: false },
    ColumnSpec { name: "margin", physical: Type::DOUBLE, optional: false },
    ColumnSpec { name: "label", physical: Type::INT32, optional: true },
];

/// Rows of a row group: large enough to compress, small enough that a reader can take one at a time.
const GROUP: usize = 65_536;

/// Writes a table into `file`; `path` is for messages.
pub(super) fn write(
    provenance: &IndexMap<String, String>,
    rows: Rows,
    file: impl Write + Send,
    path: &Path,
) -> Result<(), ScoreError> {
    let failed = |source| ScoreError::Parquet { path: path.to_path_buf(), source };
    let metadata = provenance.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("isal ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(metadata))
        .set_write_batch_size(CHUNK)
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(failed)?;
    match rows {
        Rows::Memory(rows) => {
            for rows in rows.chunks(GROUP) {
                let mut group = writer.next_row_group().map_err(failed)?;
                write_group(rows, &mut group).map_err(failed)?;
                group.close().map_err(failed)?;
            }
        }
        Rows::Files(stored) => {
            let mut columns = StoredColumns::of(stored);
            for start in (0..stored.len()).step_by(GROUP) {
                let mut group = writer.next_row_group().map_err(failed)?;
                columns.copy(GROUP.min(stored.len() - start), &mut group, &failed)?;
                group.close().map_err(failed)?;
            }
        }
    }
    writer.close().map_err(failed)?;
    Ok(())
}

/// The columns of rows in files. A row group is written column after column, so every column has a place of its own in the
/// files, and no group is ever in memory.
struct StoredColumns<'a> {
    id: Column<'a, ByteArrayType>,
    influence: Column<'a, DoubleType>,
    pseudo_label: Column<'a, Int32Type>,
    beliefs: [Column<'a, DoubleType>; 3],
    label: Column<'a, Int32Type>,
}

impl<'a> StoredColumns<'a> {
    fn of(stored: &'a Stored) -> Self {
        StoredColumns {
            id: stored.column(Field::Id),
            influence: stored.column(Field::Influence),
            pseudo_label: stored.column(Field::PseudoLabel),
            beliefs: [Field::Confidence, Field::Entropy, Field::Margin].map(|field| stored.column(field)),
            label: stored.column(Field::Label),
        }
    }

    /// Writes the next `rows` rows as a group.
    fn copy<W: Write + Send>(
        &mut self,
        rows: usize,
        group: &mut SerializedRowGroupWriter<'_, W>,
        failed: &impl Fn(ParquetError) -> ScoreError,
    ) -> Result<(), ScoreError> {
        copy(&mut self.id, rows, group, failed)?;
        copy(&mut self.influence, rows, group, failed)?;
        copy(&mut self.pseudo_label, rows, group, failed)?;
        self.beliefs.iter_mut().try_for_each(|column| copy(column, rows, group, failed))?;
        copy(&mut self.label, rows, group, failed)
    }
}

/// Writes the next `rows` rows of a column. Batches of [`CHUNK`] are what a writer makes of a whole column too, so that the
/// pages, and with them the bytes, are those of [`write_group`].
fn copy<T: DataType, W: Write + Send>(
    from: &mut Column<T>,
    rows: usize,
    group: &mut SerializedRowGroupWriter<'_, W>,
    failed: &impl Fn(ParquetError) -> ScoreError,
) -> Result<(), ScoreError> {
    let mut to = column(group).map_err(failed)?;
    let mut values = Values::none();
    let mut left = rows;
    while left > 0 {
        values.clear();
        let read = from.read(CHUNK.min(left), &mut values)?;
        if read == 0 {
            return Err(failed(ParquetError::General(format!("{left} rows were lost since they were scored"))));
        }
        let levels = Some(values.levels.as_slice()).filter(|levels| !levels.is_empty());
        to.typed::<T>().write_batch(&values.values, levels, None).map_err(failed)?;
        left -= read;
    }
    to.close().map_err(failed)
}

/// Columns in the order of [`SCHEMA`]. Parquet holds an unsigned 32-bit number in a signed one of the same bits.
fn write_group<W: Write + Send>(
    rows: &[ScoreRow],
    group: &mut SerializedRowGroupWriter<'_, W>,
) -> Result<(), ParquetError> {
    let required = |field: fn(&ScoreRow) -> f64| rows.iter().map(field).collect::<Vec<f64>>();
    let mut ids = column(group)?;
    let values: Vec<ByteArray> = rows.iter().map(|r| ByteArray::from(r.id.as_str())).collect();
    ids.typed::<ByteArrayType>().write_batch(&values, None, None)?;
    ids.close()?;

    let mut influence = column(group)?;
    let present: Vec<f64> = rows.iter().filter_map(|r| r.influence).collect();
    let levels: Vec<i16> = rows.iter().map(|r| i16::from(r.influence.is_some())).collect();
    influence.typed::<DoubleType>().write_batch(&present, Some(&levels), None)?;
    influence.close()?;

    let mut pseudo_label = column(group)?;
    let values: Vec<i32> = rows.iter().map(|r| r.pseudo_label.cast_signed()).collect();
    pseudo_label.typed::<Int32Type>().write_batch(&values, None, None)?;
    pseudo_label.close()?;

    for values in [required(|r| r.confidence), required(|r| r.entropy), required(|r| r.margin)] {
        let mut doubles = column(group)?;
        doubles.typed::<DoubleType>().write_batch(&values, None, None)?;
        doubles.close()?;
    }

    let mut label = column(group)?;
    let present: Vec<i32> = rows.iter().filter_map(|r| r.label.map(u32::cast_signed)).collect();
    let levels: Vec<i16> = rows.iter().map(|r| i16::from(r.label.is_some())).collect();
    label.typed::<Int32Type>().write_batch(&present, Some(&levels), None)?;
    label.close()
}

fn column<'a, W: Write + Send>(
    group: &'a mut SerializedRowGroupWriter<'_, W>,
) -> Result<parquet::file::writer::SerializedColumnWriter<'a>, ParquetError> {
    group.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns than a row".to_owned()))
}

/// Reads a table that [`write`] made.
pub(super) fn read(path: &Path) -> Result<ScoreTable, ScoreError> {
    let (stored, provenance) = Stored::open(path)?;
    let mut rows = Vec::new();
    for chunk in stored.chunks() {
        rows.extend(chunk?);
    }
    Ok(ScoreTable { provenance, rows })
}
