//! Preprocessing against Pillow and torchvision.

use isal::data::{Alpha, Channels, Filter, Image, Layout, Preprocess, Range, Recipe, RecipeError, Resize, Size};
use sha2::{Digest, Sha256};

use crate::truth::{bytes, image, number, truth};

const FREE_RGB: [Option<usize>; 4] = [None, Some(3), None, None];

#[test]
fn resizing_gives_pillows_bytes() {
    let truth = truth();
    let source = image(&truth["resize_source"]);
    let mut wrong = Vec::new();
    for case in truth["resize"].as_array().unwrap() {
        let filter: Filter = serde_json::from_value(case["filter"].clone()).unwrap();
        let size = Size { height: number(&case["height"]), width: number(&case["width"]) };
        let preprocess =
            Preprocess { resize: Some(Resize::Exact(size)), filter: Some(filter), ..Preprocess::default() };
        let recipe = Recipe::resolve(&preprocess, &FREE_RGB, None).unwrap();
        let found = recipe.pixels(&source).unwrap();
        let digest: String = Sha256::digest(found.pixels()).iter().map(|byte| format!("{byte:02x}")).collect();
        if case["sha256"] != digest {
            let first = &found.pixels()[..found.pixels().len().min(12)];
            wrong.push(format!("{filter:?} {size}: begins {first:?}, Pillow's {}", case["first"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whole_pipelines_give_torchvisions_floats() {
    for case in truth()["torchvision"].as_array().unwrap() {
        let pair = |value: &serde_json::Value| {
            value.as_array().map(|sides| Size { height: number(&sides[0]), width: number(&sides[1]) })
        };
        let resize = match &case["resize"] {
            serde_json::Value::Null => Resize::NONE,
            side if side.is_u64() => Resize::ShorterSide { shorter_side: number(side) },
            sides => Resize::Exact(pair(sides).unwrap()),
        };
        let grey = case["grey"] == true;
        let preprocess = Preprocess {
            channels: Some(if grey { Channels::Grey } else { Channels::Rgb }),
            resize: Some(resize),
            crop: pair(&case["crop"]),
            mean: Some(if grey { vec![0.1307] } else { vec![0.485, 0.456, 0.406] }),
            std: Some(if grey { vec![0.3081] } else { vec![0.229, 0.224, 0.225] }),
            ..Preprocess::default()
        };
        let shape: Vec<Option<usize>> = case["shape"].as_array().unwrap().iter().map(|d| Some(number(d))).collect();
        let recipe = Recipe::resolve(&preprocess, &[vec![None], shape].concat(), None).unwrap();
        let mut found = vec![f32::NAN; recipe.len()];
        recipe.apply(&image(&case["source"]), &mut found).unwrap();
        let expected: Vec<f32> =
            bytes(&case["floats"]).chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        // The same float32 operations in the same order.
        assert_eq!(found, expected, "{} {}", case["resize"], case["crop"]);
    }
}

fn apply(preprocess: &Preprocess, input: &[Option<usize>], image: &Image) -> Vec<f32> {
    let recipe = Recipe::resolve(preprocess, input, None).unwrap();
    let mut out = vec![f32::NAN; recipe.len()];
    recipe.apply(image, &mut out).unwrap();
    out
}

#[test]
fn channels_and_layout_are_put_where_the_model_has_them() {
    let image = Image::new(1, 2, 3, vec![10, 20, 30, 40, 50, 60]).unwrap();
    let byte = Preprocess { range: Some(Range::Byte), ..Preprocess::default() };
    let nchw = [None, Some(3), Some(1), Some(2)];
    let nhwc = [None, Some(1), Some(2), Some(3)];
    assert_eq!(apply(&byte, &nchw, &image), [10., 40., 20., 50., 30., 60.]);
    let bgr =
        Preprocess { channels: Some(Channels::Bgr), mean: Some(vec![1., 2., 3.]), std: Some(vec![2.]), ..byte.clone() };
    assert_eq!(apply(&bgr, &nchw, &image), [14.5, 29.5, 9., 24., 3.5, 18.5]);
    let nhwc_stated = Preprocess { layout: Some(Layout::Nhwc), ..byte.clone() };
    assert_eq!(apply(&nhwc_stated, &nhwc, &image), [10., 20., 30., 40., 50., 60.]);
    assert_eq!(apply(&bgr, &nhwc, &image), [14.5, 9., 3.5, 29.5, 24., 18.5]);
    // (299 * 10 + 587 * 20 + 114 * 30) / 1000 = 18.15 and likewise 48.15.
    assert_eq!(apply(&byte, &[None, Some(1), Some(1), Some(2)], &image), [18., 48.]);
    let grey = Image::new(1, 2, 1, vec![7, 9]).unwrap();
    assert_eq!(apply(&byte, &nchw, &grey), [7., 9., 7., 9., 7., 9.]);
}

#[test]
fn transparency_is_dropped_or_laid_over_a_colour() {
    let image = Image::new(1, 2, 4, vec![100, 0, 200, 0, 100, 0, 200, 51]).unwrap();
    let input = [None, Some(3), Some(1), Some(2)];
    let byte = Preprocess { range: Some(Range::Byte), ..Preprocess::default() };
    assert_eq!(apply(&byte, &input, &image), [100., 100., 0., 0., 200., 200.]);
    let white = Preprocess { alpha: Some(Alpha::Over([255, 255, 255])), ..byte };
    // 51 / 255 = 0.2: 0.2 * 100 + 0.8 * 255 = 224, 204, 244.
    assert_eq!(apply(&white, &input, &image), [255., 224., 255., 204., 255., 244.]);
}

#[test]
fn what_is_left_open_follows_from_the_models_input() {
    let resolve = |toml: &str, input: &[Option<usize>]| {
        let preprocess = Preprocess::parse(&format!("[preprocess]\n{toml}"), "m.toml").unwrap();
        Recipe::resolve(&preprocess, input, None)
    };
    let recipe = resolve("", &[Some(1), Some(3), Some(32), Some(30)]).unwrap();
    assert_eq!(recipe.resize, Resize::Exact(Size { height: 32, width: 30 }));
    assert_eq!((recipe.layout, recipe.channels, recipe.range), (Layout::Nchw, Channels::Rgb, Range::Unit));
    assert_eq!(recipe.batch_shape(5), (5, 3, 32, 30));
    let recipe = resolve("resize = { shorter_side = 40 }", &[None, Some(28), Some(24), Some(1)]).unwrap();
    assert_eq!(recipe.crop, Some(Size { height: 28, width: 24 }));
    assert_eq!((recipe.layout, recipe.channels), (Layout::Nhwc, Channels::Grey));
    assert_eq!(recipe.batch_shape(5), (5, 28, 24, 1));
    let sampled = Recipe::resolve(&Preprocess::default(), &FREE_RGB, Some(Size { height: 9, width: 8 })).unwrap();
    assert_eq!((sampled.size, sampled.resize), (Size { height: 9, width: 8 }, Resize::NONE));
    let refused = sampled.pixels(&Image::new(8, 8, 1, vec![0; 64]).unwrap());
    assert!(matches!(refused, Err(RecipeError::ImageSize { .. })), "{refused:?}");

    let cifar = [None, Some(3), Some(32), Some(32)];
    assert!(matches!(resolve("", &[None, Some(3)]), Err(RecipeError::InputShape { .. })));
    assert!(matches!(resolve("", &[None, Some(4), Some(8), Some(8)]), Err(RecipeError::InputShape { .. })));
    let grey_fails = resolve("channels = \"grey\"", &[None, Some(3), Some(8), Some(8)]);
    assert!(matches!(grey_fails, Err(RecipeError::Channels { .. })), "{grey_fails:?}");
    assert!(matches!(resolve("", &[None, None, Some(8), Some(8)]), Err(RecipeError::LayoutUnknown { .. })));
    assert_eq!(resolve("", &FREE_RGB), Err(RecipeError::SizeUnknown));
    let grey = resolve("channels = \"grey\"", &cifar);
    assert_eq!(grey, Err(RecipeError::Channels { channels: Channels::Grey, given: 1, expected: 3 }));
    let crop = resolve("crop = { height = 28, width = 28 }", &cifar);
    assert!(matches!(crop, Err(RecipeError::Size { expected: Size { height: 32, width: 32 }, .. })));
    let half_free = resolve("resize = { height = 28, width = 28 }", &[None, Some(3), Some(32), None]);
    assert!(matches!(half_free, Err(RecipeError::Size { expected: Size { height: 32, width: 28 }, .. })));
    assert_eq!(resolve("mean = [1, 2]", &cifar), Err(RecipeError::Length { key: "mean", given: 2, expected: 3 }));
    assert_eq!(resolve("std = [0]", &cifar), Err(RecipeError::Number { key: "std", value: 0.0 }));
    assert!(matches!(resolve("mean = [nan]", &cifar), Err(RecipeError::Number { key: "mean", .. })));
    assert_eq!(resolve("resize = { shorter_side = 0 }", &cifar), Err(RecipeError::ZeroSide { key: "resize" }));
    let huge = resolve("crop = { height = 99999, width = 1 }", &FREE_RGB);
    assert_eq!(huge, Err(RecipeError::SideTooLong { key: "crop", side: 99_999, limit: 16_384 }));
}

#[test]
fn a_strip_is_refused_when_its_short_side_would_be_stretched_without_bound() {
    let preprocess = Preprocess::parse(
        "[preprocess]\nresize = { shorter_side = 224 }\ncrop = { height = 224, width = 224 }",
        "m.toml",
    );
    let recipe = Recipe::resolve(&preprocess.unwrap(), &FREE_RGB, None).unwrap();
    let strip = Image::new(1, 100_000, 1, vec![0; 100_000]).unwrap();
    assert!(matches!(recipe.pixels(&strip), Err(RecipeError::ImageSize { .. })));
}

#[test]
fn every_recipe_in_configs_fits_the_models_it_is_for() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/data");
    let inputs = [("cifar10", 3, 32), ("cifar100", 3, 32), ("svhn", 3, 32), ("mnist", 1, 28), ("imagenet", 3, 224)];
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), inputs.len());
    for (name, channels, side) in inputs {
        let preprocess = Preprocess::read(&root.join(format!("{name}.toml"))).unwrap();
        let recipe = Recipe::resolve(&preprocess, &[None, Some(channels), Some(side), Some(side)], None).unwrap();
        assert_eq!(recipe.batch_shape(2), (2, channels, side, side));
        let image = Image::new(300, 280, 3, vec![128; 300 * 280 * 3]).unwrap();
        let mut floats = vec![f32::NAN; recipe.len()];
        recipe.apply(&image, &mut floats).unwrap();
        // Mid-grey lies within a standard deviation of every mean.
        assert!(floats.iter().all(|value| value.abs() < 1.3), "{name}");
    }
}
