//! `--to` of a detector: its pseudo boxes in every form that has a place for them, and these forms read back.

use super::{detector, place::*, scenes};
use isal::data::{Dataset, OpenOptions};
use isal::influence::Annotation;
use isal::runtime::{Library, SessionOptions};
use isal::sweep::Predictor;
use isal::task::{self, TaskModel};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const CLASSES: [&str; 3] = ["disc", "square", "triangle"];
const FORMS: &str = "label-studio,cvat,coco,csv,yolo,voc";

/// A class and left, top, right, bottom.
type Boxes = Vec<(String, [f64; 4])>;

/// A selection of eight scenes in `out`, in all forms.
fn selected() -> Place {
    let place = detector::place();
    detector::write_coco(&place, "coco.json", |_, corners| corners);
    let more = ["--strategy", "least-confidence", "--budget", "8", "--to", FORMS];
    let model = ["score", "pool", "--model", "trained/model.onnx", "--labeled", "labeled/coco.json", "--pool", "pool"];
    place.isal(&model).args(more).args(["-o", "out"]).assert().success();
    place
}

/// Sorted, so that forms that keep another order can be held against each other.
fn sorted(mut boxes: Boxes) -> Boxes {
    boxes.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    boxes
}

/// The boxes of a data set that our own readers open, by the names of the files.
fn read(path: &Path) -> BTreeMap<String, Boxes> {
    let opened = Dataset::open_present(path, &OpenOptions { fields: true, ..OpenOptions::default() }).expect("opened");
    let of = |place: usize| {
        let name = opened.path(place).expect("a file").file_name().expect("a name").to_string_lossy().into_owned();
        let boxes = opened.marked(place).unwrap_or_default();
        let boxes = boxes.iter().map(|marked| (opened.classes()[marked.class as usize].clone(), marked.corners));
        opened.load(place).expect("an image");
        (name, sorted(boxes.collect()))
    };
    (0..opened.len()).map(of).collect()
}

/// What the decode graph gives of the selected images, as ONNX Runtime computes it here; these models see the pixels as they are.
fn decoded(place: &Place, ids: &[String]) -> Vec<Boxes> {
    let model = place.path("trained/model.onnx");
    let options = task::ModelOptions { task: task::beside(&model).expect("a table"), ..task::ModelOptions::default() };
    let TaskModel { network, task, .. } = TaskModel::read(&model, &options).expect("a model");
    let library = Library::load(None).expect("ONNX Runtime");
    let mut predictor = Predictor::open(&library, &network, &task, SessionOptions::default()).expect("a predictor");
    let of = |id: &String| {
        let image = image::open(place.path(&format!("pool/{id}"))).expect("a PNG").into_rgb8();
        let side = scenes::SIDE as usize;
        let pixels = ndarray::Array4::from_shape_fn((1, 3, side, side), |(_, c, y, x)| {
            f32::from(image.get_pixel(x as u32, y as u32).0[c]) / 255.0
        });
        let believed = predictor.decode(pixels.view()).expect("annotations");
        let (mut boxes, mut labels) = (Vec::new(), Vec::new());
        for (name, array) in believed.arrays() {
            match array {
                Annotation::Float(array) if name == "boxes" => boxes.extend(array.iter().copied()),
                Annotation::Whole(array) if name == "labels" => labels.extend(array.iter().copied()),
                _ => {}
            }
        }
        // To a thousandth of a pixel, within the image; a label below 0 is padding.
        let written = |x: &f32| (f64::from(*x).clamp(0.0, side as f64) * 1e3).round() / 1e3;
        let corners = boxes.chunks_exact(4).map(|corners| [0, 1, 2, 3].map(|n| written(&corners[n])));
        let there = corners.zip(labels).filter(|(_, label)| *label >= 0);
        sorted(there.map(|(corners, label)| (CLASSES[label as usize].to_owned(), corners)).collect())
    };
    ids.iter().map(of).collect()
}

