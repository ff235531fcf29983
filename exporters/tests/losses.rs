//! The contract of the built-in tasks' graphs, and what is refused. Their numbers are held in the workspace's `tests/losses`.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use isal_exporters::ModelOptions;
use isal_exporters::losses::{
    self, Huber, LOSS, Loss, LossOptions, OUTPUTS, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy,
};
use isal_onnx::tangent::{HELD, Tangent};
use isal_onnx::{DataType, Dim, Model, ValueInfo, ValueType};

fn softmax(of: SoftmaxCrossEntropy) -> Loss {
    Loss::SoftmaxCrossEntropy(of)
}

/// Every form of graph: each task with its options off and on.
fn forms() -> Vec<(Loss, Vec<Dim>)> {
    let n = || Dim::from("N");
    let scores = || vec![n(), 4.into()];
    let numbers = || vec![n(), "K".into(), 3.into()];
    let pixels = || vec![n(), 4.into(), "H".into(), Dim::Unknown];
    let weights = || Some(vec![1.0, 0.5, 2.0, 0.0]);
    let mut forms: Vec<(Loss, Vec<Dim>)> = losses::all()
        .iter()
        .map(|entry| {
            let dims = match entry.name {
                "pixel-cross-entropy" => pixels(),
                "squared-error" | "huber" => numbers(),
                _ => scores(),
            };
            (entry.defaults.clone(), dims)
        })
        .collect();
    let all_on = SoftmaxCrossEntropy { label_smoothing: 0.1, class_weights: weights(), top_k: 3 };
    let weighed = SigmoidCrossEntropy { pos_weight: weights(), mean: true };
    let single = SigmoidCrossEntropy { pos_weight: Some(vec![2.0]), mean: true };
    forms.extend([
        (softmax(all_on), scores()),
        (softmax(SoftmaxCrossEntropy::default()), vec![n(), 1.into()]),
        (Loss::SigmoidCrossEntropy(weighed), scores()),
        (Loss::SigmoidCrossEntropy(single.clone()), vec![n(), 1.into()]),
        (Loss::SigmoidCrossEntropy(single), vec![n()]),
        (Loss::PixelCrossEntropy(PixelCrossEntropy { ignore: 2, class_weights: weights() }), pixels()),
        (Loss::Huber(Huber { delta: 0.5 }), vec![n()]),
    ]);
    forms
}

fn names(values: &[ValueInfo]) -> Vec<&str> {
    values.iter().map(|v| v.name.as_str()).collect()
}

fn checked(model: &Model, what: &str) {
    let mut read = Model::from_bytes(&model.to_bytes().unwrap(), None).unwrap_or_else(|e| panic!("{what}: {e}"));
    read.check().unwrap_or_else(|e| panic!("{what}: {e}"));
    read.infer_shapes().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(read.graph, model.graph, "{what}: as it was written");
}

#[test]
fn the_annotations_are_what_decode_gives_and_loss_takes_under_one_name_and_type() {
    for (loss, dims) in forms() {
        for opset in losses::OPSETS {
            let what = format!("{loss:?} at opset {opset}");
            let pair = losses::build(&loss, &LossOptions { outputs: &dims, opset }).unwrap();
            let given = ValueInfo::new(OUTPUTS, ValueType::new(DataType::Float, dims.clone()));
            let [values, annotation] = &pair.loss.graph.inputs[..] else { panic!("{what}: two inputs") };
            assert_eq!((values, &pair.decode.graph.inputs[..]), (&given, &[given.clone()][..]), "{what}");
            let (decoded, beliefs) = pair.decode.graph.outputs.split_first().expect("an annotation");
            assert_eq!(annotation, decoded, "{what}");
            for belief in beliefs {
                let found = belief.value_type.as_ref().expect("a type");
                let whole = ["pseudo_label", "positives"].contains(&belief.name.as_str());
                let data_type = if whole { DataType::Int64 } else { DataType::Float };
                assert_eq!(found, &ValueType::new(data_type, ["N"]), "{what}: {}", belief.name);
            }
            let of_each = ValueInfo::new(LOSS, ValueType::new(DataType::Float, ["N"]));
            assert_eq!(pair.loss.graph.outputs, [of_each], "{what}");
            for (role, model) in [("loss", &pair.loss), ("decode", &pair.decode)] {
                assert_eq!(model.metadata["isal.graph"], role, "{what}");
                assert_eq!(model.metadata["isal.task"], loss.name(), "{what}");
                assert!(!model.metadata.contains_key(HELD), "{what}");
                assert_eq!(model.opset(), opset, "{what}");
                checked(model, &format!("{role} of {what}"));
            }
        }
    }
}

#[test]
fn every_operator_has_a_forward_and_a_tangent() {
    let listed = include_str!("../../plugins/tch/ops.txt");
    for (loss, dims) in forms() {
        for opset in [7, 9, 17, 28] {
            let pair = losses::build(&loss, &LossOptions { outputs: &dims, opset }).unwrap();
            for node in pair.loss.graph.nodes.iter().chain(&pair.decode.graph.nodes) {
                let op = node.op_type.as_str();
                let spec = isal_onnx::ops::find(op).unwrap();
                assert!(!matches!(spec.tangent, Tangent::Refused(_)), "{loss:?}: `{op}`");
                assert!(listed.lines().any(|line| line == format!("{op} forward")), "{loss:?}: `{op}`");
            }
        }
    }
}

