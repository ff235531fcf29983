//! The order of the classes: where it comes from, that it is said, and that a wrong one is noticed.

use crate::place::{Place, stderr};
use isal_onnx::Model;
use std::fs;

fn named(place: &Place, model: &str, key: &str, text: &str) {
    let mut changed = Model::read(place.path(model)).expect("a model");
    changed.metadata.insert(key.into(), text.into());
    changed.write(place.path(model)).expect("written");
}

fn order(place: &Place, out: &str) -> String {
    place.run_json(out)["provenance"]["class names"].as_str().expect("an order").to_owned()
}

const ASCENDING: [usize; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

#[test]
fn names_in_the_file_win_over_folders_and_a_file_by_hand_over_both() {
    let place = Place::new();
    // The model's scores run from 9 to 0, and its names say so.
    place.knows(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    let dict = "{0: '9', 1: \"8\", 2: '7', 3: '6', 4: '5', 5: '4', 6: '3', 7: '2', 8: '1', 9: '0'}";
    named(&place, "knows.onnx", "names", dict);
    let (code, said) = stderr(place.score("knows.onnx", "named", &[]));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("class names: the model's property `names`") && !said.contains("warning"), "{said}");
    assert!(order(&place, "named").contains("`names`"));
    let labelled = &place.run_json("named")["labelled"];
    assert_eq!((&labelled["images"], &labelled["fitting"]), (&60.into(), &serde_json::Value::Null));
    let right = labelled["right"].as_u64().expect("a number");
    assert!(right >= 40, "the nearest mean knows its own images: {right} of 60");

    fs::write(place.path("mine.txt"), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").expect("written");
    let (code, said) = stderr(place.score("knows.onnx", "mine", &["--classes", "mine.txt"]));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("class names: --classes") && said.contains("wrong order"), "{said}");
    let fitting = place.run_json("mine")["labelled"]["fitting"].clone();
    assert_eq!(fitting["right"].as_u64(), Some(right), "the same model on the same images: {fitting}");
    // The command that goes on says it again.
    let (_, again) = stderr(place.score("knows.onnx", "mine", &["--classes", "mine.txt"]));
    assert!(again.contains("not solved again") && again.contains("wrong order"), "{again}");
}

#[test]
fn a_file_of_labels_beside_the_model_is_read_and_a_wrong_one_passed_over() {
    let place = Place::new();
    place.knows(&ASCENDING);
    fs::write(place.path("labels.txt"), "cat\ndog\n").expect("written");
    let (_, said) = stderr(place.score("knows.onnx", "wrong", &[]));
    assert!(said.contains("passed over") && said.contains("names 2 classes"), "{said}");
    assert!(order(&place, "wrong").contains("folders"));
    fs::write(place.path("labels.txt"), "\u{feff}0\r\n1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n8\r\n9\r\n\r\n")
        .expect("written");
    place.score("knows.onnx", "beside", &[]).assert().success();
    assert_eq!(order(&place, "beside"), "`labels.txt` beside the model");
    // One called after the model is meant for it.
    fs::write(place.path("knows.labels.txt"), "cat\ndog\n").expect("written");
    let (code, said) = stderr(place.score("knows.onnx", "own", &[]));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("knows.labels.txt") && said.contains("the model has 10"), "{said}");
}

#[test]
fn folders_that_no_class_is_called_after_are_listed() {
    let place = Place::new();
    fs::rename(place.path("labeled/3"), place.path("labeled/three")).expect("renamed");
    named(&place, "model.onnx", "names", "['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']");
    let (code, said) = stderr(place.score("model.onnx", "out", &[]));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("`three`") && said.contains("--classes"), "{said}");
}

