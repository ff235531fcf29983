//! Rounds of a detector with a loss of its own: measured on the test images by its figure, which `isal score pool` finds as well.

use crate::place::{Place, stderr};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub const SIDE: u32 = 64;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks").join(name)
}

/// Scenes of torchvision's FCOS (`tests/fixtures/detectors.py`) in a folder, with what they show in a list beside them.
pub fn scenes(place: &Place, folder: &str, numbers: Range<u32>) {
    let strip = image::open(fixture("fcos.scenes.jpg")).expect("a picture");
    let known = fs::read_to_string(fixture("fcos.jsonl")).expect("a list");
    fs::create_dir(place.path(folder)).expect("a folder");
    let mut list = String::new();
    for (n, line) in (0..).zip(known.lines()).filter(|(n, _)| numbers.contains(n)) {
        let scene = strip.crop_imm(0, n * SIDE, SIDE, SIDE).into_rgb8();
        scene.save(place.path(folder).join(format!("{n:02}.png"))).expect("a PNG");
        list += &format!("{{\"path\": \"{n:02}.png\", {}\n", line.trim_start_matches('{'));
    }
    fs::write(place.path(folder).join("list.jsonl"), list).expect("written");
}

/// `detector.onnx` with the table and the graphs of its task.
pub fn detector(place: &Place) {
    for name in ["model", "loss", "decode"] {
        let file = if name == "model" { "detector.onnx".to_owned() } else { format!("{name}.onnx") };
        fs::copy(fixture(&format!("fcos.{name}.onnx")), place.path(&file)).expect("copied");
    }
    fs::write(
        place.path("detector.toml"),
        "[preprocess]\nrange = \"unit\"\n[task]\nloss = \"loss.onnx\"\ndecode = \"decode.onnx\"\n",
    )
    .expect("written");
}

/// Scenes, the detector with a loss of its own, and a configuration that selects after one round.
fn scored_by(labels: &str) -> Place {
    let place = Place::new();
    for (folder, numbers) in [("scenes", 0..30), ("checked", 30..40), ("unseen", 40..60)] {
        scenes(&place, folder, numbers);
    }
    detector(&place);
    place.configure(&format!(
        r#"
rounds = 2
model = "detector.onnx"
data = {{ pool = "scenes/list.jsonl", reference = "checked/list.jsonl", test = "unseen/list.jsonl" }}
labels = {{ {labels} }}
train = {{ epochs = 1, batch-size = 5, learning-rate = 1e-5, warm-up = 0.0 }}
select = {{ strategy = "least-confidence" }}
"#
    ));
    place
}

#[test]
fn rounds_of_a_detector_are_measured_by_its_figure() {
    let place = scored_by("initial = 10, budget = 5");
    let output = place.run("out", &[]).output().expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("test mAP"), "{said}");
    let ended = place.json("out/curve.json")["ended"].clone();
    let scored = ["score", "pool", "--model", "out/round-01/trained/model.onnx", "--labeled", "unseen/list.jsonl"];
    let reference = ["--reference", "checked/list.jsonl", "--scope", "head", "--solver", "cg-fisher"];
    let rest = ["--pool", "scenes", "--budget", "5", "--threads", "1", "-o", "scored"];
    place.isal(&[&scored[..], &reference[..], &rest[..]].concat()).assert().success();
    let labelled = place.json("scored/run.json")["labelled"].clone();
    let (found, expected) = (&ended[1]["test_figure"], labelled["value"].as_f64().expect("a number"));
    assert_eq!((&found["measure"], &labelled["measure"]), (&"mAP".into(), &"mAP".into()));
    assert!(ended[1]["test_accuracy"].is_null());
    assert!((found["value"].as_f64().expect("a number") - expected).abs() < 1e-6, "{found}, {expected}");
    // The detector was trained before.
    assert!(expected > 0.3, "{expected}");
}

