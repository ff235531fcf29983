//! PyTorch's losses, gradients and curvatures, and what its distributions say of the beliefs.

use crate::place::{Graph, library, numbers, pair};
use isal::runtime::Library;
use isal_exporters::losses::{
    self, Huber, LOSS, Loss, OUTPUTS, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy,
};
use isal_exporters::seeded;
use isal_onnx::tangent::{Target, of_inputs};
use isal_onnx::testing::rounding::gamma;
use isal_onnx::{Model, Tensor};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Each on another side of a change of an operator's form: OneHot at 9, TopK at 10, Equal and Clip at 11, ReduceSum, Unsqueeze and
/// LogSoftmax at 13, ReduceMean at 18; the oldest and the newest.
const OPSETS: [i64; 6] = [*losses::OPSETS.start(), 9, 12, 13, 17, *losses::OPSETS.end()];

/// Roundings on the way to a loss: sums of at most 5 numbers an axis, and some for each function.
const ROUNDINGS: usize = 16;

struct Case {
    label: String,
    loss: Loss,
    outputs: Tensor,
    annotation: Tensor,
    losses: Vec<f64>,
    gradients: Vec<f64>,
    /// u H u along [`Case::direction`], and the sum of the magnitudes of its products; none at a kink of the slope.
    curvatures: Vec<f64>,
    curvature_magnitudes: Vec<f64>,
    /// Of each image, by name.
    beliefs: BTreeMap<String, Vec<f64>>,
}

impl Case {
    /// A direction of the outputs; the fixture has the same.
    fn direction(&self) -> Tensor {
        Tensor::new(self.outputs.dims(), &seeded::uniform(3, &self.label, self.outputs.len(), -1.0..1.0))
    }

    fn model(&self, opset: i64) -> Model {
        pair(&self.loss, self.outputs.dims(), opset).loss
    }

    fn along(&self, model: &Model, name: &str) -> Model {
        of_inputs(model, &[name], Target::Any).unwrap_or_else(|e| panic!("{}: {e}", self.label))
    }

    /// An output of each image.
    fn of_each(&self, library: &Library, model: &Model, more: &[(&str, &Tensor)], output: &str) -> Vec<f64> {
        let annotation = model.graph.inputs[1].name.as_str();
        let mut given = vec![(OUTPUTS, &self.outputs), (annotation, &self.annotation)];
        given.extend_from_slice(more);
        let found = Graph::open(library, model).floats(&given, output);
        assert_eq!(found.len(), self.losses.len(), "{}", self.label);
        found
    }
}

/// What is further off than it may be.
#[derive(Default)]
struct Wrong {
    lines: Vec<String>,
    worst: f64,
}

impl Wrong {
    fn hold(&mut self, what: String, found: f64, expected: f64, allowed: f64) {
        let error = (found - expected).abs() / allowed;
        self.worst = self.worst.max(error);
        if error > 1.0 || error.is_nan() {
            self.lines.push(format!("{what}: {found:e}, not {expected:e}, {error} of what is allowed"));
        }
    }

    fn none(self) {
        println!("at most {:.3} of what is allowed", self.worst);
        assert!(self.lines.is_empty(), "{}", self.lines.join("\n"));
    }
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
            curvatures: list(&case["curvatures"]),
            curvature_magnitudes: list(&case["curvature_magnitudes"]),
            beliefs: serde_json::from_value(case["beliefs"].clone()).expect("lists by name"),
        }
    };
    let cases: Vec<Case> = fixture["cases"].as_array().expect("cases").iter().map(case).collect();
    let covered: BTreeSet<&str> = cases.iter().map(|case| case.loss.name()).collect();
    assert_eq!(covered, losses::all().iter().map(|entry| entry.name).collect());
    cases
}

#[test]
fn losses_are_those_of_pytorch() {
    let (library, mut wrong) = (library(), Wrong::default());
    for case in cases() {
        for opset in OPSETS {
            let found = case.of_each(&library, &case.model(opset), &[], LOSS);
            for (image, (found, expected)) in found.into_iter().zip(&case.losses).enumerate() {
                // 1: the terms that a loss near zero is the difference of, such as the logarithm of a sum near 1.
                let allowed = gamma(ROUNDINGS) * (1.0 + expected.abs());
                wrong.hold(format!("{}, opset {opset}, image {image}", case.label), found, *expected, allowed);
            }
        }
    }
    wrong.none();
}

