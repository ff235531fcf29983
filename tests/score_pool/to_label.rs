//! `--to`: a selection in the forms that annotation tools read.

use crate::place::{Place, stderr};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("listed");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_selection_is_written_for_every_tool_with_belief_influence_and_score() {
    let place = Place::new();
    place.score(&["-o", "out", "--to", "label-studio,cvat,coco,csv,image-folder"]).assert().success();
    let selection = place.json("out/selection.json");
    let selected = selection["selected"].as_array().expect("a list");
    let guess = |chosen: &Value| chosen["pseudo_label"].as_u64().expect("a class").to_string();
    let files = names(&place.path("out/to-label"));
    assert_eq!(files.len(), 20);
    for (chosen, file) in selected.iter().zip(&files) {
        let id = chosen["id"].as_str().expect("an id");
        let shown = fs::read(place.path(&format!("out/to-label/{file}"))).expect("an image");
        assert_eq!(shown, fs::read(place.path(&format!("pool/{id}"))).expect("an image"), "{file}: the images by rank");
    }

    let tasks = place.json("out/to-label.label-studio.json");
    let coco = place.json("out/to-label.coco.json");
    let mut list = csv::Reader::from_path(place.path("out/to-label.csv")).expect("a list");
    let rows: Vec<BTreeMap<String, String>> = list.deserialize().map(|row| row.expect("a row")).collect();
    let cvat = String::from_utf8(place.read("out/to-label.cvat.xml")).expect("text");
    let elements: Vec<&str> = cvat.split("<image ").skip(1).collect();
    assert_eq!((rows.len(), elements.len(), coco["images"].as_array().map(Vec::len)), (20, 20, Some(20)));
    for (n, chosen) in selected.iter().enumerate() {
        let (task, image, row) = (&tasks[n], &coco["images"][n], &rows[n]);
        let file = &files[n];
        // Label Studio: its order by score, ascending, is the selection's; the address leads to the image.
        assert_eq!((&task["data"]["id"], &task["data"]["influence"]), (&chosen["id"], &chosen["influence"]));
        assert_eq!(task["predictions"][0]["score"], chosen["score"]);
        assert_eq!(task["predictions"][0]["result"][0]["value"], json!({ "choices": [guess(chosen)] }));
        let address = task["data"]["image"].as_str().expect("an address").strip_prefix("/data/local-files/?d=");
        let path = std::path::Path::new("/").join(address.expect("a local file").replace("%20", " "));
        assert!(path.exists() && path.ends_with(format!("out/to-label/{file}")), "{path:?}");
        // COCO.
        assert_eq!((&image["file_name"], &image["width"], &image["height"]), (&json!(file), &json!(28), &json!(28)));
        assert_eq!(
            (&image["isal"]["influence"], &image["isal"]["guess"]),
            (&chosen["influence"], &json!(guess(chosen)))
        );
        // The list.
        assert_eq!((row["label"].as_str(), row["path"].as_str()), ("", format!("to-label/{file}").as_str()));
        let number = |column: &str| row[column].parse::<f64>().ok();
        assert_eq!((number("influence"), number("score")), (chosen["influence"].as_f64(), chosen["score"].as_f64()));
        assert_eq!((row["id"].as_str(), &row["guess"]), (chosen["id"].as_str().expect("an id"), &guess(chosen)));
        // CVAT.
        assert!(elements[n].contains(&format!("name=\"{file}\"")), "{}", elements[n]);
        assert!(elements[n].contains(&format!("<tag label=\"{}\" source=\"auto\">", guess(chosen))), "{}", elements[n]);
        // Folders.
        assert!(place.path(&format!("out/to-label-by-class/{}/{file}", guess(chosen))).exists());
    }
    assert_eq!(coco["categories"].as_array().map(Vec::len), Some(10));
    let interface = String::from_utf8(place.read("out/to-label.label-studio.xml")).expect("text");
    assert_eq!(interface.matches("<Choice value=").count(), 10);
    let labels = place.json("out/to-label.cvat-labels.json");
    assert_eq!(labels.as_array().map(Vec::len), Some(10));

    // A smaller selection leaves nothing of the larger one, and another address goes before the names.
    let again = ["-o", "out", "--budget", "5", "--to", "label-studio", "--image-url", "http://host/images/"];
    let mut command = place.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool"]);
    command.args(["--batch-size", "8", "--threads", "1"]).args(again).assert().success();
    assert_eq!(names(&place.path("out/to-label")), files[..5]);
    let tasks = place.json("out/to-label.label-studio.json");
    assert_eq!(tasks[4]["data"]["image"], json!(format!("http://host/images/{}", files[4])));
}

#[test]
fn forms_that_have_no_place_for_a_class_are_refused_before_any_work() {
    let place = Place::new();
    for form in ["yolo", "voc"] {
        let said = stderr(place.score(&["-o", "out", "--to", form]).output().expect("it runs"));
        assert!(said.contains(&format!("`{form}` is a form of boxes")) && said.contains("image-folder"), "{said}");
        assert!(!place.path("out").exists(), "{form}");
    }
    place.score(&["-o", "out", "--to", "yolo"]).assert().code(2);
}
