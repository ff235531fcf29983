//! The loss of raw values of YOLO's heads, against the one that such networks are trained by (`tests/fixtures/detection.py`).

use crate::graph::{Graph, library};
use crate::torchvision::{self, Raw};
use isal_exporters::detection::{DETECTION_OPSETS, Yolo};
use isal_exporters::seeded;
use isal_onnx::tangent::{Target, of_inputs};
use isal_onnx::{Dim, Tensor};

/// Sums of some thousand numbers of size 1, in float32.
const LOSS: f64 = 1e-5;
/// Of a derivative, whose parts have both signs.
const SLOPE: f64 = 5e-5;

impl Raw {
    fn draw(&self, part: &str, rows: usize) -> Tensor {
        let dims = [self.losses.len(), rows, self.locations];
        Tensor::new(dims, &seeded::uniform(0, &format!("{}.{part}", self.name), dims.iter().product(), -1.0..1.0))
    }

    /// As `detection.py` draws them.
    fn values(&self) -> [(&'static str, Tensor); 2] {
        let moved = |part: &str, rows: usize, make: &dyn Fn(usize, f32) -> f32| {
            let drawn = self.draw(part, rows);
            let values = drawn.to_vec::<f32>().expect("floats");
            let row = |at: usize| at / self.locations % rows;
            let made: Vec<f32> = values.iter().enumerate().map(|(at, x)| make(row(at), *x)).collect();
            Tensor::new(drawn.dims(), &made)
        };
        [
            ("cls", moved("cls", self.classes, &|_, x| 2.0 * x - 1.0)),
            ("box", moved("box", 4 * self.bins, &|row, x| 3.0 * x - 0.5 * (row % self.bins) as f32)),
        ]
    }

    fn annotations(&self) -> [(&'static str, Tensor); 2] {
        let dims = [self.labels.len(), self.labels[0].len()];
        let boxes: Vec<f32> = self.boxes.iter().flatten().flatten().copied().collect();
        let labels: Vec<i64> = self.labels.iter().flatten().copied().collect();
        [("boxes", Tensor::new([dims[0], dims[1], 4], &boxes)), ("labels", Tensor::new(dims, &labels))]
    }
}

#[test]
fn losses_and_their_derivatives_are_those_such_networks_are_trained_by() {
    let library = library();
    for case in torchvision::fixture().yolo {
        let heads = [case.classes, 4 * case.bins].map(|rows| vec![Dim::from("N"), rows.into(), case.locations.into()]);
        for opset in [*DETECTION_OPSETS.start(), 18, *DETECTION_OPSETS.end()] {
            let loss = Yolo::default().pair(case.image, &heads, opset).expect("graphs").loss;
            let (values, annotations) = (case.values(), case.annotations());
            let mut given: Vec<(&str, &Tensor)> =
                values.iter().chain(&annotations).map(|(name, tensor)| (*name, tensor)).collect();
            let check = |found: &[f64], expected: &[f64], allowed: f64, least: f64, what: &str| {
                for (image, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let error = (found - expected).abs() / expected.abs().max(least);
                    assert!(error < allowed, "{}, opset {opset}, {what} {image}: {found}, not {expected}", case.name);
                }
            };
            check(&Graph::open(&library, &loss).floats(&given, "loss"), &case.losses, LOSS, 1.0, "loss");
            let along = of_inputs(&loss, &["cls", "box"], Target::Any).expect("a derivative");
            let directions = [case.draw("cls.direction", case.classes), case.draw("box.direction", 4 * case.bins)];
            given.extend(["cls.tangent", "box.tangent"].into_iter().zip(&directions));
            let found = Graph::open(&library, &along).floats(&given, "loss.tangent");
            check(&found, &case.slopes, SLOPE, 1.0, "slope");
        }
    }
}