#[test]
fn a_class_without_labelled_images_is_named_by_the_reference_or_the_pool_or_by_hand() {
    let place = Place::new();
    place.knows(&ASCENDING);
    // Names that are no numbers, so that only what is there can say them.
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    for part in ["labeled", "reference", "pool"] {
        for (digit, letter) in letters.iter().enumerate() {
            fs::rename(place.path(part).join(digit.to_string()), place.path(part).join(letter)).expect("renamed");
        }
    }
    fs::remove_dir_all(place.path("labeled/d")).expect("removed");
    place.score("knows.onnx", "reference", &[]).assert().success();
    fs::remove_dir_all(place.path("reference/d")).expect("removed");
    place.score("knows.onnx", "pool", &[]).assert().success();
    let accuracy = |out: &str| place.run_json(out)["labelled"]["right"].as_u64().expect("a number");
    assert!(accuracy("pool") >= 36 && accuracy("pool") == accuracy("reference"), "{}", accuracy("pool"));
    // Folders of a pool may be anything: these are ten, and nine of them are other things than classes.
    for letter in letters.iter().filter(|letter| **letter != "d") {
        let camera = place.path("pool").join(format!("camera-{letter}"));
        fs::rename(place.path("pool").join(letter), camera).expect("renamed");
    }
    let (code, said) = stderr(place.score("knows.onnx", "out", &[]));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("9 classes") && said.contains("`--classes FILE`"), "{said}");
    fs::write(place.path("names.txt"), letters.join("\n")).expect("written");
    place.score("knows.onnx", "hand", &["--classes", "names.txt"]).assert().success();
    assert_eq!(accuracy("hand"), accuracy("pool"));
}

#[test]
fn twelve_folders_of_numbers_are_taken_as_texts_and_a_model_in_natural_order_is_noticed() {
    let place = Place::new();
    // Classes 10 and 11 look like nothing else: the digits 0 and 1 turned upside down.
    for part in ["labeled", "reference"] {
        for (class, digit) in [(10, 4), (11, 7)] {
            let folder = place.path(part).join(class.to_string());
            fs::create_dir_all(&folder).expect("a folder");
            for file in fs::read_dir(place.path(part).join(digit.to_string())).expect("a folder").flatten() {
                let image = image::open(file.path()).expect("an image").rotate180();
                image.save(folder.join(file.file_name())).expect("saved");
            }
        }
    }
    place.knows(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    let (code, said) = stderr(place.score("knows.onnx", "text", &[]));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("in the order of texts (0, 1, 10, 11, 2, ...)"), "{said}");
    assert!(said.contains("natural order"), "{said}");
    let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    fs::write(place.path("names.txt"), names.join("\n")).expect("written");
    let (code, said) = stderr(place.score("knows.onnx", "natural", &["--classes", "names.txt"]));
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("warning"), "{said}");
    let right = |out: &str| place.run_json(out)["labelled"]["right"].as_u64().expect("a number");
    assert_eq!(place.run_json("text")["labelled"]["fitting"]["right"].as_u64(), Some(right("natural")));
    assert!(right("natural") > 2 * right("text"), "{} {}", right("natural"), right("text"));
}

#[test]
fn labels_given_as_numbers_are_places_in_the_class_scores() {
    let place = Place::new();
    place.knows(&ASCENDING);
    named(
        &place,
        "knows.onnx",
        "isal.classes",
        r#"["zero","one","two","three","four","five","six","seven","eight","nine"]"#,
    );
    let mut list = "path,label\n".to_owned();
    for digit in 0..10 {
        for file in fs::read_dir(place.path("labeled").join(digit.to_string())).expect("a folder").flatten() {
            list += &format!("labeled/{digit}/{},{digit}\n", file.file_name().to_string_lossy());
        }
    }
    fs::write(place.path("list.csv"), list).expect("written");
    let request = ["score", "pool", "--model", "knows.onnx", "--pool", "pool", "--budget", "5", "-o", "out"];
    let mut command = place.isal(&request);
    command.args(["--labeled", "list.csv", "--solver", "identity", "--batch-size", "16"]);
    command.assert().success();
    let labelled = place.run_json("out")["labelled"].clone();
    let (right, images) = (labelled["right"].as_u64().expect("right"), labelled["images"].as_u64().expect("images"));
    assert!(3 * right > 2 * images, "{right} of {images}");
}
