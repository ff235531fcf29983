//! The zoo against the same networks defined in PyTorch (`tests/fixtures/zoo.py`).
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use isal_exporters::{Error, ModelOptions, build, zoo};
use isal_onnx::{Dim, Model};
use std::collections::{BTreeMap, HashSet};

/// The model for the images that the fixtures have, and ten classes.
fn model(name: &str) -> Model {
    let entry = zoo().iter().find(|e| e.name == name).unwrap();
    let input = serde_json::from_value(pytorch()[name]["input"].clone()).unwrap();
    build(name, &ModelOptions { input, classes: 10, ..entry.defaults.clone() }).unwrap()
}

fn pytorch() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/zoo/parameters.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn floats(model: &Model, name: &str) -> Vec<f32> {
    model.graph.initializers[name].to_vec().unwrap()
}

#[test]
fn parameter_names_shapes_and_counts_are_those_of_pytorch() {
    let pytorch = pytorch();
    let names: HashSet<&str> = pytorch.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, zoo().iter().map(|e| e.name).collect());
    for entry in zoo() {
        let expected = &pytorch[entry.name];
        let model = model(entry.name);
        let found: BTreeMap<&str, &[usize]> =
            model.graph.initializers.iter().map(|(name, t)| (name.as_str(), t.dims())).collect();
        let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_value(expected["shapes"].clone()).unwrap();
        let shapes: BTreeMap<&str, &[usize]> = shapes.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect();
        assert_eq!(found, shapes, "{}", entry.name);
        assert_eq!(model.metadata["isal.zoo.parameters"], expected["trainable"].to_string(), "{}", entry.name);
    }
}

#[test]
fn every_node_reads_what_stands_before_it_and_all_of_it_is_used() {
    for entry in zoo() {
        let model = model(entry.name);
        let graph = &model.graph;
        let mut known: HashSet<&str> = graph.initializers.keys().map(String::as_str).collect();
        known.insert("images");
        let mut read = HashSet::new();
        for node in &graph.nodes {
            for input in node.inputs.iter().filter(|input| !input.is_empty()) {
                assert!(known.contains(input.as_str()), "{}: `{}` reads `{input}`", entry.name, node.name);
                read.insert(input.as_str());
            }
            for output in &node.outputs {
                assert!(known.insert(output), "{}: `{output}` is made twice", entry.name);
            }
        }
        let unread: Vec<_> = known.difference(&read).collect();
        assert_eq!(unread, [&"logits"], "{}", entry.name);
    }
}

