//! A detector whose loss was written elsewhere: torchvision's FCOS as raw heads with its loss exported from PyTorch, on scenes
//! that are composed (`tests/fixtures/detectors.py`).

use super::place::*;
use super::scenes;
use std::fs;

pub fn place() -> Place {
    let known = fs::read_to_string(scenes::fixture("fcos.jsonl")).expect("a list");
    let lines: Vec<&str> = known.lines().map(|line| line.trim_matches(['{', '}'])).collect();
    scenes::place("fcos", |n| lines[n as usize].to_owned())
}

#[test]
fn the_influence_of_a_detector_with_its_own_loss_is_the_exact_derivative_of_that_loss() {
    let place = place();
    let shown = place.isal(&["task", "show", "--model", "trained/model.onnx"]).output().expect("it runs");
    let text = String::from_utf8(shown.stdout).expect("text");
    for part in ["cls Float", "(by its name)", "boxes Float [N, M, 4]", "labels Int64 [N, M]", "confidence Float [N]"] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
    // GIoU is not convex in what it reads: the curvature is the empirical Fisher matrix.
    scenes::hold(&place, "all", ("weights", "cg-fisher"), 2e-2);
    scenes::hold(&place, "head", ("head.*", "cg-fisher"), 1e-3);
    let table = place.table("all");
    assert_eq!(columns(&table), ["confidence", "found"]);
    assert!(table.rows.iter().any(|row| row.beliefs[1] > 1.0 && row.beliefs[1] < 12.0), "boxes are padded");
}

#[test]
fn boxes_that_are_none_are_refused_by_image() {
    let place = place();
    let known = fs::read_to_string(place.path("labeled/list.jsonl")).expect("a list");
    let others: Vec<&str> = known.lines().skip(1).collect();
    fs::write(place.path("labeled/others.jsonl"), others.join("\n")).expect("written");
    let with = |line: &str| {
        fs::write(place.path("labeled/odd.jsonl"), format!("{line}\n")).expect("written");
        let more = ["--reference", "labeled/others.jsonl"];
        place.refused(&mut place.score("labeled/odd.jsonl", "odd", &more))
    };
    let said = with(r#"{"path": "00.png", "boxes": [[1, 2, 3]], "labels": [0]}"#);
    assert!(said.contains("`00.png`: `boxes`") && said.contains("expected numbers [M, 4]"), "{said}");
    let said = with(r#"{"path": "00.png", "boxes": [[1, 2, 3, 4]]}"#);
    assert!(said.contains("`00.png` has no `labels`"), "{said}");
}

/// The scenes of `labeled` as COCO has them.
pub fn write_coco(place: &Place, name: &str, of: impl Fn(usize, [f64; 4]) -> [f64; 4]) {
    let known = fs::read_to_string(place.path("labeled/list.jsonl")).expect("a list");
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (n, line) in known.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        images.push(
            serde_json::json!({"id": n + 10, "file_name": line["path"], "width": scenes::SIDE, "height": scenes::SIDE}),
        );
        let boxes: Vec<[f64; 4]> = serde_json::from_value(line["boxes"].clone()).expect("boxes");
        let labels: Vec<i64> = serde_json::from_value(line["labels"].clone()).expect("labels");
        for (corners, label) in boxes.into_iter().zip(labels) {
            let [left, top, right, bottom] = of(n, corners);
            annotations.push(serde_json::json!({
                "image_id": n + 10, "category_id": 5 * label + 1, "bbox": [left, top, right - left, bottom - top],
                "area": 1, "iscrowd": 0, "id": annotations.len(),
            }));
        }
    }
    let categories = ["disc", "square", "triangle"].iter().enumerate();
    let categories: Vec<_> = categories.map(|(n, name)| serde_json::json!({"id": 5 * n + 1, "name": name})).collect();
    let coco = serde_json::json!({"images": images, "annotations": annotations, "categories": categories});
    fs::write(place.path("labeled").join(name), coco.to_string()).expect("written");
}

#[test]
fn the_annotations_of_coco_are_those_of_the_list() {
    let place = place();
    write_coco(&place, "coco.json", |_, corners| corners);
    for (labelled, out) in [("labeled/list.jsonl", "by-list"), ("labeled/coco.json", "by-coco")] {
        place.score(labelled, out, &["--solver", "cg-fisher", "--scope", "head.*"]).assert().success();
    }
    assert_eq!(place.influences("by-list"), place.influences("by-coco"));
    // Those of an image that was resized are of another one.
    let known = fs::read_to_string(place.path("labeled/coco.json")).expect("JSON");
    fs::write(place.path("labeled/resized.json"), known.replace("\"width\":64", "\"width\":128")).expect("written");
    let said = place.refused(&mut place.score("labeled/resized.json", "resized", &[]));
    assert!(said.contains("`width` is 128, expected 64") && said.contains("another data set"), "{said}");
    write_coco(&place, "fractions.json", |_, corners| corners.map(|x| x / f64::from(scenes::SIDE)));
    let said = place.refused(&mut place.score("labeled/fractions.json", "fractions", &[]));
    assert!(said.contains("fractions of the image"), "{said}");
    let list = r#"{"path": "00.png", "boxes": [[0.1, 0.2, 0.5, 0.9]], "labels": [0]}"#;
    fs::write(place.path("labeled/odd.jsonl"), list).expect("written");
    let known = fs::read_to_string(place.path("labeled/list.jsonl")).expect("a list");
    fs::write(place.path("labeled/others.jsonl"), known.split_once('\n').expect("lines").1).expect("written");
    let more = ["--reference", "labeled/others.jsonl"];
    let said = place.refused(&mut place.score("labeled/odd.jsonl", "odd", &more));
    assert!(said.contains("`00.png`: `boxes`") && said.contains("these are fractions"), "{said}");
}

/// Images of twice the size, every pixel four times, which a box filter brings back to the same pixels: boxes follow, and come back
/// where the model is measured.
#[test]
fn boxes_go_through_the_preprocessing_of_their_images() {
    let place = place();
    fs::create_dir(place.path("double")).expect("a folder");
    let known = fs::read_to_string(place.path("labeled/list.jsonl")).expect("a list");
    let mut list = String::new();
    for line in known.lines() {
        let mut line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let name = line["path"].as_str().expect("a name").to_owned();
        let image = image::open(place.path("labeled").join(&name)).expect("a PNG");
        let double = image.resize_exact(2 * scenes::SIDE, 2 * scenes::SIDE, image::imageops::FilterType::Nearest);
        double.save(place.path("double").join(&name)).expect("a PNG");
        let boxes: Vec<[f64; 4]> = serde_json::from_value(line["boxes"].clone()).expect("boxes");
        line["boxes"] = serde_json::json!(boxes.iter().map(|corners| corners.map(|x| 2.0 * x)).collect::<Vec<_>>());
        list += &format!("{line}\n");
    }
    fs::write(place.path("double/list.jsonl"), list).expect("written");
    for (labelled, out) in [("labeled/list.jsonl", "single"), ("double/list.jsonl", "doubled")] {
        let more = ["--solver", "cg-fisher", "--scope", "head.*", "--set", "filter=box"];
        place.score(labelled, out, &more).assert().success();
    }
    assert_eq!(place.influences("single"), place.influences("doubled"));
    let fit = |out: &str| place.json(&format!("{out}/run.json"))["labelled"].clone();
    let (single, doubled) = (fit("single"), fit("doubled"));
    assert_eq!(
        (&single["measure"], &single["AP"], &single["VOC AP50"]),
        (&doubled["measure"], &doubled["AP"], &doubled["VOC AP50"])
    );
    assert_eq!(single["measure"], "mAP");
    // It was trained on others of the kind.
    assert!(single["AP50"].as_f64().expect("a figure") > 0.5, "{single}");
    assert!(single["APs"].as_f64() != doubled["APs"].as_f64(), "sizes are those of the stored images");
}

/// The first picture of a report.
fn first_picture(place: &Place, out: &str) -> image::RgbImage {
    let page = fs::read_to_string(place.path(out).join("report.html")).expect("a page");
    let from = page.find("base64,").expect("a picture") + "base64,".len();
    let data = &page[from..from + page[from..].find('"').expect("its end")];
    let png = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).expect("base64");
    image::load_from_memory(&png).expect("a PNG").into_rgb8()
}