#[test]
fn pseudo_boxes_are_the_same_in_every_form_and_read_back_exactly() {
    let place = selected();
    let selection = place.json("out/selection.json");
    let selected = selection["selected"].as_array().expect("a list");
    let ids: Vec<String> = selected.iter().map(|chosen| chosen["id"].as_str().expect("an id").to_owned()).collect();
    let expected: BTreeMap<String, Boxes> = ids
        .iter()
        .zip(decoded(&place, &ids))
        .enumerate()
        .map(|(n, (id, boxes))| (format!("{:04}-{id}", n + 1), boxes))
        .collect();
    let count: usize = expected.values().map(Vec::len).sum();
    assert!(count > 8, "{count} boxes");
    for form in ["to-label.coco.json", "to-label-voc", "to-label-yolo"] {
        assert_eq!(read(&place.path("out").join(form)), expected, "{form}");
    }

    let (tasks, coco) = (place.json("out/to-label.label-studio.json"), place.json("out/to-label.coco.json"));
    let number = |value: &Value| value.as_f64().expect("a number");
    let cvat = fs::read_to_string(place.path("out/to-label.cvat.xml")).expect("text");
    let elements: Vec<&str> = cvat.split("<image ").skip(1).collect();
    let mut list = csv::Reader::from_path(place.path("out/to-label.csv")).expect("a list");
    let rows: Vec<BTreeMap<String, String>> = list.deserialize().map(|row| row.expect("a row")).collect();
    for (n, (file, boxes)) in expected.iter().enumerate() {
        let (task, image, row) = (&tasks[n], &coco["images"][n], &rows[n]);
        assert_eq!((&task["data"]["id"], image["file_name"].as_str()), (&selected[n]["id"], Some(file.as_str())));
        // Every score stands where a form has a place for it.
        for known in [&task["predictions"][0]["score"], &image["isal"]["score"]] {
            assert_eq!(known, &selected[n]["score"]);
        }
        // Percent of 64 pixels, back to a millionth.
        let results = task["predictions"][0]["result"].as_array().expect("results");
        let of_result = |result: &Value| {
            assert!((result["type"] == "rectanglelabels") && result["score"].as_f64().is_some_and(|s| s > 0.1));
            let value = &result["value"];
            let side = f64::from(scenes::SIDE) / 100.0;
            let [x, y, w, h] = ["x", "y", "width", "height"].map(|name| number(&value[name]) * side);
            let corners = [x, y, x + w, y + h].map(|x| (x * 1e6).round() / 1e6);
            (value["rectanglelabels"][0].as_str().expect("a class").to_owned(), corners)
        };
        assert_eq!(sorted(results.iter().map(of_result).collect()), *boxes, "{file}: Label Studio");
        let of_element = |element: &str| {
            let attribute = |name: &str| element.split(&format!(" {name}=\"")).nth(1).expect(name).split('"').next();
            let side = |name: &str| attribute(name).expect("a value").parse::<f64>().expect("a number");
            (attribute("label").expect("a class").to_owned(), ["xtl", "ytl", "xbr", "ybr"].map(side))
        };
        let marked = elements[n].split("<box").skip(1).map(of_element);
        assert_eq!(sorted(marked.collect()), *boxes, "{file}: CVAT");
        let corners: Vec<[f64; 4]> = serde_json::from_str(&row["guessed_boxes"]).expect("boxes");
        let names: Vec<String> = serde_json::from_str(&row["guessed_labels"]).expect("names");
        assert_eq!(sorted(names.into_iter().zip(corners).collect()), *boxes, "{file}: the list");
        assert_eq!((row["boxes"].as_str(), row["labels"].as_str()), ("", ""));
    }
    let interface = fs::read_to_string(place.path("out/to-label.label-studio.xml")).expect("text");
    assert!(interface.contains("<RectangleLabels name=\"label\" toName=\"image\">"), "{interface}");
    assert_eq!(interface.matches("<Label value=").count(), 3);
    let labels = place.json("out/to-label.cvat-labels.json").to_string();
    assert!(labels.contains("rectangle") && labels.contains("\"empty\"") && labels.contains("\"skip\""), "{labels}");

    // People may have moved boxes there.
    let model = ["score", "pool", "--model", "trained/model.onnx", "--labeled", "labeled/coco.json", "--pool", "pool"];
    let more = ["--strategy", "least-confidence", "--budget", "8", "--to", "yolo", "-o", "out"];
    let output = place.isal(&model).args(more).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("to-label-yolo` is there already"), "{said}");
}

#[test]
fn tasks_that_a_form_has_no_place_for_are_refused_by_name_before_any_work() {
    let place = detector::place();
    let said = place.refused(&mut place.score("labeled/list.jsonl", "out", &["--to", "csv,image-folder"]));
    assert!(said.contains("`image-folder` has no form for labels of the task `own`"), "{said}");
    assert!(!place.path("out").exists());
    let place = scenes::place("unet", |n| format!("\"labels\": \"{n:02}.mask.png\""));
    for form in ["yolo", "voc", "coco", "cvat", "label-studio"] {
        let said = place.refused(&mut place.score("labeled/list.jsonl", "out", &["--to", form]));
        assert!(said.contains(&format!("`{form}` has no form for labels of the task `own`")), "{said}");
        assert!(!place.path("out").exists());
    }
}

/// The environment of `make test-yolo`, or the one that `FIXTURE_PYTHON` names.
fn python() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/yolo/bin/python");
    env::var_os("FIXTURE_PYTHON").map_or(own, PathBuf::from)
}

#[test]
#[ignore = "needs ultralytics, torchvision and pycocotools: make test-yolo"]
fn others_read_the_same_boxes() {
    let place = selected();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/any_task/read_boxes.py");
    let output = Command::new(python()).arg(script).arg(place.path("out")).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: BTreeMap<String, BTreeMap<String, Boxes>> = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected = read(&place.path("out/to-label.coco.json"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["pycocotools", "torchvision", "ultralytics"]);
    for (program, images) in found {
        assert_eq!(images.len(), expected.len(), "{program}");
        for (file, boxes) in images {
            let boxes = sorted(boxes);
            let wanted = &expected[&file];
            assert_eq!(boxes.len(), wanted.len(), "{program}, {file}");
            for ((name, corners), (wanted_name, wanted)) in boxes.iter().zip(wanted) {
                // ultralytics holds fractions in float32: of 64 pixels, some millionths.
                let near = corners.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4);
                assert!(near && name == wanted_name, "{program}, {file}: {name} {corners:?}, {wanted_name} {wanted:?}");
            }
        }
    }
}
