//! External data: tensors whose bytes lie in a file beside the model.
//!
//! A model chooses the path, the offset and the length, so all three are checked: the path is relative,
//! has no `..`, and is opened one component at a time below the model's folder without following links;
//! what is opened must be a plain file with a single name (a hard link may lead outside as a symbolic
//! one does); offset and length must lie within it and agree with the tensor's dims and type. Nothing is
//! allocated before that.

use crate::{Error, Limits, Result, proto::tensor};
use onnx_protobuf::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataLocation};
use rustix::fs::{Mode, OFlags, openat};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

/// What ONNX Runtime puts in place of a path for data that lies in memory; in a file it would make the
/// runtime read any address.
const MEMORY_MARKER: &str = "_ORT_MEM_ADDR_";

/// Brings the external data of every tensor in `model` into it: initializers, sparse initializers,
/// attributes, subgraphs, functions and training information.
///
/// # Errors
/// [`Error::ExternalData`], [`Error::Io`], [`Error::Tensor`], or [`Error::Limit`] past
/// [`Limits::external_bytes`].
pub(crate) fn load(model: &mut ModelProto, folder: Option<&Path>, limits: &Limits) -> Result<()> {
    let mut loader = Loader { folder, root: None, limit: limits.external_bytes, taken: 0 };
    if let Some(graph) = model.graph.as_mut() {
        loader.graph(graph)?;
    }
    for training in &mut model.training_info {
        for graph in [training.initialization.as_mut(), training.algorithm.as_mut()].into_iter().flatten() {
            loader.graph(graph)?;
        }
    }
    for function in &mut model.functions {
        loader.nodes(&mut function.node)?;
        loader.attributes(&mut function.attribute_proto)?;
    }
    Ok(())
}

struct Loader<'a> {
    folder: Option<&'a Path>,
    /// The folder, once it has been opened.
    root: Option<File>,
    limit: u64,
    taken: u64,
}

