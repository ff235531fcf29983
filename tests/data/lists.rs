//! Lists of image files, digit tables, and folders with parts.

use std::path::Path;

use isal::data::{DataError, Dataset, OpenOptions, TableProblem};

fn write_png(path: &Path, value: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_pixel(2, 2, image::Luma([value])).save(path).unwrap();
}

fn listed(root: &Path, name: &str, text: &str) -> Result<Dataset, DataError> {
    std::fs::write(root.join(name), text).unwrap();
    Dataset::open(&root.join(name), &OpenOptions::default())
}

fn shown(data: &Dataset) -> Vec<(String, Option<u32>)> {
    (0..data.len()).map(|index| (data.id(index), data.label(index))).collect()
}

fn row(id: &str, label: impl Into<Option<u32>>) -> (String, Option<u32>) {
    (id.to_string(), label.into())
}

#[test]
fn csv_and_json_lines_say_the_same() {
    let root = tempfile::tempdir().unwrap();
    write_png(&root.path().join("cats/1, one.png"), 1);
    write_png(&root.path().join("2.png"), 2);
    let elsewhere = tempfile::tempdir().unwrap();
    let absolute = elsewhere.path().join("far.png");
    write_png(&absolute, 3);
    let absolute = absolute.display();
    let csv = format!(
        "id,note,path,label\nfirst,x,\"cats/1, one.png\",cat\n,,2.png,\n,,./sub/../2.png,ant\n,,{absolute},cat\n,,gone.png,bee\n"
    );
    let json = format!(
        "{{\"path\": \"cats/1, one.png\", \"label\": \"cat\", \"id\": \"first\"}}\n\n{{\"path\": \"2.png\", \"other\": [1]}}\n\
         {{\"path\": \"./sub/../2.png\", \"label\": \"ant\"}}\n{{\"path\": \"{absolute}\", \"label\": \"cat\"}}\n\
         {{\"path\": \"gone.png\", \"label\": \"bee\"}}"
    );
    for (name, text) in [("list.csv", csv), ("list.jsonl", json)] {
        let data = listed(root.path(), name, &text).unwrap();
        let far = absolute.to_string();
        let expected =
            [row("first", 2), row("2.png", None), row("./sub/../2.png", 0), row(&far, 2), row("gone.png", 1)];
        assert_eq!(shown(&data), expected, "{name}");
        assert_eq!(data.classes(), ["ant", "bee", "cat"]);
        let values: Vec<_> = [0, 1, 3].map(|i| data.load(i).unwrap().pixels()[0]).to_vec();
        assert_eq!(values, [1, 2, 3]);
        assert!(matches!(data.load(4), Err(DataError::Io { path, .. }) if path.ends_with("gone.png")));
    }
}

#[test]
fn labels_that_are_all_numbers_are_class_numbers() {
    let root = tempfile::tempdir().unwrap();
    let numbers = listed(root.path(), "n.csv", "path,label\na.png,2\nb.png,0\nc.png,\n").unwrap();
    assert_eq!(shown(&numbers), [row("a.png", 2), row("b.png", 0), row("c.png", None)]);
    assert_eq!(numbers.classes(), ["0", "1", "2"]);
    let json = listed(root.path(), "n.jsonl", "{\"path\":\"a.png\",\"label\":2}\n{\"path\":\"b.png\",\"label\":null}")
        .unwrap();
    assert_eq!(shown(&json), [row("a.png", 2), row("b.png", None)]);
    let names = listed(root.path(), "m.csv", "path,label\na.png,2\nb.png,x\n").unwrap();
    assert_eq!(names.classes(), ["2", "x"]);
}

