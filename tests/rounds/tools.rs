//! Runs whose lists go to annotation tools, and whose labels come from their exports.

use super::place::{Place, stderr};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

pub const CONFIG: &str = r#"
seed = 5
rounds = 3
model = "model.onnx"
data = { pool = "flat", test = "test" }
labels = { initial = 20, budget = 0.05 }
train = { epochs = 2, batch-size = 10 }
select = { strategy = "margin" }
oracle = { kind = "human", forms = ["label-studio", "cvat"] }
"#;

pub fn stdout(command: &mut assert_cmd::Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn tasks(place: &Place, round: usize) -> Vec<Value> {
    let tasks = place.json(&format!("out/round-{round:02}/to-label.label-studio.json"));
    tasks.as_array().expect("a list").clone()
}

fn id(task: &Value) -> &str {
    task["data"]["id"].as_str().expect("an id")
}

/// A task as Label Studio exports it, with the choices of each annotator.
fn exported(task: &Value, choices: &[&str]) -> Value {
    let annotation = |choice: &&str| {
        let result = json!({ "value": { "choices": [choice] }, "id": "0y3Qh0BqYE", "from_name": "label", "to_name": "image",
            "type": "choices", "origin": "manual" });
        json!({ "completed_by": 1, "result": [result], "was_cancelled": false, "ground_truth": false })
    };
    json!({ "id": 1, "annotations": choices.iter().map(annotation).collect::<Vec<_>>(), "data": task["data"],
        "drafts": [], "predictions": [], "meta": {}, "inner_id": 1, "total_annotations": choices.len() })
}

fn save(place: &Place, name: &str, tasks: &[Value]) {
    fs::write(place.path(name), serde_json::to_vec(tasks).expect("JSON")).expect("written");
}

#[test]
fn lists_go_to_annotation_tools_and_labels_come_from_their_exports() {
    let place = Place::new();
    let truth: BTreeMap<String, String> = place.flat();
    place.configure(CONFIG);
    stdout(&mut place.run("out", &[]));
    let first = tasks(&place, 0);
    assert_eq!(first.len(), 20);
    assert!(first.iter().all(|task| task["predictions"] == json!([])), "nothing is believed before the first training");

    // All that is wrong is named at once, and nothing is taken.
    let label = |task: &Value| truth[id(task)].clone();
    let stranger = json!({ "data": { "id": "nobody.png", "image": "/data/upload/1/0a1b2c3d-nobody.png" } });
    let mut skipped = exported(&first[4], &[]);
    skipped["annotations"] = json!([{ "result": [], "was_cancelled": true }]);
    let wrong = [
        exported(&first[0], &[&label(&first[0])]),
        exported(&first[1], &["ten"]),
        exported(&first[2], &["1", "2"]),
        exported(&stranger, &["3"]),
        skipped.clone(),
    ];
    save(&place, "wrong.json", &wrong);
    let said = stderr(&mut place.isal(&["label", "import", "out", "wrong.json"]), 2);
    for part in ["`ten` of", id(&first[1]), id(&first[2]), "`1` and `2`", "nobody.png", "0, 1, 2"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(&format!("`{}`", id(&first[0]))), "{said}");

    // Those of the first ten, by the id that was sent along; one is skipped, one has no annotation yet.
    let mut ten: Vec<Value> = first[..10].iter().map(|task| exported(task, &[&label(task)])).collect();
    ten[4] = skipped;
    ten.push(exported(&first[10], &[]));
    save(&place, "ten.json", &ten);
    let said = stdout(&mut place.isal(&["label", "import", "out", "ten.json"]));
    assert!(said.contains("10 labels taken") && said.contains("9 of 20 images labelled, 1 skipped"), "{said}");

    // The others from CVAT, which knows images by their names alone.
    let sent = fs::read_to_string(place.path("out/round-00/to-label.cvat.xml")).expect("a file for CVAT");
    assert_eq!(sent.matches("<image ").count(), 20);
    let image = |(place_in_list, task): (usize, &Value)| {
        let name = format!("to-label/{:04}-{}", place_in_list + 1, id(task));
        let label = label(task);
        format!(
            "<image id=\"{place_in_list}\" name=\"{name}\" width=\"28\" height=\"28\">\n<tag label=\"{label}\" source=\"manual\">\n</tag>\n</image>\n"
        )
    };
    let images: String = first.iter().enumerate().skip(10).map(image).collect();
    let head = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<annotations>\n<version>1.1</version>\n";
    fs::write(place.path("cvat.xml"), format!("{head}{images}</annotations>\n")).expect("written");
    let said = stdout(&mut place.isal(&["label", "import", "out", "cvat.xml"]));
    assert!(said.contains("10 labels taken") && said.contains("can go on"), "{said}");

    // The next list has what the model believes, the most useful first.
    stdout(&mut place.run("out", &[]));
    let second = tasks(&place, 1);
    let selection = place.json("out/round-00/scored/selection.json");
    let selected = selection["selected"].as_array().expect("a list");
    assert_eq!((second.len(), selected.len()), (15, 15));
    for (task, chosen) in second.iter().zip(selected) {
        assert_eq!((&task["data"]["id"], &task["data"]["rank"]), (&chosen["id"], &chosen["rank"]));
        let prediction = &task["predictions"][0];
        assert_eq!((&prediction["score"], &prediction["model_version"]), (&chosen["score"], &json!("margin")));
        let guess = chosen["pseudo_label"].as_u64().expect("a class").to_string();
        assert_eq!(prediction["result"][0]["value"]["choices"], json!([guess]));
    }
}
