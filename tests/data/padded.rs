//! Images as detectors see them, with their boxes: against `tests/fixtures/data/padded.py`, and back again.

use isal::data::{
    Augment, Dataset, Image, Loader, LoaderOptions, OpenOptions, Placement, Preprocess, Recipe, RecipeError, Size,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::truth::{folder, number};

fn source(height: usize, width: usize) -> Image {
    let sample = |n: usize| {
        let (y, x, c) = (n / (3 * width), n / 3 % width, n % 3);
        ((7 * y + 13 * x + 31 * c + (x * y) % 17) % 256) as u8
    };
    Image::new(height, width, 3, (0..height * width * 3).map(sample).collect()).unwrap()
}

fn recipe(name: &str) -> Recipe {
    let (table, height, width) = match name {
        "torchvision" => (
            "resize = { shorter_side = 80, longer_side = 133 }\npad = {}\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]",
            133,
            133,
        ),
        "letterbox" => ("resize = \"letterbox\"", 64, 96),
        "caffe" => (
            "channels = \"bgr\"\nrange = \"byte\"\nmean = [103.53, 116.28, 123.675]\nresize = { shorter_side = 80, longer_side = 133 }\n\
             pad = { value = \"zero\" }",
            133,
            133,
        ),
        other => panic!("{other}"),
    };
    let table = Preprocess::parse(&format!("[preprocess]\n{table}"), "test").unwrap();
    Recipe::resolve(&table, &[None, Some(3), Some(height), Some(width)], None).unwrap()
}

fn corners(value: &Value) -> [f64; 4] {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn pixels_and_boxes_are_those_of_other_detectors_and_come_back() {
    let truth: Value = serde_json::from_slice(&std::fs::read(folder().join("padded.json")).unwrap()).unwrap();
    let boxes: Vec<[f64; 4]> = truth["boxes"].as_array().unwrap().iter().map(corners).collect();
    for case in truth["cases"].as_array().unwrap() {
        let recipe = recipe(case["recipe"].as_str().unwrap());
        let stored = Size { height: number(&case["height"]), width: number(&case["width"]) };
        let image = source(stored.height, stored.width);
        let pixels = recipe.pixels(&image).unwrap();
        let what = format!("{} {stored}", case["recipe"]);
        assert_eq!(
            (pixels.height(), pixels.width()),
            (number(&case["resized"][0]), number(&case["resized"][1])),
            "{what}"
        );
        let mut floats = vec![f32::NAN; recipe.len()];
        recipe.apply(&image, &mut floats).unwrap();
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(case["sha256"], digest, "{what}: begins {:?}", &floats[..6]);
        let placement = recipe.placement(stored);
        for (own, expected) in boxes.iter().zip(case["boxes"].as_array().unwrap()) {
            let seen = placement.seen(*own);
            // The same products in the same order, but for how a scale is divided.
            let off = seen.iter().zip(corners(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-12, "{what}: {seen:?}, expected {expected}");
            for placement in [placement, placement.mirrored()] {
                let back = placement.stored(placement.seen(*own));
                let off = back.iter().zip(own).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                // A few roundings of numbers below 256: 2^-44 each.
                assert!(off < 1e-12, "{what}: {back:?}, expected {own:?}");
            }
        }
    }
}

/// The least box around the pixels of this colour, in the input.
fn around(floats: &[f32], height: usize, width: usize, is: impl Fn(f32) -> bool) -> [f64; 4] {
    let places: Vec<(usize, usize)> =
        (0..height * width).filter(|at| is(floats[*at])).map(|at| (at % width, at / width)).collect();
    let ends = |along: fn(&(usize, usize)) -> usize| {
        (places.iter().map(along).min().unwrap() as f64, places.iter().map(along).max().unwrap() as f64 + 1.0)
    };
    let ((left, right), (top, bottom)) = (ends(|place| place.0), ends(|place| place.1));
    [left, top, right, bottom]
}

/// A white box on black, seen through every way of resizing, cropping and filling up, mirrored and not: its box lies around it.
#[test]
fn a_box_lies_around_what_it_is_of() {
    let folder = tempfile::tempdir().unwrap();
    let own = [8.0, 4.0, 24.0, 20.0];
    let mut image = image::GrayImage::new(40, 32);
    for (x, y) in (8..24).flat_map(|x| (4..20).map(move |y| (x, y))) {
        image.put_pixel(x, y, image::Luma([255]));
    }
    image.save(folder.path().join("a.png")).unwrap();
    let data = Dataset::open(folder.path(), &OpenOptions::default()).unwrap();
    let stored = data.size(0).unwrap();
    assert_eq!(stored, Size { height: 32, width: 40 });
    for (table, height, width) in [
        ("resize = \"none\"", 32, 40),
        ("resize = [64, 60]", 64, 60),
        ("resize = 64\ncrop = 64", 64, 64),
        ("resize = 24\ncrop = [40, 36]", 40, 36),
        ("resize = \"letterbox\"\npad = { value = 0, centred = true }", 99, 81),
        ("resize = { within = [64, 80] }\npad = { value = 0 }", 96, 96),
        ("resize = { shorter_side = 48, longer_side = 64 }\npad = { value = 0, centred = true }", 64, 64),
    ] {
        let table = Preprocess::parse(&format!("[preprocess]\nfilter = \"nearest\"\n{table}"), "test").unwrap();
        let recipe = Recipe::resolve(&table, &[None, Some(1), Some(height), Some(width)], None).unwrap();
        let mut seen = [false; 2];
        for epoch in 0..20 {
            let augment = Augment { horizontal_flip: true, ..Augment::default() };
            let options = LoaderOptions { epoch, augment: Some(augment), threads: Some(1), ..LoaderOptions::default() };
            let batch = Loader::new(data.clone(), recipe.clone(), &options).unwrap().next().unwrap().unwrap();
            let mirrored = augment.mirrors(epoch, 0);
            seen[usize::from(mirrored)] = true;
            let placement = recipe.placement(stored);
            let placement: Placement = if mirrored { placement.mirrored() } else { placement };
            let expected = isal::data::clipped(placement.seen(own), recipe.size).unwrap();
            let found = around(batch.images.as_slice().unwrap(), height, width, |x| x > 0.5);
            let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // A pixel is taken whole or not at all.
            assert!(off <= 0.5 + 1e-9, "{table:?}, mirrored {mirrored}: {found:?}, expected {expected:?}");
        }
        assert_eq!(seen, [true; 2]);
    }
}

#[test]
fn recipes_that_leave_the_size_open_are_refused() {
    let resolve = |table: &str, height: Option<usize>| {
        let table = Preprocess::parse(&format!("[preprocess]\n{table}"), "test").unwrap();
        Recipe::resolve(&table, &[None, Some(3), height, height], None)
    };
    assert_eq!(resolve("resize = { within = 64 }", Some(64)).unwrap_err(), RecipeError::Pad);
    assert_eq!(resolve("resize = 64\ncrop = 64\npad = {}", Some(64)).unwrap_err(), RecipeError::CropAndPad);
    assert_eq!(resolve("resize = \"letterbox\"", None).unwrap_err(), RecipeError::SizeUnknown);
    // Of a model of any size, the size that every image fits into.
    let free = resolve("resize = { shorter_side = 80, longer_side = 133 }\npad = {}", None).unwrap();
    assert_eq!(free.size, Size { height: 133, width: 133 });
    let small = resolve("resize = { within = 80 }\npad = {}", Some(64)).unwrap();
    assert!(matches!(small.pixels(&source(32, 32)), Err(RecipeError::ImageSize { .. })));

    let text = serde_json::to_string(&free).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), free);
    assert_eq!(Recipe::resolve(&free.spelt_out(), &[None, Some(3), None, None], Some(free.size)).unwrap(), free);
}
