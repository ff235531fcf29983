//! `isal run` as a user runs it, on real digits, with the real plugin and ONNX Runtime.

#[path = "../score_pool/digits.rs"]
mod digits;

use assert_cmd::Command;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// A folder with a LeNet, 40 reference, 100 test and 300 pool digits, and a run over them of a few seconds.
struct Place(tempfile::TempDir);

const CONFIG: &str = r#"
seed = 5
rounds = 3
model = "model.onnx"
data = { pool = "pool", reference = "reference", test = "test" }
labels = { initial = 20, balanced = true, budget = 0.05 }
train = { epochs = 4, batch-size = 10 }
select = { strategy = "influence" }
"#;

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a temporary folder"));
        for (name, skip, each) in [("reference", 0, 4), ("test", 4, 10), ("pool", 14, 30)] {
            digits::write(&place.path(name), skip, each);
        }
        fs::write(place.path("run.toml"), CONFIG).expect("written");
        place.isal(&["model", "new", "lenet", "--seed", "3", "-o", "model.onnx"]).assert().success();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn isal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    /// `isal run` on one thread, so that sums are in one order.
    fn run(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.isal(&["run", "run.toml", "--threads", "1", "-o", out]);
        command.args(more);
        command
    }

    fn start(&self, out: &str) -> Child {
        std::process::Command::new(assert_cmd::cargo::cargo_bin!("isal"))
            .current_dir(self.0.path())
            .args(["run", "run.toml", "--threads", "1", "-o", out])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts")
    }

    fn json(&self, name: &str) -> Value {
        let bytes = fs::read(self.path(name)).unwrap_or_else(|e| panic!("`{name}`: {e}"));
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Ids labelled for each round.
    fn labeled(&self, out: &str) -> Vec<Vec<String>> {
        let ids = |round: usize| {
            let file = self.json(&format!("{out}/round-{round:02}/labeled.json"));
            serde_json::from_value(file["ids"].clone()).expect("a list of ids")
        };
        (0..3).map(ids).collect()
    }

    /// All that an unbroken and a broken run must have alike; times are not among it.
    fn made(&self, out: &str) -> Vec<(String, Vec<u8>)> {
        let mut made: Vec<(String, Vec<u8>)> = Vec::new();
        for round in 0..3 {
            for file in ["labeled.json", "trained/model.onnx", "scored/selection.json"] {
                let name = format!("round-{round:02}/{file}");
                let bytes = fs::read(self.path(out).join(&name));
                if let Ok(bytes) = bytes {
                    made.push((name, bytes));
                }
            }
        }
        let mut curve = self.json(&format!("{out}/curve.json"));
        for round in curve["ended"].as_array_mut().expect("rounds") {
            let round = round.as_object_mut().expect("a round");
            round.retain(|key, _| !key.ends_with("_s"));
        }
        made.push(("curve.json without times".to_owned(), curve.to_string().into_bytes()));
        made
    }
}