#[test]
fn convolutions_start_with_he_deviation_and_biases_at_zero() {
    let resnet = model("resnet20");
    for (name, fan_out) in [("layer1.0.conv1.weight", 9 * 16), ("layer3.2.conv2.weight", 9 * 64)] {
        let weights = floats(&resnet, name);
        let n = weights.len() as f64;
        let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / n;
        let variance = weights.iter().map(|w| (f64::from(*w) - mean).powi(2)).sum::<f64>() / n;
        let ratio = variance / (2.0 / f64::from(fan_out));
        // The estimated variance of n normal numbers deviates by a factor of about sqrt(2 / n); five of those.
        assert!((ratio - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{name}: variance {ratio} of what was asked");
    }
    assert!(floats(&resnet, "layer1.0.bn1.weight").iter().all(|w| *w == 1.0));
    assert!(floats(&resnet, "layer2.0.downsample.1.running_var").iter().all(|w| *w == 1.0));
    assert!(floats(&resnet, "fc.bias").iter().all(|w| *w == 0.0));
}

#[test]
fn the_seed_alone_decides_the_weights() {
    let options = |seed| ModelOptions { seed, ..zoo()[0].defaults.clone() };
    let weights = |seed| build("lenet", &options(seed)).unwrap().graph.initializers;
    assert_eq!(weights(7), weights(7));
    assert_ne!(weights(7)["fc1.weight"], weights(8)["fc1.weight"]);
    assert_eq!(build("lenet", &options(7)).unwrap().metadata["isal.zoo.seed"], "7");
}

#[test]
fn options_reach_the_graph() {
    let options =
        ModelOptions { input: [1, 20, 24], classes: 7, opset: 21, batch_norm: false, ..zoo()[2].defaults.clone() };
    let model = build("resnet20", &options).unwrap();
    let shape = |v: &isal_onnx::ValueInfo| v.value_type.clone().unwrap().shape.unwrap();
    let dims = |sizes: &[usize]| -> Vec<Dim> {
        [Dim::from("N")].into_iter().chain(sizes.iter().copied().map(Dim::from)).collect()
    };
    assert_eq!(shape(&model.graph.inputs[0]), dims(&[1, 20, 24]));
    assert_eq!(shape(&model.graph.outputs[0]), dims(&[7]));
    assert_eq!((model.opset(), model.ir_version), (21, 10));
    assert!(model.graph.nodes.iter().all(|n| n.op_type != "BatchNormalization"));
    assert_eq!(model.graph.initializers["layer1.0.conv1.bias"].dims(), [16]);
    assert_eq!(model.graph.initializers["conv1.weight"].dims(), [16, 1, 3, 3]);
}

/// What shape inference finds is what PyTorch's layers give, for any batch, at the oldest opset and the newest.
#[test]
fn models_for_photographs_give_class_scores_for_any_batch() {
    let cases = [
        ("resnet18-imagenet", 9, 11_689_512),
        ("resnet34-imagenet", 9, 21_797_672),
        ("resnet50-imagenet", 9, 25_557_032),
        ("mobilenetv2", 11, 3_504_872),
        ("vit-tiny", 17, 5_717_416),
    ];
    for (name, oldest, parameters) in cases {
        let defaults = &zoo().iter().find(|e| e.name == name).unwrap().defaults;
        for opset in [oldest, *ModelOptions::OPSETS.end()] {
            let mut model = build(name, &ModelOptions { opset, ..defaults.clone() }).unwrap();
            assert_eq!(model.metadata["isal.zoo.parameters"], parameters.to_string(), "{name}");
            model.graph.outputs[0].value_type = None;
            model.infer_shapes().unwrap_or_else(|e| panic!("{name} at opset {opset}: {e}"));
            let found = model.graph.outputs[0].value_type.clone().unwrap().shape.unwrap();
            assert_eq!(found, [Dim::from("N"), Dim::from(1000)], "{name} at opset {opset}");
            // Everything that PyTorch trains is a parameter here too.
            let trained: usize = model.graph.every_parameter().iter().map(|p| p.dims.iter().product::<usize>()).sum();
            assert_eq!(trained, parameters, "{name} at opset {opset}");
        }
        if oldest > 9 {
            let error = build(name, &ModelOptions { opset: oldest - 1, ..defaults.clone() }).unwrap_err();
            assert!(matches!(error, Error::Option { option: "opset", .. }), "{error}");
        }
    }
}

#[test]
fn impossible_options_are_refused_by_name() {
    let lenet = zoo()[0].defaults.clone();
    let cases = [
        (ModelOptions { input: [1, 11, 28], ..lenet.clone() }, "input"),
        (ModelOptions { input: [0, 28, 28], ..lenet.clone() }, "input"),
        (ModelOptions { classes: 0, ..lenet.clone() }, "classes"),
        (ModelOptions { opset: 8, ..lenet.clone() }, "opset"),
    ];
    let fcos = ModelOptions { input: [3, 64, 64], ..lenet.clone() };
    for (name, wrong, expected) in [
        ("fcos-tiny", ModelOptions { input: [3, 64, 72], ..fcos.clone() }, "input"),
        ("fcos-resnet18", ModelOptions { input: [3, 64, 80], ..fcos.clone() }, "input"),
        ("fcos-tiny", ModelOptions { opset: 12, ..fcos.clone() }, "opset"),
    ] {
        match build(name, &wrong) {
            Err(Error::Option { option, .. }) => assert_eq!(option, expected, "{name}"),
            other => panic!("{name}, {wrong:?} gave {other:?}"),
        }
    }
    let vit = ModelOptions { input: [3, 224, 225], ..lenet.clone() };
    assert!(matches!(build("vit-tiny", &vit), Err(Error::Option { option: "input", .. })));
    for (options, expected) in cases {
        match build("lenet", &options) {
            Err(Error::Option { option, .. }) => assert_eq!(option, expected),
            other => panic!("{options:?} gave {other:?}"),
        }
    }
    let error = build("resnet21", &lenet).unwrap_err().to_string();
    assert_eq!(
        error,
        "no model `resnet21` in the zoo; there are `lenet`, `resnet8`, `resnet20`, `resnet56`, `resnet18`, \
         `resnet18-imagenet`, `resnet34-imagenet`, `resnet50-imagenet`, `mobilenetv2`, `vit-tiny`, \
         `fcos-tiny`, `fcos-resnet18`, `fcos-resnet50`, `faster-rcnn-tiny`, `faster-rcnn-resnet18`, \
         `faster-rcnn-resnet50`"
    );
}
