//! Lists of image files as spreadsheets, trainers and Windows write them.

use std::path::Path;

use isal::data::{DataError, Dataset, OpenOptions, TableProblem};

fn place() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (value, name) in ["cats/1.png", "cats/my 2.png", "dogs/3, old.png"].into_iter().enumerate() {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_pixel(2, 2, image::Luma([value as u8 + 1])).save(path).unwrap();
    }
    root
}

fn opened(root: &Path, name: &str, text: impl AsRef<[u8]>) -> Result<Dataset, DataError> {
    std::fs::write(root.join(name), text).unwrap();
    Dataset::open(&root.join(name), &OpenOptions::default())
}

/// Of every image its grey value and the name of its class.
fn shown(data: &Dataset) -> Vec<(u8, Option<String>)> {
    let class = |label: u32| data.classes()[label as usize].clone();
    (0..data.len()).map(|i| (data.load(i).unwrap().pixels()[0], data.label(i).map(class))).collect()
}

fn row(value: u8, class: &str) -> (u8, Option<String>) {
    (value, Some(class.to_owned()).filter(|class| !class.is_empty()))
}

#[test]
fn lists_are_read_whatever_their_columns_are_called_and_divided_by() {
    let root = place();
    let all = [row(1, "cat"), row(2, "cat"), row(3, "dog")];
    let cases: &[(&str, &str)] = &[
        ("bom_crlf.csv", "\u{feff}image,label\r\ncats/1.png,cat\r\ncats/my 2.png,cat\r\n\"dogs/3, old.png\",dog\r\n"),
        ("backslashes.csv", "filename,class\ncats\\1.png,cat\n.\\cats\\my 2.png,cat\n\"dogs\\3, old.png\",dog\n"),
        ("semicolons.csv", "Category;File Name\ncat;cats/1.png\ncat;cats/my 2.png\ndog;dogs/3, old.png;;\n;\n"),
        ("tabs.tsv", "img_path\tnote\ttarget\ncats/1.png\t\tcat\ncats/my 2.png\tx\tcat\ndogs/3, old.png\t\tdog\n"),
        ("spaces.txt", "path label\r\ncats/1.png cat\r\n\r\ncats/my 2.png   cat\r\ndogs/3, old.png dog\r\n"),
        ("no_header.csv", "cats/1.png,cat\ncats/my 2.png,cat\n\"dogs/3, old.png\",dog\n"),
        ("no_header.txt", "\u{feff}cats/1.png cat\ncats/my 2.png cat\ndogs/3, old.png dog"),
        ("label_first.lst", "cat\tcats/1.png\ncat\tcats/my 2.png\ndog\tdogs/3, old.png\n"),
        (
            "quoted.csv",
            "\"image\",\"label\",\"split\"\n\"cats/1.png\",\"cat\",\"a\"\n\"cats/my 2.png\",\"cat\",\"b\"\n\"dogs/3, old.png\",\"dog\",\n",
        ),
        ("old_mac.csv", "file,label\rcats/1.png,cat\rcats/my 2.png,cat\r\"dogs/3, old.png\",dog\r"),
        (
            "keys.jsonl",
            "\u{feff}{\"file_name\":\"cats/1.png\",\"category\":\"cat\"}\r\n{\"file_name\":\"cats\\\\my 2.png\",\"category\":\"cat\"}\r\n{\"file_name\":\"dogs/3, old.png\",\"category\":\"dog\"}\r\n",
        ),
    ];
    for (name, text) in cases {
        let data = opened(root.path(), name, text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(shown(&data), all, "{name}");
        assert!((0..3).all(|i| !data.id(i).contains('\\')), "{name}: ids are those of any other system");
    }
}

#[test]
fn paths_alone_are_a_pool_without_labels() {
    let root = place();
    for (name, text) in [
        ("plain.txt", "cats/1.png\ncats/my 2.png\ndogs/3, old.png\n"),
        ("header.csv", "path\ncats/1.png\ncats/my 2.png\n\"dogs/3, old.png\"\n"),
        ("empty_labels.csv", "path,label\ncats/1.png,\ncats/my 2.png,\n\"dogs/3, old.png\",\n"),
    ] {
        let data = opened(root.path(), name, text).unwrap();
        assert_eq!(shown(&data), [row(1, ""), row(2, ""), row(3, "")], "{name}");
    }
}

#[test]
fn labels_may_be_numbers_as_tables_of_numbers_write_them() {
    let root = place();
    let classes = ["0", "1", "2"];
    for (name, text) in [
        ("mxnet.lst", "7\t2.000000\tcats/1.png\n8\t0.000000\tcats/my 2.png\n9\t2.000000\tdogs/3, old.png\n"),
        // A column with a hole is one of floats in many programs.
        ("floats.csv", "path,class_id\ncats/1.png,2.0\ncats/my 2.png,0.0\n\"dogs/3, old.png\",2\n"),
        ("numbers.txt", "cats/1.png 2\ncats/my 2.png 0\ndogs/3, old.png 2\n"),
        (
            "numbers.jsonl",
            "{\"image\":\"cats/1.png\",\"label\":2}\n{\"image\":\"cats/my 2.png\",\"label\":0.0}\n{\"image\":\"dogs/3, old.png\",\"label\":2}",
        ),
    ] {
        let data = opened(root.path(), name, text).unwrap();
        assert_eq!(data.classes(), classes, "{name}");
        assert_eq!(data.labels(), [Some(2), Some(0), Some(2)], "{name}");
    }
}

#[test]
fn of_several_columns_that_could_be_meant_the_first_known_name_counts() {
    let root = place();
    let text = "class,class_id,label,image,path\nx,7,cat,nowhere.png,cats/1.png\n";
    assert_eq!(shown(&opened(root.path(), "all.csv", text).unwrap()), [row(1, "cat")]);
    let text = "class_id,class_name,image,filename\n7,cat,nowhere.png,cats/1.png\n";
    assert_eq!(shown(&opened(root.path(), "some.csv", text).unwrap()), [row(1, "cat")]);
}

#[test]
fn a_file_with_a_backslash_in_its_name_is_found() {
    let root = place();
    std::fs::copy(root.path().join("cats/1.png"), root.path().join("odd\\name.png")).unwrap();
    let data = opened(root.path(), "odd.csv", "path,label\nodd\\name.png,cat\n").unwrap();
    assert_eq!((data.id(0).as_str(), shown(&data)), ("odd\\name.png", vec![row(1, "cat")]));
}

#[test]
fn what_is_wrong_with_a_list_is_said_of_the_list_and_its_line() {
    let root = place();
    let said = |name: &str, text: &str| {
        let error = opened(root.path(), name, text).unwrap_err();
        let DataError::Table { line, problem, .. } = &error else { panic!("{name}: {error}") };
        assert!(error.to_string().contains(name) && !error.to_string().contains("pixel"), "{error}");
        (*line, problem.clone())
    };
    let found = |names: &[&str]| TableProblem::NoPaths { found: names.iter().map(|name| name.to_string()).collect() };
    assert_eq!(said("url.csv", "url,label\nx,cat\n"), (1, found(&["url", "label"])));
    assert_eq!(said("url.tsv", "photo\tkind\nx\tcat\n"), (1, found(&["photo", "kind"])));
    assert_eq!(said("pairs.csv", "a.png,b.png\n"), (1, found(&["a.png", "b.png"])));
    let elsewhere = |path: &str, kind| TableProblem::Elsewhere { path: path.into(), kind };
    let drive = "a path of another machine";
    assert_eq!(said("c.csv", "path,label\ncats/1.png,a\nC:\\x\\1.png,b\n"), (3, elsewhere("C:\\x\\1.png", drive)));
    assert_eq!(said("n.csv", "path\n\\\\host\\x\\1.png\n"), (2, elsewhere("\\\\host\\x\\1.png", drive)));
    assert_eq!(said("w.csv", "path\nhttps://x.org/1.png\n"), (2, elsewhere("https://x.org/1.png", "a web address")));
    assert_eq!(said("up.csv", "path\n..\\1.png\n"), (2, TableProblem::Outside { path: "..\\1.png".into() }));
    assert_eq!(said("more.csv", "a.png,cat\nb.png,cat,x\n"), (2, TableProblem::Columns { found: 3, expected: 2 }));
    assert_eq!(said("less.txt", "path label\ncats/1.png\n"), (2, TableProblem::Columns { found: 1, expected: 2 }));
    assert!(matches!(said("none.csv", "label;path\ncat;\n"), (2, TableProblem::Value { column: 2, .. })));
    let key = said("key.jsonl", "{\"path\":\"a\"}\n{\"path\":\"b\",\"label\":[1, 2]}\n");
    assert!(matches!(key, (2, TableProblem::Key { key, .. }) if key == "label"));
    let utf16: Vec<u8> = "\u{feff}path\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = opened(root.path(), "wide.csv", utf16).unwrap_err();
    assert!(matches!(error, DataError::Table { line: 1, problem: TableProblem::Utf16, .. }), "{error}");
}

#[test]
fn a_table_of_pixels_is_still_one() {
    let root = place();
    for text in ["label,1x1,1x2,2x1,2x2\n7,0,1,2,255\n", "0,1,2,255,7\n"] {
        let table = opened(root.path(), "digits.csv", text).unwrap();
        assert_eq!(table.load(0).unwrap().pixels(), [0, 1, 2, 255]);
        assert_eq!(table.label(0), Some(7));
    }
}

#[test]
fn a_list_of_files_that_are_all_elsewhere_is_told_from_one_that_lacks_some() {
    let root = place();
    let some = opened(root.path(), "some.csv", "path\nnowhere/1.png\ncats/1.png\n").unwrap();
    assert_eq!(some.lost(), None);
    let none = opened(root.path(), "none.csv", "path\nnowhere/1.png\nnowhere/2.png\n").unwrap();
    assert_eq!(none.lost(), Some(root.path().join("nowhere/1.png")));
}
