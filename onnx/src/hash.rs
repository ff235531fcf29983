//! A hash of what a model computes, for provenance.

use crate::{Model, Tensor, proto};
use onnx_protobuf::{GraphProto, Message, ModelProto, TensorProto};
use proto::graph::DataSink;
use sha2::{Digest, Sha256};

impl Model {
    /// SHA-256, in hexadecimal, of operator sets, nodes, inputs, outputs and initializers.
    ///
    /// It does not depend on how the data is stored (raw, typed, in another file) nor on metadata, doc
    /// strings, the producer, or types given for inner values, so a model has one hash however it was
    /// saved. A single changed weight changes it.
    pub fn sha256(&self) -> String {
        let mut opsets = self.opsets.clone();
        opsets.sort_keys();
        let mut graph = self.graph.clone();
        graph.rest = GraphProto::default();
        graph.value_types.clear();
        let bare = Model { opsets, graph, ..Model::default() };
        let message: ModelProto = proto::model::encode(&bare, &mut DigestSink);
        let mut hash = Sha256::new();
        // Writing to memory fails on nothing.
        hash.update(message.write_to_bytes().unwrap_or_default());
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Puts the hash of a tensor's data in place of the data.
struct DigestSink;

impl DataSink for DigestSink {
    fn initializer(&mut self, name: &str, tensor: &Tensor, _: Option<&TensorProto>) -> TensorProto {
        if !tensor.as_strings().is_empty() {
            return proto::tensor::encode(tensor, name, None);
        }
        let mut message = proto::tensor::encode_header(tensor, name, None);
        message.raw_data = Sha256::digest(tensor.bytes()).to_vec();
        message
    }
}
