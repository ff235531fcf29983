//! The loss of raw heads, its derivative, and the detections they make.

use crate::graph::{Graph, library};
use crate::torchvision::{self, Heads};
use isal_exporters::detection::{self, BoxLoss, Fcos};
use isal_exporters::losses::Pair;
use isal_exporters::seeded;
use isal_onnx::tangent::{Target, of_inputs};
use isal_onnx::{Dim, Tensor};

/// The heads are of float32's size of 1; a loss adds up some thousand products of them.
const LOSS: f64 = 1e-5;
/// A derivative of the loss along a direction adds up numbers of both signs.
const SLOPE: f64 = 5e-5;

impl Heads {
    fn draw(&self, part: &str, last: usize) -> Tensor {
        let dims = [self.losses.len(), self.locations, last];
        Tensor::new(dims, &seeded::uniform(0, &format!("{}.{part}", self.name), dims.iter().product(), -1.0..1.0))
    }

    fn moved(&self, part: &str, last: usize, factor: f32, shift: f32) -> Tensor {
        let drawn = self.draw(part, last);
        let values: Vec<f32> = drawn.to_vec::<f32>().expect("floats").iter().map(|x| factor * x + shift).collect();
        Tensor::new(drawn.dims().to_vec(), &values)
    }

    /// As `detection.py` draws them.
    fn heads(&self) -> Vec<(&'static str, Tensor)> {
        vec![
            ("cls", self.moved("cls", self.classes, self.scale, -1.0)),
            ("reg", self.moved("reg", 4, 1.75, 2.0)),
            ("ctr", self.draw("ctr", 1)),
        ]
    }

    fn directions(&self) -> Vec<(&'static str, Tensor)> {
        [("cls", self.classes), ("reg", 4), ("ctr", 1)]
            .map(|(part, last)| (part, self.draw(&format!("{part}.direction"), last)))
            .into()
    }

    fn annotations(&self) -> Vec<(&'static str, Tensor)> {
        let dims = [self.labels.len(), self.labels[0].len()];
        let boxes: Vec<f32> = self.boxes.iter().flatten().flatten().copied().collect();
        let labels: Vec<i64> = self.labels.iter().flatten().copied().collect();
        vec![("boxes", Tensor::new([dims[0], dims[1], 4], &boxes)), ("labels", Tensor::new(dims, &labels))]
    }

    fn shapes(&self) -> Vec<Vec<Dim>> {
        [self.classes, 4, 1].map(|last| vec![Dim::from("N"), self.locations.into(), last.into()]).into()
    }

