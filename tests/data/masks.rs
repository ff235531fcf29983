//! Masks: class numbers out of PNG written here byte by byte, and where they lie in what a recipe makes of their image.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use isal::data::{
    Channels, Decoding, Filter, Image, Limits, Mask, MaskError, Preprocess, Recipe, Resize, Size, decode_as,
};

const GREY: u8 = 0;
const RGB: u8 = 2;
const PALETTE: u8 = 3;

fn chunk(bytes: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    bytes.extend((data.len() as u32).to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    bytes.extend(kind);
    bytes.extend(data);
    bytes.extend(crc.sum().to_be_bytes());
}

/// A PNG, by the specification (W3C, third edition): `lines` are the packed scanlines, of all passes where it is interlaced.
fn png((height, width): (u32, u32), depth: u8, colour: u8, interlaced: bool, lines: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(&mut bytes, b"IHDR", &[&sides[..], &[depth, colour, 0, 0, u8::from(interlaced)]].concat());
    if colour == PALETTE {
        // Colours that say nothing of the index, and fewer than there may be indices.
        let colours = [200, 3, 90, 255, 255, 255, 0, 0, 0];
        chunk(&mut bytes, b"PLTE", colours.get(..if depth == 1 { 6 } else { 9 }).unwrap());
        chunk(&mut bytes, b"tRNS", &[0, 128]);
    }
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    for line in lines {
        packed.write_all(&[0]).unwrap();
        packed.write_all(line).unwrap();
    }
    chunk(&mut bytes, b"IDAT", &packed.finish().unwrap());
    chunk(&mut bytes, b"IEND", &[]);
    bytes
}

/// Samples in `depth` bits each, the first in the highest; lines begin on bytes of their own.
fn packed(samples: &[u8], depth: u8) -> Vec<u8> {
    let place = |(at, sample): (usize, &u8)| sample << (8 - depth - depth * (at as u8));
    let byte = |samples: &[u8]| samples.iter().enumerate().map(place).fold(0, |byte, sample| byte | sample);
    samples.chunks(8 / usize::from(depth)).map(byte).collect()
}

/// The lines of the seven passes of Adam7.
fn passes(labels: &[u8], (height, width): (usize, usize), depth: u8) -> Vec<Vec<u8>> {
    let of = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)];
    let mut lines = Vec::new();
    for (top, down, left, right) in of {
        for y in (top..height).step_by(down) {
            let line: Vec<u8> = (left..width).step_by(right).map(|x| labels[y * width + x]).collect();
            lines.extend((!line.is_empty()).then(|| packed(&line, depth)));
        }
    }
    lines
}

fn written(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("mask.png");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn read(path: &Path) -> Result<Mask, MaskError> {
    Mask::read(path, &Limits::default())
}

#[test]
fn samples_and_indices_are_class_numbers_at_every_depth_interlaced_or_not() {
    let folder = tempfile::tempdir().unwrap();
    for (height, width) in [(1, 1), (3, 5), (13, 9), (8, 17)] {
        for colour in [GREY, PALETTE] {
            for depth in [1, 2, 4, 8] {
                let highest = 255 >> (8 - depth);
                let labels: Vec<u8> = (0..height * width).map(|n| (n * 37 % 256) as u8 & highest).collect();
                let lines: Vec<Vec<u8>> = labels.chunks(width).map(|line| packed(line, depth)).collect();
                for (interlaced, lines) in [(false, lines), (true, passes(&labels, (height, width), depth))] {
                    let bytes = png((height as u32, width as u32), depth, colour, interlaced, &lines);
                    let mask = read(&written(folder.path(), &bytes)).unwrap();
                    let what = format!("{height}x{width}, colour {colour}, {depth} bits, interlaced {interlaced}");
                    assert_eq!((mask.height(), mask.width()), (height, width), "{what}");
                    assert_eq!(mask.labels(), labels, "{what}");
                }
            }
        }
    }
}

#[test]
fn samples_that_are_no_class_numbers_are_refused_and_the_message_says_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    for (colour, depth, bytes_a_pixel) in [(GREY, 16, 2), (RGB, 8, 3), (RGB, 16, 6), (4, 8, 2), (6, 8, 4)] {
        let path = written(folder.path(), &png((1, 1), depth, colour, false, &[vec![1; bytes_a_pixel]]));
        let error = read(&path).unwrap_err();
        assert!(matches!(error, MaskError::Samples { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(&format!("of {depth} bits")) && said.contains("expected grey or palette PNG"), "{said}");
    }
}

#[test]
fn what_is_past_the_limits_is_refused_before_it_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), &png((2, 2), 8, GREY, false, &[vec![1, 2], vec![3, 4]]));
    let bytes = std::fs::metadata(&path).unwrap().len();
    let of = |limits: Limits| Mask::read(&path, &limits);
    assert!(of(Limits { file_bytes: bytes, pixels: 4, ..Limits::default() }).is_ok());
    assert!(matches!(of(Limits { file_bytes: bytes - 1, ..Limits::default() }), Err(MaskError::Limit(_))));
    assert!(matches!(of(Limits { pixels: 3, ..Limits::default() }), Err(MaskError::Limit(_))));
    // A few bytes that say they are two billion times two billion pixels: refused by our limit, or by the decoder's own.
    let huge = written(folder.path(), &png((i32::MAX as u32, i32::MAX as u32), 1, GREY, false, &[vec![0]]));
    assert!(matches!(read(&huge), Err(MaskError::Limit(_) | MaskError::Png(_))));
}

