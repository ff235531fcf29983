//! The same network behind other inputs and outputs gives the same scores.

use crate::lenet;
use crate::place::{Place, append, cast, fed_by, reshaped, scalar, stderr, typed};
use isal_onnx::{DataType, Model, Node, ValueInfo, ValueType};
use std::collections::BTreeMap;

/// Largest difference over the largest influence.
fn apart(a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>) -> f64 {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let scale = a.values().fold(0.0_f64, |most, x| most.max(x.abs()));
    a.iter().map(|(id, x)| (x - b[id]).abs()).fold(0.0, f64::max) / scale
}

#[test]
fn axes_of_one_around_the_class_scores_are_seen_through_in_every_engine() {
    let place = Place::new();
    for engine in ["native", "tangent", "paired"] {
        let plain = place.influences("model.onnx", &format!("plain-{engine}"), &["--engine", engine]);
        for (number, rest) in [&[10, 1, 1][..], &[1, 10], &[1, 1, 10], &[10, 1]].into_iter().enumerate() {
            let (name, out) = (format!("scores-{number}.onnx"), format!("out-{engine}-{number}"));
            place.variant(&name, |model| reshaped(model, rest));
            let found = place.influences(&name, &out, &["--engine", engine]);
            // The same arithmetic but for the order in which a runtime may fuse it.
            assert!(apart(&plain, &found) <= lenet::ROUNDING, "{engine}, {rest:?}: {}", apart(&plain, &found));
        }
    }
    // The file that is left keeps the model's own output, and scores a pool alone.
    let graph = Model::read(place.path("out-tangent-0/influence.onnx")).expect("a graph");
    let outputs: Vec<String> = graph.graph.outputs.iter().map(|o| o.name.clone()).collect();
    let beliefs = ["pseudo_label", "confidence", "entropy", "margin"].map(|name| format!("belief.{name}"));
    let expected = [&["scores".to_owned(), "pseudo_label.weights".to_owned()][..], &beliefs, &["influence".to_owned()]];
    assert_eq!(outputs, expected.concat());
    let alone = ["score", "pool", "--influence", "out-tangent-0/influence.onnx", "--pool", "pool", "--budget", "5"];
    place.isal(&alone).args(["--batch-size", "16", "-o", "alone", "--scores", "alone.csv"]).assert().success();
    let influences = |out: &str| place.rows(out).into_iter().map(|row| (row.id, row.influence)).collect::<Vec<_>>();
    assert_eq!(influences("alone"), influences("out-tangent-0"));
}

#[test]
fn a_convolution_over_the_whole_map_gives_scores_that_need_a_node_of_their_own() {
    let place = Place::new();
    // No value [N, C] stands before the output: Gemm becomes a product with axes of one.
    place.variant("deep.onnx", |model| {
        let gemm = model.graph.nodes.iter_mut().find(|n| n.outputs[0] == "logits").expect("the last layer");
        gemm.outputs[0] = "flat".into();
        model.graph.initializers.insert("shape".into(), isal_onnx::Tensor::new([4], &[-1i64, 10, 1, 1]));
        model.graph.nodes.push(Node::new("Reshape", "", ["flat", "shape"], ["map"]));
        scalar(model, "half", 0.5);
        model.graph.nodes.push(Node::new("Mul", "", ["map", "half"], ["halved"]));
        append(model, Node::new("Add", "", ["halved", "halved"], ["scores"]), typed(DataType::Float, &[10, 1, 1]));
    });
    for engine in ["native", "tangent", "paired"] {
        let plain = place.influences("model.onnx", &format!("plain-{engine}"), &["--engine", engine]);
        let found = place.influences("deep.onnx", &format!("deep-{engine}"), &["--engine", engine]);
        assert!(apart(&plain, &found) <= lenet::ROUNDING, "{engine}: {}", apart(&plain, &found));
    }
}

#[test]
fn probabilities_behind_harmless_operators_are_probabilities() {
    let place = Place::new();
    let plain = place.influences("model.onnx", "plain", &["--engine", "native"]);
    place.variant("soft.onnx", |model| {
        model.graph.initializers.insert("shape".into(), isal_onnx::Tensor::new([4], &[-1i64, 10, 1, 1]));
        model.graph.nodes.push(Node::new("Reshape", "", ["logits", "shape"], ["map"]));
        model.graph.nodes.push(Node::new("Softmax", "", ["map"], ["p"]).with("axis", 1));
        model.graph.nodes.push(Node::new("Flatten", "", ["p"], ["flat"]).with("axis", 1));
        model.graph.nodes.push(Node::new("Identity", "", ["flat"], ["same"]));
        scalar(model, "low", 1e-7);
        scalar(model, "high", 1.0);
        append(model, Node::new("Clip", "", ["same", "low", "high"], ["kept"]), typed(DataType::Float, &[10]));
    });
    for engine in ["native", "tangent"] {
        let found = place.influences("soft.onnx", &format!("soft-{engine}"), &["--engine", engine]);
        assert!(apart(&plain, &found) <= lenet::ROUNDING, "{engine}: {}", apart(&plain, &found));
    }
    // What goes into the Softmax, and not what comes out.
    let task = place.run_json("soft-native")["provenance"]["task"].to_string();
    assert!(task.contains("(outputs = logits; "), "{task}");
}

/// Bytes in, channels last, the scaling inside.
fn bytes_in(model: &mut Model) {
    let own = model.graph.inputs[0].name.clone();
    scalar(model, "c255", 255.0);
    let nodes = vec![
        cast("bytes", "as_float", DataType::Float),
        Node::new("Div", "", ["as_float", "c255"], ["scaled"]),
        Node::new("Transpose", "", ["scaled"], [own.as_str()]).with("perm", vec![0i64, 3, 1, 2]),
    ];
    fed_by(model, ValueInfo::new("bytes", typed(DataType::Uint8, &[28, 28, 1])), nodes);
}

