//! A score table as Parquet: one column a field, provenance in the key-value metadata.

use super::columns::{ColumnSpec, Values, columns, schema};
use super::table_file::{CHUNK, Column};
use super::{Rows, ScoreError, ScoreRow, ScoreTable, Stored};
use indexmap::IndexMap;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

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
    let specs = columns(rows.columns());
    let schema = Arc::new(parse_message_type(&schema(&specs)).map_err(failed)?);
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(failed)?;
    match rows {
        Rows::Memory(_, rows) => {
            for rows in rows.chunks(GROUP) {
                let mut group = writer.next_row_group().map_err(failed)?;
                write_group(&specs, rows, &mut group).map_err(failed)?;
                group.close().map_err(failed)?;
            }
        }
        Rows::Files(stored) => {
            let mut columns: Vec<(Column, Values)> =
                specs.iter().filter_map(|column| stored.column(&column.name)).collect();
            for start in (0..stored.len()).step_by(GROUP) {
                let mut group = writer.next_row_group().map_err(failed)?;
                copy_group(&mut columns, GROUP.min(stored.len() - start), &mut group, &failed)?;
                group.close().map_err(failed)?;
            }
        }
    }
    writer.close().map_err(failed)?;
    Ok(())
}

/// Writes the next `rows` rows of files as a group. A group is written column after column, so every column has a place of its
/// own in the files, and no group is ever in memory. Batches of [`CHUNK`] are what a writer makes of a whole column too, so
/// that the pages, and with them the bytes, are those of [`write_group`].
fn copy_group<W: Write + Send>(
    columns: &mut [(Column, Values)],
    rows: usize,
    group: &mut SerializedRowGroupWriter<'_, W>,
    failed: &impl Fn(ParquetError) -> ScoreError,
) -> Result<(), ScoreError> {
    for (from, values) in columns {
        let mut to = next_column(group).map_err(failed)?;
        let mut left = rows;
        while left > 0 {
            values.clear();
            let read = from.read(CHUNK.min(left), values)?;
            if read == 0 {
                return Err(failed(ParquetError::General(format!("{left} rows were lost since they were scored"))));
            }
            values.write(&mut to).map_err(failed)?;
            left -= read;
        }
        to.close().map_err(failed)?;
    }
    Ok(())
}

fn write_group<W: Write + Send>(
    columns: &[ColumnSpec],
    rows: &[ScoreRow],
    group: &mut SerializedRowGroupWriter<'_, W>,
) -> Result<(), ParquetError> {
    for column in columns {
        let mut to = next_column(group)?;
        Values::of(column, rows).write(&mut to)?;
        to.close()?;
    }
    Ok(())
}

fn next_column<'a, W: Write + Send>(
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
    Ok(ScoreTable { provenance, columns: stored.columns().to_vec(), rows })
}