#[test]
fn a_file_that_is_no_mask_is_an_error_and_none_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(read(&pipe), Err(MaskError::NotAFile)));
    assert!(matches!(read(folder.path()), Err(MaskError::NotAFile)));
    assert!(matches!(read(&folder.path().join("gone.png")), Err(MaskError::Io(_))));
    for bytes in [&b""[..], b"GIF89a", b"\x89PNG\r\n\x1a\n"] {
        assert!(matches!(read(&written(folder.path(), bytes)), Err(MaskError::Png(_))), "{bytes:?}");
    }
}

#[test]
fn a_mask_that_is_cut_short_or_damaged_gives_an_error_or_labels_of_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let labels: Vec<u8> = (0..9 * 13).map(|n| n as u8 % 16).collect();
    for interlaced in [false, true] {
        let lines = match interlaced {
            true => passes(&labels, (9, 13), 4),
            false => labels.chunks(13).map(|line| packed(line, 4)).collect(),
        };
        let whole = png((9, 13), 4, PALETTE, interlaced, &lines);
        let image_ends = whole.len() - 12 - 4;
        for end in 0..image_ends {
            let cut = read(&written(folder.path(), &whole[..end]));
            assert!(cut.is_err(), "of {} bytes the first {end}", whole.len());
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Ok(mask) = read(&written(folder.path(), &bytes)) {
                    assert_eq!(mask.labels().len(), mask.height() * mask.width());
                }
            }
        }
    }
}

const fn size(height: usize, width: usize) -> Size {
    Size { height, width }
}

/// Ways of bringing images to a size: the resize, and the crop after it.
const GEOMETRIES: &[(Resize, Option<Size>)] = &[
    (Resize::Exact(size(40, 56)), None),
    (Resize::Exact(size(33, 127)), None),
    (Resize::Exact(size(151, 149)), Some(size(98, 120))),
    (Resize::ShorterSide { shorter_side: 41 }, Some(size(32, 37))),
    (Resize::ShorterSide { shorter_side: 150 }, Some(size(101, 128))),
    // The crop is larger than one side of what there is, or than both: black around the image.
    (Resize::ShorterSide { shorter_side: 50 }, Some(size(61, 64))),
    (Resize::NONE, Some(size(251, 120))),
    (Resize::NONE, Some(size(40, 45))),
];

const SIZES: [(usize, usize); 4] = [(48, 64), (97, 61), (200, 200), (57, 143)];

fn recipe((resize, crop): (Resize, Option<Size>), filter: Filter) -> Recipe {
    let made = match (crop, resize) {
        (Some(made), _) | (None, Resize::Exact(made)) => made,
        _ => panic!("a geometry without a size"),
    };
    let wanted = Preprocess {
        channels: Some(Channels::Grey),
        resize: Some(resize),
        filter: Some(filter),
        crop,
        ..Preprocess::default()
    };
    Recipe::resolve(&wanted, &[None, Some(1), Some(made.height), Some(made.width)], None).unwrap()
}

/// The pixels that a recipe makes of an image and the labels of its mask, side by side; both are drawn from the classes of the
/// pixels, and read from files.
fn seen(
    folder: &Path,
    recipe: &Recipe,
    (height, width): (usize, usize),
    class: impl Fn(usize, usize) -> u8,
) -> Vec<(u8, i64)> {
    let classes: Vec<u8> = (0..height * width).map(|n| class(n / width, n % width)).collect();
    let mask = png(
        (height as u32, width as u32),
        8,
        PALETTE,
        false,
        &classes.chunks(width).map(<[u8]>::to_vec).collect::<Vec<_>>(),
    );
    let mask = read(&written(folder, &mask)).unwrap();
    let greys: Vec<Vec<u8>> =
        classes.chunks(width).map(|line| line.iter().map(|class| grey(*class)).collect()).collect();
    let image = decode_as(&png((height as u32, width as u32), 8, GREY, false, &greys), &Decoding::default()).unwrap();
    assert_eq!(image, Image::new(height, width, 1, greys.concat()).unwrap());
    let (pixels, labels) = (recipe.pixels(&image).unwrap(), mask.seen_through(recipe).unwrap());
    assert_eq!(labels.dim(), (recipe.size.height, recipe.size.width));
    pixels.pixels().iter().copied().zip(labels).collect()
}

