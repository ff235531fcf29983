//! Parameter discovery against the truth by experiment: `fixtures/make.py` exports each model twice with
//! other parameters and the same buffers, and notes which initializers moved.

mod fixtures;

use isal_onnx::{Builder, DataType, Error, Graph, Model, Scope, Tensor, ValueType};
use std::collections::BTreeSet;
use std::path::Path;

/// The model with its weights, which stand among the inputs, as initializers again (all zero).
fn with_weights(path: &Path) -> Model {
    let mut model = Model::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let seeded: BTreeSet<String> = model.metadata["isal.seeded"].split(',').map(str::to_owned).collect();
    let inputs = std::mem::take(&mut model.graph.inputs);
    for input in inputs {
        if seeded.contains(&input.name) {
            let dims = input.value_type.and_then(|t| t.dims()).expect("weights have a shape");
            let zeros = vec![0.0f32; dims.iter().product()];
            model.graph.initializers.insert(input.name, Tensor::new(dims, &zeros));
        } else {
            model.graph.inputs.push(input);
        }
    }
    model
}

fn names(graph: &Graph, scope: &Scope) -> Vec<String> {
    graph.parameters(scope).expect("a scope that chooses something")
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn parameters_are_the_initializers_that_training_moves() {
    let (mut count, mut failures) = (0, Vec::new());
    for path in fixtures::paths() {
        let model = with_weights(&path);
        let truth: BTreeSet<&str> = model.metadata["isal.trained"].split(',').collect();
        let found = model.graph.every_parameter();
        let found: BTreeSet<&str> = found.iter().map(|p| p.name.as_str()).collect();
        count += truth.len();
        let (missed, invented): (Vec<_>, Vec<_>) =
            (truth.difference(&found).collect(), found.difference(&truth).collect());
        if !missed.is_empty() || !invented.is_empty() {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            failures.push(format!("{name}: missed {missed:?}, invented {invented:?}"));
        }
    }
    assert!(failures.is_empty(), "{} models:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 1000, "{count} parameters");
}

#[test]
fn the_head_is_the_last_layer_with_its_bias() {
    let expected = [
        ("alexnet", ["classifier.6.bias", "classifier.6.weight"]),
        ("squeezenet", ["classifier.1.bias", "classifier.1.weight"]),
        ("resnet", ["fc.bias", "fc.weight"]),
        ("vit", ["heads.head.bias", "heads.head.weight"]),
        ("swin", ["head.bias", "head.weight"]),
        ("convnext", ["classifier.2.bias", "classifier.2.weight"]),
        ("densenet", ["classifier.bias", "classifier.weight"]),
    ];
    for (family, layer) in expected {
        for exporter in ["script", "dynamo"] {
            let path = fixtures::folder().join(format!("{family}.{exporter}.onnx"));
            assert_eq!(sorted(names(&with_weights(&path).graph, &Scope::Head)), layer, "{family} {exporter}");
        }
    }
}

#[test]
fn weights_are_the_parameters_of_two_axes_or_more() {
    let path = fixtures::folder().join("vit.dynamo.onnx");
    let graph = with_weights(&path).graph;
    let (all, weights) = (Scope::All.select(&graph).expect("all"), Scope::Weights.select(&graph).expect("weights"));
    let by_axes: Vec<&str> = all.iter().filter(|p| p.dims.len() >= 2).map(|p| p.name.as_str()).collect();
    assert_eq!(weights.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), by_axes);
    assert!(weights.len() < all.len());
    assert!(by_axes.contains(&"encoder.pos_embedding") && by_axes.contains(&"class_token"));
}

fn image(dims: [usize; 3]) -> ValueType {
    let dims = ["N".into()].into_iter().chain(dims.map(Into::into)).collect();
    ValueType { data_type: DataType::Float, shape: Some(dims) }
}

/// Mean and deviation, a convolution, BatchNormalization, a scale, Clip, an attention mask, two heads.
fn settings_and_parameters() -> Graph {
    let mut b = Builder::new("settings");
    let x = b.input("x", image([3, 8, 8]));
    let tensor = |dims: &[usize], value: f32| Tensor::new(dims, &vec![value; dims.iter().product()]);
    let mean = b.initializer("mean", tensor(&[1, 3, 1, 1], 0.5));
    let deviation = b.initializer("deviation", tensor(&[3, 1, 1], 0.2));
    let v = b.op("Sub", [x, mean]);
    let v = b.op("Div", [v, deviation]);
    let w = b.initializer("conv", tensor(&[4, 3, 1, 1], 0.1));
    let v = b.op("Conv", [v, w]);
    let bn: Vec<_> = ["gain", "shift", "running_mean", "running_var"]
        .iter()
        .map(|name| b.initializer(name, tensor(&[4], 1.0)))
        .collect();
    let v = b.op("BatchNormalization", [v, bn[0], bn[1], bn[2], bn[3]]);
    let factor = b.initializer("factor", tensor(&[1], 0.125));
    let v = b.op("Mul", [v, factor]);
    let layer_scale = b.initializer("layer_scale", tensor(&[4, 1, 1], 0.1));
    let v = b.op("Mul", [v, layer_scale]);
    let (low, high) = (b.initializer("low", Tensor::scalar(0.0f32)), b.initializer("high", Tensor::scalar(6.0f32)));
    let v = b.op("Clip", [v, low, high]);
    let mut mask = vec![0.0f32; 64];
    mask[3] = -100.0;
    let mask = b.initializer("mask", Tensor::new([8, 8], &mask));
    let v = b.op("Add", [v, mask]);
    let v = b.node("Flatten", [v]).value();
    let position = b.initializer("position", tensor(&[1, 256], 0.01));
    let v = b.op("Add", [v, position]);
    let classes = b.initializer("classes", tensor(&[256, 10], 0.1));
    let logits = b.op("MatMul", [v, classes]);
    let offset = b.initializer("offset", tensor(&[10], 0.1));
    let logits = b.op("Add", [logits, offset]);
    let logits = b.node("Softmax", [logits]).attr("axis", 1).value();
    let box_w = b.initializer("box", tensor(&[4, 256], 0.1));
    let one = b.initializer("one bias", tensor(&[1, 4], 0.1));
    let boxes = b.node("Gemm", [v, box_w, one]).attr("transB", 1).value();
    let unused = b.initializer("unused", tensor(&[4, 4], 0.1));
    let best = b.node("ArgMax", [unused]).attr("axis", 0).value();
    b.output("scores", logits, None);
    b.output("boxes", boxes, None);
    b.output("best", best, None);
    b.finish().expect("a graph")
}

#[test]
fn settings_are_no_parameters() {
    let graph = settings_and_parameters();
    let expected = ["conv", "gain", "shift", "layer_scale", "position", "classes", "offset", "box", "one bias"];
    assert_eq!(names(&graph, &Scope::All), expected);
}

#[test]
fn every_output_has_a_head_of_its_own() {
    assert_eq!(names(&settings_and_parameters(), &Scope::Head), ["classes", "offset", "box", "one bias"]);
}

#[test]
fn patterns_choose_by_name_and_say_what_was_meant_when_they_choose_nothing() {
    let path = fixtures::folder().join("bottleneck.dynamo.onnx");
    let graph = with_weights(&path).graph;
    let scope: Scope = "fc.*, layer4.0.conv?.weight".parse().expect("patterns");
    assert_eq!(
        sorted(names(&graph, &scope)),
        ["fc.bias", "fc.weight", "layer4.0.conv1.weight", "layer4.0.conv2.weight", "layer4.0.conv3.weight"]
    );
    let scope: Scope = "fc.*,layer4.0.conv1.wieght".parse().expect("patterns");
    let error = scope.select(&graph).expect_err("no such parameter");
    let Error::Scope { close, .. } = &error else { panic!("{error}") };
    assert_eq!(close[0], "layer4.0.conv1.weight");
    assert!(
        error
            .to_string()
            .starts_with("scope `layer4.0.conv1.wieght`: it matches no parameter; close: `layer4.0.conv1.weight`, `")
    );
}

#[test]
fn scopes_are_written_as_they_are_read() {
    for text in ["weights", "head", "all", "fc.*,layer4.*"] {
        assert_eq!(text.parse::<Scope>().expect("a scope").to_string(), text);
    }
    for wrong in ["", " , ", "layer[4"] {
        assert!(matches!(wrong.parse::<Scope>(), Err(Error::Scope { .. })), "`{wrong}`");
    }
    let error = Scope::Weights.select(&Graph::default()).expect_err("nothing there");
    assert_eq!(error.to_string(), "scope `weights`: the graph has no such parameter");
}