#[test]
fn lines_that_cannot_be_meant_are_named() {
    let root = tempfile::tempdir().unwrap();
    let problem = |name: &str, text: &str| match listed(root.path(), name, text) {
        Err(DataError::Table { line, problem, .. }) => (line, problem),
        other => panic!("{other:?}"),
    };
    let outside = |path: &str| TableProblem::Outside { path: path.into() };
    assert_eq!(problem("a.csv", "path\nok.png\n../secret.png\n"), (3, outside("../secret.png")));
    assert_eq!(problem("a.csv", "path\nsub/../../x.png\n"), (2, outside("sub/../../x.png")));
    assert_eq!(problem("a.csv", "path,label\nx.png\n"), (2, TableProblem::Columns { found: 1, expected: 2 }));
    assert!(matches!(problem("a.csv", "path,label\n,3\n"), (2, TableProblem::Value { .. })));
    assert!(
        matches!(problem("a.jsonl", "{\"path\":\"a\"}\n{\"label\":3}\n"), (2, TableProblem::NoPaths { found }) if found == ["label"])
    );
    let long = format!("{{\"path\":\"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(problem("a.jsonl", &long), (1, TableProblem::LongLine { limit: 1 << 20 }));
    let twice = listed(root.path(), "b.csv", "path\nx.png\nx.png\n");
    assert!(matches!(twice, Err(DataError::DuplicateId { id }) if id == "x.png"));
}

#[test]
fn digit_tables_may_have_a_header_and_the_label_first() {
    let root = tempfile::tempdir().unwrap();
    let table = listed(root.path(), "d.csv", "label,p0,p1,p2,p3\n7,0,1,2,255\n3,9.0,8e0,7,6\n").unwrap();
    assert_eq!(shown(&table), [row("d/00000", 7), row("d/00001", 3)]);
    assert_eq!(table.load(0).unwrap().pixels(), [0, 1, 2, 255]);
    assert_eq!(table.load(1).unwrap().pixels(), [9, 8, 7, 6]);
    assert_eq!(listed(root.path(), "d.csv", "1,2,3,4,5\n").unwrap().load(0).unwrap().pixels(), [1, 2, 3, 4]);
    let problem = |text: &str| match listed(root.path(), "d.csv", text) {
        Err(DataError::Table { line, problem, .. }) => (line, problem),
        other => panic!("{other:?}"),
    };
    assert_eq!(problem("1,2,3,4,5\n1,2,3,4\n"), (2, TableProblem::Columns { found: 4, expected: 5 }));
    assert_eq!(problem("1,2,3\n"), (1, TableProblem::NotSquare { pixels: 2 }));
    assert!(matches!(problem("1,2,3,256,5\n"), (1, TableProblem::Value { column: 4, .. })));
    assert!(matches!(problem("1,2,3,0.5,5\n"), (1, TableProblem::Value { column: 4, .. })));
    assert!(matches!(problem("1,2,3,-4,5\n"), (1, TableProblem::Value { column: 4, .. })));
    assert!(matches!(problem("1,2,3,4,x\n"), (1, TableProblem::Value { column: 5, .. })));
    assert_eq!(problem(""), (1, TableProblem::NotSquare { pixels: 0 }));
}

#[test]
fn subfolders_that_are_parts_are_no_classes() {
    let root = tempfile::tempdir().unwrap();
    for name in ["train/cat/1.png", "train/dog/1.png", "test/cat/2.png"] {
        write_png(&root.path().join(name), 1);
    }
    let error = Dataset::open(root.path(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(error.contains(r#"holds the parts ["test", "train"]: choose one"#) && error.contains("#test`"), "{error}");
    let train = Dataset::open(Path::new(&format!("{}#train", root.path().display())), &OpenOptions::default()).unwrap();
    assert_eq!(shown(&train), [row("cat/1.png", 0), row("dog/1.png", 1)]);
    // With something else beside them they are classes.
    write_png(&root.path().join("bus/1.png"), 1);
    let classes = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    assert_eq!(classes.classes(), ["bus", "test", "train"]);
}

#[test]
fn classes_are_sorted_by_name_and_dangling_links_are_counted() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a-b/1.png", "a/1.png", "b/1.png"] {
        write_png(&root.path().join(name), 1);
    }
    std::os::unix::fs::symlink(root.path().join("nowhere"), root.path().join("b/link.png")).unwrap();
    std::os::unix::fs::symlink(root.path().join("b/1.png"), root.path().join("a/link.png")).unwrap();
    let data = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    assert_eq!(data.classes(), ["a", "a-b", "b"]);
    assert_eq!(shown(&data)[..2], [row("a/1.png", 0), row("a/link.png", 0)]);
    assert!(data.load(1).is_ok());
    assert_eq!(data.id(4), "b/link.png");
    assert!(matches!(data.load(4), Err(DataError::Io { .. })));
}

#[test]
fn a_named_pipe_in_place_of_an_image_does_not_wait_for_a_writer() {
    let root = tempfile::tempdir().unwrap();
    let pipe = root.path().join("x.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let data = listed(root.path(), "l.csv", "path\nx.png\n").unwrap();
    assert!(matches!(data.load(0), Err(DataError::Decode { source: isal::data::DecodeError::NotAFile, .. })));
    std::fs::remove_file(root.path().join("l.csv")).unwrap();
    let error = Dataset::open(root.path(), &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, DataError::Unrecognised { .. }), "{error}");
}

#[test]
fn an_id_given_late_leaves_the_ids_before_it_paths() {
    let root = tempfile::tempdir().unwrap();
    let data = listed(root.path(), "late.csv", "path,id\na.png,\nb.png,second\nc.png,\n").unwrap();
    assert_eq!(shown(&data), [row("a.png", None), row("second", None), row("c.png", None)]);
    let paths: Vec<_> = (0..3).map(|index| data.path(index).unwrap()).collect();
    assert_eq!(paths, ["a.png", "b.png", "c.png"].map(|name| root.path().join(name)));
    let twice = listed(root.path(), "twice.csv", "path,id\na.png,\nb.png,a.png\n");
    assert!(matches!(twice, Err(DataError::DuplicateId { id }) if id == "a.png"));
}

#[test]
fn every_image_of_many_in_folders_has_its_own_id_class_path_and_pixels() {
    let root = tempfile::tempdir().unwrap();
    // `a` comes before `a-b`, though `a-b/` comes before `a/` as text; depth 2 belongs to the class above.
    let names: Vec<String> = ["a", "a/deep", "a-b"]
        .iter()
        .flat_map(|folder| {
            (0..25).map(move |i| format!("{folder}/{}{i:02}.png", if i % 2 == 0 { "even " } else { "ö" }))
        })
        .collect();
    names.iter().enumerate().for_each(|(value, name)| write_png(&root.path().join(name), value as u8));
    let data = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    let mut expected = names.clone();
    expected.sort_by_key(|name| name.split('/').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(data.classes(), ["a", "a-b"]);
    assert_eq!(data.len(), names.len());
    for (index, name) in expected.iter().enumerate() {
        assert_eq!(shown(&data)[index], row(name, u32::from(name.starts_with("a-b"))));
        assert_eq!(data.path(index), Some(root.path().join(name)));
        let value = names.iter().position(|n| n == name).unwrap();
        assert_eq!(usize::from(data.load(index).unwrap().pixels()[0]), value, "{name}");
    }
    assert_eq!((data.label(75), data.id(75), data.path(75)), (None, String::new(), None));
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_utf8_is_shown_with_replacement_characters_and_loads() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let odd = root.path().join(std::ffi::OsStr::from_bytes(b"b\xff.png"));
    write_png(&root.path().join("a.png"), 1);
    write_png(&root.path().join("c.png"), 3);
    std::fs::copy(root.path().join("c.png"), &odd).unwrap();
    let data = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    assert_eq!(shown(&data), [row("a.png", None), row("b\u{fffd}.png", None), row("c.png", None)]);
    assert_eq!(data.path(1), Some(odd));
    assert_eq!([0, 1, 2].map(|index| data.load(index).unwrap().pixels()[0]), [1, 3, 3]);
    std::fs::copy(root.path().join("c.png"), root.path().join(std::ffi::OsStr::from_bytes(b"b\xfe.png"))).unwrap();
    let alike = Dataset::open(root.path(), &OpenOptions::default());
    assert!(matches!(alike, Err(DataError::DuplicateId { id }) if id == "b\u{fffd}.png"));
}

#[test]
fn ids_may_begin_or_end_with_a_space_and_other_cells_mean_nothing_by_theirs() {
    let root = tempfile::tempdir().unwrap();
    let exact = "path,label,id\n a.png ,cat , a.png\nb.png,\" dog\",b.png \nc.png,cat,   \n";
    let data = listed(root.path(), "exact.csv", exact).unwrap();
    assert_eq!(shown(&data), [row(" a.png", 0), row("b.png ", 1), row("c.png", 0)]);
    assert_eq!(data.classes(), ["cat", "dog"]);
    assert_eq!(data.path(0).unwrap(), root.path().join("a.png"));
    // A list that is laid out with spaces.
    let laid_out = "path, label, id\na.png, cat, first\nb.png, dog, second \n";
    let data = listed(root.path(), "laid-out.csv", laid_out).unwrap();
    assert_eq!(shown(&data), [row("first", 0), row("second", 1)]);
}
