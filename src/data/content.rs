//! Telling equal images by their pixels, whatever file or archive they lie in.

use std::collections::HashMap;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::preprocess::{Alpha, Channels};
use super::{Dataset, Image, recipe};

/// SHA-256 of what an image shows: its size and its RGB samples, grey spread over the three and alpha dropped.
///
/// A PNG, a record of a CIFAR archive and an upright copy of a rotated TIFF with the same pixels have the same hash; a JPEG
/// made from any of them has another.
pub fn content_hash(image: &Image) -> [u8; 32] {
    let rgb = recipe::colours(image.clone(), Channels::Rgb, Alpha::Drop);
    let mut hash = Sha256::new();
    hash.update((rgb.height() as u64).to_le_bytes());
    hash.update((rgb.width() as u64).to_le_bytes());
    hash.update(rgb.pixels());
    hash.finalize().into()
}

/// [`content_hash`] of every image, decoded in parallel; `None` where one cannot be decoded.
pub fn content_hashes(dataset: &Dataset) -> Vec<Option<[u8; 32]>> {
    (0..dataset.len()).into_par_iter().map(|index| dataset.load(index).ok().map(|image| content_hash(&image))).collect()
}

/// Positions in `a` and in `b` of equal images, in the order of `b`; the first of `a` where it has several alike.
pub(crate) fn equal_images(a: &Dataset, b: &Dataset) -> Vec<(usize, usize)> {
    let mut first = HashMap::new();
    for (index, hash) in content_hashes(a).into_iter().enumerate() {
        if let Some(hash) = hash {
            first.entry(hash).or_insert(index);
        }
    }
    let hashes = content_hashes(b).into_iter().enumerate();
    hashes.filter_map(|(index, hash)| Some((*first.get(&hash?)?, index))).collect()
}