    fn pair(&self, fcos: &Fcos, opset: i64) -> Pair {
        fcos.pair(self.image, &self.shapes(), opset).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

fn given<'a>(parts: &'a [Vec<(&'static str, Tensor)>]) -> Vec<(&'static str, &'a Tensor)> {
    parts.iter().flatten().map(|(name, tensor)| (*name, tensor)).collect()
}

#[test]
fn losses_and_their_derivatives_are_those_of_torchvision() {
    let library = library();
    for case in torchvision::fixture().losses {
        for opset in [*detection::DETECTION_OPSETS.start(), 17, *detection::DETECTION_OPSETS.end()] {
            let loss = case.pair(&Fcos::default(), opset).loss;
            let parts = [case.heads(), case.annotations()];
            let found = Graph::open(&library, &loss).floats(&given(&parts), "loss");
            for (image, (found, expected)) in found.iter().zip(&case.losses).enumerate() {
                let error = (found - expected).abs() / expected.abs();
                assert!(error < LOSS, "{}, opset {opset}, image {image}: {found} instead of {expected}", case.name);
            }
            let along = of_inputs(&loss, &["cls", "reg", "ctr"], Target::Any).expect("every head has a derivative");
            let directions = case.directions();
            let tangents: Vec<(String, &Tensor)> =
                directions.iter().map(|(name, tensor)| (format!("{name}.tangent"), tensor)).collect();
            let mut inputs = given(&parts);
            inputs.extend(tangents.iter().map(|(name, tensor)| (name.as_str(), *tensor)));
            let found = Graph::open(&library, &along).floats(&inputs, "loss.tangent");
            for (image, (found, expected)) in found.iter().zip(&case.slopes).enumerate() {
                let error = (found - expected).abs() / expected.abs().max(1.0);
                assert!(error < SLOPE, "{}, opset {opset}, image {image}: {found} instead of {expected}", case.name);
            }
        }
    }
}

#[test]
fn detections_are_those_of_torchvision() {
    let library = library();
    for case in torchvision::fixture().losses {
        for opset in [*detection::DETECTION_OPSETS.start(), *detection::DETECTION_OPSETS.end()] {
            let decode = case.pair(&Fcos::default(), opset).decode;
            let found = Graph::open(&library, &decode).run(&given(&[case.heads()]));
            torchvision::same(&case.name, &found, &case.detections);
            let (scores, labels) = (found["scores"].to_float64().expect("floats"), found["labels"].to_vec::<i64>());
            let (labels, classes) = (labels.expect("labels"), found["classes"].to_vec::<i64>().expect("classes"));
            for ((score, label), class) in scores.iter().zip(&labels).zip(&classes) {
                assert_eq!(*label, if *score > f64::from(0.1f32) { *class } else { -1 });
            }
            let believed: Vec<i64> = labels
                .chunks(labels.len() / case.losses.len())
                .map(|of| of.iter().filter(|label| **label >= 0).count() as i64)
                .collect();
            assert_eq!(found["found"].to_vec::<i64>().expect("counts"), believed);
        }
    }
}

/// `-log IoU` and `1 - GIoU` of the boxes alone, from the corners, in float64: the two losses of one image differ by just that.
#[test]
fn the_loss_of_the_paper_is_the_logarithm_of_the_overlap() {
    let library = library();
    let cases = torchvision::fixture().losses;
    let case = &cases[2];
    let of = |box_loss| {
        let loss = case.pair(&Fcos { box_loss, ..Fcos::default() }, 17).loss;
        Graph::open(&library, &loss).floats(&given(&[case.heads(), case.annotations()]), "loss")
    };
    let (giou, iou) = (of(BoxLoss::Giou), of(BoxLoss::Iou));
    let reg = case.heads()[1].1.to_float64().expect("floats");
    for image in 0..case.losses.len() {
        let (mut difference, mut count) = (0.0, 0);
        let mut location = 0;
        for stride in [8.0f64, 16.0] {
            let side = (64.0 / stride) as usize;
            for y in 0..side {
                for x in 0..side {
                    let place = [x as f64 * stride, y as f64 * stride];
                    if let Some(known) = nearest(case, image, place, stride) {
                        let at = 4 * (image * case.locations + location);
                        let believed: Vec<f64> = (0..4).map(|c| reg[at + c] * stride).collect();
                        difference += apart(&believed, &known);
                        count += 1;
                    }
                    location += 1;
                }
            }
        }
        let expected = difference / f64::from(count.max(1));
        assert!((iou[image] - giou[image] - expected).abs() < 1e-4, "image {image}: {}", iou[image] - giou[image]);
        assert!(count > 0 || image == 0);
    }
}

/// Distances of a place from the sides of the smallest box that it is for: section 3.1 and 3.2 of the paper for strides 8 and 16.
fn nearest(case: &Heads, image: usize, [x, y]: [f64; 2], stride: f64) -> Option<[f64; 4]> {
    let fitting = |n: &usize| {
        let [l, t, r, b] = case.boxes[image][*n].map(f64::from);
        let sides = [x - l, y - t, r - x, b - y];
        let (least, most) = sides.iter().fold((f64::MAX, f64::MIN), |(a, b), s| (a.min(*s), b.max(*s)));
        let off = ((l + r) / 2.0 - x).abs().max(((t + b) / 2.0 - y).abs());
        let for_level = if stride == 8.0 { most < 64.0 } else { most > 64.0 };
        (case.labels[image][*n] >= 0 && least > 0.0 && off < 1.5 * stride && for_level)
            .then_some(((r - l) * (b - t), sides))
    };
    let found = (0..case.labels[image].len()).filter_map(|n| fitting(&n));
    found.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, sides)| sides)
}

/// `-log IoU - (1 - GIoU)` of two boxes around one place.
fn apart(a: &[f64], b: &[f64; 4]) -> f64 {
    let area = |s: &[f64]| (s[0] + s[2]) * (s[1] + s[3]);
    let least: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.min(*b)).collect();
    let most: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.max(*b)).collect();
    let (both, around) = (area(&least), area(&most));
    let either = area(a) + area(b) - both;
    let iou = both / either;
    -iou.ln() - (1.0 - (iou - (around - either) / around))
}
