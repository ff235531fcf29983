//! From a model to bytes or files.

use crate::proto::graph::{DataSink, InlineData};
use crate::proto::{model as message, tensor};
use crate::{DataType, Error, Model, Result, Tensor};
use onnx_protobuf::{Message, StringStringEntryProto, TensorProto, tensor_proto::DataLocation};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The most a protocol buffer may take.
const PROTOBUF_BYTES: u64 = (1 << 31) - 1;
/// Room left for the structure when data is weighed against [`PROTOBUF_BYTES`].
const STRUCTURE_BYTES: u64 = 64 << 20;
/// External data starts at multiples of this, so that a runtime can map it.
const ALIGNMENT: u64 = 4096;

/// Where [`Model::write_with`] puts the initializers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExternalData {
    /// In the model file while it stays under 2 GB, else beside it.
    #[default]
    WhenNeeded,
    /// Beside the model, in `NAME.onnx.data`.
    Always,
    /// In the model file; an error over 2 GB.
    Never,
}

/// How a model is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// Where the initializers go.
    pub external: ExternalData,
    /// Initializers of fewer bytes than this stay in the model file in any case: shapes and scalars
    /// that runtimes want to see without a second file.
    pub external_from_bytes: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions { external: ExternalData::WhenNeeded, external_from_bytes: 1024 }
    }
}

/// The model as one message, data included.
pub(crate) fn to_bytes(model: &Model) -> Result<Vec<u8>> {
    let proto = message::encode(model, &mut InlineData);
    check_size(&proto)?;
    proto.write_to_bytes().map_err(|e| Error::Malformed { reason: e.to_string() })
}

/// Writes `path`, and `NAME.onnx.data` beside it where options say so.
pub(crate) fn write(model: &Model, path: &Path, options: &WriteOptions) -> Result<()> {
    let Ok(()) = write_proven(model, path, options, |_| Ok::<_, Infallible>(()))?;
    Ok(())
}

/// Writes the model where `proof` can look at it, and moves it to `path` afterwards. Where the proof fails, whatever was at
/// `path` stays.
///
/// A killed write leaves the old model, or none, or the new one: where external data is replaced, the old model is taken
/// away before its data is, so no model ever stands beside another's data.
pub(crate) fn write_proven<T, E>(
    model: &Model,
    path: &Path,
    options: &WriteOptions,
    proof: impl FnOnce(&Path) -> std::result::Result<T, E>,
) -> Result<std::result::Result<T, E>> {
    let folder = folder_of(path);
    let failed = |source| Error::Io { path: path.to_owned(), source };
    // A model finds its data by name, so both have their names from the start, in a folder of their own.
    let staging = tempfile::Builder::new().prefix(".isal-").tempdir_in(&folder).map_err(failed)?;
    let staged = staging.path().join(path.file_name().unwrap_or_default());
    let data = write_files(model, &staged, options).map_err(|error| match error {
        Error::Io { source, .. } => failed(source),
        other => other,
    })?;
    let proven = match proof(&staged) {
        Ok(proven) => proven,
        refused => return Ok(refused),
    };
    if let Some(name) = data {
        take_away(path)?;
        sync_folder(&folder)?;
        fs::rename(staging.path().join(&name), folder.join(&name)).map_err(failed)?;
    }
    fs::rename(&staged, path).map_err(failed)?;
    sync_folder(&folder)?;
    Ok(Ok(proven))
}

/// Writes the model to `path`, where nothing is, and its data beside it where options say so; gives the name of the data. What
/// is written is synced.
fn write_files(model: &Model, path: &Path, options: &WriteOptions) -> Result<Option<String>> {
    let external = match options.external {
        ExternalData::Always => true,
        ExternalData::Never => false,
        ExternalData::WhenNeeded => data_bytes(model) > PROTOBUF_BYTES - STRUCTURE_BYTES,
    };
    if !external {
        write_message(&message::encode(model, &mut InlineData), path)?;
        return Ok(None);
    }
    let name = data_name(path)?;
    let failed = |source| Error::Io { path: path.with_file_name(&name), source };
    let mut sink = ExternalSink {
        location: name.clone(),
        from_bytes: options.external_from_bytes,
        file: BufWriter::with_capacity(1 << 20, File::create_new(path.with_file_name(&name)).map_err(failed)?),
        at: 0,
        failed: None,
    };
    let proto = message::encode(model, &mut sink);
    if let Some(source) = sink.failed {
        return Err(failed(source));
    }
    let data = sink.file.into_inner().map_err(|e| failed(e.into_error()))?;
    data.sync_all().map_err(failed)?;
    write_message(&proto, path)?;
    Ok(Some(name))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What the data beside the model at `path` is called.
fn data_name(path: &Path) -> Result<String> {
    let source = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "the file name is not UTF-8");
    let name = path.file_name().and_then(|n| n.to_str());
    Ok(format!("{}.data", name.ok_or_else(|| Error::Io { path: path.to_owned(), source: source() })?))
}

fn take_away(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Writes initializers of some size to a file beside the model.
struct ExternalSink {
    location: String,
    from_bytes: usize,
    file: BufWriter<File>,
    at: u64,
    /// The first error; encoding goes on without it and it is reported afterwards.
    failed: Option<std::io::Error>,
}

impl ExternalSink {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<u64> {
        let offset = self.at.next_multiple_of(ALIGNMENT);
        let padding = usize::try_from(offset - self.at).unwrap_or(0);
        self.file.write_all(&[0; ALIGNMENT as usize][..padding])?;
        self.file.write_all(bytes)?;
        self.at = offset + bytes.len() as u64;
        Ok(offset)
    }
}

impl DataSink for ExternalSink {
    fn initializer(&mut self, name: &str, t: &Tensor, rest: Option<&TensorProto>) -> TensorProto {
        let bytes = t.bytes();
        if t.data_type() == DataType::String || bytes.len() < self.from_bytes || self.failed.is_some() {
            return tensor::encode(t, name, rest);
        }
        let mut proto = tensor::encode_header(t, name, rest);
        match self.append(bytes) {
            Err(e) => self.failed = Some(e),
            Ok(offset) => {
                proto.data_location = DataLocation::EXTERNAL.into();
                let entry = |key: &str, value: String| StringStringEntryProto {
                    key: key.to_owned(),
                    value,
                    ..Default::default()
                };
                proto.external_data = vec![
                    entry("location", self.location.clone()),
                    entry("offset", offset.to_string()),
                    entry("length", bytes.len().to_string()),
                ];
            }
        }
        proto
    }
}

fn data_bytes(model: &Model) -> u64 {
    model.graph.initializers.values().map(|t| t.bytes().len() as u64).sum()
}

fn check_size(proto: &onnx_protobuf::ModelProto) -> Result<()> {
    let found = proto.compute_size();
    if found > PROTOBUF_BYTES {
        let what = "size of the model in one message, in bytes".to_owned();
        return Err(Error::Limit { what, found, limit: PROTOBUF_BYTES });
    }
    Ok(())
}

/// Writes the message to a file that is not there yet, and syncs it.
fn write_message(proto: &onnx_protobuf::ModelProto, path: &Path) -> Result<()> {
    check_size(proto)?;
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path).map_err(failed)?);
    proto.write_to_writer(&mut file).map_err(|e| failed(std::io::Error::other(e)))?;
    file.into_inner().map_err(|e| failed(e.into_error()))?.sync_all().map_err(failed)
}

/// Makes the renames in `folder` last.
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|source| Error::Io { path: folder.to_owned(), source })
}
