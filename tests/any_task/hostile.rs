//! Loss graphs that are none of a model's, or none at all: named, and refused before anything is scored.

use super::place::*;
use isal_onnx::{Builder, DataType, Dim, Model, Tensor, Value, ValueType};

fn of(dims: &[Dim]) -> ValueType {
    ValueType { data_type: DataType::Float, shape: Some(dims.to_vec()) }
}

/// A loss graph over `scores` and `tags`, and what it gives.
fn loss(scores: &str, make: impl FnOnce(&mut Builder, Value, Value) -> Value, shape: &[Dim]) -> Model {
    let mut b = Builder::new("odd loss");
    let x = b.input(scores, of(&["N".into(), 5.into()]));
    let tags = b.input("tags", of(&["N".into(), 5.into()]));
    let made = make(&mut b, x, tags);
    b.output("loss", made, Some(of(shape)));
    Model::new(17, b.finish().expect("a graph"))
}

fn sum(b: &mut Builder, x: Value) -> Value {
    let axes = b.constant("axes", Tensor::new([1], &[1_i64]));
    b.node("ReduceSum", [x, axes]).attr("keepdims", 0_i64).value()
}

#[test]
fn odd_loss_graphs_are_refused_by_what_is_wrong_with_them() {
    let place = Place::new(40);
    std::fs::create_dir(place.path("trained")).expect("a folder");
    let new = ["model", "new", "lenet", "--input", "1x56x56", "--classes", "5", "-o", "trained/model.onnx"];
    place.isal(&new).assert().success();
    let mut b = Builder::new("decode");
    let x = b.input("scores", of(&["N".into(), 5.into()]));
    let zero = b.constant("zero", Tensor::scalar(0.0_f32));
    let likely = b.op("Greater", [x, zero]);
    let tags = b.node("Cast", [likely]).attr("to", i64::from(DataType::Float.number())).value();
    b.output("tags", tags, Some(of(&["N".into(), 5.into()])));
    Model::new(17, b.finish().expect("a graph")).write(place.path("decode.onnx")).expect("written");

    let row: [Dim; 1] = ["N".into()];
    let squares = |b: &mut Builder, x, tags| {
        let apart = b.op("Sub", [x, tags]);
        let squared = b.op("Mul", [apart, apart]);
        sum(b, squared)
    };
    let refused = |loss: Model, part: &str| {
        loss.write(place.path("loss.onnx")).expect("written");
        let own = ["--loss", "loss.onnx", "--decode", "decode.onnx"];
        let said = place.refused(&mut place.score("labeled/labels.jsonl", "out", &own));
        assert!(said.contains(part), "expected `{part}` in {said}");
        assert!(!place.path("out/scores.parquet").exists());
    };
    refused(
        loss("scores", |b, x, tags| b.op("Sub", [x, tags]), &["N".into(), 5.into()]),
        "expected one output of floats [N]",
    );
    let two = |b: &mut Builder, x, tags| {
        let found = squares(b, x, tags);
        b.output("second", found, Some(of(&["N".into()])));
        found
    };
    refused(loss("scores", two, &row), "`second` Float [N]");
    // An input that no value of the model is called, beside one that is its only output.
    let mut unbound = loss("scores", squares, &row);
    unbound.graph.inputs.push(isal_onnx::ValueInfo::new("depth", of(&["N".into()])));
    refused(unbound, "the task reads");
    let mut wide = loss("scores", squares, &row);
    wide.graph.inputs[0].value_type = Some(of(&["N".into(), 7.into()]));
    refused(wide, "Float [N, 7]");
    refused(loss("scores", |b, _, tags| sum(b, tags), &row), "cannot be differentiated");
    let nan = |b: &mut Builder, x, tags| {
        let made = squares(b, x, tags);
        let less = b.op("Neg", [made]);
        b.op("Sqrt", [less])
    };
    refused(loss("scores", nan, &row), "the loss has entries that are NaN");
}
