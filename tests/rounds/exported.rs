//! Rounds of a detector that a program trains and exports as ultralytics' package does: recognised by its structure, without a table.

use super::boxes::{Boxes, line};
use super::detector::scenes;
use super::place::Place;
use super::tools::stdout;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fixtures/exported_detector.rs"]
mod exported_detector;
use exported_detector::exported;

/// Scenes with their boxes as lists of names, which say what the classes are.
fn place() -> Place {
    let place = Place::new();
    for (folder, numbers) in [("pool-of-scenes", 0..30), ("checked", 30..40), ("unseen", 40..60)] {
        scenes(&place, folder, numbers);
    }
    place
}

const CONFIG: &str = r#"
rounds = 2
data = { pool = "pool-of-scenes/list.jsonl", reference = "checked/list.jsonl", test = "unseen/list.jsonl", classes = ["disc", "square", "triangle"] }
labels = { initial = 10, budget = 5, kind = "boxes" }
select = { strategy = "influence" }
influence = { scope = "head" }
"#;

#[test]
fn an_exported_detector_is_taken_measured_and_scored_without_a_table() {
    let place = place();
    exported().write(place.path("exported.onnx")).expect("written");
    let train = "train = { kind = \"command\", command = [\"sh\", \"-c\", \"cp exported.onnx $ISAL_MODEL\"] }";
    place.configure(&format!("{CONFIG}{train}"));
    stdout(&mut place.run("out", &[]));
    let curve = place.json("out/curve.json");
    assert_eq!(curve["ended"][1]["test_figure"]["measure"], "mAP");
    // The letterbox of the file, and the task of its structure, as `isal score pool` finds them.
    let table = fs::read_to_string(place.path("out/round-00/trained/model.toml")).expect("a table");
    assert!(table.contains("name = \"yolo\"") && table.contains("114"), "{table}");
    let scored = place.json("out/round-00/scored/run.json");
    let task = scored["provenance"]["task"].as_str().expect("a line");
    assert!(task.starts_with("yolo ("), "{task}");
    let more =
        ["--labeled", "out/round-00/lists/labeled.jsonl", "--reference", "checked/list.jsonl", "--scope", "head"];
    let pool =
        ["score", "pool", "--model", "exported.onnx", "--pool", "pool-of-scenes", "--budget", "5", "-o", "alone"];
    stdout(place.isal(&pool).args(more).args(["--threads", "1"]));
    let alone = place.json("alone/run.json");
    assert_eq!(alone["provenance"]["task"], scored["provenance"]["task"]);
    assert_eq!(alone["provenance"]["preprocessing"], scored["provenance"]["preprocessing"]);

    // As the model that a run starts from, too, whose lists people then fill.
    let people = CONFIG
        .replace("rounds = 2", "rounds = 2\nmodel = \"exported.onnx\"")
        .replace("pool-of-scenes/list.jsonl", "pool-of-scenes")
        .replace(", kind = \"boxes\"", "");
    fs::rename(place.path("pool-of-scenes/list.jsonl"), place.path("known.jsonl")).expect("moved");
    place.configure(&format!("{people}oracle = {{ kind = \"human\" }}\n{train}"));
    assert!(stdout(&mut place.run("people", &[])).contains("waiting for labels: 10 of the 10 images"));
    let list = fs::read_to_string(place.path("people/round-00/to-label.csv")).expect("a list");
    assert!(list.starts_with("path,boxes,labels,id\n"), "{list}");
}

/// The environment of `make test-yolo`, or the one that `FIXTURE_PYTHON` names.
fn python() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/yolo/bin/python");
    std::env::var_os("FIXTURE_PYTHON").map_or(own, PathBuf::from)
}

#[test]
#[ignore = "needs ultralytics: make test-yolo"]
fn people_label_and_ultralytics_trains() {
    let place = place();
    let list = fs::read_to_string(place.path("pool-of-scenes/list.jsonl")).expect("a list");
    let truth: BTreeMap<String, Boxes> = list.lines().map(named).collect();
    fs::remove_file(place.path("pool-of-scenes/list.jsonl")).expect("removed");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/train_ultralytics.py");
    let train = format!(
        "train = {{ kind = \"command\", command = [\"{}\", \"{}\", \"--epochs\", \"2\", \"--size\", \"64\", \"--batch\", \"8\"] }}",
        python().display(),
        script.display()
    );
    // Two epochs from scratch teach next to nothing, and influence refuses a model that hardly tells images apart.
    let people = CONFIG.replace("pool-of-scenes/list.jsonl", "pool-of-scenes");
    let people = people.replace("strategy = \"influence\"", "strategy = \"least-confidence\"");
    place.configure(&format!("{people}oracle = {{ kind = \"human\" }}\n{train}"));
    for round in 0..2 {
        assert!(stdout(&mut place.run("out", &[])).contains("waiting for labels"));
        let asked = fs::read_to_string(place.path(&format!("out/round-{round:02}/to-label.jsonl"))).expect("a list");
        let id = |text: &str| {
            let line: Value = serde_json::from_str(text).expect("JSON");
            line["id"].as_str().expect("an id").to_owned()
        };
        let given: String = asked.lines().map(id).map(|id| line(&id, &truth[&id])).collect();
        fs::write(place.path("given.jsonl"), given).expect("written");
        stdout(&mut place.isal(&["label", "import", "out", "given.jsonl"]));
    }
    assert!(stdout(&mut place.run("out", &[])).contains("2 of 2 rounds"));
    let curve = place.json("out/curve.json");
    assert_eq!(curve["ended"][1]["test_figure"]["measure"], "mAP");
    assert_eq!((&curve["ended"][0]["labeled"], &curve["ended"][1]["labeled"]), (&10.into(), &15.into()));
}

/// Id and boxes of a line whose classes are numbers.
fn named(text: &str) -> (String, Boxes) {
    let line: Value = serde_json::from_str(text).expect("JSON");
    let boxes: Vec<[f64; 4]> = serde_json::from_value(line["boxes"].clone()).expect("boxes");
    let labels: Vec<usize> = serde_json::from_value(line["labels"].clone()).expect("labels");
    let names = labels.into_iter().map(|label| ["disc", "square", "triangle"][label].to_owned());
    (line["path"].as_str().expect("a path").to_owned(), names.zip(boxes).collect())
}
