//! PyTorch's losses and gradients.

use crate::place::{Graph, library, pair};
use isal_exporters::losses::{self};
use isal_exporters::losses::{Huber, LOSS, Loss, OUTPUTS, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy};
use isal_exporters::seeded;
use isal_onnx::Tensor;
use isal_onnx::tangent::{Target, of_inputs};
use isal_onnx::testing::rounding::gamma;
use serde_json::Value;
use std::collections::BTreeSet;

/// Each on another side of a change of an operator's form: Equal and Clip at 11, ReduceSum, Unsqueeze and LogSoftmax at 13,
/// ReduceMean at 18.
const OPSETS: [i64; 5] = [9, 12, 13, 17, 23];

/// Roundings on the way to a loss: the longest sum has 60 numbers, and the functions some polynomials' worth.
const ROUNDINGS: usize = 64;

struct Case {
    label: String,
    loss: Loss,
    outputs: Tensor,
    annotation: Tensor,
    losses: Vec<f64>,
    gradients: Vec<f64>,
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    serde_json::from_value(value.clone()).expect("a list")
}

/// The options of a case; each is read, none is left over.
fn loss(task: &str, options: &Value) -> Loss {
    let mut left = options.as_object().expect("options").clone();
    let mut take = |name: &str| left.remove(name);
    let weights = |value: Option<Value>| value.map(|value| list::<f32>(&value));
    let number = |value: Option<Value>, default: f32| value.map_or(default, |v| v.as_f64().expect("a number") as f32);
    let loss = match losses::find(task).expect("a built-in task").defaults.clone() {
        Loss::SoftmaxCrossEntropy(defaults) => Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy {
            label_smoothing: number(take("label_smoothing"), defaults.label_smoothing),
            class_weights: weights(take("class_weights")),
            ..defaults
        }),
        Loss::SigmoidCrossEntropy(defaults) => Loss::SigmoidCrossEntropy(SigmoidCrossEntropy {
            pos_weight: weights(take("pos_weight")),
            mean: take("mean").map_or(defaults.mean, |v| v == Value::Bool(true)),
        }),
        Loss::PixelCrossEntropy(defaults) => Loss::PixelCrossEntropy(PixelCrossEntropy {
            ignore: take("ignore").map_or(defaults.ignore, |v| v.as_i64().expect("a label")),
            class_weights: weights(take("class_weights")),
        }),
        Loss::Huber(defaults) => Loss::Huber(Huber { delta: number(take("delta"), defaults.delta) }),
        squared @ Loss::SquaredError(_) => squared,
    };
    assert!(left.is_empty(), "{task}: {left:?}");
    loss
}

fn cases() -> Vec<Case> {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/losses.json")).expect("JSON");
    let case = |case: &Value| {
        let task = case["task"].as_str().expect("a task");
        let dims: Vec<usize> = list(&case["annotation_dims"]);
        let annotation = match task {
            "pixel-cross-entropy" => Tensor::new(dims, &list::<i64>(&case["annotation"])),
            _ => Tensor::new(dims, &list::<f32>(&case["annotation"])),
        };
        Case {
            label: format!("{task}, {}", case["name"].as_str().expect("a name")),
            loss: loss(task, &case["options"]),
            outputs: Tensor::new(list::<usize>(&case["dims"]), &list::<f32>(&case["outputs"])),
            annotation,
            losses: list(&case["losses"]),
            gradients: list(&case["gradients"]),
        }
    };
    let cases: Vec<Case> = fixture["cases"].as_array().expect("cases").iter().map(case).collect();
    let covered: BTreeSet<&str> = cases.iter().map(|case| case.loss.name()).collect();
    assert_eq!(covered, losses::all().iter().map(|entry| entry.name).collect());
    cases
}

#[test]
fn losses_are_those_of_pytorch() {
    let library = library();
    let mut worst = 0.0_f64;
    let mut wrong = Vec::new();
    for case in cases() {
        for opset in OPSETS {
            let model = pair(&case.loss, case.outputs.dims(), opset).loss;
            let annotation = model.graph.inputs[1].name.as_str();
            let mut graph = Graph::open(&library, &model);
            let found = graph.floats(&[(OUTPUTS, &case.outputs), (annotation, &case.annotation)], LOSS);
            assert_eq!(found.len(), case.losses.len(), "{}", case.label);
            for (image, (found, expected)) in found.iter().zip(&case.losses).enumerate() {
                // 1: the terms that a loss near zero is the difference of, such as the logarithm of a sum near 1.
                let error = (found - expected).abs() / (gamma(ROUNDINGS) * (1.0 + expected.abs()));
                worst = worst.max(error);
                if error > 1.0 || error.is_nan() {
                    wrong.push(format!("{}, opset {opset}, image {image}: {found}, not {expected}", case.label));
                }
            }
        }
    }
    println!("at most {worst:.3} of what is allowed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_tangent_of_the_loss_is_pytorchs_gradient_along_it() {
    let library = library();
    let mut worst = 0.0_f64;
    let mut wrong = Vec::new();
    for case in cases() {
        let along = seeded::uniform(3, &case.label, case.outputs.len(), -1.0..1.0);
        let direction = Tensor::new(case.outputs.dims(), &along);
        for opset in OPSETS {
            let model = pair(&case.loss, case.outputs.dims(), opset).loss;
            let annotation = model.graph.inputs[1].name.as_str();
            let of = of_inputs(&model, &[OUTPUTS], Target::Any).unwrap_or_else(|e| panic!("{}: {e}", case.label));
            let mut graph = Graph::open(&library, &of);
            let given = [(OUTPUTS, &case.outputs), (annotation, &case.annotation), ("outputs.tangent", &direction)];
            let found = graph.floats(&given, "loss.tangent");
            let images = case.losses.len();
            assert_eq!(found.len(), images, "{}", case.label);
            let row = case.gradients.len() / images;
            for (image, found) in found.iter().enumerate() {
                let products: Vec<f64> =
                    (image * row..(image + 1) * row).map(|i| case.gradients[i] * f64::from(along[i])).collect();
                let expected: f64 = products.iter().sum();
                // The scale is that of the image's own products, however small they are where a model is sure; what is below
                // float32's normal numbers is lost to it.
                let scale: f64 = products.iter().map(|x| x.abs()).sum();
                let error = (found - expected).abs() / (1e-5 * scale + f64::from(f32::MIN_POSITIVE));
                worst = worst.max(error);
                if error > 1.0 || error.is_nan() {
                    wrong.push(format!(
                        "{}, opset {opset}, image {image}: {found:e}, not {expected:e} (scale {scale:e})",
                        case.label
                    ));
                }
            }
        }
    }
    println!("at most {worst:.3} of what is allowed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
