//! What cannot be scored is refused as bad input, with what it is and what to do.

use crate::place::{Place, append, cast, fed_by, stderr, typed};
use isal_onnx::{DataType, Model, Node, Tensor, ValueInfo};

fn refused(place: &Place, model: &str, expected: &[&str]) {
    let (code, said) = stderr(place.score(model, "out", &[]));
    assert_eq!(code, 2, "{model}: {said}");
    for text in expected {
        assert!(said.contains(text), "{model}: {said}");
    }
}

#[test]
fn outputs_that_are_no_scores_of_exclusive_classes_are_refused() {
    let place = Place::new();
    place.variant("sigmoid.onnx", |model| {
        append(model, Node::new("Sigmoid", "", ["logits"], ["probs"]), typed(DataType::Float, &[10]));
    });
    refused(&place, "sigmoid.onnx", &["`probs`", "Sigmoid", "multi-label"]);
    place.variant("sigmoid_cast.onnx", |model| {
        model.graph.nodes.push(Node::new("Sigmoid", "", ["logits"], ["probs"]));
        append(model, Node::new("Identity", "", ["probs"], ["same"]), typed(DataType::Float, &[10]));
    });
    refused(&place, "sigmoid_cast.onnx", &["multi-label"]);
    place.variant("one.onnx", |model| {
        let mean = Node::new("ReduceMean", "", ["logits"], ["one"]).with("axes", vec![1i64]).with("keepdims", 1);
        append(model, mean, typed(DataType::Float, &[1]));
    });
    refused(&place, "one.onnx", &["`one`", "one score an image"]);
    place.variant("axis.onnx", |model| {
        append(model, Node::new("Softmax", "last", ["logits"], ["p"]).with("axis", 0), typed(DataType::Float, &[10]));
    });
    refused(&place, "axis.onnx", &["axis 0", "`last`"]);
}

#[test]
fn operators_of_a_runtimes_own_domain_are_scored_without_influence_and_refused_with_it() {
    let place = Place::new();
    place.variant("own.onnx", |model| {
        let node = Node { domain: "com.microsoft".into(), ..Node::new("Gelu", "", ["logits"], ["own"]) };
        append(model, node, typed(DataType::Float, &[10]));
        model.opsets.insert("com.microsoft".into(), 1);
    });
    refused(&place, "own.onnx", &["`com.microsoft`", "`Gelu`", "without that optimisation"]);
    place.score("own.onnx", "margin", &["--strategy", "margin"]).assert().success();
    assert_eq!(place.rows("margin").len(), 100);
}

/// The last layer's weights as int8 behind a DequantizeLinear.
fn quantised(model: &mut Model) {
    let last = model.graph.nodes.iter_mut().find(|n| n.outputs[0] == "logits").expect("the last layer");
    let name = last.inputs[1].clone();
    last.inputs[1] = "restored".into();
    let weight = model.graph.initializers[&name].clone();
    let values = weight.to_vec::<f32>().expect("float32");
    let scale = values.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
    let bytes: Vec<i8> = values.iter().map(|x| (x / scale).round() as i8).collect();
    model.graph.initializers.insert(name.clone(), Tensor::new(weight.dims(), &bytes));
    model.graph.initializers.insert("scale".into(), Tensor::scalar(scale));
    let node = Node::new("DequantizeLinear", "", [name.as_str(), "scale"], ["restored"]);
    model.graph.nodes.insert(0, node);
}

#[test]
fn a_quantised_model_is_scored_without_influence_and_refused_with_it() {
    let place = Place::new();
    place.variant("int8.onnx", quantised);
    refused(&place, "int8.onnx", &["quantised", "`DequantizeLinear`", "float model"]);
    place.score("int8.onnx", "margin", &["--strategy", "margin"]).assert().success();
    place.score("model.onnx", "float", &["--strategy", "margin"]).assert().success();
    // The classes of the float model, but for pairs that eight bits do not tell apart.
    let (int8, float) = (place.rows("margin"), place.rows("float"));
    let same = int8.iter().zip(&float).filter(|(a, b)| a.pseudo_label == b.pseudo_label).count();
    assert!(same >= 90, "{same} of 100");
}

#[test]
fn an_operator_without_a_derivative_is_bad_input_by_name() {
    let place = Place::new();
    place.variant("odd.onnx", |model| {
        model.graph.nodes.push(Node::new("RandomNormalLike", "noise", ["logits"], ["drawn"]));
        append(model, Node::new("Add", "", ["logits", "drawn"], ["noisy"]), typed(DataType::Float, &[10]));
    });
    refused(&place, "odd.onnx", &["`RandomNormalLike`", "`noise`"]);
}

#[test]
fn inputs_of_other_integers_are_refused_by_type() {
    let place = Place::new();
    place.variant("int8.onnx", |model| {
        let own = model.graph.inputs[0].name.clone();
        let nodes = vec![cast("signed", &own, DataType::Float)];
        fed_by(model, ValueInfo::new("signed", typed(DataType::Int8, &[1, 28, 28])), nodes);
    });
    refused(&place, "int8.onnx", &["`signed`", "Int8", "Uint8"]);
}
