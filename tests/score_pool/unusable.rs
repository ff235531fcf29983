//! Sets of which no image can be used: refused with the reasons of all of them.

use crate::place::{Place, files, stderr};
use std::fs;

/// Puts something else in the place of every image of `set`.
fn spoil(place: &Place, set: &str, bytes: &[u8]) {
    for (_, path) in files(&place.path(set)) {
        fs::write(path, bytes).expect("written");
    }
}

#[test]
fn a_set_without_a_usable_image_is_refused_with_the_reasons_and_what_to_do() {
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    let place = Place::new();
    fs::create_dir(place.path("reference")).expect("a folder");
    for (id, path) in files(&place.path("labeled")).into_iter().step_by(10) {
        let copy = place.path("reference").join(id);
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        let mut image = image::open(path).expect("an image").to_luma8();
        image.iter_mut().take(1).for_each(|pixel| *pixel ^= 1);
        image.save(copy).expect("written");
    }
    let refused = |set: &str| {
        let output = place.score(&["-o", "out", "--reference", "reference"]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{set}");
        stderr(output)
    };

    spoil(&place, "reference", heic);
    let said = refused("reference");
    assert!(said.contains("none of the reference images (10) can be used: 10 HEIC images are not read"), "{said}");
    assert!(said.contains("hint: convert the images to JPEG or PNG"), "{said}");

    spoil(&place, "labeled", b"");
    let said = refused("labelled");
    assert!(
        said.contains("none of the labelled images (100) can be used: the first: cannot decode `0/")
            && said.contains("the file is empty")
            && !said.contains("convert"),
        "{said}"
    );

    spoil(&place, "pool", heic);
    let spoiled = files(&place.path("pool"));
    fs::write(&spoiled[7].1, b"\x89PNG\r\n\x1a\n and then nothing").expect("written");
    fs::write(&spoiled[9].1, b"<svg>").expect("written");
    let said = refused("pool");
    let counts = "none of the pool images (600) can be used: 598 HEIC images are not read; 1 SVG image is not read; 1 other: cannot";
    assert!(said.contains(counts) && said.contains(&spoiled[7].0) && said.contains("convert"), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    // Whatever the strategy, and for a model of any size of image.
    let output = place.score(&["-o", "other", "--strategy", "entropy"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(output).contains(counts));
}

#[test]
fn one_usable_image_is_enough() {
    let place = Place::new();
    let kept = files(&place.path("pool"))[431].clone();
    let bytes = fs::read(&kept.1).expect("an image");
    spoil(&place, "pool", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    fs::write(&kept.1, bytes).expect("written");
    place.score(&["-o", "out", "--strategy", "entropy"]).assert().success();
    let selection = place.json("out/selection.json");
    assert_eq!(selection["selected"][0]["id"], kept.0.as_str());
    assert_eq!(selection["selected"].as_array().map(Vec::len), Some(1));
}
