//! Every element type in every encoding, written by onnx's own helper (`fixtures/tensors.py`).

use isal_onnx::{DataType, ExternalData, Model, ReadOptions, WriteOptions};
use std::path::Path;

fn tensors() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tensors/tensors.onnx");
    Model::read(path).expect("reads")
}

#[test]
fn typed_fields_and_raw_bytes_give_the_same_tensor() {
    let model = tensors();
    let mut types: Vec<DataType> = Vec::new();
    for (name, typed) in &model.graph.initializers {
        let Some(kind) = name.strip_suffix(".typed").filter(|kind| *kind != "STRING") else { continue };
        assert_eq!(typed, &model.graph.initializers[&format!("{kind}.raw")], "{kind}");
        types.push(typed.data_type());
    }
    let missing: Vec<DataType> = DataType::ALL.into_iter().filter(|t| !types.contains(t)).collect();
    assert_eq!(missing, [DataType::String, DataType::Float8E8m0], "no raw strings; onnx makes no typed E8M0");
}

#[test]
fn values_are_those_that_were_written() {
    let tensors = tensors().graph.initializers;
    assert_eq!(tensors["FLOAT.raw"].to_vec::<f32>().expect("floats"), [0.0, 1.0, -1.5, 2.0, 0.5]);
    assert_eq!(tensors["DOUBLE.typed"].to_vec::<f64>().expect("doubles"), [0.0, 1.0, -1.5, 2.0, 0.5]);
    let halves = tensors["FLOAT16.typed"].to_vec::<half::f16>().expect("halves");
    assert_eq!(halves.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), [0.0, 1.0, -1.5, 2.0, 0.5]);
    let halves = tensors["BFLOAT16.typed"].to_vec::<half::bf16>().expect("halves");
    assert_eq!(halves.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), [0.0, 1.0, -1.5, 2.0, 0.5]);
    assert_eq!(tensors["INT64.typed"].to_ints().expect("integers"), [0, 1, -2, 7, -8]);
    assert_eq!(tensors["INT8.typed"].to_vec::<i8>().expect("integers"), [0, 1, -2, 7, -8]);
    assert_eq!(tensors["UINT32.typed"].to_vec::<u32>().expect("integers"), [0, 1, 2, 7, 15]);
    assert_eq!(tensors["BOOL.typed"].bytes(), [1, 0, 1, 1, 0]);
    // Two elements a byte, the first in the lower half: 0 and 1, -2 and 7, -8.
    assert_eq!(tensors["INT4.typed"].bytes(), [0x10, 0x7e, 0x08]);
    assert_eq!(tensors["STRING.typed"].as_strings(), [b"cat".to_vec(), b"\xff\x01".to_vec()]);
}

#[test]
fn external_data_files_hold_the_same_tensors_at_aligned_places() {
    let model = tensors();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    let options = WriteOptions { external: ExternalData::Always, external_from_bytes: 0 };
    model.write_with(&path, &options).expect("writes");
    let data = std::fs::metadata(folder.path().join("m.onnx.data")).expect("a data file").len();
    assert!(data > 4096 * 40, "each tensor starts a page: {data} bytes");
    let back = Model::read(&path).expect("reads");
    assert_eq!(back, model);
    assert_eq!(back.sha256(), model.sha256());
    let alone = Model::from_bytes(&std::fs::read(&path).expect("there"), None);
    assert!(alone.is_err(), "the data is not in the model file");
    let names: Vec<String> = std::fs::read_dir(folder.path())
        .expect("readable")
        .map(|e| e.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 2, "no temporary file is left: {names:?}");
    // Going back to one file.
    model.write(&path).expect("writes");
    assert_eq!(Model::from_bytes(&std::fs::read(&path).expect("there"), None).expect("reads"), model);
}

#[test]
fn the_hash_sees_every_number_and_no_packaging() {
    let model = tensors();
    let hash = model.sha256();
    assert_eq!(hash.len(), 64);
    let mut packaged = model.clone();
    packaged.metadata.insert("note".to_owned(), "hello".to_owned());
    packaged.rest.producer_name = "somebody".to_owned();
    packaged.graph.nodes[0].rest.doc_string = "a node".to_owned();
    packaged.graph.outputs[0].value_type = None;
    assert_eq!(packaged.sha256(), hash);
    let mut changed = model.clone();
    let mut floats = changed.graph.initializers["FLOAT.raw"].to_vec::<f32>().expect("floats");
    floats[3] += 1e-6;
    changed.graph.initializers.insert("FLOAT.raw".to_owned(), isal_onnx::Tensor::new([5], &floats));
    assert_ne!(changed.sha256(), hash);
    let mut changed = model.clone();
    changed.graph.nodes[0].op_type = "Neg".to_owned();
    assert_ne!(changed.sha256(), hash);
    let mut changed = model;
    changed.opsets.insert(String::new(), 22);
    assert_ne!(changed.sha256(), hash);
}

#[test]
fn a_new_operator_set_is_read_when_asked_for() {
    let mut model = tensors();
    model.opsets.insert(String::new(), 40);
    let bytes = model.to_bytes().expect("writes");
    assert!(Model::from_bytes(&bytes, None).is_err());
    let options = ReadOptions { opsets: 7..=40, ..ReadOptions::default() };
    assert_eq!(Model::from_bytes_with(&bytes, None, &options).expect("reads").opset(), 40);
}