#[test]
fn the_outputs_alone_move_the_loss() {
    for (loss, dims) in forms() {
        for opset in losses::OPSETS {
            // Along axes of unknown length a tangent takes Expand, which came with opset 8.
            if opset < 8 && matches!(loss, Loss::PixelCrossEntropy(_)) {
                continue;
            }
            let pair = losses::build(&loss, &LossOptions { outputs: &dims, opset }).unwrap();
            let moving = isal_onnx::tangent::of_inputs(&pair.loss, &[OUTPUTS], Default::default());
            let moving = moving.unwrap_or_else(|e| panic!("{loss:?} at opset {opset}: {e}"));
            let annotation = pair.loss.graph.inputs[1].name.as_str();
            assert_eq!(names(&moving.graph.inputs), [OUTPUTS, annotation, "outputs.tangent"], "{loss:?}");
            assert_eq!(names(&moving.graph.outputs), [LOSS, "loss.tangent"], "{loss:?}");
            moving.check().unwrap_or_else(|e| panic!("{loss:?} at opset {opset}: {e}"));
        }
    }
}

#[test]
fn the_batch_axis_is_called_n_whatever_the_model_calls_it() {
    let loss = &losses::find("squared-error").unwrap().defaults;
    let dims = ["batch".into(), 3.into(), "N".into()];
    let pair = losses::build(loss, &LossOptions::new(&dims)).unwrap();
    assert_eq!(pair.loss.opset(), ModelOptions::DEFAULT_OPSET);
    let expected = [Dim::from("N"), 3.into(), Dim::Unknown];
    assert_eq!(pair.loss.graph.inputs[0].value_type, Some(ValueType::new(DataType::Float, expected)));
}

#[test]
fn every_task_is_found_by_its_name_with_its_own_defaults() {
    let names: Vec<&str> = losses::all().iter().map(|e| e.name).collect();
    let expected = ["softmax-cross-entropy", "sigmoid-cross-entropy", "pixel-cross-entropy", "squared-error", "huber"];
    assert_eq!(names, expected);
    for entry in losses::all() {
        assert_eq!(losses::find(entry.name).unwrap().defaults.name(), entry.name);
        assert!(!entry.description.is_empty());
    }
    let unknown = losses::find("hinge").unwrap_err().to_string();
    assert!(unknown.starts_with("no loss `hinge` is built in; there are `softmax-cross-entropy`, "), "{unknown}");
}

#[test]
fn options_that_do_not_suit_are_refused_by_name() {
    let n = || Dim::from("N");
    let [vector, scores, pixels] = [vec![n()], vec![n(), 3.into()], vec![n(), 3.into(), "H".into(), "W".into()]];
    let refusal = |loss: Loss, outputs: &[Dim]| match losses::build(&loss, &LossOptions::new(outputs)) {
        Err(error) => error.to_string(),
        Ok(_) => "built".to_owned(),
    };
    let one = |of: SoftmaxCrossEntropy| refusal(softmax(of), &scores);
    let plain = SoftmaxCrossEntropy::default;
    let start = "loss `softmax-cross-entropy`: ";
    let cases = [
        (one(SoftmaxCrossEntropy { top_k: 4, ..plain() }), "`top_k` is 4, expected 1 to the number of classes, 3"),
        (one(SoftmaxCrossEntropy { top_k: 0, ..plain() }), "`top_k` is 0, expected 1 to the number of classes, 3"),
        (one(SoftmaxCrossEntropy { label_smoothing: 1.5, ..plain() }), "`label_smoothing` is 1.5, expected 0 to 1"),
        (
            one(SoftmaxCrossEntropy { label_smoothing: f32::NAN, ..plain() }),
            "`label_smoothing` is NaN, expected 0 to 1",
        ),
        (
            one(SoftmaxCrossEntropy { class_weights: Some(vec![1.0; 2]), ..plain() }),
            "`class_weights` is 2 numbers, expected one a class, 3",
        ),
        (
            one(SoftmaxCrossEntropy { class_weights: Some(vec![1.0, -1.0, 1.0]), ..plain() }),
            "`class_weights` is -1, expected finite numbers that are not negative",
        ),
        (refusal(softmax(plain()), &vector), "`outputs` is [N], expected [N, C]"),
        (refusal(softmax(plain()), &[n(), "C".into()]), "`outputs` is [N, C], expected [N, C], C a number above 0"),
        (
            refusal(softmax(plain()), &[8.into(), 3.into()]),
            "`outputs` is [8, 3], expected a batch axis of any size first",
        ),
        (refusal(softmax(plain()), &[]), "`outputs` is [], expected a batch axis of any size first"),
    ];
    for (found, expected) in cases {
        assert_eq!(found, format!("{start}{expected}"));
    }
    let infinite = SigmoidCrossEntropy { pos_weight: Some(vec![1.0, f32::INFINITY, 1.0]), mean: false };
    let found = refusal(Loss::SigmoidCrossEntropy(infinite), &scores);
    assert!(found.ends_with("`pos_weight` is inf, expected finite numbers that are not negative"), "{found}");
    let found = refusal(Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default()), &pixels);
    assert!(found.ends_with("`outputs` is [N, 3, H, W], expected [N, C] or [N]"), "{found}");
    let found = refusal(Loss::PixelCrossEntropy(PixelCrossEntropy::default()), &scores);
    assert!(found.ends_with("`outputs` is [N, 3], expected [N, C, H, W]"), "{found}");
    let found = refusal(Loss::Huber(Huber { delta: 0.0 }), &scores);
    assert_eq!(found, "loss `huber`: `delta` is 0, expected a finite number above 0");
    let old = losses::build(&softmax(plain()), &LossOptions { outputs: &scores, opset: 6 }).unwrap_err();
    assert_eq!(old.to_string(), format!("{start}`opset` is 6, expected 7 to 28"));
}