/// Boxes of each image of the pool, by its id.
fn boxes(place: &Place) -> HashMap<String, u64> {
    let list = fs::read_to_string(place.path("scenes/list.jsonl")).expect("a list");
    let image = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        (line["path"].as_str().expect("a path").to_owned(), line["boxes"].as_array().expect("boxes").len() as u64)
    };
    list.lines().map(image).collect()
}

#[test]
fn a_budget_in_boxes_is_spent_image_after_image_in_the_order_of_selection() {
    let place = scored_by("initial = 10, budget = 9, budget-in = \"boxes\"");
    place.run("out", &[]).assert().success();
    let boxes = boxes(&place);
    let count = |ids: &[String]| ids.iter().map(|id| boxes[id]).collect::<Vec<u64>>();
    let labeled: Vec<Vec<String>> = (0..2)
        .map(|round| {
            let labeled = place.json(&format!("out/round-{round:02}/labeled.json"));
            serde_json::from_value(labeled["ids"].clone()).expect("ids")
        })
        .collect();
    let ended = place.json("out/curve.json")["ended"].clone();
    assert_eq!(ended[0]["boxes"], count(&labeled[0]).iter().sum::<u64>());
    assert_eq!(ended[1]["boxes"], labeled.iter().flat_map(|ids| count(ids)).sum::<u64>());
    assert_eq!(ended[1]["labeled"], 10 + labeled[1].len());
    // The first images of the order whose boxes, one at least each, come to nine: without the last they do not.
    let selection = place.json("out/round-00/scored/selection.json");
    let selected = selection["selected"].as_array().expect("a list").iter();
    let order: Vec<String> = selected.map(|image| image["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(labeled[1], order[..labeled[1].len()]);
    let costs: Vec<u64> = count(&labeled[1]).into_iter().map(|boxes| boxes.max(1)).collect();
    let (last, others) = costs.split_last().expect("images");
    let others: u64 = others.iter().sum();
    assert!(others < 9 && others + last >= 9, "{costs:?}");

    for (labels, expected) in [
        ("labels.budget=0.1", "takes a number of boxes"),
        ("labels.budget=100000", "the pool holds"),
        ("oracle.kind=human", "whose boxes are known"),
    ] {
        let said = stderr(&mut place.run("other", &["--set", labels]), 2);
        assert!(said.contains(expected), "{labels}: {said}");
    }
}

#[test]
fn the_boxes_that_move_most_under_noise_come_first_whatever_the_batch() {
    let place = scored_by("initial = 10, budget = 5");
    let selected = |strategy: &str, batch: &str| {
        let out = format!("{strategy}-{batch}");
        let what = ["score", "pool", "--model", "detector.onnx", "--labeled", "checked/list.jsonl", "--pool", "scenes"];
        let how = ["--strategy", strategy, "--batch-size", batch, "--budget", "30", "--threads", "1", "-o", &out];
        place.isal(&[&what[..], &how[..]].concat()).assert().success();
        place.json(&format!("{out}/selection.json"))["selected"].as_array().expect("a list").clone()
    };
    let number = |image: &Value, name: &str| image[name].as_f64().expect("a number");
    let first = selected("localisation-stability", "4");
    let stable: Vec<f64> = first.iter().map(|image| number(image, "localisation_stability")).collect();
    assert_eq!(stable.len(), 30);
    assert!(stable.is_sorted() && stable[0] < 0.95 && stable[0] < stable[29], "{stable:?}");
    assert!(stable.iter().all(|stable| (0.0..=1.0).contains(stable)), "{stable:?}");
    // Sums of a batch of another size differ by rounding, which moves no box by much.
    for (one, other) in first.iter().zip(selected("localisation-stability", "9")) {
        let apart = number(one, "localisation_stability") - number(&other, "localisation_stability");
        assert!(apart.abs() < 1e-3, "{one} {other}");
    }
    let both = selected("localisation-stability-confidence", "4");
    let unsure: Vec<f64> = both.iter().map(|image| number(image, "unsure_and_unstable")).collect();
    assert!(unsure.is_sorted_by(|a, b| a >= b) && unsure.iter().all(|x| (-1.0..=1.0).contains(x)), "{unsure:?}");
}
