//! What torchvision says, and how detections are compared with its own.

use isal_onnx::Tensor;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
pub struct Fixture {
    pub losses: Vec<Heads>,
    pub networks: Vec<Network>,
    pub yolo: Vec<Raw>,
}

/// Raw values of YOLO's heads drawn at random, and what they cost.
#[derive(Deserialize)]
pub struct Raw {
    pub name: String,
    pub image: [usize; 2],
    pub classes: usize,
    pub locations: usize,
    pub bins: usize,
    pub boxes: Vec<Vec<[f32; 4]>>,
    pub labels: Vec<Vec<i64>>,
    pub losses: Vec<f64>,
    pub slopes: Vec<f64>,
}

/// Raw heads drawn at random, and what they cost.
#[derive(Deserialize)]
pub struct Heads {
    pub name: String,
    pub image: [usize; 2],
    pub classes: usize,
    pub locations: usize,
    pub scale: f32,
    pub boxes: Vec<Vec<[f32; 4]>>,
    pub labels: Vec<Vec<i64>>,
    pub losses: Vec<f64>,
    pub slopes: Vec<f64>,
    pub detections: Vec<Detections>,
}

#[derive(Deserialize)]
pub struct Network {
    pub name: String,
    pub input: [usize; 3],
    pub classes: usize,
    pub shapes: BTreeMap<String, Vec<usize>>,
    pub trainable: usize,
    pub heads: [Vec<f64>; 3],
    pub detections: Vec<Detections>,
}

/// Of one image.
#[derive(Deserialize)]
pub struct Detections {
    pub boxes: Vec<f64>,
    pub scores: Vec<f64>,
    pub labels: Vec<f64>,
}

pub fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/detection.json")).expect("JSON")
}

/// Holds the detections of a decode graph against torchvision's: as many, each of the same class, its score within 1e-4 and
/// its box within 0.01 pixel. Those that score alike may stand in another order, and of those that score like the last one others may
/// have been taken.
pub fn same(what: &str, found: &BTreeMap<String, Tensor>, expected: &[Detections]) {
    let floats = |name: &str| found[name].to_float64().expect("floats");
    let (boxes, scores) = (floats("boxes"), floats("scores"));
    let classes: Vec<i64> = found["classes"].to_vec().expect("whole numbers");
    let most = classes.len() / expected.len();
    for (image, expected) in expected.iter().enumerate() {
        let of = image * most..(image + 1) * most;
        let count = classes[of.clone()].iter().filter(|class| **class >= 0).count();
        assert_eq!(count, expected.scores.len(), "{what}, image {image}");
        let last = expected.scores.last().copied().unwrap_or(0.0);
        let mut left: BTreeSet<usize> = (0..count).collect();
        for n in of.start..of.start + count {
            let like = |m: usize| {
                let far = (0..4).map(|c| (boxes[4 * n + c] - expected.boxes[4 * m + c]).abs()).fold(0.0, f64::max);
                classes[n] == expected.labels[m] as i64 && (scores[n] - expected.scores[m]).abs() < 1e-4 && far < 0.01
            };
            let twin = left.iter().copied().find(|m| like(*m));
            let found = (classes[n], scores[n], &boxes[4 * n..4 * n + 4]);
            assert!(twin.is_some() || scores[n] < last + 1e-4, "{what}, image {image}: torchvision has no {found:?}");
            twin.map(|m| left.remove(&m));
        }
    }
}
