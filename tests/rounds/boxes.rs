//! Rounds of a detector whose boxes people give, and whose model a program trains.

use super::detector::{SIDE, detector, scenes};
use super::place::{Place, stderr};
use super::tools::stdout;
use isal::data::{Dataset, OpenOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

const CLASSES: [&str; 3] = ["disc", "square", "triangle"];

const CONFIG: &str = r#"
rounds = 2
model = "detector.onnx"
data = { pool = "flat", test = "unseen/list.jsonl", classes = ["disc", "square", "triangle"] }
labels = { initial = 12, budget = 6 }
train = { epochs = 1, batch-size = 5, learning-rate = 1e-5, warm-up = 0.0 }
select = { strategy = "least-confidence" }
oracle = { kind = "human", forms = ["label-studio", "cvat", "coco", "yolo", "voc"] }
"#;

/// Boxes with their classes by name.
pub type Boxes = Vec<(String, [f64; 4])>;

/// Scenes without labels in `flat`, and what they show, by id.
pub fn place() -> (Place, BTreeMap<String, Boxes>) {
    let place = Place::new();
    scenes(&place, "flat", 0..30);
    scenes(&place, "unseen", 40..60);
    detector(&place);
    place.configure(CONFIG);
    let list = fs::read_to_string(place.path("flat/list.jsonl")).expect("a list");
    fs::remove_file(place.path("flat/list.jsonl")).expect("removed");
    let known = list.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let boxes: Vec<[f64; 4]> = serde_json::from_value(line["boxes"].clone()).expect("boxes");
        let labels: Vec<usize> = serde_json::from_value(line["labels"].clone()).expect("labels");
        let named = labels.into_iter().map(|label| CLASSES[label].to_owned());
        (line["path"].as_str().expect("a path").to_owned(), named.zip(boxes).collect())
    });
    let known = known.collect();
    (place, known)
}

pub fn asked(place: &Place, round: usize) -> Vec<String> {
    let text = fs::read_to_string(place.path(&format!("out/round-{round:02}/to-label.jsonl"))).expect("a list");
    let id = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();
    text.lines().map(id).collect()
}

/// A line of a list.
pub fn line(id: &str, boxes: &Boxes) -> String {
    let (names, corners): (Vec<&String>, Vec<[f64; 4]>) = boxes.iter().map(|(name, corners)| (name, *corners)).unzip();
    json!({ "path": format!("flat/{id}"), "boxes": corners, "labels": names, "id": id }).to_string() + "\n"
}

fn import(place: &Place, file: &str, more: &[&str]) -> String {
    stdout(place.isal(&["label", "import", "out", file]).args(more))
}

fn refused(place: &Place, file: &str) -> String {
    stderr(&mut place.isal(&["label", "import", "out", file]), 2)
}

fn missing(place: &Place) -> Vec<String> {
    let status = stdout(&mut place.isal(&["label", "status", "out", "--json"]));
    let status: Value = serde_json::from_str(&status).expect("JSON");
    serde_json::from_value(status["missing"].clone()).expect("ids")
}

/// A task as Label Studio exports it with these boxes.
fn exported(task: &Value, boxes: &Boxes) -> Value {
    let percent = |x: f64| 100.0 * x / f64::from(SIDE);
    let result = |(name, [left, top, right, bottom]): &(String, [f64; 4])| {
        json!({ "type": "rectanglelabels", "original_width": SIDE, "original_height": SIDE, "image_rotation": 0,
            "value": { "x": percent(*left), "y": percent(*top), "width": percent(right - left),
                "height": percent(bottom - top), "rotation": 0, "rectanglelabels": [name] } })
    };
    let results: Vec<Value> = boxes.iter().map(result).collect();
    json!({ "id": 1, "annotations": [{ "result": results, "was_cancelled": false }], "data": task["data"] })
}

