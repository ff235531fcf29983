//! External data: what lies in the model's folder is read, everything else is refused.

mod messages;

use isal_onnx::{Error, ExternalData, Limits, Model, ReadOptions, WriteOptions};
use messages::*;
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value: value.to_owned(), ..Default::default() }
}

/// A float tensor of two elements whose data lies elsewhere.
fn external(location: &str, more: &[(&str, &str)]) -> TensorProto {
    let mut entries = vec![entry("location", location)];
    entries.extend(more.iter().map(|(key, value)| entry(key, value)));
    TensorProto {
        name: "w".to_owned(),
        data_type: 1,
        dims: vec![2],
        data_location: DataLocation::EXTERNAL.into(),
        external_data: entries,
        ..Default::default()
    }
}

/// A folder `models` with `weights.bin` (16 bytes) in it, and `secret.bin` beside it.
fn folder() -> TempDir {
    let outer = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(outer.path().join("models/sub")).expect("folders");
    let data: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(outer.path().join("models/weights.bin"), &data).expect("data");
    fs::write(outer.path().join("models/sub/deep.bin"), &data).expect("data");
    fs::write(outer.path().join("secret.bin"), &data).expect("data");
    outer
}

fn read_external(outer: &TempDir, tensor: TensorProto) -> Result<Model, Error> {
    let path = outer.path().join("models/m.onnx");
    fs::write(&path, bytes(&model(GraphProto { initializer: vec![tensor], ..identity() }))).expect("a model");
    Model::read(path)
}

