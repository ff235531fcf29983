//! Bytes that are no model, or an enormous one: each is refused with a typed error, without a panic.

mod messages;

use isal_onnx::{Error, Limits, Model, ReadOptions};
use messages::*;
use onnx_protobuf::*;
use std::fs;
use std::path::Path;

#[test]
fn groups_are_refused_before_they_overflow_the_stack() {
    // Field 100, start of a group, 200,000 times: the decoder would recurse that deep.
    let error = Model::from_bytes(&[0xa3, 0x06].repeat(200_000), None).expect_err("refused");
    assert_eq!(error.to_string(), "not an ONNX model: byte 0: a group, which ONNX does not use");
}

#[test]
fn every_cut_of_a_model_is_refused_or_read_without_a_panic() {
    let whole = bytes(&model(identity()));
    let read = (0..whole.len()).filter(|n| Model::from_bytes(&whole[..*n], None).is_ok()).count();
    assert!(Model::from_bytes(&whole, None).is_ok());
    // The graph is the last field but the imports; cutting anything off loses it.
    assert_eq!(read, 0);
}

#[test]
fn every_flipped_bit_of_a_model_is_refused_or_read_without_a_panic() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/squeezenet.dynamo.onnx");
    let whole = fs::read(path).expect("a fixture");
    for at in (0..whole.len()).step_by(7) {
        let mut bent = whole.clone();
        bent[at] ^= 1 << (at % 8);
        if let Ok(mut model) = Model::from_bytes(&bent, None) {
            let _ = model.infer_shapes();
            let _ = model.graph.every_parameter();
        }
    }
}

#[test]
fn lengths_past_the_end_and_endless_numbers_are_refused() {
    for (bytes, reason) in [
        (&[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x0a][..], "byte 6: 4294967295 bytes announced, 1 left"),
        (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "byte 1: a number of more than 64 bits"),
        (&[0x08, 0x80], "byte 1: a number that is cut off"),
        (&[0x00, 0x00], "byte 0: field number 0"),
        (&[0x0f], "byte 0: wire type 7"),
        (&[0x38, 0x01], "byte 0: field 7 of Model has wire type 0"),
    ] {
        let error = Model::from_bytes(bytes, None).expect_err("refused");
        assert_eq!(error.to_string(), format!("not an ONNX model: {reason}"));
    }
}

#[test]
fn graphs_within_graphs_stop_at_the_limit() {
    let mut graph = identity();
    for _ in 0..30 {
        let attribute = AttributeProto {
            name: "body".to_owned(),
            type_: attribute_proto::AttributeType::GRAPH.into(),
            g: Some(graph).into(),
            ..Default::default()
        };
        graph = identity();
        graph.node[0].attribute.push(attribute);
    }
    let error = refusal(graph);
    assert!(matches!(error, Error::Limit { found: 65, limit: 64, .. }), "{error}");
}

#[test]
fn types_within_types_stop_at_the_limit() {
    let mut t = TypeProto::default();
    for _ in 0..200 {
        let sequence = type_proto::Sequence { elem_type: Some(t).into(), ..Default::default() };
        t = TypeProto { value: Some(type_proto::Value::SequenceType(sequence)), ..Default::default() };
    }
    let mut graph = identity();
    graph.input[0].type_ = Some(t).into();
    assert!(matches!(refusal(graph), Error::Limit { limit: 64, .. }));
}

#[test]
fn size_nodes_and_memory_have_limits() {
    let bytes = bytes(&model(identity()));
    let read = |limits: Limits| {
        let options = ReadOptions { limits, ..ReadOptions::default() };
        Model::from_bytes_with(&bytes, None, &options).expect_err("over a limit").to_string()
    };
    let limits = Limits { file_bytes: 10, ..Limits::default() };
    assert_eq!(read(limits), format!("size of the model in bytes is {}, over the limit of 10", bytes.len()));
    let limits = Limits { nodes: 0, ..Limits::default() };
    assert_eq!(read(limits), "number of nodes is 1, over the limit of 0");
    let limits = Limits { decoded_bytes: 1000, ..Limits::default() };
    assert!(read(limits).starts_with("memory of the decoded model in bytes is "));
}
