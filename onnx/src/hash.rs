//! A hash of what a model computes, for provenance.

use crate::{Attribute, Graph, Model, Tensor, proto};
use onnx_protobuf::{GraphProto, Message, ModelProto, NodeProto, TensorProto};
use proto::graph::DataSink;
use sha2::{Digest, Sha256};

impl Model {
    /// SHA-256, in hexadecimal, of operator sets, nodes, inputs, outputs and initializers.
    ///
    /// It does not depend on how the data is stored (raw, typed, in another file) nor on metadata, doc
    /// strings, the producer, or types given for inner values and outputs, so a model has one hash however it was
    /// saved. A single changed weight changes it.
    pub fn sha256(&self) -> String {
        let mut opsets = self.opsets.clone();
        opsets.sort_keys();
        let mut graph = self.graph.clone();
        strip(&mut graph);
        let bare = Model { opsets, graph, ..Model::default() };
        let message: ModelProto = proto::model::encode(&bare, &mut DigestSink);
        let mut hash = Sha256::new();
        hash.update(message.write_to_bytes().expect("without the data of tensors it is far below 2 GB"));
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Tensors in attributes up to this size are hashed where they stand.
const SHORT_BYTES: usize = 1024;

/// Takes off what decides no output.
fn strip(graph: &mut Graph) {
    // Sparse initializers have no typed form, and are what is left of the message.
    let sparse = std::mem::take(&mut graph.rest.sparse_initializer);
    graph.rest = GraphProto { sparse_initializer: sparse, ..GraphProto::default() };
    graph.value_types.clear();
    graph.outputs.iter_mut().for_each(|o| o.value_type = None);
    for node in &mut graph.nodes {
        // The overload is part of which operator it is.
        let overload = std::mem::take(&mut node.rest.overload);
        node.rest = NodeProto { overload, ..NodeProto::default() };
        node.subgraphs_mut().for_each(strip);
        for value in node.attributes.values_mut() {
            match value {
                Attribute::Other(message) => {
                    message.doc_string.clear();
                    message.special_fields = protobuf::SpecialFields::new();
                }
                Attribute::Tensor(t) if t.bytes().len() > SHORT_BYTES => {
                    let digest = Sha256::digest(t.bytes());
                    *value = format!("{:?} {:?} {digest:x?}", t.data_type(), t.dims()).as_str().into();
                }
                _ => {}
            }
        }
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
