//! The data sets as they are given: lists instead of folders, and files that change under a run.

use crate::place::{Place, files, stderr};
use std::fs;

#[test]
fn lists_as_spreadsheets_and_windows_write_them_select_what_the_folder_does() {
    let place = Place::new();
    place.score(&["-o", "folder"]).assert().success();
    let rows: Vec<(String, String)> = files(&place.path("labeled"))
        .into_iter()
        .map(|(id, _)| (format!("labeled/{id}"), id[..1].to_owned()))
        .collect();
    let list = |header: &str, line: &dyn Fn(&str, &str) -> String| -> String {
        rows.iter().fold(header.to_owned(), |text, (path, class)| text + &line(path, class))
    };
    fs::write(place.path("a.csv"), list("\u{feff}image,label\r\n", &|path, class| format!("{path},{class}\r\n")))
        .expect("written");
    fs::write(
        place.path("b.csv"),
        list("filename;class\n", &|path, class| format!("{};{class}\n", path.replace('/', "\\"))),
    )
    .expect("written");
    for list in ["a.csv", "b.csv"] {
        let out = format!("out-{list}");
        let request = ["score", "pool", "--model", "model.onnx", "--labeled", list, "--pool", "pool", "-o", &out];
        place.isal(&request).args(["--budget", "20", "--batch-size", "8", "--threads", "1"]).assert().success();
        assert!(place.read("folder/selection.json") == place.read(&format!("{out}/selection.json")), "{list}");
    }
}

#[test]
fn an_image_changed_in_place_is_scored_again_and_a_labelled_one_solved_again() {
    let place = Place::new();
    let bmp = |path: &str, shade: u8| {
        image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * y) as u8 ^ shade]))
            .save(place.path(path))
            .expect("saved");
        fs::metadata(place.path(path)).expect("there").len()
    };
    // The second of the two stands between the images whose influences have to settle: `s` does not hang on it.
    bmp("pool/3/x.bmp", 3);
    let sizes = (bmp("pool/3/y.bmp", 0), bmp("labeled/3/x.bmp", 7));
    place.score(&["-o", "out"]).assert().success();
    let sizes_after = (bmp("pool/3/y.bmp", 31), bmp("labeled/3/x.bmp", 7));
    assert_eq!(sizes, sizes_after, "the size says nothing");
    let again = |out: &str| {
        let said = stderr(place.score(&["-o", out]).output().expect("it runs"));
        assert!(!place.json(&format!("{out}/run.json"))["times"].is_null(), "scored again");
        said
    };
    assert!(again("out").contains("not solved again"));
    bmp("labeled/3/x.bmp", 99);
    assert!(!again("out").contains("not solved again"));
    place.score(&["-o", "fresh"]).assert().success();
    for file in ["scores.parquet", "selection.json"] {
        assert!(place.read(&format!("out/{file}")) == place.read(&format!("fresh/{file}")), "{file} is stale");
    }
}
