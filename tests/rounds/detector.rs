//! Rounds of a detector with a loss of its own: measured on the test images by its figure, which `isal score pool` finds as well.

use crate::place::Place;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

const SIDE: u32 = 64;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks").join(name)
}

/// Scenes of torchvision's FCOS (`tests/fixtures/detectors.py`) in a folder, with what they show in a list beside them.
fn scenes(place: &Place, folder: &str, numbers: Range<u32>) {
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

#[test]
fn rounds_of_a_detector_are_measured_by_its_figure() {
    let place = Place::new();
    for (folder, numbers) in [("scenes", 0..30), ("checked", 30..40), ("unseen", 40..60)] {
        scenes(&place, folder, numbers);
    }
    for name in ["model", "loss", "decode"] {
        let file = if name == "model" { "detector.onnx".to_owned() } else { format!("{name}.onnx") };
        fs::copy(fixture(&format!("fcos.{name}.onnx")), place.path(&file)).expect("copied");
    }
    fs::write(
        place.path("detector.toml"),
        "[preprocess]\nrange = \"unit\"\n[task]\nloss = \"loss.onnx\"\ndecode = \"decode.onnx\"\n",
    )
    .expect("written");
    place.configure(
        r#"
rounds = 2
model = "detector.onnx"
data = { pool = "scenes/list.jsonl", reference = "checked/list.jsonl", test = "unseen/list.jsonl" }
labels = { initial = 10, budget = 5 }
train = { epochs = 1, batch-size = 5, learning-rate = 1e-5, warm-up = 0.0 }
select = { strategy = "least-confidence" }
"#,
    );
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