fn stderr(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn every_round_labels_what_was_selected_before_and_trains_on_all_of_it() {
    let place = Place::new();
    place.run("out", &[]).assert().success();
    let labeled = place.labeled("out");
    assert_eq!(labeled.iter().map(Vec::len).collect::<Vec<_>>(), [20, 15, 15], "a share of 0.05 of 300 is 15");
    let class = |id: &String| id.split('/').next().expect("a class").to_owned();
    for digit in 0..10 {
        let of = labeled[0].iter().filter(|id| class(id) == digit.to_string()).count();
        assert_eq!(of, 2, "balanced");
    }
    let all: HashSet<&String> = labeled.iter().flatten().collect();
    assert_eq!(all.len(), 50, "no image is labelled twice");
    for round in 0..2 {
        let selection = place.json(&format!("out/round-{round:02}/scored/selection.json"));
        let selected: Vec<&str> = selection["selected"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|s| s["id"].as_str().expect("an id"))
            .collect();
        assert_eq!(selected, labeled[round + 1], "round {round}");
        let influence = selection["selected"][0]["influence"].as_f64().expect("an influence");
        assert!(influence < 0.0, "the most useful image is expected to lower the loss");
    }
    let curve = place.json("out/curve.json");
    let ended = curve["ended"].as_array().expect("rounds");
    assert_eq!(ended.iter().map(|r| r["labeled"].as_u64().expect("a number")).collect::<Vec<_>>(), [20, 35, 50]);
    for (round, ended) in ended.iter().enumerate() {
        let metrics = place.json(&format!("out/round-{round:02}/trained/metrics.json"));
        assert_eq!(metrics["epochs"][3]["test"]["accuracy"], ended["test_accuracy"]);
        assert!(metrics["epochs"][2]["test"].is_null(), "the test images are looked at after the last epoch alone");
    }
    assert!(fs::read_to_string(place.path("out/curve.svg")).expect("a drawing").starts_with("<svg"));

    let status = place.isal(&["run", "--status", "out", "--json"]).output().expect("it runs");
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["ended"], curve["ended"]);
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_bytes_of_an_unbroken_one() {
    let place = Place::new();
    place.run("whole", &[]).assert().success();
    let whole = place.made("whole");
    assert_eq!(whole.len(), 3 + 3 + 2 + 1);
    // Later and later, until one gets through: kills hit training, scoring and the steps between.
    let mut kills = 0;
    for step in 1_u64.. {
        let mut child = place.start("broken");
        std::thread::sleep(Duration::from_millis(60 * step));
        match child.try_wait().expect("a state") {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => {
                child.kill().expect("killed");
                child.wait().expect("gone");
                kills += 1;
            }
        }
    }
    assert!(kills >= 3, "{kills} kills");
    for (broken, whole) in place.made("broken").into_iter().zip(whole) {
        assert_eq!(broken.0, whole.0);
        assert!(broken.1 == whole.1, "{} differs after {kills} kills", whole.0);
    }
}

#[test]
fn another_seed_is_another_run_and_needs_another_folder() {
    let place = Place::new();
    let random = ["--set", "select.strategy=random", "--set", "labels.balanced=false", "--set", "rounds=2"];
    place.run("out", &random).assert().success();
    let said = stderr(place.run("out", &random).args(["--set", "seed=6"]), 2);
    assert!(said.contains("holds another run") && said.contains("configuration"), "{said}");
    place.run("other", &random).args(["--set", "seed=6"]).assert().success();
    let first = |out: &str| place.json(&format!("{out}/round-00/labeled.json"))["ids"].clone();
    assert_ne!(first("out"), first("other"));
    fs::write(place.path("model.onnx"), fs::read(place.path("out/round-00/trained/model.onnx")).expect("a model"))
        .expect("written");
    let said = stderr(&mut place.run("out", &random), 2);
    assert!(said.contains("its model is not the one given"), "{said}");
}

#[test]
fn what_makes_no_run_is_refused_before_anything_is_trained() {
    let place = Place::new();
    let copy = |from: &str, to: &str| fs::copy(place.path(from), place.path(to)).expect("copied");
    let shared: Vec<String> = list(&place.path("test/7"));
    copy(&format!("test/7/{}", shared[0]), "reference/7/also.png");
    for (setting, expected) in [
        ("labels.budget=200", "label 420 images in all, and the pool holds 300"),
        ("labels.initial=0", "labels.initial"),
        ("train.momentum=1.5", "train.momentum"),
        ("train.epoch=3", "epoch"),
        ("select.strategy=guess", "guess"),
        ("data.pool=nowhere", "nowhere"),
        ("rounds=0", "rounds"),
        // The picture that reference and test share.
        ("seed=1", "also.png"),
    ] {
        let said = stderr(&mut place.run("out", &["--set", setting]), 2);
        assert!(said.contains(expected), "{setting}: {said}");
    }
    let text = CONFIG.replace(" reference = \"reference\",", "");
    fs::write(place.path("run.toml"), text).expect("written");
    let said = stderr(&mut place.run("out", &[]), 2);
    assert!(said.contains("needs data.reference"), "{said}");
    assert!(!place.path("out/round-00").exists());
    let said = stderr(&mut place.isal(&["run", "--status", "out"]), 2);
    assert!(said.contains("holds no run"), "{said}");
}

fn list(folder: &Path) -> Vec<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = fs::read_dir(folder).expect("listed").map(name).collect();
    names.sort();
    names
}