/// Boxes as COCO has them, of images by their names.
fn coco(images: &[(String, &Boxes)]) -> Value {
    let mut annotations = Vec::new();
    for (n, (_, boxes)) in images.iter().enumerate() {
        for (name, [left, top, right, bottom]) in *boxes {
            let class = CLASSES.iter().position(|class| class == name).map_or(99, |class| class + 1);
            annotations.push(json!({ "id": annotations.len() + 1, "image_id": n + 1, "category_id": class,
                "bbox": [left, top, right - left, bottom - top], "area": 1, "iscrowd": 0 }));
        }
    }
    let images = images.iter().enumerate();
    let images = images.map(|(n, (name, _))| json!({ "id": n + 1, "file_name": name, "width": SIDE, "height": SIDE }));
    let categories = CLASSES.iter().enumerate().map(|(n, name)| json!({ "id": n + 1, "name": name }));
    json!({ "images": images.collect::<Vec<_>>(), "annotations": annotations, "categories": categories.collect::<Vec<_>>() })
}

#[test]
fn a_run_waits_for_boxes_and_takes_them_in_every_form() {
    let (place, truth) = place();
    let said = stdout(&mut place.run("out", &[]));
    assert!(said.contains("waiting for labels: 12 of the 12 images of round 1"), "{said}");
    let first = asked(&place, 0);
    let header = fs::read_to_string(place.path("out/round-00/to-label.csv")).expect("a list");
    assert!(header.starts_with("path,boxes,labels,id\n"), "{header}");
    let of = |n: usize| (&first[n], &truth[&first[n]]);
    let name = |n: usize| format!("{:04}-{}", n + 1, first[n]);
    let put = |file: &str, text: &str| fs::write(place.path(file), text).expect("written");

    // A list: two images, one that shows nothing, and one to skip; one has nothing said of it yet.
    let nothing = json!({ "path": "flat/x.png", "boxes": null, "id": of(4).0 });
    let skipped = json!({ "path": "flat/y.png", "boxes": "skip", "id": of(3).0 });
    let lines = [line(of(0).0, of(0).1), line(of(1).0, of(1).1), line(of(2).0, &Vec::new())].concat();
    put("some.jsonl", &format!("{lines}{skipped}\n{nothing}\n"));
    let said = import(&place, "some.jsonl", &[]);
    assert!(said.contains("4 labels taken") && said.contains("3 of 12 images labelled (1 empty), 1 skipped"), "{said}");
    assert_eq!(missing(&place), first[4..]);

    // The CSV itself, filled in, whose cells are texts.
    let mut table = csv::Writer::from_path(place.path("filled.csv")).expect("a table");
    table.write_record(["path", "boxes", "labels", "id"]).expect("written");
    let corners: Vec<[f64; 4]> = of(4).1.iter().map(|(_, corners)| *corners).collect();
    let names: Vec<&str> = of(4).1.iter().map(|(name, _)| name.as_str()).collect();
    let row = [format!("to-label/{}", name(4)), json!(corners).to_string(), names.join(";"), of(4).0.clone()];
    table.write_record(row).expect("written");
    drop(table);
    assert!(import(&place, "filled.csv", &[]).contains("1 labels taken"));

    // Label Studio: boxes, and one handed in without any, which is an answer; one that nobody has looked at is none.
    let tasks = place.json("out/round-00/to-label.label-studio.json");
    let mut open = exported(&tasks[7], of(7).1);
    open["annotations"] = json!([]);
    let export = json!([exported(&tasks[5], of(5).1), exported(&tasks[6], &Vec::new()), open]);
    put("export.json", &export.to_string());
    let said = import(&place, "export.json", &[]);
    assert!(said.contains("2 labels taken") && said.contains("(2 empty)"), "{said}");

    // CVAT lists every image: one without a mark is not labelled.
    let marked = |boxes: &Boxes| -> String {
        let element = |(name, [l, t, r, b]): &(String, [f64; 4])| {
            format!(
                "<box label=\"{name}\" source=\"manual\" occluded=\"0\" xtl=\"{l}\" ytl=\"{t}\" xbr=\"{r}\" ybr=\"{b}\" z_order=\"0\"></box>"
            )
        };
        boxes.iter().map(element).collect()
    };
    let image = |n: usize, inner: &str| {
        format!("<image id=\"{n}\" name=\"{}\" width=\"{SIDE}\" height=\"{SIDE}\">{inner}</image>", name(n))
    };
    let images = [image(7, &marked(of(7).1)), image(8, "")].concat();
    put("cvat.xml", &format!("<annotations><version>1.1</version>{images}</annotations>"));
    let said = import(&place, "cvat.xml", &[]);
    assert!(said.contains("1 labels taken") && said.contains("4 images have no label yet"), "{said}");

    // COCO by the names of the images; one without a box is labelled only where that is said.
    put("coco.json", &coco(&[(name(8), of(8).1), (name(9), &Vec::new())]).to_string());
    let output = place.isal(&["label", "import", "out", "coco.json"]).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("1 images are listed without any mark"), "{told}");
    assert_eq!(missing(&place), first[9..]);
    assert!(import(&place, "coco.json", &["--empty"]).contains("(3 empty)"));

    // YOLO and VOC: the folders that were sent, with the labels of one image each.
    let round = place.path("out/round-00");
    let [left, top, right, bottom] = of(10).1[0].1.map(|x| x / f64::from(SIDE));
    let class = CLASSES.iter().position(|class| *class == of(10).1[0].0).expect("a class");
    let (x, y, w, h) = ((left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top);
    let stem = name(10).replace(".png", ".txt");
    fs::write(round.join("to-label-yolo/labels").join(stem), format!("{class} {x} {y} {w} {h}\n")).expect("written");
    assert!(import(&place, "out/round-00/to-label-yolo", &[]).contains("1 labels taken"));
    let [left, top, right, bottom] = of(11).1[0].1;
    let object = format!(
        "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>",
        of(11).1[0].0,
        left + 1.0,
        top + 1.0
    );
    let xml = format!("<annotation><size><width>{SIDE}</width><height>{SIDE}</height></size>{object}</annotation>");
    let stem = name(11).replace(".png", ".xml");
    fs::write(round.join("to-label-voc/Annotations").join(stem), xml).expect("written");
    let said = import(&place, "out/round-00/to-label-voc", &[]);
    assert!(said.contains("1 labels taken") && said.contains("can go on"), "{said}");

    // What people said is what is trained on, to a millionth of a pixel; the next list shows what the model believes.
    let said = stdout(&mut place.run("out", &[]));
    assert!(said.contains("6 of the 6 images of round 2"), "{said}");
    let settled = place.json("out/round-00/labeled.json");
    let ids: Vec<String> = serde_json::from_value(settled["ids"].clone()).expect("ids");
    assert_eq!((ids.len(), &settled["skipped"]), (11, &json!([of(3).0])));
    for (id, label) in ids.iter().zip(settled["labels"].as_array().expect("labels")) {
        let n = first.iter().position(|other| other == id).expect("asked");
        let corners: Vec<[f64; 4]> = serde_json::from_value(label["boxes"].clone()).expect("boxes");
        let names: Vec<String> = serde_json::from_value(label["classes"].clone()).expect("names");
        let found: Boxes = names.into_iter().zip(corners).collect();
        let expected: Boxes = match n {
            2 | 6 | 9 => Vec::new(),
            10 | 11 => of(n).1[..1].to_vec(),
            _ => of(n).1.clone(),
        };
        assert_eq!(found.len(), expected.len(), "{id}");
        for ((name, corners), (wanted_name, wanted)) in found.iter().zip(&expected) {
            let near = corners.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1.1e-6);
            assert!(near && name == wanted_name, "{id}: {corners:?}, {wanted:?}");
        }
    }
    let second = place.json("out/round-01/to-label.label-studio.json");
    let boxes = second.as_array().expect("tasks").iter().flat_map(|task| task["predictions"][0]["result"].as_array());
    assert!(boxes.flatten().count() > 0, "pseudo boxes");
    assert!(second[0]["predictions"][0]["score"].is_number());
    let again = Dataset::open_present(
        &place.path("out/round-01/to-label.coco.json"),
        &OpenOptions { fields: true, ..OpenOptions::default() },
    );
    assert_eq!(again.expect("opened").len(), 6);

    // With the rest the run ends, measured by its own figure.
    let rest: String = asked(&place, 1).iter().map(|id| line(id, &truth[id])).collect();
    put("rest.jsonl", &rest);
    import(&place, "rest.jsonl", &[]);
    let said = stdout(&mut place.run("out", &[]));
    assert!(said.contains("2 of 2 rounds"), "{said}");
    let ended = place.json("out/curve.json")["ended"].clone();
    assert_eq!((&ended[1]["labeled"], &ended[1]["test_figure"]["measure"]), (&json!(17), &json!("mAP")));
    assert!(ended[1]["test_figure"]["value"].as_f64().is_some_and(|value| value > 0.3), "{ended}");
}

