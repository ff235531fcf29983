//! What lists say of images besides their class: fields, the files they name, and folders of images and masks.

use std::path::{Path, PathBuf};

use isal::data::{DataError, Dataset, Found, OpenOptions, TableProblem};
use serde_json::{Map, Value, json};

fn with_fields() -> OpenOptions {
    OpenOptions { fields: true, ..OpenOptions::default() }
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, &with_fields()).unwrap()
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn write_png(path: &Path, value: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_pixel(2, 2, image::Luma([value])).save(path).unwrap();
}

fn listed(root: &Path, name: &str, text: &str) -> Dataset {
    write(&root.join(name), text);
    open(&root.join(name))
}

fn map(value: Value) -> Option<Map<String, Value>> {
    value.as_object().cloned()
}

fn ids(data: &Dataset) -> Vec<String> {
    (0..data.len()).map(|index| data.id(index)).collect()
}

/// Nothing is a class.
fn assert_unlabelled(data: &Dataset) {
    assert!(data.labels().iter().all(Option::is_none) && data.classes().is_empty());
}

#[test]
fn json_lines_keep_all_but_the_path_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let text = concat!(
        r#"{"mask": "m/1.png", "file_name": "1.png", "label": ["cat", {"a": null}], "n": 12345678901234567890, "x": 0.1}"#,
        "\n\n",
        r#"{"image_path": "2.png", "path": "3.png", "id": 7, "label": {"b": [[1, 2.50]]}, "ü\n": "\u0000 ü"}"#,
        "\n{\"path\": \"4.png\"}\n",
    );
    let data = listed(root.path(), "l.jsonl", text);
    assert_unlabelled(&data);
    assert_eq!(ids(&data), ["1.png", "7", "4.png"]);
    let first = data.fields(0).unwrap();
    assert_eq!(
        Value::Object(first).to_string(),
        r#"{"mask":"m/1.png","label":["cat",{"a":null}],"n":12345678901234567890,"x":0.1}"#,
        "in the order of the line"
    );
    // A second column that could be the path is a field as others are.
    assert_eq!(data.fields(1), map(json!({"image_path": "2.png", "id": 7, "label": {"b": [[1, 2.5]]}, "ü\n": "\0 ü"})));
    assert_eq!((data.fields(2), data.fields(3)), (Some(Map::new()), None));
    // Without fields, such a label is refused as before.
    let plain = Dataset::open(&root.path().join("l.jsonl"), &OpenOptions::default());
    assert!(
        matches!(plain, Err(DataError::Table { line: 1, problem: TableProblem::Key { key, .. }, .. }) if key == "label")
    );
}

#[test]
fn text_keeps_the_cells_under_the_names_of_their_columns() {
    let root = tempfile::tempdir().unwrap();
    let rows = [["note", "path", "label", "mask"], ["x, y", "1.png", "[1, 2]", ""], ["", "2.png", "cat", "m.png"]];
    let quoted = |row: &[&str; 4], delimiter: &str| row.map(|cell| format!("\"{cell}\"")).join(delimiter);
    for (name, delimiter) in [("l.csv", ","), ("s.csv", ";"), ("l.tsv", "\t"), ("l.txt", ";")] {
        let text = rows.iter().map(|row| quoted(row, delimiter)).collect::<Vec<_>>().join("\r\n");
        let data = listed(root.path(), name, &format!("\u{feff}{text}\r\n"));
        assert_unlabelled(&data);
        assert_eq!(ids(&data), ["1.png", "2.png"], "{name}");
        assert_eq!(data.fields(0), map(json!({"note": "x, y", "label": "[1, 2]"})), "{name}");
        assert_eq!(data.fields(1), map(json!({"label": "cat", "mask": "m.png"})), "{name}");
    }
    let spaced = listed(root.path(), "spaced.txt", "path label mask\n1.png cat m.png\n");
    assert_eq!(spaced.fields(0), map(json!({"label": "cat", "mask": "m.png"})));
    let identified = listed(root.path(), "id.csv", "id,path\none,1.png\n,2.png\n");
    assert_eq!(ids(&identified), ["one", "2.png"]);
    assert_eq!((identified.fields(0), identified.fields(1)), (map(json!({"id": "one"})), Some(Map::new())));
}