/// The grey of a class; 0 is for what is outside of the image.
fn grey(class: u8) -> u8 {
    60 * class
}

/// How far in output pixels a kernel reaches, and one more.
fn reach(resize: Resize, (height, width): (usize, usize)) -> usize {
    let scale = match resize {
        Resize::None(_) => 1.0,
        Resize::ShorterSide { shorter_side } => shorter_side as f64 / height.min(width) as f64,
        Resize::Exact(to) => f64::max(to.height as f64 / height as f64, to.width as f64 / width as f64),
        other => panic!("{other:?}"),
    };
    // Lanczos reaches furthest, three input pixels where it enlarges and three output pixels where it does not.
    (3.0 * scale.max(1.0)).ceil() as usize + 1
}

#[test]
fn away_from_borders_a_label_is_the_class_of_its_pixel_whatever_the_filter() {
    let folder = tempfile::tempdir().unwrap();
    for (from, geometry) in SIZES.iter().flat_map(|from| GEOMETRIES.iter().map(move |geometry| (*from, *geometry))) {
        let class = |y: usize, x: usize| 1 + u8::from(2 * y >= from.0) * 2 + u8::from(5 * x >= 2 * from.1);
        for filter in [Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            let what = format!("{from:?} {geometry:?} {filter:?}");
            let recipe = recipe(geometry, filter);
            let seen = seen(folder.path(), &recipe, from, class);
            let Size { height, width } = recipe.size;
            let reach = reach(geometry.0, from);
            let mut compared = 0;
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let (pixel, label) = seen[y * width + x];
                assert_eq!(pixel == 0, label == 0, "{what}: at {y}, {x} the image ends");
                // What a crop takes away may be of another class.
                let cropped = y < reach || x < reach || y + reach >= height || x + reach >= width;
                if geometry.1.is_some() && cropped {
                    continue;
                }
                let rows = y.saturating_sub(reach)..(y + reach + 1).min(height);
                let alike = |row: usize| {
                    let columns = row * width + x.saturating_sub(reach)..row * width + (x + reach + 1).min(width);
                    seen[columns].iter().all(|(_, other)| *other == label)
                };
                if rows.clone().all(alike) {
                    compared += 1;
                    assert_eq!(i64::from(pixel), 60 * label, "{what}: at {y}, {x}");
                }
            }
            assert!(compared * 8 > height * width, "{what}: {compared} of {height}x{width}");
        }
    }
}

/// A kernel that only falls with the distance gives the side on which its centre lies at least half of the weight: of two samples
/// as far from the border, the one on that side is nearer. So the border of the labels lies where the grey passes the middle.
#[test]
fn the_border_of_two_classes_lies_where_the_grey_of_the_image_passes_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    for (from, geometry) in SIZES.iter().flat_map(|from| GEOMETRIES.iter().map(move |geometry| (*from, *geometry))) {
        for filter in [Filter::Box, Filter::Bilinear] {
            let recipe = recipe(geometry, filter);
            for twelfths in [5, 6, 7] {
                let borders = [(from.0 * twelfths / 12, 0), (0, from.1 * twelfths / 12)];
                for (row, column) in borders {
                    let class = |y: usize, x: usize| if y >= row && x >= column { 3 } else { 1 };
                    let seen = seen(folder.path(), &recipe, from, class);
                    let what = format!("{from:?} {geometry:?} {filter:?}, border {row}, {column}");
                    for wanted in [1, 3] {
                        assert!(seen.iter().any(|(_, label)| *label == wanted), "{what}: no class {wanted}");
                    }
                    for (pixel, label) in seen.into_iter().filter(|(_, label)| *label != 0) {
                        // Both passes of a resize round to whole levels.
                        let (own, other) = (60 * label, 60 * (4 - label));
                        let pixel = i64::from(pixel);
                        assert!((pixel - own).abs() <= (pixel - other).abs() + 2, "{what}: {pixel} as class {label}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_mask_that_the_recipe_cannot_bring_to_size_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mask = |height: u32, width: u32| {
        let lines = vec![vec![1; width as usize]; height as usize];
        read(&written(folder.path(), &png((height, width), 8, GREY, false, &lines))).unwrap()
    };
    let fixed = Recipe::resolve(
        &Preprocess { resize: Some(Resize::NONE), ..Preprocess::default() },
        &[None, Some(3), Some(4), Some(4)],
        None,
    );
    assert!(mask(4, 5).seen_through(&fixed.unwrap()).is_err());
    // A recipe of colours, and of transparency, sees the same labels.
    let colour = Recipe::resolve(&Preprocess::default(), &[None, Some(4), Some(6), Some(3)], None).unwrap();
    let labels = mask(2, 3).seen_through(&colour).unwrap();
    assert_eq!(labels.dim(), (4, 6));
    assert!(labels.iter().all(|label| *label == 1));
}
