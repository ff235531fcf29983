//! A real Label Studio on loopback: it takes our tasks, orders them, shows their images, and its export comes back
//! (`make test-label-studio`).

use super::boxes;
use super::place::Place;
use super::tools::{CONFIG, stdout, tasks};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "../fixtures/label_studio.rs"]
mod label_studio_server;
use label_studio_server::{TOKEN, program, start};

#[test]
#[ignore = "needs Label Studio: make test-label-studio"]
fn a_real_label_studio_takes_our_tasks_and_its_export_comes_back() {
    let place = Place::new();
    let truth: BTreeMap<String, String> = place.flat();
    place.configure(CONFIG);
    stdout(&mut place.run("out", &[]));
    let first = tasks(&place, 0);
    let rows = first.iter().map(|task| {
        let id = task["data"]["id"].as_str().expect("an id").to_owned();
        format!("flat/{id},{},{id}\n", truth[&id])
    });
    fs::write(place.path("all.csv"), format!("path,label,id\n{}", rows.collect::<String>())).expect("written");
    stdout(&mut place.isal(&["label", "import", "out", "all.csv"]));
    stdout(&mut place.run("out", &[]));
    let sent = tasks(&place, 1);

    let saw = annotated(&place);
    assert_eq!((&saw["tasks"], &saw["predictions"]), (&sent.len().into(), &sent.len().into()));
    let order: Vec<Value> = sent.iter().map(|task| task["data"]["id"].clone()).collect();
    assert_eq!(saw["order"], Value::Array(order), "by the score of predictions, the most useful first");
    assert_eq!(saw["first_image"], serde_json::json!(b"\x89PNG\r\n\x1a\n"), "it shows the image");

    let said = stdout(&mut place.isal(&["label", "import", "out", "export.json"]));
    let all = sent.len();
    assert!(said.contains(&format!("{} of {all} images labelled, 1 skipped", all - 2)), "{said}");
    let status = stdout(&mut place.isal(&["label", "status", "out", "--json"]));
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["missing"], serde_json::json!([sent[2]["data"]["id"]]), "the one that nobody annotated");
}

#[test]
#[ignore = "needs Label Studio: make test-label-studio"]
fn a_real_label_studio_takes_our_boxes_and_its_export_comes_back() {
    let (place, truth) = boxes::place();
    stdout(&mut place.run("out", &[]));
    let first: String = boxes::asked(&place, 0).iter().map(|id| boxes::line(id, &truth[id])).collect();
    fs::write(place.path("all.jsonl"), first).expect("written");
    stdout(&mut place.isal(&["label", "import", "out", "all.jsonl"]));
    stdout(&mut place.run("out", &[]));
    let sent = tasks(&place, 1);
    let saw = annotated(&place);
    assert_eq!((&saw["tasks"], &saw["predictions"]), (&sent.len().into(), &sent.len().into()));
    let order: Vec<Value> = sent.iter().map(|task| task["data"]["id"].clone()).collect();
    assert_eq!(saw["order"], Value::Array(order), "by the score of predictions, the most useful first");

    let said = stdout(&mut place.isal(&["label", "import", "out", "export.json"]));
    assert!(said.contains("4 of 6 images labelled (") && said.contains("1 skipped"), "{said}");
    let given = place.json("out/round-01/labels.json");
    let shown = place.json("out/round-01/to-label.coco.json");
    let mut compared = 0;
    for (n, task) in sent.iter().enumerate() {
        let label = &given["labels"][task["data"]["id"].as_str().expect("an id")];
        let of_image = |marked: &&Value| marked["image_id"] == n + 1;
        let boxes = shown["annotations"].as_array().expect("a list").iter().filter(of_image);
        let corners = boxes.map(|marked| {
            let [x, y, w, h] = [0, 1, 2, 3].map(|side| marked["bbox"][side].as_f64().expect("a number"));
            [x, y, x + w, y + h]
        });
        let expected: Vec<[f64; 4]> = corners.collect();
        match n {
            1 => assert_eq!(*label, "skip"),
            2 => assert!(label.is_null(), "nobody has looked: {label}"),
            3 => assert_eq!(label["boxes"], serde_json::json!([]), "somebody has looked, and it shows nothing"),
            _ => {
                let found: Vec<[f64; 4]> = serde_json::from_value(label["boxes"].clone()).expect("boxes");
                assert_eq!(found.len(), expected.len(), "{task}");
                let near = |(a, b): (&f64, &f64)| (a - b).abs() < 2e-6;
                assert!(found.iter().flatten().zip(expected.iter().flatten()).all(near), "{found:?}, {expected:?}");
                compared += found.len();
            }
        }
    }
    assert!(compared > 3, "{compared} boxes came back");
}

/// A real Label Studio takes the tasks of the second round, somebody annotates them, and the export is `export.json`.
fn annotated(place: &Place) -> Value {
    let data = tempfile::tempdir().expect("a temporary folder");
    let (_server, url) = start(data.path());
    let round = place.path("out/round-01");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rounds/label_studio.py");
    let output = Command::new(program("python"))
        .arg(script)
        .args([url.as_str(), TOKEN])
        .args([
            round.join("to-label.label-studio.json"),
            round.join("to-label.label-studio.xml"),
            round.join("to-label"),
        ])
        .arg(place.path("export.json"))
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