#[test]
fn the_report_draws_the_boxes_that_the_pool_says_beside_the_believed_ones() {
    let place = place();
    let known = fs::read_to_string(scenes::fixture("fcos.jsonl")).expect("a list");
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (n, line) in known.lines().enumerate().skip(30) {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        images.push(serde_json::json!({"id": n, "file_name": format!("{n:02}.png"), "width": 64, "height": 64}));
        let boxes: Vec<[f64; 4]> = serde_json::from_value(line["boxes"].clone()).expect("boxes");
        for ([left, top, right, bottom], label) in boxes.iter().zip(line["labels"].as_array().expect("labels")) {
            let bbox = [*left, *top, right - left, bottom - top];
            let class = label.as_u64().expect("a class") + 1;
            annotations.push(
                serde_json::json!({"id": annotations.len() + 1, "image_id": n, "category_id": class, "bbox": bbox}),
            );
        }
    }
    let names = ["disc", "square", "triangle"];
    let categories: Vec<_> = (1..).zip(names).map(|(id, name)| serde_json::json!({"id": id, "name": name})).collect();
    let coco = serde_json::json!({"images": images, "annotations": annotations, "categories": categories});
    fs::write(place.path("pool/known.json"), coco.to_string()).expect("written");
    write_coco(&place, "coco.json", |_, corners| corners);
    for (pool, out) in [("pool", "alone"), ("pool/known.json", "beside")] {
        let model =
            ["score", "pool", "--model", "trained/model.onnx", "--labeled", "labeled/coco.json", "--pool", pool];
        let more = ["--strategy", "least-confidence", "--budget", "5", "-o", out];
        place.isal(&model).args(more).assert().success();
    }
    let ids = |out: &str| place.json(&format!("{out}/selection.json"))["selected"].clone();
    assert_eq!(ids("alone"), ids("beside"), "what the pool says changes no selection");
    let (alone, beside) = (first_picture(&place, "alone"), first_picture(&place, "beside"));
    let changed: Vec<_> = alone.pixels().zip(beside.pixels()).filter(|(a, b)| a != b).map(|(_, b)| b.0).collect();
    assert!(changed.len() > 5 && changed.iter().all(|pixel| *pixel == [255; 3]), "{} pixels", changed.len());
}