impl Loader<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        for t in &mut graph.initializer {
            self.tensor(t)?;
        }
        for sparse in &mut graph.sparse_initializer {
            self.maybe(sparse.values.as_mut())?;
            self.maybe(sparse.indices.as_mut())?;
        }
        self.nodes(&mut graph.node)
    }

    fn nodes(&mut self, nodes: &mut [NodeProto]) -> Result<()> {
        nodes.iter_mut().try_for_each(|node| self.attributes(&mut node.attribute))
    }

    fn attributes(&mut self, attributes: &mut [AttributeProto]) -> Result<()> {
        for a in attributes {
            self.maybe(a.t.as_mut())?;
            for t in &mut a.tensors {
                self.tensor(t)?;
            }
            for sparse in a.sparse_tensor.as_mut().into_iter().chain(&mut a.sparse_tensors) {
                self.maybe(sparse.values.as_mut())?;
                self.maybe(sparse.indices.as_mut())?;
            }
            for graph in a.g.as_mut().into_iter().chain(&mut a.graphs) {
                self.graph(graph)?;
            }
        }
        Ok(())
    }

    fn maybe(&mut self, tensor: Option<&mut TensorProto>) -> Result<()> {
        tensor.map_or(Ok(()), |t| self.tensor(t))
    }

    fn tensor(&mut self, t: &mut TensorProto) -> Result<()> {
        let entries = std::mem::take(&mut t.external_data);
        match std::mem::take(&mut t.data_location).enum_value() {
            Ok(DataLocation::DEFAULT) => return Ok(()),
            Ok(DataLocation::EXTERNAL) => {}
            Err(other) => return Err(refused(t, format!("data location {other} is unknown"))),
        }
        if !(t.raw_data.is_empty() && t.float_data.is_empty() && t.int32_data.is_empty() && t.int64_data.is_empty()) {
            return Err(refused(t, "it also has data of its own".to_owned()));
        }
        let (mut location, mut offset, mut length) = (None, None, None);
        for entry in &entries {
            let twice = match entry.key.as_str() {
                "location" => location.replace(entry.value.as_str()).is_some(),
                "offset" => offset.replace(number(t, &entry.key, &entry.value)?).is_some(),
                "length" => length.replace(number(t, &entry.key, &entry.value)?).is_some(),
                // `checksum` and keys of other tools say nothing about where the bytes are.
                _ => false,
            };
            if twice {
                return Err(refused(t, format!("`{}` is given twice", entry.key)));
            }
        }
        let location = location.ok_or_else(|| refused(t, "no `location`".to_owned()))?;
        let offset = offset.unwrap_or(0);
        let expected = tensor::byte_len(t, &t.name)?;
        if let Some(length) = length.filter(|n| *n != expected as u64) {
            return Err(refused(t, format!("`length` is {length}, its dims and type take {expected} bytes")));
        }
        let (mut file, size) = self.open(t, location)?;
        if offset.checked_add(expected as u64).is_none_or(|end| end > size) {
            return Err(refused(t, format!("{expected} bytes at {offset} of `{location}`, which has {size}")));
        }
        self.taken = self.taken.saturating_add(expected as u64);
        if self.taken > self.limit {
            return Err(Error::Limit {
                what: "external data in bytes".to_owned(),
                found: self.taken,
                limit: self.limit,
            });
        }
        let mut data = vec![0; expected];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut data))
            .map_err(|source| Error::Io { path: self.folder.unwrap_or(Path::new("")).join(location), source })?;
        t.raw_data = data;
        Ok(())
    }

    /// Opens the plain file `location` below the model's folder; with its size.
    fn open(&mut self, t: &TensorProto, location: &str) -> Result<(File, u64)> {
        let folder = self.folder.ok_or_else(|| refused(t, "the model was given without a folder".to_owned()))?;
        if location.contains(MEMORY_MARKER) {
            return Err(refused(t, format!("`{location}` stands for an address in memory")));
        }
        // A backslash separates on other systems; a file written there means a folder by it.
        if location.contains(['\\', '\0']) {
            return Err(refused(t, format!("`{}` has a character no path should", location.escape_debug())));
        }
        let mut parts = Vec::new();
        for component in Path::new(location).components() {
            match component {
                Component::Normal(part) => parts.push(part),
                Component::CurDir => {}
                _ => return Err(refused(t, format!("`{location}` leaves the model's folder"))),
            }
        }
        let (last, folders) = parts.split_last().ok_or_else(|| refused(t, format!("`{location}` names no file")))?;
        if self.root.is_none() {
            let root = File::open(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })?;
            self.root = Some(root);
        }
        let root = self.root.as_ref().ok_or_else(|| refused(t, "the model was given without a folder".to_owned()))?;
        let failed = |e: rustix::io::Errno| match e {
            rustix::io::Errno::LOOP => refused(t, format!("`{location}` goes through a symbolic link")),
            rustix::io::Errno::NOTDIR => {
                refused(t, format!("`{location}` goes through a symbolic link or something that is no folder"))
            }
            other => Error::Io { path: folder.join(location), source: other.into() },
        };
        let mut inner: Option<File> = None;
        for part in folders {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let next = openat(inner.as_ref().unwrap_or(root), *part, flags, Mode::empty()).map_err(failed)?;
            inner = Some(next.into());
        }
        // Without NONBLOCK, opening a FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: File = openat(inner.as_ref().unwrap_or(root), *last, flags, Mode::empty()).map_err(failed)?.into();
        let metadata = file.metadata().map_err(|source| Error::Io { path: folder.join(location), source })?;
        if !metadata.is_file() {
            return Err(refused(t, format!("`{location}` is not a plain file")));
        }
        if metadata.nlink() > 1 {
            return Err(refused(t, format!("`{location}` has further hard links, which may lie anywhere; copy it")));
        }
        Ok((file, metadata.len()))
    }
}

fn number(t: &TensorProto, key: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| refused(t, format!("`{key}` is `{value}`, expected a number of bytes")))
}

fn refused(t: &TensorProto, reason: String) -> Error {
    Error::ExternalData { tensor: t.name.clone(), reason }
}