#[test]
fn the_tangent_of_the_loss_is_pytorchs_gradient_along_it() {
    let (library, mut wrong) = (library(), Wrong::default());
    for case in cases() {
        let direction = case.direction();
        let along = direction.to_float64().expect("floats");
        for opset in OPSETS {
            let of = case.along(&case.model(opset), OUTPUTS);
            let found = case.of_each(&library, &of, &[("outputs.tangent", &direction)], "loss.tangent");
            let row = case.gradients.len() / found.len();
            for (image, found) in found.into_iter().enumerate() {
                let own = || (image * row..(image + 1) * row).map(|i| case.gradients[i] * along[i]);
                let length: f64 = along[image * row..(image + 1) * row].iter().map(|u| u.abs()).sum();
                let allowed = allowed(own().map(f64::abs).sum(), length);
                wrong.hold(format!("{}, opset {opset}, image {image}", case.label), found, own().sum(), allowed);
            }
        }
    }
    wrong.none();
}

/// Of products of this size, however small they are where a model is sure. PyTorch's softmax minus one-hot has float64's
/// rounding of 1, along a direction of this length; what is below float32's normal numbers is lost to it.
fn allowed(scale: f64, length: f64) -> f64 {
    1e-5 * scale + f64::EPSILON * length + f64::from(f32::MIN_POSITIVE)
}

#[test]
fn the_tangent_of_the_tangent_is_pytorchs_curvature() {
    let (library, mut wrong) = (library(), Wrong::default());
    for case in cases().into_iter().filter(|case| !case.curvatures.is_empty()) {
        let direction = case.direction();
        for opset in [11, 17] {
            let mut slope = case.along(&case.model(opset), OUTPUTS);
            rename(&mut slope, &[("outputs.tangent", "direction"), ("loss.tangent", "slope")]);
            let of = case.along(&slope, OUTPUTS);
            let more = [("direction", &direction), ("outputs.tangent", &direction)];
            let found = case.of_each(&library, &of, &more, "slope.tangent");
            for (image, found) in found.into_iter().enumerate() {
                let allowed = allowed(case.curvature_magnitudes[image], direction.len() as f64);
                let what = format!("{}, opset {opset}, image {image}", case.label);
                wrong.hold(what, found, case.curvatures[image], allowed);
            }
        }
    }
    wrong.none();
}

#[test]
fn beliefs_are_those_of_pytorchs_distributions() {
    let (library, mut wrong) = (library(), Wrong::default());
    for case in cases() {
        for opset in OPSETS {
            let model = pair(&case.loss, case.outputs.dims(), opset).decode;
            let found = Graph::open(&library, &model).run(&[(OUTPUTS, &case.outputs)]);
            let names: BTreeSet<&str> = model.graph.outputs[1..].iter().map(|output| output.name.as_str()).collect();
            assert_eq!(names, case.beliefs.keys().map(String::as_str).collect(), "{}", case.label);
            for (name, expected) in &case.beliefs {
                let found = numbers(&found[name]);
                assert_eq!(found.len(), expected.len(), "{}: {name}", case.label);
                for (image, (found, expected)) in found.into_iter().zip(expected).enumerate() {
                    let allowed = match name.as_str() {
                        "pseudo_label" | "positives" | "value" => 0.0,
                        // A product and a mean of numbers above 0, each with its own digits, however small it is.
                        "margin" => gamma(ROUNDINGS) * expected,
                        // 1: the logarithm of a sum near 1.
                        _ => gamma(ROUNDINGS) * (1.0 + expected),
                    };
                    let what = format!("{}, opset {opset}, {name} of image {image}", case.label);
                    wrong.hold(what, found, *expected, allowed + f64::from(f32::MIN_POSITIVE));
                }
            }
        }
    }
    wrong.none();
}

/// Gives values other names throughout, so that a graph can be differentiated again.
fn rename(model: &mut Model, names: &[(&str, &str)]) {
    let graph = &mut model.graph;
    let of_nodes = graph.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().chain(&mut n.outputs));
    let declared = graph.inputs.iter_mut().chain(&mut graph.outputs).map(|v| &mut v.name);
    for name in of_nodes.chain(declared) {
        if let Some((_, new)) = names.iter().find(|(old, _)| old == name) {
            (*new).clone_into(name);
        }
    }
}
