//! A model: a graph with its opsets and metadata.

use crate::file::{read, write};
use crate::{Graph, ReadOptions, Result, ValueInfo, WriteOptions};
use indexmap::IndexMap;
use std::path::Path;

/// A model as read from, or written to, a `.onnx` file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator-set version by domain; the standard domain is the empty string.
    pub opsets: IndexMap<String, i64>,
    /// The main graph.
    pub graph: Graph,
    /// Metadata properties, in the order of the file.
    pub metadata: IndexMap<String, String>,
    /// What the typed fields do not hold (producer, doc string, training information, unknown fields).
    pub rest: onnx_protobuf::ModelProto,
}

impl Model {
    /// A model of the standard domain alone. IR version 8 goes with every operator set that the
    /// runtimes in use take.
    pub fn new(opset: i64, graph: Graph) -> Self {
        Model { ir_version: 8, opsets: IndexMap::from([(String::new(), opset)]), graph, ..Model::default() }
    }

    /// Version of the standard operator set; 0 when the model imports none.
    pub fn opset(&self) -> i64 {
        self.opsets.get("").copied().unwrap_or(0)
    }

    /// The model with these values, outputs or inner ones, as its only outputs, each once, and nothing that they do not need.
    pub fn ending_at<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Model {
        let mut ending = self.clone();
        let mut outputs: Vec<ValueInfo> = Vec::new();
        for name in values {
            if outputs.iter().all(|output| output.name != name) {
                let declared = self.graph.outputs.iter().find(|output| output.name == name).cloned();
                let inner = || ValueInfo { name: name.to_owned(), value_type: self.graph.value_type(name) };
                outputs.push(declared.unwrap_or_else(inner));
            }
        }
        ending.graph.outputs = outputs;
        ending.graph.prune();
        ending
    }

    /// Reads and checks a file, with the external data beside it, within the default
    /// [`Limits`](crate::Limits).
    ///
    /// Nodes come in topological order. Initializers that the file also lists as inputs (all of them
    /// before IR version 4) are no inputs here: they are constants. Local functions are inlined unless
    /// [`ReadOptions::inline_functions`] says otherwise.
    ///
    /// # Errors
    /// Every variant of [`Error`](crate::Error); nothing in a file causes a panic.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::read_with(path, &ReadOptions::default())
    }

    /// [`Model::read`] with limits of one's own.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn read_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        read::read(path.as_ref(), options)
    }

    /// Reads and checks the bytes of a file. External data is looked for in `external_dir`; without
    /// one, a model that has any is refused.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes(bytes: &[u8], external_dir: Option<&Path>) -> Result<Self> {
        Self::from_bytes_with(bytes, external_dir, &ReadOptions::default())
    }

    /// [`Model::from_bytes`] with limits of one's own.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes_with(bytes: &[u8], external_dir: Option<&Path>, options: &ReadOptions) -> Result<Self> {
        read::from_bytes(bytes, external_dir, options)
    }

    /// The bytes of a file, all data within.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) over 2 GB, which one message cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        write::to_bytes(self)
    }

    /// Writes a file, and over 2 GB its data beside it as `NAME.onnx.data`; both appear whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), or [`Error::Limit`](crate::Error::Limit) when even the structure
    /// takes more than 2 GB.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write_with(path, &WriteOptions::default())
    }

    /// [`Model::write`], saying where the initializers go.
    ///
    /// # Errors
    /// As [`Model::write`].
    pub fn write_with(&self, path: impl AsRef<Path>, options: &WriteOptions) -> Result<()> {
        write::write(self, path.as_ref(), options)
    }

    /// [`Model::write_with`], once `proof` has passed the file, which it is shown elsewhere. Where the proof fails, whatever
    /// was at `path` stays as it was.
    ///
    /// # Errors
    /// As [`Model::write`]; within, what `proof` says.
    pub fn write_proven<T, E>(
        &self,
        path: impl AsRef<Path>,
        options: &WriteOptions,
        proof: impl FnOnce(&Path) -> std::result::Result<T, E>,
    ) -> Result<std::result::Result<T, E>> {
        write::write_proven(self, path.as_ref(), options, proof)
    }
}
