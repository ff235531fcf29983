//! Runs that people label with any number of classes an image, and with masks.

use super::detector::{SIDE, scenes};
use super::place::{Place, stderr};
use super::tools::stdout;
use isal_exporters::seeded;
use isal_onnx::{Builder, DataType, Dim, Model, Tensor, ValueType};
use serde_json::{Value, json};
use std::fs;

const CLASSES: usize = 3;

/// One convolution with a kernel of this side: scores `[N, 3, 64 / side, 64 / side]`, of the whole image `[N, 3]`.
fn model(kernel: usize) -> Model {
    let side = Dim::from(SIDE as usize);
    let float = |shape: Vec<Dim>| ValueType { data_type: DataType::Float, shape: Some(shape) };
    let mut b = Builder::new("scores");
    let images = b.input("images", float(vec!["N".into(), 3.into(), side.clone(), side]));
    let dims = [CLASSES, 3, kernel, kernel];
    let range = 1.0 / (kernel * kernel) as f64;
    let weights = seeded::uniform(7, "weight", dims.iter().product(), -range..range);
    let w = b.initializer("weight", Tensor::new(dims, &weights));
    let bias = b.initializer("bias", Tensor::new([CLASSES], &[0.1_f32, -0.1, 0.05]));
    let conv = b.node("Conv", [images, w, bias]).attr("strides", vec![kernel as i64; 2]);
    match kernel {
        1 => {
            let scores = conv.outputs(["scores"]).value();
            let side = Dim::from(SIDE as usize);
            b.output("scores", scores, Some(float(vec!["N".into(), CLASSES.into(), side.clone(), side])));
        }
        _ => {
            let scores = conv.value();
            let scores = b.node("Flatten", [scores]).attr("axis", 1_i64).outputs(["scores"]).value();
            b.output("scores", scores, Some(float(vec!["N".into(), CLASSES.into()])));
        }
    }
    Model::new(17, b.finish().expect("a graph"))
}

/// A run of two rounds whose program leaves the model as it is.
fn place(kernel: usize, task: &str, forms: &str) -> Place {
    let place = Place::new();
    scenes(&place, "flat", 0..20);
    scenes(&place, "unseen", 40..50);
    fs::remove_file(place.path("flat/list.jsonl")).expect("removed");
    fs::remove_file(place.path("unseen/list.jsonl")).expect("removed");
    model(kernel).write(place.path("scores.onnx")).expect("written");
    fs::write(place.path("scores.toml"), format!("[task]\nname = \"{task}\"\n")).expect("written");
    place.configure(&format!(
        r#"
rounds = 2
model = "scores.onnx"
data = {{ pool = "flat", test = "unseen/list.jsonl", classes = ["disc", "square", "triangle"] }}
labels = {{ initial = 4, budget = 3 }}
train = {{ kind = "command", command = ["sh", "-c", "cp scores.onnx $ISAL_MODEL"] }}
select = {{ strategy = "entropy" }}
oracle = {{ kind = "human", forms = [{forms}] }}
"#
    ));
    place
}

fn asked(place: &Place, round: usize) -> Vec<String> {
    let text = fs::read_to_string(place.path(&format!("out/round-{round:02}/to-label.jsonl"))).expect("a list");
    let id = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();
    text.lines().map(id).collect()
}