#[test]
fn a_list_without_a_header_has_no_fields_and_no_classes() {
    let root = tempfile::tempdir().unwrap();
    for text in ["1.png,cat\n2.png,dog\n", "1.png cat\n2.png dog\n", "1.png\n2.png\n"] {
        let data = listed(root.path(), "l.txt", text);
        assert_unlabelled(&data);
        assert_eq!(ids(&data), ["1.png", "2.png"], "{text}");
        assert_eq!((data.fields(0), data.fields(1)), (None, None), "{text}");
    }
}

#[test]
fn a_list_that_is_not_asked_for_fields_is_what_it_was() {
    let root = tempfile::tempdir().unwrap();
    write_png(&root.path().join("1.png"), 1);
    write_png(&root.path().join("m.png"), 2);
    let of = |name: &str, text: &str| {
        write(&root.path().join(name), text);
        let data = Dataset::open(&root.path().join(name), &OpenOptions::default()).unwrap();
        assert_eq!((data.fields(0), data.label(0), data.classes()), (None, Some(0), &["cat".to_owned()][..]));
        data.fingerprint()
    };
    let bare = of("a.csv", "path,label\n1.png,cat\n");
    assert_eq!(of("b.csv", "path,label,mask\n1.png,cat,m.png\n"), bare);
    assert_eq!(of("c.jsonl", r#"{"path": "1.png", "label": "cat", "mask": "m.png"}"#), bare);
}

#[test]
fn a_line_of_fields_is_bounded_as_any() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("l.jsonl");
    write(&path, &format!("{{\"path\": \"1.png\", \"boxes\": \"{}\"}}", "x".repeat(1 << 20)));
    let long = Dataset::open(&path, &with_fields());
    assert!(matches!(long, Err(DataError::Table { line: 1, problem: TableProblem::LongLine { .. }, .. })));
    write(&path, &format!("{{\"path\": \"1.png\", \"boxes\": {}1{}}}", "[".repeat(5_000), "]".repeat(5_000)));
    let deep = Dataset::open(&path, &with_fields());
    assert!(matches!(deep, Err(DataError::Table { line: 1, problem: TableProblem::Syntax { .. }, .. })));
}

#[test]
fn every_line_of_many_keeps_its_own_fields() {
    let root = tempfile::tempdir().unwrap();
    let line = |n: usize| format!("{{\"path\":\"{n}.png\",\"boxes\":{:?}}}\n", vec![n; n % 40]);
    let data = listed(root.path(), "l.jsonl", &(0..200).map(line).collect::<String>());
    for index in 0..200 {
        assert_eq!(data.fields(index), map(json!({"boxes": vec![index; index % 40]})));
    }
}

#[test]
fn a_field_names_files_by_the_rules_of_lists() {
    let root = tempfile::tempdir().unwrap();
    write_png(&root.path().join(r"odd\name.png"), 1);
    let data = listed(root.path(), "l.jsonl", "{\"path\": \"1.png\"}\n{\"path\": \"2.png\"}");
    let found = |written: &str| data.beside(0, written);
    let inside = |name: &str| Ok(root.path().join(name));
    assert_eq!(found("masks/1.png"), inside("masks/1.png"), "it need not be there");
    assert_eq!(found(r"masks\a\1.png"), inside("masks/a/1.png"));
    assert_eq!(found(r"odd\name.png"), inside(r"odd\name.png"), "a file of that very name");
    assert_eq!(found("a/../b.png"), inside("a/../b.png"));
    assert_eq!(found("/elsewhere/1.png"), Ok(PathBuf::from("/elsewhere/1.png")));
    for outside in ["../1.png", "a/../../1.png", r"..\1.png"] {
        assert_eq!(found(outside), Err(TableProblem::Outside { path: outside.to_owned() }));
    }
    for elsewhere in ["https://a.b/1.png", "http://a.b/1.png", r"C:\1.png", "c:/1.png", r"\\server\1.png"] {
        assert!(matches!(found(elsewhere), Err(TableProblem::Elsewhere { .. })), "{elsewhere}");
        // As the list itself has it.
        let list = root.path().join("wrong.jsonl");
        write(&list, &json!({"path": elsewhere}).to_string());
        let refused = Dataset::open(&list, &with_fields());
        assert!(
            matches!(refused, Err(DataError::Table { problem: TableProblem::Elsewhere { .. }, .. })),
            "{elsewhere}"
        );
    }
}

#[test]
fn a_data_set_without_a_folder_says_that_paths_count_from_none() {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("digits.csv"), "3,0,1,2,3\n");
    let data = open(&root.path().join("digits.csv"));
    assert_eq!((data.fields(0), data.label(0)), (None, Some(3)));
    let error = data.beside(0, "masks/1.png").unwrap_err();
    assert_eq!(error, TableProblem::NoFolder { path: "masks/1.png".to_owned() });
    assert!(error.to_string().contains("`masks/1.png`") && error.to_string().contains("no folder"), "{error}");
}

