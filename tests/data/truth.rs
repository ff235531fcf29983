//! What `tests/fixtures/data/make.py` wrote down.

use std::path::{Path, PathBuf};

use isal::data::Image;
use serde_json::Value;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data")
}

pub fn truth() -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join("truth.json")).unwrap()).unwrap()
}

pub fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

pub fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub fn image(entry: &Value) -> Image {
    let [height, width, channels] = ["height", "width", "channels"].map(|key| number(&entry[key]));
    Image::new(height, width, channels, bytes(&entry["hex"])).unwrap()
}

/// Largest difference of any sample.
pub fn distance(a: &Image, b: &Image) -> u8 {
    assert_eq!((a.height(), a.width(), a.channels()), (b.height(), b.width(), b.channels()));
    a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}
