//! Images as detectors see them, with their boxes: against `tests/fixtures/data/padded.py`, and back again.

use isal::data::{
    Augment, Dataset, Image, Loader, LoaderOptions, OpenOptions, Order, Placement, Preprocess, Recipe, RecipeError,
    Size,
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

/// Images of these sizes in a folder, in the order of their numbers.
fn written(sizes: &[(u32, u32)]) -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    for (n, (height, width)) in sizes.iter().enumerate() {
        let pixels = source(*height as usize, *width as usize);
        let image = image::RgbImage::from_raw(*width, *height, pixels.pixels().to_vec()).unwrap();
        image.save(folder.path().join(format!("{n:02}.png"))).unwrap();
    }
    let data = Dataset::open(folder.path(), &OpenOptions::default()).unwrap();
    (folder, data)
}

const MANY: [(u32, u32); 14] = [
    (40, 60),
    (60, 40),
    (33, 70),
    (20, 90),
    (90, 20),
    (50, 50),
    (41, 61),
    (61, 41),
    (40, 60),
    (37, 52),
    (80, 60),
    (10, 12),
    (64, 48),
    (48, 64),
];

/// As a model of any size sees images.
fn free() -> Recipe {
    let table = "[preprocess]\nresize = { shorter_side = 40, longer_side = 80 }\npad = { value = 7, divisor = 16 }\n\
                 mean = [0.5]\nstd = [0.25]";
    Recipe::resolve(&Preprocess::parse(table, "test").unwrap(), &[None, Some(3), None, None], None).unwrap()
}

#[test]
fn images_of_sizes_of_their_own_share_batches_with_their_like() {
    let (_folder, data) = written(&MANY);
    let recipe = free();
    assert!(recipe.free && recipe.size == Size { height: 80, width: 80 });
    // Each alone, by the recipe that fills up to one size.
    let whole = recipe.of_one_size();
    let filling = (7.0_f32 / 255.0 - 0.5) / 0.25;
    let of_one = |index: usize| {
        let mut floats = vec![f32::NAN; whole.len()];
        whole.apply(&data.load(index).unwrap(), &mut floats).unwrap();
        ndarray::Array3::from_shape_vec((3, 80, 80), floats).unwrap()
    };
    for (batch_size, threads) in [(1, 1), (3, 2), (5, 3), (64, 1)] {
        let options = LoaderOptions { batch_size, threads: Some(threads), ..LoaderOptions::default() };
        let mut seen = Vec::new();
        for batch in Loader::new(data.clone(), recipe.clone(), &options).unwrap() {
            let batch = batch.unwrap();
            assert!(batch.indices.len() <= batch_size);
            for (n, index) in batch.indices.iter().enumerate() {
                let size = recipe.size_of(data.size(*index).unwrap());
                assert_eq!(
                    batch.images.shape()[2..],
                    [size.height, size.width],
                    "a size of its own, whatever the batch"
                );
                assert!(size.height.is_multiple_of(16) && size.width.is_multiple_of(16));
                let own = batch.images.slice(ndarray::s![n, .., .., ..]);
                let expected = of_one(*index);
                assert_eq!(own, expected.slice(ndarray::s![.., ..size.height, ..size.width]), "{index}");
                seen.push(*index);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..MANY.len()).collect::<Vec<_>>());
    }
    // Shuffled: upright ones together, wide ones together, filled up to the largest of the batch.
    let batches = |seed: u64, epoch: u64| {
        let order = Order::Shuffled { seed };
        let options = LoaderOptions { batch_size: 4, order, epoch, ..LoaderOptions::default() };
        let loader = Loader::new(data.clone(), recipe.clone(), &options).unwrap();
        loader.map(|batch| batch.unwrap()).collect::<Vec<_>>()
    };
    let first = batches(3, 0);
    let indices = |batches: &[isal::data::Batch]| batches.iter().map(|batch| batch.indices.clone()).collect::<Vec<_>>();
    assert_eq!(indices(&first), indices(&batches(3, 0)));
    assert_ne!(indices(&first), indices(&batches(3, 1)));
    let mut all: Vec<usize> = indices(&first).concat();
    all.sort_unstable();
    assert_eq!(all, (0..MANY.len()).collect::<Vec<_>>());
    let mut mixed = false;
    for batch in &first {
        let sizes: Vec<Size> = batch.indices.iter().map(|index| recipe.size_of(data.size(*index).unwrap())).collect();
        let upright = |size: &Size| size.height > size.width;
        assert!(sizes.iter().all(upright) || !sizes.iter().any(upright), "{sizes:?}");
        mixed |= sizes.iter().any(|size| *size != sizes[0]);
        let largest = |side: fn(&Size) -> usize| sizes.iter().map(side).max().unwrap();
        assert_eq!(batch.images.shape()[2..], [largest(|size| size.height), largest(|size| size.width)]);
        for (n, index) in batch.indices.iter().enumerate() {
            let own = batch.images.slice(ndarray::s![n, .., .., ..]);
            let expected = of_one(*index);
            let (_, height, width) = own.dim();
            // What fills up is the same everywhere.
            assert_eq!(own, expected.slice(ndarray::s![.., ..height, ..width]), "{index}");
            assert!(own.iter().any(|x| *x == filling));
        }
    }
    assert!(mixed, "sizes are mixed in some batch");
}

#[test]
fn a_batch_of_sizes_of_their_own_passes_over_images_that_cannot_be_read() {
    let (folder, _) = written(&MANY);
    std::fs::write(folder.path().join("03.png"), b"no image").unwrap();
    let data = Dataset::open(folder.path(), &OpenOptions::default()).unwrap();
    let options = LoaderOptions { batch_size: 3, ..LoaderOptions::default() };
    let mut loader = Loader::new(data.clone(), free(), &options).unwrap();
    let read: usize = (&mut loader).map(|batch| batch.unwrap().indices.len()).sum();
    assert_eq!((read, loader.skipped().len(), loader.skipped()[0].index), (MANY.len() - 1, 1, 3));
    let strict = LoaderOptions { strict: true, ..options };
    assert!(Loader::new(data, free(), &strict).unwrap().any(|batch| batch.is_err()));
}
