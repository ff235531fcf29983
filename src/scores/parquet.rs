//! A score table as Parquet: one column a field, provenance in the key-value metadata.

use super::{ScoreError, ScoreRow, ScoreTable};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::{Row, RowAccessor};
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
/// Rows of a row group: large enough to compress, small enough that a reader can take one at a time.
const GROUP: usize = 65_536;

/// Writes the table into `file`; `path` is for messages.
pub(super) fn write(table: &ScoreTable, file: impl Write + Send, path: &Path) -> Result<(), ScoreError> {
    write_columns(table, file).map_err(|source| ScoreError::Parquet { path: path.to_path_buf(), source })
}

fn write_columns(table: &ScoreTable, file: impl Write + Send) -> Result<(), ParquetError> {
    let metadata = table.provenance.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("isal ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(metadata))
        .build();
    let mut writer = SerializedFileWriter::new(file, Arc::new(parse_message_type(SCHEMA)?), Arc::new(properties))?;
    for rows in table.rows.chunks(GROUP) {
        let mut group = writer.next_row_group()?;
        write_group(rows, &mut group)?;
        group.close()?;
    }
    writer.close()?;
    Ok(())
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
    let refused = |source| ScoreError::Parquet { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(|e| refused(ParquetError::External(Box::new(e))))?;
    let reader = SerializedFileReader::new(file).map_err(refused)?;
    let mut table = ScoreTable::default();
    for pair in reader.metadata().file_metadata().key_value_metadata().into_iter().flatten() {
        table.provenance.insert(pair.key.clone(), pair.value.clone().unwrap_or_default());
    }
    for row in reader.get_row_iter(None).map_err(refused)? {
        let row = row.map_err(refused)?;
        table.rows.push(score_row(&row).map_err(|reason| ScoreError::Content { path: path.to_path_buf(), reason })?);
    }
    Ok(table)
}

fn score_row(row: &Row) -> Result<ScoreRow, String> {
    let place = |name: &str| {
        row.get_column_iter()
            .position(|(column, _)| column == name)
            .ok_or_else(|| format!("not a score table: no column `{name}`"))
    };
    let double = |name: &str| row.get_double(place(name)?).map_err(|e| format!("column `{name}`: {e}"));
    let (influence, label) = (place("influence")?, place("label")?);
    Ok(ScoreRow {
        id: row.get_string(place("id")?).map_err(|e| format!("column `id`: {e}"))?.clone(),
        influence: row.get_double(influence).ok(),
        pseudo_label: row.get_uint(place("pseudo_label")?).map_err(|e| format!("column `pseudo_label`: {e}"))?,
        confidence: double("confidence")?,
        entropy: double("entropy")?,
        margin: double("margin")?,
        label: row.get_uint(label).ok(),
    })
}
