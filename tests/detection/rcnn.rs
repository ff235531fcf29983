//! Detectors with anchors, Faster R-CNN and RetinaNet, against torchvision in float64 (`tests/fixtures/rcnn.py`): losses, their
//! derivatives, detections, and a whole network.

use crate::graph::{Graph, library};
use crate::torchvision::{self, Detections};
use isal_exporters::detection::{self, Anchors, DETECTION_OPSETS, FasterRcnn, RetinaNet, Sampling};
use isal_exporters::losses::Pair;
use isal_exporters::{ModelOptions, build, seeded};
use isal_onnx::tangent::{Target, of_inputs};
use isal_onnx::{Dim, Model, Tensor};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A loss adds up float32 products over some thousand anchors.
const LOSS: f64 = 1e-5;
/// A derivative of the loss along a direction adds up numbers of both signs.
const SLOPE: f64 = 5e-5;
/// Of the largest number of a raw value.
const HEADS: f64 = 1e-4;
const RATIOS: [f32; 3] = [0.5, 1.0, 2.0];

#[derive(Deserialize)]
struct Fixture {
    two_stage: Vec<Case>,
    retinanet: Vec<Case>,
    networks: Vec<Network>,
}

/// Raw values drawn at random, and what they cost.
#[derive(Deserialize)]
struct Case {
    name: String,
    image: [usize; 2],
    sizes: Vec<Vec<f32>>,
    classes: usize,
    anchors: usize,
    #[serde(default)]
    proposals: Vec<Vec<[f32; 4]>>,
    boxes: Vec<Vec<[f32; 4]>>,
    labels: Vec<Vec<i64>>,
    losses: Vec<f64>,
    slopes: Vec<f64>,
    #[serde(default)]
    whole: Vec<f64>,
    detections: Vec<Detections>,
}

#[derive(Deserialize)]
struct Network {
    name: String,
    gain: f64,
    input: [usize; 3],
    classes: usize,
    shapes: BTreeMap<String, Vec<usize>>,
    trainable: usize,
    objectness: Vec<f64>,
    bbox_deltas: Vec<f64>,
    regions: Vec<OfRegions>,
    detections: Vec<Detections>,
}

#[derive(Deserialize)]
struct OfRegions {
    proposals: Vec<f64>,
    class_logits: Vec<f64>,
    box_regression: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/rcnn.json")).expect("JSON")
}

