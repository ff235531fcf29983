//! YOLOs as their training program exports them (`make test-yolo`): recognised by structure, and what is decoded from their raw
//! values is what they decode themselves.

use crate::graph::{Graph, library};
use isal::task::{self, Wanted};
use isal_exporters::seeded;
use isal_onnx::{Model, Tensor, ValueInfo};

/// Pixels: float32 over boxes of up to 64 pixels.
const BOXES: f64 = 1e-3;
const SCORES: f64 = 1e-5;

fn check(name: &str, mut model: Model) {
    let (task, bindings) = task::exported(&model).unwrap_or_else(|| panic!("{name} is not recognised"));
    assert_eq!(task, "yolo");
    // An untrained network is sure of nothing. The weights of the mean over distances are no weights to draw.
    let kept: Vec<(String, Tensor)> = model.graph.initializers.iter().map(|(n, t)| (n.clone(), t.clone())).collect();
    seeded::overwrite(&mut model, 0, 1.0);
    for (name, tensor) in kept.into_iter().filter(|(name, _)| name.ends_with("dfl.conv.weight")) {
        model.graph.initializers.insert(name, tensor);
    }
    let (task, _) = Wanted::BuiltIn(task.to_owned()).bind(&model, &bindings).expect("bound");
    let output = model.graph.outputs[0].name.clone();
    for (_, value) in &bindings {
        model.graph.outputs.push(ValueInfo { name: value.clone(), value_type: None });
    }
    let library = library();
    let images = seeded::images(0, [2, 3, 64, 64]);
    let found = Graph::open(&library, &model).run(&[("images", &images)]);
    let raw: Vec<(&str, &Tensor)> = bindings.iter().map(|(input, value)| (input.as_str(), &found[value])).collect();
    let decoded = Graph::open(&library, &task.graphs.decode).run(&raw);
    let whole = found[&output].to_float64().expect("floats");
    let [rows, locations] = found[&output].dims()[1..] else { panic!("{:?}", found[&output].dims()) };
    let own = |image: usize, row: usize, location: usize| whole[(image * rows + row) * locations + location];
    let (boxes, scores) =
        (decoded["boxes"].to_float64().expect("floats"), decoded["scores"].to_float64().expect("floats"));
    let classes: Vec<i64> = decoded["classes"].to_vec().expect("whole numbers");
    let most = classes.len() / 2;
    let count = classes.iter().filter(|class| **class >= 0).count();
    assert!(count > 20, "{name}: {count} detections");
    for at in (0..classes.len()).filter(|at| classes[*at] >= 0) {
        let (image, class) = (at / most, classes[at] as usize);
        let same = |location: usize| {
            let [x, y, w, h] = [0, 1, 2, 3].map(|row| own(image, row, location));
            let corners = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0].map(|c| c.clamp(0.0, 64.0));
            let near = corners.iter().zip(&boxes[4 * at..]).all(|(a, b)| (a - b).abs() < BOXES);
            near && (own(image, 4 + class, location) - scores[at]).abs() < SCORES
        };
        assert!(
            (0..locations).any(same),
            "{name}: {:?} of class {class} at {}",
            &boxes[4 * at..4 * at + 4],
            scores[at]
        );
    }
    println!("{name}: {count} detections");
}

#[test]
#[ignore = "needs networks that ultralytics' package exported: make test-yolo"]
fn what_an_exported_yolo_detects_is_decoded_from_its_raw_values() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/.toolchain/yolo/models");
    for name in ["yolov8n", "yolo11n"] {
        let path = std::path::Path::new(folder).join(format!("{name}.onnx"));
        check(name, Model::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    }
}
