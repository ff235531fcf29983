//! A real Label Studio on loopback: it takes our tasks, orders them, shows their images, and its export comes back
//! (`make test-label-studio`).

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
    let saw: Value = serde_json::from_slice(&output.stdout).expect("JSON");
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