#[test]
fn raw_bytes_go_in_and_are_not_scaled_again() {
    let place = Place::new();
    place.variant("bytes.onnx", bytes_in);
    for engine in ["native", "tangent", "paired"] {
        let plain = place.influences("model.onnx", &format!("plain-{engine}"), &["--engine", engine]);
        let found = place.influences("bytes.onnx", &format!("bytes-{engine}"), &["--engine", engine]);
        assert!(apart(&plain, &found) <= lenet::ROUNDING, "{engine}: {}", apart(&plain, &found));
    }
    // The graph that is left takes bytes too.
    let alone = ["score", "pool", "--influence", "bytes-tangent/influence.onnx", "--pool", "pool", "--budget", "5"];
    place.isal(&alone).args(["--batch-size", "16", "-o", "alone", "--scores", "alone.csv"]).assert().success();
    let influences = |out: &str| place.rows(out).into_iter().map(|row| (row.id, row.influence)).collect::<Vec<_>>();
    assert_eq!(influences("alone"), influences("bytes-tangent"));
    let export = ["export", "influence", "--model", "bytes.onnx", "--vector", "bytes-native/s.safetensors"];
    place.isal(&export).args(["--form", "tangent", "-o", "exported.onnx"]).assert().success();
    for (key, setting) in [("mean", "mean=[0.5]"), ("std", "std=[0.25]"), ("range", "range=\"unit\"")] {
        let (code, said) = stderr(place.score("bytes.onnx", "refused", &["--set", setting]));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(&format!("`{key}`")) && said.contains("uint8"), "{said}");
    }
}

#[test]
fn a_model_of_bytes_is_trained_and_keeps_its_inputs() {
    let place = Place::new();
    place.variant("bytes.onnx", bytes_in);
    for (model, out) in [("model.onnx", "plain"), ("bytes.onnx", "bytes")] {
        place.isal(&["train", "--model", model, "--train", "labeled", "--epochs", "2", "-o", out]).assert().success();
    }
    let loss = |out: &str| -> f64 {
        let text = std::fs::read_to_string(place.path(out).join("metrics.json")).expect("metrics");
        let metrics: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        metrics["epochs"][1]["train_loss"].as_f64().expect("a loss")
    };
    // Rounding alone, over four steps.
    assert!((loss("plain") - loss("bytes")).abs() < 1e-3 * loss("plain"), "{} {}", loss("plain"), loss("bytes"));
    let trained = Model::read(place.path("bytes/model.onnx")).expect("a model");
    assert_eq!(trained.graph.inputs[0].value_type.as_ref().map(|t| t.data_type), Some(DataType::Uint8));
}

#[test]
fn images_in_float16_and_float64_are_given_as_such() {
    let place = Place::new();
    let plain = place.influences("model.onnx", "plain", &["--engine", "tangent"]);
    // float16 holds 11 bits of a pixel, so it changes the influences by some thousandths.
    for (data_type, tolerance) in [(DataType::Float16, 2e-2), (DataType::Double, lenet::ROUNDING)] {
        let name = format!("{data_type:?}.onnx");
        place.variant(&name, |model| {
            let own = model.graph.inputs[0].name.clone();
            let nodes = vec![cast("narrow", &own, DataType::Float)];
            fed_by(model, ValueInfo::new("narrow", typed(data_type, &[1, 28, 28])), nodes);
        });
        let found = place.influences(&name, &format!("out-{data_type:?}"), &["--engine", "tangent"]);
        assert!(apart(&plain, &found) < tolerance, "{data_type:?}: {}", apart(&plain, &found));
    }
}

#[test]
fn an_input_besides_the_images_is_given_once_and_is_part_of_the_model() {
    let place = Place::new();
    place.variant("two.onnx", |model| {
        let last = model.graph.nodes.iter_mut().find(|n| n.outputs[0] == "logits").expect("the last layer");
        last.outputs[0] = "unscaled".into();
        let temperature = ValueInfo::new("temperature", ValueType::new(DataType::Float, [1usize]));
        model.graph.inputs.insert(0, temperature);
        model.graph.nodes.push(Node::new("Div", "", ["unscaled", "temperature"], ["logits"]));
    });
    let (code, said) = stderr(place.score("two.onnx", "none", &[]));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--input temperature=VALUE"), "{said}");
    let plain = place.influences("model.onnx", "plain", &["--engine", "tangent"]);
    let one = place.influences("two.onnx", "one", &["--engine", "tangent", "--input", "temperature=1"]);
    assert!(apart(&plain, &one) <= lenet::ROUNDING, "{}", apart(&plain, &one));
    let two = place.influences("two.onnx", "two", &["--engine", "tangent", "--input", "temperature=[2]"]);
    assert!(apart(&plain, &two) > 1e-2, "another temperature, other influences");
    assert_eq!(place.run_json("two")["provenance"]["input temperature"], "[2]");
    let export = ["export", "influence", "--model", "two.onnx", "--vector", "two/s.safetensors", "--form", "tangent"];
    place.isal(&export).args(["--input", "temperature=2", "-o", "exported.onnx"]).assert().success();
    // A vector of one value is none of another.
    let (code, said) = stderr({
        let mut command = place.isal(&export);
        command.args(["--input", "temperature=3", "-o", "other.onnx"]);
        command
    });
    assert_eq!(code, 2, "{said}");
    for (given, expected) in
        [("heat=1", "no such input"), ("temperature=[1,2]", "2 values"), ("temperature=hot", "NAME=VALUE")]
    {
        let (code, said) = stderr(place.score("two.onnx", "none", &["--input", given]));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(expected), "{given}: {said}");
    }
}
