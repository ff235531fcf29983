//! From a file or bytes to a checked model.

use super::external;
use crate::{Error, Model, ReadOptions, Result, proto};
use onnx_protobuf::{Message, ModelProto};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads the file at `path`; its external data lies in the same folder.
pub(crate) fn read(path: &Path, options: &ReadOptions) -> Result<Model> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    // Opening a FIFO would wait for a writer, so the kind is looked at first.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a plain file")));
    }
    let limit = options.limits.file_bytes;
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(limit.saturating_add(1));
    if metadata.len() <= limit {
        bytes.reserve_exact(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(failed)?;
    }
    let found = metadata.len().max(bytes.len() as u64);
    if found > limit {
        return Err(Error::Limit { what: "size of the model in bytes".to_owned(), found, limit });
    }
    let message = parse(&bytes, options)?;
    drop(bytes);
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    from_message(message, folder, options)
}

/// Reads `bytes`; external data is looked for in `folder`, and refused without one.
pub(crate) fn from_bytes(bytes: &[u8], folder: Option<&Path>, options: &ReadOptions) -> Result<Model> {
    from_message(parse(bytes, options)?, folder, options)
}

fn parse(bytes: &[u8], options: &ReadOptions) -> Result<ModelProto> {
    proto::wire::check(bytes, &options.limits)?;
    ModelProto::parse_from_bytes(bytes).map_err(|e| Error::Malformed { reason: e.to_string() })
}

fn from_message(mut message: ModelProto, folder: Option<&Path>, options: &ReadOptions) -> Result<Model> {
    external::load(&mut message, folder, &options.limits)?;
    if options.inline_functions {
        proto::function::inline(&mut message, &options.limits)?;
    }
    let mut model = proto::model::decode(message)?;
    let opset = model.opset();
    if opset != 0 && !options.opsets.contains(&opset) {
        return Err(Error::Opset { found: opset, first: *options.opsets.start(), last: *options.opsets.end() });
    }
    let nodes = model.graph.node_count() as u64;
    if nodes > options.limits.nodes {
        return Err(Error::Limit { what: "number of nodes".to_owned(), found: nodes, limit: options.limits.nodes });
    }
    model.graph.sort().map_err(|error| match error {
        Error::Node { node, op, reason, .. } => Error::Node { node, op, opset, reason },
        other => other,
    })?;
    model.check()?;
    Ok(model)
}