#[test]
fn parts_and_views_of_data_sets_keep_the_fields_of_their_images() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = listed(one.path(), "l.csv", "path,v\na.png,1\nb.png,2\nc.png,3\n");
    let second = listed(two.path(), "l.csv", "path,v\nd.png,4\ne.png,5\n");
    let chosen = first.subset(&[2, 0]).unwrap().subset(&[1]).unwrap();
    let all = Dataset::concat(&[chosen, second]).unwrap();
    let seen = all.with_classes(&["cat".to_owned()]).unwrap().subset(&[2, 0, 1]).unwrap();
    let expected = [("e.png", "5", two.path()), ("a.png", "1", one.path()), ("d.png", "4", two.path())];
    for (index, (id, value, root)) in expected.into_iter().enumerate() {
        assert_eq!((seen.id(index).as_str(), seen.label(index)), (id, None));
        assert_eq!(seen.fields(index), map(json!({"v": value})));
        assert_eq!(seen.beside(index, "m.png"), Ok(root.join("m.png")));
    }
    assert_eq!(seen.fields(3), None);
    assert!(seen.beside(3, "m.png").is_err(), "no folder of an image that is not there");
}

#[test]
fn fields_and_the_files_they_name_count_in_the_fingerprint() {
    let root = tempfile::tempdir().unwrap();
    let (image, mask) = (root.path().join("1.png"), root.path().join("m/1.png"));
    write_png(&image, 1);
    write_png(&mask, 2);
    let of = |text: &str| listed(root.path(), "l.jsonl", text).fingerprint();
    let text = r#"{"path": "1.png", "mask": "m/1.png", "n": 1}"#;
    let before = of(text);
    assert_eq!(of(r#"  {"n_": 0, "path": "1.png"}"#).len(), before.len());
    assert_eq!(of(r#" {"mask":"m/1.png",  "path":"1.png","n":1}"#), before, "how it is written is not");
    assert_ne!(of(r#"{"path": "1.png", "mask": "m/1.png", "n": 2}"#), before);
    assert_ne!(of(r#"{"path": "1.png", "mask": "m/1.png"}"#), before);
    assert_eq!(of(text), before);

    let written = std::fs::read(&mask).unwrap();
    write_png(&mask, 3);
    assert_ne!(of(text), before, "a mask that was changed in place");
    std::fs::remove_file(&mask).unwrap();
    let without = of(text);
    assert_ne!(without, before);
    std::fs::write(&mask, []).unwrap();
    assert!(of(text) != without, "an empty file is not the same as none");
    std::fs::write(&mask, &written).unwrap();
    assert_eq!(of(text), before, "and back again");
    // What may not be named is not read, nor is it an error.
    let named = |name: &str| of(&json!({"path": "1.png", "mask": name}).to_string());
    let (outer, folder) = (named("../m/1.png"), named("m"));
    write_png(&mask, 9);
    assert_eq!((named("../m/1.png"), named("m")), (outer, folder));
}

#[test]
fn the_same_data_elsewhere_has_the_same_fingerprint() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let prints = roots.each_ref().map(|root| {
        write_png(&root.path().join("1.png"), 1);
        write_png(&root.path().join("m.png"), 2);
        listed(root.path(), "l.csv", "path,mask\n1.png,m.png\n").fingerprint()
    });
    assert_eq!(prints[0], prints[1]);
}

/// A folder with these images under `images`, and a `masks` of which nothing need be there.
fn masked(root: &Path, images: &[&str]) {
    std::fs::create_dir_all(root.join("masks")).unwrap();
    images.iter().for_each(|name| write_png(&root.join("images").join(name), 5));
}

#[test]
fn a_folder_of_images_and_masks_gives_each_image_the_mask_of_its_name() {
    let root = tempfile::tempdir().unwrap();
    masked(root.path(), &["b.x.png", "a.bmp", "sub/c.png"]);
    write_png(&root.path().join("masks/a.png"), 1);
    std::fs::create_dir(root.path().join(".cache")).unwrap();
    let data = open(root.path());
    assert_unlabelled(&data);
    assert_eq!(ids(&data), ["a.bmp", "b.x.png", "sub/c.png"]);
    let masks = ["masks/a.png", "masks/b.x.png", "masks/sub/c.png"];
    for (index, mask) in masks.into_iter().enumerate() {
        assert_eq!(data.fields(index), map(json!({"mask": mask})));
        assert_eq!(data.beside(index, mask), Ok(root.path().join(mask)));
        assert_eq!(data.path(index), Some(root.path().join("images").join(data.id(index))));
        assert_eq!(data.load(index).unwrap().pixels()[0], 5);
    }
    assert_eq!((data.fields(3), data.path(3)), (None, None));
    assert!(matches!(data.beside(0, "../x.png"), Err(TableProblem::Outside { .. })));
    let before = data.fingerprint();
    write_png(&root.path().join("masks/a.png"), 2);
    assert_ne!(open(root.path()).fingerprint(), before);
    // Without fields these are classes, as of any folder.
    let plain = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    assert_eq!((plain.classes(), plain.fields(0)), (&["images".to_owned(), "masks".to_owned()][..], None));
    assert_eq!(ids(&plain)[0], "images/a.bmp");
}

#[test]
fn images_in_classes_beside_masks_have_none() {
    let root = tempfile::tempdir().unwrap();
    masked(root.path(), &["cat/1.png", "dog/2.png"]);
    let data = open(root.path());
    assert_unlabelled(&data);
    assert_eq!(data.fields(1), map(json!({"mask": "masks/dog/2.png"})));
}

#[test]
fn images_and_masks_lie_in_parts_and_stand_alone() {
    let root = tempfile::tempdir().unwrap();
    masked(&root.path().join("train"), &["1.png"]);
    masked(&root.path().join("val"), &["2.png"]);
    let part = |name: &str| open(Path::new(&format!("{}#{name}", root.path().display())));
    assert_eq!((ids(&part("train")), ids(&part("val"))), (vec!["1.png".to_owned()], vec!["2.png".to_owned()]));
    assert_eq!(part("val").beside(0, "masks/2.png"), Ok(root.path().join("val/masks/2.png")));
    // A part of such a folder is not passed over.
    let train = root.path().join("train");
    let test = Dataset::open(&train, &OpenOptions { part: Some("test".to_owned()), ..with_fields() });
    assert!(matches!(test, Err(DataError::Part { parts, .. }) if parts == ["images", "masks"]));
    assert_eq!(open(Path::new(&format!("{}#images", train.display()))).fields(0), None);
    // With a third folder they are folders like others.
    write_png(&train.join("more/1.png"), 1);
    assert_eq!(open(&train).classes(), ["images", "more"]);
}

#[test]
fn no_images_beside_masks_are_no_data_set() {
    let root = tempfile::tempdir().unwrap();
    masked(root.path(), &[]);
    write(&root.path().join("images/notes.txt"), "none");
    let error = Dataset::open(root.path(), &with_fields()).unwrap_err();
    assert!(matches!(error, DataError::Unrecognised { path, found: Found::Folder(names), .. }
        if path.ends_with("images") && names == ["notes.txt"]));
}
