//! Figures of detections against those of pycocotools (`tests/fixtures/detection_figures.py`).

use isal::families::{Figures, FoundBox, KnownBox, OfImage};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Deserialize)]
struct Known {
    r#box: [f64; 4],
    class: usize,
    area: f64,
    crowd: bool,
    difficult: bool,
}

#[derive(Deserialize)]
struct Found {
    r#box: [f64; 4],
    class: usize,
    score: f64,
}

#[derive(Deserialize)]
struct Image {
    known: Vec<Known>,
    found: Vec<Found>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    images: Vec<Image>,
    coco: [f64; 12],
    voc: BTreeMap<usize, f64>,
}

fn corners([left, top, width, height]: [f64; 4]) -> [f64; 4] {
    [left, top, left + width, top + height]
}

fn boxes(image: &Image) -> OfImage {
    let known = image.known.iter().map(|of| KnownBox {
        corners: corners(of.r#box),
        class: of.class,
        area: of.area,
        crowd: of.crowd,
        difficult: of.difficult,
    });
    let found = image.found.iter().map(|of| FoundBox { corners: corners(of.r#box), class: of.class, score: of.score });
    (known.collect(), found.collect())
}

/// Every figure of every case, to the last digits of a double's sums.
fn hold(path: &Path) {
    const TOLERANCE: f64 = 1e-9;
    let text = std::fs::read_to_string(path).expect("cases");
    let (mut cases, mut wrong) = (0, Vec::new());
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).expect("a case");
        let images: Vec<OfImage> = case.images.iter().map(boxes).collect();
        let figures = Figures::of(&images);
        let found = figures.coco.map(|figure| figure.unwrap_or(-1.0));
        let off = found.iter().zip(&case.coco).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if off > TOLERANCE {
            wrong.push(format!("{}: {found:?}, expected {:?}", case.name, case.coco));
        }
        let voc: BTreeMap<usize, f64> = figures.voc.into_iter().collect();
        let same = voc.keys().eq(case.voc.keys());
        if !same || voc.iter().any(|(class, average)| (average - case.voc[class]).abs() > TOLERANCE) {
            wrong.push(format!("{}: VOC {voc:?}, expected {:?}", case.name, case.voc));
        }
        cases += 1;
    }
    assert!(cases > 10 && wrong.is_empty(), "{cases} cases; {}", wrong.join("\n"));
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

#[test]
fn figures_are_those_of_pycocotools() {
    hold(&fixtures().join("detection/figures.jsonl"));
}

#[test]
#[ignore = "needs pycocotools: `make test-coco`"]
fn figures_of_other_draws_are_those_of_pycocotools() {
    let python = std::env::var("COCO_PYTHON").unwrap_or_else(|_| ".toolchain/coco/bin/python".to_owned());
    let folder = tempfile::tempdir().expect("a folder");
    for seed in 1..=20 {
        let path = folder.path().join(format!("{seed}.jsonl"));
        let script = fixtures().join("detection_figures.py");
        let done = Command::new(&python).arg(script).arg(&path).arg(seed.to_string()).status().expect("Python");
        assert!(done.success(), "seed {seed}");
        hold(&path);
    }
}