#[test]
fn boxes_that_do_not_fit_are_all_named_and_nothing_is_taken() {
    let (place, truth) = place();
    stdout(&mut place.run("out", &[]));
    let first = asked(&place, 0);
    let put = |file: &str, text: &str| fs::write(place.path(file), text).expect("written");
    let one = |corners: [f64; 4]| -> Boxes { vec![("disc".to_owned(), corners)] };
    let lines = [
        line("nobody.png", &one([1.0, 1.0, 9.0, 9.0])),
        line(&first[0], &vec![("cow".to_owned(), [1.0, 1.0, 9.0, 9.0])]),
        line(&first[1], &one([1.0, 1.0, 9.0, 90.0])),
        line(&first[2], &one([0.1, 0.1, 0.5, 0.5])),
        line(&first[3], &one([9.0, 1.0, 9.0, 9.0])),
        line(&first[4], &truth[&first[4]]),
        json!({ "path": "x.png", "boxes": [[1, 2, 3]], "labels": ["disc"], "id": first[6] }).to_string() + "\n",
        json!({ "path": "x.png", "boxes": [[1, 2, 3, 4]], "labels": [], "id": first[7] }).to_string() + "\n",
    ];
    put("wrong.jsonl", &lines.concat());
    let said = refused(&place, "wrong.jsonl");
    for part in [
        "not asked about: `nobody.png`",
        &format!("`cow` of `{}`; expected one of disc, square, triangle, skip, empty", first[0]),
        &format!("`{}` has the box [1, 1, 9, 90], which reaches outside of the image of 64 x 64", first[1]),
        &format!("`{}` has boxes in fractions of the image", first[2]),
        &format!("`{}` has the box [9, 1, 9, 9], which is empty", first[3]),
        &format!("`{}` has the box [1,2,3]", first[6]),
        &format!("`{}` has 1 boxes and 0 labels", first[7]),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(&format!("`{}`", first[4])), "{said}");
    assert_eq!(missing(&place).len(), 12);

    // Another data set's file: other images, another size, other classes; fractions and pixels mixed up.
    let name = |n: usize| format!("{:04}-{}", n + 1, first[n]);
    let boxes = one([1.0, 1.0, 9.0, 9.0]);
    let whole = coco(&[(name(0), &boxes), ("000000000139.jpg".to_owned(), &boxes)]);
    put("other.json", &whole.to_string().replace("\"width\":64", "\"width\":640"));
    let said = refused(&place, "other.json");
    for part in ["`000000000139.jpg`", &first[0], "640 x 64 pixels, and has 64 x 64", "another data set"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    put("outside.json", &coco(&[(name(0), &one([70.0, 1.0, 90.0, 9.0]))]).to_string());
    let said = refused(&place, "outside.json");
    assert!(said.contains(&format!("`{}` has the box [70, 1, 20, 8], which is outside", name(0))), "{said}");
    put("fractions.json", &coco(&[(name(0), &one([0.1, 0.1, 0.5, 0.5]))]).to_string());
    assert!(refused(&place, "fractions.json").contains("fractions of the image"));
    let labels = place.path("out/round-00/to-label-yolo/labels");
    fs::write(labels.join(name(0).replace(".png", ".txt")), "0 20 20 10 10\n").expect("written");
    assert!(refused(&place, "out/round-00/to-label-yolo").contains("expected fractions of the image"));
    let task = place.json("out/round-00/to-label.label-studio.json")[0].clone();
    let mut choice = exported(&task, &Vec::new());
    choice["annotations"][0]["result"] = json!([{ "type": "choices", "value": { "choices": ["disc"] } }]);
    put("choices.json", &json!([choice]).to_string());
    let said = refused(&place, "choices.json");
    assert!(said.contains("result of type `choices`, and an image has boxes here"), "{said}");
    assert_eq!(missing(&place).len(), 12);
}

#[test]
fn a_program_trains_a_detector_on_the_boxes_that_it_is_given() {
    let (place, truth) = place();
    let script = r#"
set -e
"$ISAL" train --model "$ISAL_PREVIOUS_MODEL" --train "$ISAL_LABELED" --epochs 1 --batch-size 5 --learning-rate 1e-5 \
  --warm-up 0 --seed "$ISAL_SEED" --threads 1 -o "$ISAL_OUT/isal"
cp "$ISAL_OUT/isal/model.onnx" "$ISAL_MODEL"
"#;
    fs::write(place.path("train.sh"), script).expect("written");
    let known: String = truth.iter().map(|(id, boxes)| line(id, boxes).replace("\"flat/", "\"")).collect();
    fs::write(place.path("flat/list.jsonl"), known).expect("written");
    let config = CONFIG.replace("\"flat\"", "\"flat/list.jsonl\"").replace(
        "oracle = { kind = \"human\", forms = [\"label-studio\", \"cvat\", \"coco\", \"yolo\", \"voc\"] }",
        "",
    );
    let command = "train = { kind = \"command\", command = [\"sh\", \"train.sh\"] }";
    let ours = "train = { epochs = 1, batch-size = 5, learning-rate = 1e-5, warm-up = 0.0 }";
    assert!(config.contains(ours));
    place.configure(&config);
    stdout(&mut place.run("by-isal", &[]));
    place.configure(&config.replace(ours, command));
    stdout(&mut place.run("by-program", &[]));
    for round in 0..2 {
        let folder = format!("by-program/round-{round:02}");
        let list = fs::read_to_string(place.path(&format!("{folder}/lists/labeled.jsonl"))).expect("a list");
        assert_eq!(list.lines().count(), 12 + 6 * round);
        for line in list.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let boxes = &truth[line["id"].as_str().expect("an id")];
            let corners: Vec<[f64; 4]> = serde_json::from_value(line["boxes"].clone()).expect("boxes");
            let names: Vec<String> = serde_json::from_value(line["labels"].clone()).expect("names");
            assert_eq!(&names.iter().cloned().zip(corners).collect::<Boxes>(), boxes);
            let numbers: Vec<usize> = serde_json::from_value(line["class_indices"].clone()).expect("numbers");
            assert_eq!(numbers.iter().map(|n| CLASSES[*n]).collect::<Vec<_>>(), names);
            assert!(std::path::Path::new(line["path"].as_str().expect("a path")).is_absolute());
        }
        // The same images with the same boxes make the same model, and that has the same figure.
        let figure = |out: &str| place.json(&format!("{out}/curve.json"))["ended"][round]["test_figure"].clone();
        assert_eq!(figure("by-isal"), figure("by-program"), "round {round}");
        assert_eq!(figure("by-program"), place.json(&format!("{folder}/trained/metrics.json"))["figure"]);
    }
    let labeled = |out: &str| place.json(&format!("{out}/round-01/labeled.json"))["ids"].clone();
    assert_eq!(labeled("by-isal"), labeled("by-program"));

    // A model of another kind is refused by what it is.
    place
        .isal(&["model", "new", "lenet", "--input", "3x64x64", "--classes", "3", "-o", "lenet.onnx"])
        .assert()
        .success();
    fs::write(
        place.path("train.sh"),
        "cp lenet.onnx $ISAL_MODEL; printf '[task]\nname = \"sigmoid-cross-entropy\"\n' > ${ISAL_MODEL%.onnx}.toml",
    )
    .expect("written");
    let said = stderr(&mut place.run("other", &[]), 3);
    assert!(said.contains("any number of classes, and boxes in this run"), "{said}");
}
