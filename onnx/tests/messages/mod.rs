//! Small models as messages, for tests to bend.
#![allow(dead_code, reason = "each test takes some of them")]

use isal_onnx::{Error, Model};
use onnx_protobuf::*;

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: outputs.iter().map(|s| (*s).to_owned()).collect(),
        ..Default::default()
    }
}

pub fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.to_owned(), ..Default::default() }
}

pub fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { version: 17, ..Default::default() };
    ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(graph).into(), ..Default::default() }
}

pub fn identity() -> GraphProto {
    GraphProto {
        name: "g".to_owned(),
        input: vec![value("x")],
        output: vec![value("y")],
        node: vec![node("Identity", &["x"], &["y"])],
        ..Default::default()
    }
}

pub fn bytes(model: &ModelProto) -> Vec<u8> {
    model.write_to_bytes().expect("writes")
}

pub fn refusal(graph: GraphProto) -> Error {
    Model::from_bytes(&bytes(&model(graph)), None).expect_err("refused")
}
