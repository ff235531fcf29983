//! The data sets as they are given: files that change under a run.

use crate::place::{Place, stderr};
use std::fs;

#[test]
fn an_image_changed_in_place_is_scored_again_and_a_labelled_one_solved_again() {
    let place = Place::new();
    let bmp = |path: &str, shade: u8| {
        image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * y) as u8 ^ shade]))
            .save(place.path(path))
            .expect("saved");
        fs::metadata(place.path(path)).expect("there").len()
    };
    let sizes = (bmp("pool/3/x.bmp", 0), bmp("labeled/3/x.bmp", 7));
    place.score(&["-o", "out"]).assert().success();
    let sizes_after = (bmp("pool/3/x.bmp", 31), bmp("labeled/3/x.bmp", 7));
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
