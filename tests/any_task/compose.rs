//! Pictures of up to four MNIST digits, composed here: what is in them is known exactly.

use crate::digits;
use image::{GrayImage, Luma};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::Path;

/// Digits 0 to 4.
pub const CLASSES: usize = 5;
/// Pixels of a side.
pub const SIDE: u32 = 56;
const DIGIT: u32 = 28;

/// Every digit below [`CLASSES`], by class.
pub fn table() -> Vec<Vec<GrayImage>> {
    let file = flate2::read::GzDecoder::new(fs::File::open(digits::table()).expect("the digits open"));
    let mut classes = vec![Vec::new(); CLASSES];
    for record in csv::ReaderBuilder::new().has_headers(false).from_reader(file).records() {
        let record = record.expect("a row of numbers");
        let number = |text: &str| text.parse::<f32>().expect("a number") as u8;
        if let Some(class) = classes.get_mut(usize::from(number(&record[784]))) {
            let pixels = record.iter().take(784).map(number).collect();
            class.push(GrayImage::from_raw(DIGIT, DIGIT, pixels).expect("784 pixels"));
        }
    }
    classes
}

/// A picture, the classes that it shows in order, and a mask: 0 for the background, else the class of the digit and one.
pub struct Picture {
    pub image: GrayImage,
    pub mask: GrayImage,
    pub classes: Vec<usize>,
}

/// `count` pictures with a digit in each quarter more often than not, a few pixels from its place.
pub fn pictures(table: &[Vec<GrayImage>], seed: u64, count: usize) -> Vec<Picture> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut one = || {
        let (mut image, mut mask) = (GrayImage::new(SIDE, SIDE), GrayImage::new(SIDE, SIDE));
        let mut classes = Vec::new();
        for quarter in 0..4_u32 {
            if !(quarter == 0 && classes.is_empty()) && random.random::<f64>() < 0.5 {
                continue;
            }
            let class = random.random_range(0..CLASSES);
            let digit = &table[class][random.random_range(0..table[class].len())];
            let mut place = |half: u32| (half * DIGIT) as i64 + i64::from(random.random_range(-2..=2_i32));
            let (left, top) = (place(quarter % 2), place(quarter / 2));
            for (x, y, Luma([ink])) in digit.enumerate_pixels() {
                let (x, y) = (left + i64::from(x), top + i64::from(y));
                if *ink > 0 && (0..SIDE.into()).contains(&x) && (0..SIDE.into()).contains(&y) {
                    let (x, y) = (x as u32, y as u32);
                    let shown = image.get_pixel(x, y).0[0].max(*ink);
                    image.put_pixel(x, y, Luma([shown]));
                    if *ink > 64 {
                        mask.put_pixel(x, y, Luma([class as u8 + 1]));
                    }
                }
            }
            classes.push(class);
        }
        classes.sort_unstable();
        classes.dedup();
        Picture { image, mask, classes }
    };
    (0..count).map(|_| one()).collect()
}

/// Writes `folder/images`, `folder/masks` and `folder/labels.jsonl`, whose lines name the classes of each picture and count them.
pub fn write(folder: &Path, pictures: &[Picture]) {
    for part in ["images", "masks"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    let mut list = String::new();
    for (n, Picture { image, mask, classes }) in pictures.iter().enumerate() {
        image.save(folder.join(format!("images/{n:04}.png"))).expect("a PNG");
        mask.save(folder.join(format!("masks/{n:04}.png"))).expect("a PNG");
        let names: Vec<String> = classes.iter().map(|class| format!("digit {class}")).collect();
        let line = serde_json::json!({
            "path": format!("images/{n:04}.png"), "labels": names, "target": classes.len(),
            "tags": (0..CLASSES).map(|class| f64::from(u8::from(classes.contains(&class)))).collect::<Vec<_>>(),
        });
        list += &format!("{line}\n");
    }
    fs::write(folder.join("labels.jsonl"), list).expect("written");
}
