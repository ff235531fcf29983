//! A study on real digits: killed, carried on, and shared by two processes.

use super::{Place, digits};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const STUDY: &str = r#"
seeds = [4, 9]
[run]
rounds = 2
model = "model.onnx"
data = { pool = "pool", test = "test" }
labels = { initial = 20, balanced = true, budget = 15 }
train = { epochs = 2, batch-size = 10 }
[[arm]]
name = "random"
set = { select.strategy = "random" }
[[arm]]
name = "margin"
set = { select.strategy = "margin" }
[[data]]
name = "digits"
"#;

const ARGUMENTS: [&str; 5] = ["study", "study.toml", "--threads", "1", "-o"];

fn place() -> Place {
    let place = Place::new();
    for (name, skip, each) in [("test", 0, 5), ("pool", 5, 10)] {
        digits::write(&place.path(name), skip, each);
    }
    fs::write(place.path("study.toml"), STUDY).expect("written");
    place.isal(&["model", "new", "lenet", "--seed", "3", "-o", "model.onnx"]).assert().success();
    place
}

fn start(place: &Place, out: &str) -> Child {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("isal"))
        .current_dir(place.0.path())
        .args(ARGUMENTS)
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(120), "`{}` does not come", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The study's numbers without times and folders.
fn numbers(place: &Place, out: &str) -> Value {
    let bytes = fs::read(place.path(out).join("study.json")).expect("a report");
    let mut report: Value = serde_json::from_slice(&bytes).expect("JSON");
    for arm in report["settings"][0]["comparison"]["arms"].as_array_mut().expect("arms") {
        arm.as_object_mut().expect("an arm").retain(|key, _| !key.ends_with("_s") && key != "folders");
    }
    report
}

#[test]
fn a_study_that_is_killed_or_shared_ends_as_an_unbroken_one() {
    let place = place();
    place.isal(&ARGUMENTS).arg("whole").assert().success();
    let whole = numbers(&place, "whole");
    assert_eq!((&whole["settings"][0]["name"], &whole["settings"][0]["ended"]), (&"digits".into(), &4.into()));
    let arms = whole["settings"][0]["comparison"]["arms"].as_array().expect("arms");
    assert_eq!(arms.len(), 2);
    assert!(arms.iter().all(|arm| arm["seeds"] == serde_json::json!([4, 9])));
    assert!(fs::read_to_string(place.path("whole/study.html")).expect("a page").contains("over random"));

    // Both arms of a seed begin with the same images, and the large files of finished runs are gone.
    let run = |out: &str, arm: &str, seed: &str| place.path(&format!("{out}/digits/{arm}/seed-{seed}"));
    let first =
        |arm: &str, seed: &str| fs::read(run("whole", arm, seed).join("round-00/labeled.json")).expect("labels");
    assert_eq!(first("random", "04"), first("margin", "04"));
    assert_ne!(first("random", "04"), first("random", "09"));
    let trained = run("whole", "margin", "09").join("round-00/trained");
    assert!(trained.join("metrics.json").is_file() && !trained.join("model.onnx").exists());
    assert!(run("whole", "margin", "09").join("round-00/scored/selection.json").is_file());

    // Killed in its second run.
    let mut child = start(&place, "broken");
    wait_for(&run("broken", "margin", "04").join("round-00/labeled.json"));
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(!place.path("broken/study.json").exists());
    let report = place.json(&["study", "study.toml", "-o", "broken", "--report-only"]);
    assert!(report["settings"][0]["ended"].as_u64().expect("a number") < 4, "{report}");
    // Carried on by two processes.
    let children = [start(&place, "broken"), start(&place, "broken")];
    for mut child in children {
        assert!(child.wait().expect("a state").success());
    }
    let broken = numbers(&place, "broken");
    assert_eq!(broken, whole);

    // Another form of the study needs another folder.
    fs::write(place.path("study.toml"), STUDY.replace("budget = 15", "budget = 16")).expect("written");
    for more in [&[][..], &["--report-only"]] {
        let said = place.refused(&[&["study", "study.toml", "-o", "whole"], more].concat());
        assert!(said.contains("holds another run") && said.contains("configuration"), "{said}");
    }
}

#[test]
fn a_run_that_fails_is_named_and_the_others_go_on() {
    let place = place();
    let data = "[[data]]\nname = \"missing\"\nset = { data.pool = \"nowhere\" }\n";
    fs::write(place.path("study.toml"), format!("{STUDY}{data}")).expect("written");
    let said = place.refused(&["study", "study.toml", "--threads", "1", "-o", "out", "--keep"]);
    assert!(said.contains("4 of 8 runs failed") && said.contains("nowhere"), "{said}");
    let report = numbers(&place, "out");
    assert_eq!((&report["settings"][0]["ended"], &report["settings"][1]["ended"]), (&4.into(), &0.into()));
    assert!(place.path("out/digits/random/seed-04/round-00/trained/model.onnx").is_file(), "kept");
}