fn lines(list: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(list).expect("a list");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn people_give_any_number_of_classes() {
    let place = place(64, "sigmoid-cross-entropy", "\"label-studio\", \"cvat\"");
    let test: String =
        (40..50).map(|n| json!({ "path": format!("{n}.png"), "labels": [n % 3] }).to_string() + "\n").collect();
    fs::write(place.path("unseen/list.jsonl"), test).expect("written");
    stdout(&mut place.run("out", &[]));
    let first = asked(&place, 0);
    let interface = fs::read_to_string(place.path("out/round-00/to-label.label-studio.xml")).expect("text");
    assert!(interface.contains("<Choices choice=\"multiple\""), "{interface}");
    let wrong = [json!({ "path": "x", "labels": ["disc", "cow"], "id": first[0] })];
    fs::write(place.path("wrong.jsonl"), wrong[0].to_string()).expect("written");
    let said = stderr(&mut place.isal(&["label", "import", "out", "wrong.jsonl"]), 2);
    assert!(
        said.contains(&format!("`cow` of `{}`; expected one of disc, square, triangle, skip, empty", first[0])),
        "{said}"
    );

    // A table with names between semicolons, none of the classes, one to skip; and Label Studio's export of the last.
    let rows = ["triangle;disc", "empty", "skip"];
    let rows: String = rows.iter().zip(&first).map(|(labels, id)| format!("flat/{id},{labels},{id}\n")).collect();
    fs::write(place.path("some.csv"), format!("path,labels,id\n{rows}")).expect("written");
    let said = stdout(&mut place.isal(&["label", "import", "out", "some.csv"]));
    assert!(said.contains("2 of 4 images labelled (1 empty), 1 skipped"), "{said}");
    let task = place.json("out/round-00/to-label.label-studio.json")[3].clone();
    let result = json!({ "type": "choices", "value": { "choices": ["square", "disc"] } });
    let task = json!([{ "annotations": [{ "result": [result], "was_cancelled": false }], "data": task["data"] }]);
    fs::write(place.path("export.json"), task.to_string()).expect("written");
    stdout(&mut place.isal(&["label", "import", "out", "export.json"]));
    assert!(stdout(&mut place.run("out", &[])).contains("3 of the 3 images of round 2"));
    let given: Vec<Value> = lines(&place.path("out/round-00/lists/labeled.jsonl"));
    let of = |id: &String| given.iter().find(|line| line["id"] == **id).map(|line| line["labels"].clone());
    assert_eq!(of(&first[0]), Some(json!(["disc", "triangle"])));
    assert_eq!((of(&first[1]), of(&first[2]), of(&first[3])), (Some(json!([])), None, Some(json!(["disc", "square"]))));
    let ended = place.json("out/curve.json")["ended"][0].clone();
    assert_eq!(ended["test_figure"]["measure"], "F1");
}

#[test]
fn people_give_masks_as_image_files() {
    let place = place(1, "pixel-cross-entropy", "");
    // Left half of the one class, right half of another.
    let mask = |left: u8, right: u8, side: u32| {
        image::GrayImage::from_fn(side, side, |x, _| image::Luma([if x < side / 2 { left } else { right }]))
    };
    fs::create_dir(place.path("masks")).expect("made");
    let mut test = String::new();
    for n in 40..50 {
        mask(0, 2, SIDE).save(place.path(&format!("unseen/{n}.mask.png"))).expect("a PNG");
        test += &(json!({ "path": format!("{n}.png"), "mask": format!("{n}.mask.png") }).to_string() + "\n");
    }
    fs::write(place.path("unseen/list.jsonl"), test).expect("written");
    stdout(&mut place.run("out", &[]));
    let first = asked(&place, 0);
    let header = fs::read_to_string(place.path("out/round-00/to-label.csv")).expect("a list");
    assert!(header.starts_with("path,mask,id\n"), "{header}");
    let name = |n: usize| format!("masks/{:04}-{}", n + 1, first[n]);
    mask(0, 7, SIDE).save(place.path(&name(0))).expect("a PNG");
    mask(0, 1, 32).save(place.path(&name(1))).expect("a PNG");
    mask(0, 1, SIDE).save(place.path("masks/nobody.png")).expect("a PNG");
    let said = stderr(&mut place.isal(&["label", "import", "out", "masks"]), 2);
    for part in ["has the label 7, expected 0 to 2", "32 x 32 pixels, and the image of 64 x 64", "`nobody.png`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    fs::remove_file(place.path("masks/nobody.png")).expect("removed");
    for n in 0..3 {
        mask(n as u8, 255, SIDE).save(place.path(&name(n))).expect("a PNG");
    }
    stdout(&mut place.isal(&["label", "import", "out", "masks"]));
    fs::write(place.path("skip.csv"), format!("path,mask,id\nx.png,skip,{}\n", first[3])).expect("written");
    let said = stdout(&mut place.isal(&["label", "import", "out", "skip.csv"]));
    assert!(said.contains("3 of 4 images labelled, 1 skipped"), "{said}");
    let sent: Vec<Vec<u8>> = (0..3).map(|n| fs::read(place.path(&name(n))).expect("a mask")).collect();
    // The run keeps what it was given.
    fs::remove_dir_all(place.path("masks")).expect("removed");
    assert!(stdout(&mut place.run("out", &[])).contains("3 of the 3 images of round 2"));
    let given = lines(&place.path("out/round-00/lists/labeled.jsonl"));
    assert_eq!(given.len(), 3);
    for line in given {
        let n = first.iter().position(|id| line["id"] == **id).expect("asked");
        assert!(fs::read(line["mask"].as_str().expect("a path")).expect("a mask") == sent[n], "{line}");
    }
    assert_eq!(place.json("out/curve.json")["ended"][0]["test_figure"]["measure"], "mean IoU");
    // Tools have no form for masks.
    let said = stderr(place.run("other", &[]).args(["--set", "oracle.forms=['coco']"]), 2);
    assert!(said.contains("`coco` has no form for labels of the task `pixel-cross-entropy`"), "{said}");
}