fn external_refusal(outer: &TempDir, tensor: TensorProto) -> String {
    match read_external(outer, tensor) {
        Err(error @ (Error::ExternalData { .. } | Error::Io { .. })) => error.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn external_data_within_the_folder_is_read() {
    let outer = folder();
    for (tensor, expected) in [
        (external("weights.bin", &[]), [1.0f32, 2.0]),
        (external("./weights.bin", &[("offset", "8"), ("length", "8")]), [3.0, 4.0]),
        (external("sub/deep.bin", &[("offset", "4"), ("checksum", "whatever")]), [2.0, 3.0]),
    ] {
        let model = read_external(&outer, tensor).expect("reads");
        assert_eq!(model.graph.initializers["w"].to_vec::<f32>().expect("floats"), expected);
    }
}

#[test]
fn locations_that_leave_the_folder_are_refused() {
    let outer = folder();
    let absolute = outer.path().join("secret.bin");
    for location in
        ["../secret.bin", "sub/../../secret.bin", "sub/../weights.bin", absolute.to_str().expect("UTF-8"), "/dev/zero"]
    {
        let error = external_refusal(&outer, external(location, &[]));
        assert_eq!(error, format!("external data of tensor `w`: `{location}` leaves the model's folder"));
    }
    for (location, reason) in [
        ("", "`` names no file"),
        (".", "`.` names no file"),
        ("..\\secret.bin", "`..\\\\secret.bin` has a character no path should"),
        ("weights.bin\0x", "`weights.bin\\0x` has a character no path should"),
        ("*/_ORT_MEM_ADDR_/*", "`*/_ORT_MEM_ADDR_/*` stands for an address in memory"),
        ("sub", "`sub` is not a plain file"),
    ] {
        let error = external_refusal(&outer, external(location, &[("offset", "0")]));
        assert_eq!(error, format!("external data of tensor `w`: {reason}"), "{location}");
    }
    let error = external_refusal(&outer, external("missing.bin", &[]));
    assert!(error.contains("missing.bin") && error.contains("No such file"), "{error}");
}

#[test]
fn links_and_special_files_are_refused() {
    let outer = folder();
    let models = outer.path().join("models");
    symlink("../secret.bin", models.join("link.bin")).expect("a link");
    symlink("..", models.join("up")).expect("a link");
    symlink("weights.bin", models.join("inner.bin")).expect("a link");
    symlink("/dev/zero", models.join("zeros")).expect("a link");
    fs::hard_link(outer.path().join("secret.bin"), models.join("hard.bin")).expect("a hard link");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        models.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a FIFO");
    let _socket = std::os::unix::net::UnixListener::bind(models.join("socket")).expect("a socket");
    for (location, reason) in [
        ("link.bin", "goes through a symbolic link"),
        ("inner.bin", "goes through a symbolic link"),
        ("zeros", "goes through a symbolic link"),
        ("up/secret.bin", "goes through a symbolic link or something that is no folder"),
        ("up/models/weights.bin", "goes through a symbolic link or something that is no folder"),
        ("weights.bin/x", "goes through a symbolic link or something that is no folder"),
        ("hard.bin", "has further hard links, which may lie anywhere; copy it"),
        ("fifo", "is not a plain file"),
    ] {
        let error = external_refusal(&outer, external(location, &[]));
        assert_eq!(error, format!("external data of tensor `w`: `{location}` {reason}"));
    }
    external_refusal(&outer, external("socket", &[]));
}

#[test]
fn offsets_and_lengths_lie_within_the_file_and_agree_with_the_tensor() {
    let outer = folder();
    for (more, reason) in [
        (&[("offset", "9")][..], "8 bytes at 9 of `weights.bin`, which has 16"),
        (&[("offset", "18446744073709551615")], "8 bytes at 18446744073709551615 of `weights.bin`, which has 16"),
        (&[("length", "16")], "`length` is 16, its dims and type take 8 bytes"),
        (&[("length", "4")], "`length` is 4, its dims and type take 8 bytes"),
        (&[("offset", "-1")], "`offset` is `-1`, expected a number of bytes"),
        (&[("length", "8x")], "`length` is `8x`, expected a number of bytes"),
        (&[("location", "sub/deep.bin")], "`location` is given twice"),
        (&[("offset", "0"), ("offset", "8")], "`offset` is given twice"),
    ] {
        let error = external_refusal(&outer, external("weights.bin", more));
        assert_eq!(error, format!("external data of tensor `w`: {reason}"));
    }
    let mut huge = external("weights.bin", &[]);
    huge.dims = vec![1 << 40];
    let error = external_refusal(&outer, huge);
    assert_eq!(error, "external data of tensor `w`: 4398046511104 bytes at 0 of `weights.bin`, which has 16");
    let mut none = external("weights.bin", &[]);
    none.external_data.clear();
    assert_eq!(external_refusal(&outer, none), "external data of tensor `w`: no `location`");
    let mut both = external("weights.bin", &[]);
    both.raw_data = vec![0; 8];
    assert_eq!(external_refusal(&outer, both), "external data of tensor `w`: it also has data of its own");
}

#[test]
fn all_external_data_together_has_a_limit() {
    let outer = folder();
    let mut graph = identity();
    for i in 0..4 {
        graph.initializer.push(TensorProto { name: format!("w{i}"), ..external("weights.bin", &[]) });
    }
    let path = outer.path().join("models/m.onnx");
    fs::write(&path, bytes(&model(graph))).expect("a model");
    let limits = Limits { external_bytes: 24, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let error = Model::read_with(&path, &options).expect_err("32 bytes");
    assert_eq!(error.to_string(), "external data in bytes is 32, over the limit of 24");
}

#[test]
fn bytes_without_a_folder_have_no_external_data() {
    let graph = GraphProto { initializer: vec![external("weights.bin", &[])], ..identity() };
    assert_eq!(refusal(graph).to_string(), "external data of tensor `w`: the model was given without a folder");
}

/// Every other place a tensor may stand in.
#[test]
fn external_data_is_refused_wherever_it_hides() {
    use attribute_proto::AttributeType::*;
    let hidden = || external("../secret.bin", &[]);
    let sparse = || SparseTensorProto {
        values: Some(hidden()).into(),
        indices: Some(TensorProto { data_type: 7, ..external("../secret.bin", &[]) }).into(),
        dims: vec![4],
        ..Default::default()
    };
    let attribute = |kind: attribute_proto::AttributeType, change: &dyn Fn(&mut AttributeProto)| {
        let mut a = AttributeProto { name: "a".to_owned(), type_: kind.into(), ..Default::default() };
        change(&mut a);
        let mut node = node("Identity", &["x"], &["y"]);
        node.attribute.push(a);
        GraphProto { node: vec![node], ..identity() }
    };
    let below = GraphProto { initializer: vec![hidden()], ..identity() };
    let graphs = [
        ("sparse initializer", GraphProto { sparse_initializer: vec![sparse()], ..identity() }),
        ("tensor", attribute(TENSOR, &|a| a.t = Some(hidden()).into())),
        ("tensors", attribute(TENSORS, &|a| a.tensors.push(hidden()))),
        ("sparse tensor", attribute(SPARSE_TENSOR, &|a| a.sparse_tensor = Some(sparse()).into())),
        ("sparse tensors", attribute(SPARSE_TENSORS, &|a| a.sparse_tensors.push(sparse()))),
        ("subgraph", attribute(GRAPH, &|a| a.g = Some(below.clone()).into())),
        ("subgraphs", attribute(GRAPHS, &|a| a.graphs.push(below.clone()))),
        // The kind says integer, and a tensor comes along.
        ("stowaway", attribute(INT, &|a| a.t = Some(hidden()).into())),
    ];
    let mut models: Vec<(&str, ModelProto)> = graphs.into_iter().map(|(what, graph)| (what, model(graph))).collect();
    let mut with_function = model(identity());
    with_function.functions.push(FunctionProto {
        name: "f".to_owned(),
        node: attribute(TENSOR, &|a| a.t = Some(hidden()).into()).node,
        ..Default::default()
    });
    models.push(("function", with_function));
    let mut with_training = model(identity());
    with_training.training_info.push(TrainingInfoProto { algorithm: Some(below).into(), ..Default::default() });
    models.push(("training", with_training));
    let outer = folder();
    for (what, model) in models {
        let error = Model::from_bytes(&bytes(&model), Some(&outer.path().join("models"))).expect_err(what);
        assert_eq!(
            error.to_string(),
            "external data of tensor `w`: `../secret.bin` leaves the model's folder",
            "{what}"
        );
    }
}

#[test]
fn a_model_that_is_no_plain_file_is_refused() {
    let outer = folder();
    assert!(matches!(Model::read(outer.path()), Err(Error::Io { .. })));
    let fifo = outer.path().join("m.onnx");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .expect("a FIFO");
    assert!(matches!(Model::read(fifo), Err(Error::Io { .. })));
}

#[test]
fn writing_replaces_a_link_and_does_not_follow_it() {
    let outer = folder();
    let models = outer.path().join("models");
    let secret = fs::read(outer.path().join("secret.bin")).expect("there");
    symlink("../secret.bin", models.join("m.onnx.data")).expect("a link");
    symlink("../secret.bin", models.join("m.onnx")).expect("a link");
    let tensor = TensorProto { dims: vec![4], ..external("weights.bin", &[]) };
    let graph = GraphProto { initializer: vec![tensor], ..identity() };
    let model = Model::from_bytes(&bytes(&model(graph)), Some(&models)).expect("reads");
    let options = WriteOptions { external: ExternalData::Always, external_from_bytes: 0 };
    model.write_with(models.join("m.onnx"), &options).expect("writes");
    assert_eq!(fs::read(outer.path().join("secret.bin")).expect("there"), secret, "nothing outside was touched");
    assert!(fs::symlink_metadata(models.join("m.onnx.data")).expect("there").is_file());
    assert_eq!(Model::read(models.join("m.onnx")).expect("reads"), model);
}

#[test]
fn a_file_takes_its_place_when_it_is_proven_and_leaves_the_old_one_otherwise() {
    let outer = folder();
    let path = outer.path().join("models/m.onnx");
    let of = |value: f32| {
        let raw_data = [value; 4].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = TensorProto { name: "w".to_owned(), data_type: 1, dims: vec![4], raw_data, ..Default::default() };
        Model::from_bytes(&bytes(&model(GraphProto { initializer: vec![tensor], ..identity() })), None).expect("reads")
    };
    let apart = WriteOptions { external: ExternalData::Always, external_from_bytes: 0 };
    let names = || {
        let entries = fs::read_dir(path.parent().expect("a folder")).expect("a folder").flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    for options in [WriteOptions::default(), apart] {
        let accepted = of(1.0).write_proven(&path, &options, |shown| {
            assert_ne!(shown, path);
            Ok::<_, String>(Model::read(shown).expect("whole where it is shown"))
        });
        assert_eq!(accepted.expect("written").expect("proven").graph, of(1.0).graph);
        let before = names();
        let refused = of(2.0).write_proven(&path, &options, |_| Err::<(), _>("no"));
        assert_eq!(refused.expect("written"), Err("no"));
        assert_eq!((Model::read(&path).expect("reads").graph, names()), (of(1.0).graph, before));
    }
    assert!(names().contains(&"m.onnx.data".to_owned()));
    let nowhere =
        of(1.0).write_proven(outer.path().join("nowhere/m.onnx"), &WriteOptions::default(), |_| Ok::<_, String>(()));
    assert!(nowhere.expect_err("no such folder").to_string().contains("nowhere/m.onnx"));
}