/// A value of the model: its name, the last two of its dims, and how it was drawn.
type Part = (&'static str, [usize; 2], f32, f32);

impl Case {
    fn anchors(&self) -> Anchors {
        Anchors { sizes: self.sizes.clone(), ratios: RATIOS.to_vec() }
    }

    /// As `rcnn.py` draws them: a factor and a shift of numbers from -1 to 1.
    fn parts(&self) -> Vec<Part> {
        let count = self.proposals.first().map_or(0, Vec::len);
        match count {
            0 => vec![
                ("cls_logits", [self.anchors, self.classes], 3.0, -2.0),
                ("bbox_regression", [self.anchors, 4], 0.5, 0.0),
            ],
            _ => vec![
                ("class_logits", [count, self.classes + 1], 3.0, 0.0),
                ("box_regression", [count, 4 * (self.classes + 1)], 2.0, 0.0),
                ("objectness", [self.anchors, 1], 2.0, 0.0),
                ("bbox_deltas", [self.anchors, 4], 0.5, 0.0),
            ],
        }
    }

    fn draw(&self, of: &str, [rows, last]: [usize; 2]) -> Vec<f32> {
        let count = self.losses.len() * rows * last;
        seeded::uniform(0, &format!("{}.{of}", self.name), count, -1.0..1.0)
    }

    fn tensor(&self, [rows, last]: [usize; 2], values: &[f32]) -> Tensor {
        Tensor::new([self.losses.len(), rows, last], values)
    }

    fn values(&self) -> Vec<(String, Tensor)> {
        let drawn = self.parts().into_iter().map(|(name, dims, factor, shift)| {
            let values: Vec<f32> = self.draw(name, dims).iter().map(|x| factor * x + shift).collect();
            (name.to_owned(), self.tensor(dims, &values))
        });
        let mut values: Vec<_> = drawn.collect();
        if let Some(first) = self.proposals.first() {
            let proposals: Vec<f32> = self.proposals.iter().flatten().flatten().copied().collect();
            values.push(("proposals".to_owned(), self.tensor([first.len(), 4], &proposals)));
        }
        values
    }

    fn directions(&self) -> Vec<(String, Tensor)> {
        let drawn = self.parts().into_iter().map(|(name, dims, ..)| {
            let values = self.draw(&format!("{name}.direction"), dims);
            (format!("{name}.tangent"), self.tensor(dims, &values))
        });
        drawn.collect()
    }

    fn annotations(&self) -> Vec<(String, Tensor)> {
        let dims = [self.labels.len(), self.labels[0].len()];
        let boxes: Vec<f32> = self.boxes.iter().flatten().flatten().copied().collect();
        let labels: Vec<i64> = self.labels.iter().flatten().copied().collect();
        vec![
            ("boxes".to_owned(), Tensor::new([dims[0], dims[1], 4], &boxes)),
            ("labels".to_owned(), Tensor::new(dims, &labels)),
        ]
    }

    /// The shapes of the heads, in the order of the task.
    fn shapes(&self, heads: &[&str]) -> Vec<Vec<Dim>> {
        let values = self.values();
        let shape = |head: &&str| {
            let (_, value) = values.iter().find(|(name, _)| name == head).expect("drawn");
            std::iter::once(Dim::from("N")).chain(value.dims()[1..].iter().map(|d| (*d).into())).collect()
        };
        heads.iter().map(shape).collect()
    }

    /// The graphs with the options of torchvision, and with all candidates drawn.
    fn pair(&self, opset: i64, all: bool) -> Pair {
        let heads = |task: &str| self.shapes(detection::task(task).expect("a task").heads);
        let made = if self.proposals.is_empty() {
            RetinaNet { anchors: self.anchors(), ..RetinaNet::default() }.pair(self.image, &heads("retinanet"), opset)
        } else {
            let usual = FasterRcnn { anchors: self.anchors(), ..FasterRcnn::default() };
            let draws = Sampling { count: 1_000_000, positive: 0.5 };
            let task = if all { FasterRcnn { of_anchors: draws, of_proposals: draws, ..usual } } else { usual };
            task.pair(self.image, &heads("faster-rcnn"), opset)
        };
        made.unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

fn given(parts: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    parts.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

fn near(what: &str, found: &[f64], expected: &[f64], tolerance: f64, least: f64) {
    assert_eq!(found.len(), expected.len());
    for (image, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / expected.abs().max(least);
        assert!(error < tolerance, "{what}, image {image}: {found} instead of {expected}");
    }
}

fn check(cases: &[Case]) {
    let library = library();
    for case in cases {
        for opset in [*DETECTION_OPSETS.start(), 17, *DETECTION_OPSETS.end()] {
            let what = format!("{}, opset {opset}", case.name);
            let Pair { loss, decode } = case.pair(opset, false);
            let values = case.values();
            let mut inputs = [values.clone(), case.annotations()].concat();
            let found = Graph::open(&library, &loss).floats(&given(&inputs), "loss");
            near(&what, &found, &case.losses, LOSS, 0.0);
            if !case.whole.is_empty() {
                let loss = case.pair(opset, true).loss;
                let found = Graph::open(&library, &loss).floats(&given(&inputs), "loss");
                near(&format!("{what}, all drawn"), &found, &case.whole, LOSS, 0.0);
            }
            let moving: Vec<&str> = case.parts().iter().map(|(name, ..)| *name).collect();
            let along: Model = of_inputs(&loss, &moving, Target::Any).expect("every head has a derivative");
            inputs.extend(case.directions());
            let found = Graph::open(&library, &along).floats(&given(&inputs), "loss.tangent");
            near(&what, &found, &case.slopes, SLOPE, 1.0);
            torchvision::same(&what, &Graph::open(&library, &decode).run(&given(&values)), &case.detections);
        }
    }
}

#[test]
fn two_stages_cost_what_torchvision_says_on_average_over_its_draws() {
    check(&fixture().two_stage);
}

#[test]
fn retinanet_costs_what_torchvision_says() {
    check(&fixture().retinanet);
}

/// Holds rows of `found` against `expected`, relative to the largest number of these.
fn alike(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let worst = found.iter().zip(expected).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    println!("{what}: {:.1e} of its scale", worst / scale);
    assert!(worst <= HEADS * scale, "{what}: {worst} of {scale}");
}

#[test]
fn a_network_is_that_of_torchvision_to_the_last_detection() {
    let library = library();
    for expected in fixture().networks {
        let entry = detection::detectors().iter().find(|e| e.name == expected.name).expect("in the zoo");
        let options = ModelOptions { input: expected.input, classes: expected.classes, ..entry.defaults.clone() };
        let mut model = build(entry.name, &options).expect("built");
        let shapes: BTreeMap<String, Vec<usize>> =
            model.graph.initializers.iter().map(|(name, t)| (name.clone(), t.dims().to_vec())).collect();
        assert_eq!(shapes, expected.shapes);
        assert_eq!(model.metadata["isal.zoo.parameters"], expected.trainable.to_string());
        seeded::overwrite(&mut model, 0, expected.gain);
        let [channels, height, width] = expected.input;
        let images: Tensor = seeded::images(0, [2, channels, height, width]);
        let heads = Graph::open(&library, &model).run(&[("images", &images)]);
        let floats = |name: &str| heads[name].to_float64().expect("floats");
        let rows = |name: &str, image: usize| {
            let (values, [_, rows, last]) = (floats(name), heads[name].dims()) else { panic!("three axes") };
            values.chunks(*last).skip(image * rows).take(*rows).map(<[f64]>::to_vec).collect::<Vec<_>>()
        };
        for (name, expected) in [("objectness", &expected.objectness), ("bbox_deltas", &expected.bbox_deltas)] {
            let seventh: Vec<f64> =
                (0..2).flat_map(|image| rows(name, image).into_iter().step_by(7).flatten()).collect();
            alike(name, &seventh, expected);
        }
        for (image, expected) in expected.regions.iter().enumerate() {
            let found = rows("proposals", image);
            let (logits, moves) = (rows("class_logits", image), rows("box_regression", image));
            let real = found.iter().filter(|b| b[2] > b[0]).count();
            assert_eq!(real, expected.proposals.len() / 4, "as many proposals");
            // Those that score alike to float32's rounding may stand in another order.
            let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0f64, |far, (a, b)| far.max((a - b).abs()));
            let place = |wanted: &[f64]| {
                let place = (0..real).min_by(|a, b| apart(&found[*a], wanted).total_cmp(&apart(&found[*b], wanted)));
                let place = place.expect("proposals");
                assert!(apart(&found[place], wanted) < 0.01, "no proposal at {wanted:?}");
                place
            };
            let places: Vec<usize> = expected.proposals.chunks(4).map(place).collect();
            let of = |rows: &[Vec<f64>]| places.iter().step_by(5).flat_map(|at| rows[*at].clone()).collect::<Vec<_>>();
            alike("class_logits", &of(&logits), &expected.class_logits);
            alike("box_regression", &of(&moves), &expected.box_regression);
        }
        let task = detection::task(entry.task).expect("a task");
        let shapes: Vec<Vec<Dim>> = task
            .heads
            .iter()
            .map(|name| {
                std::iter::once(Dim::from("N")).chain(heads[*name].dims()[1..].iter().map(|d| (*d).into())).collect()
            })
            .collect();
        let anchors = Anchors::of_model(&model).expect("sound");
        assert!(anchors.is_some(), "a model of the zoo says what its anchors are");
        let decode =
            detection::pair(task.name, [height, width], &shapes, anchors, options.opset).expect("graphs").decode;
        let given: Vec<(&str, &Tensor)> = task.heads.iter().map(|name| (*name, &heads[*name])).collect();
        torchvision::same(entry.name, &Graph::open(&library, &decode).run(&given), &expected.detections);
    }
}
