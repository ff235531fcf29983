//! Telling equal images by their pixels, whatever file or archive they lie in.

use std::collections::HashMap;
use std::hash::Hasher as _;

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

use super::preprocess::{Alpha, Channels};
use super::{Dataset, Image, recipe};

/// What an image shows, in 64 bits: equal for equal pixels, whatever file, archive or lossless encoding they lie in.
///
/// XXH3 of height, width and samples, as they are before any preprocessing. Colour counts only where some pixel has some, and
/// opacity only where some pixel is not opaque, so that it does not matter which of these forms an encoder chose.
///
/// Among 10^7 different images some two share their 64 bits with odds of n^2 / 2^65 = 3e-6; then one of the two would not be
/// selected. The hash withstands no attacker: whoever can write to a pool can make two images share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Content(u64);

impl Content {
    /// Of this image.
    pub fn of(image: &Image) -> Content {
        let channels = image.channels();
        let pixels = image.pixels();
        let colours = if channels < 3 { 1 } else { 3 };
        let has_alpha = channels == 2 || channels == 4;
        let opaque = !has_alpha || pixels.iter().skip(channels - 1).step_by(channels).all(|alpha| *alpha == 255);
        let is_grey = |pixel: &[u8]| matches!(*pixel, [r, g, b, ..] if r == g && g == b);
        let grey = colours == 1 || pixels.chunks_exact(channels).all(is_grey);
        let kept = if grey { 1 } else { colours };
        let mut hash = xxh3();
        for number in [image.height(), image.width(), kept + usize::from(!opaque)] {
            hash.write(&(number as u64).to_le_bytes());
        }
        if kept + usize::from(!opaque) == channels {
            hash.write(pixels);
            return Content(hash.finish());
        }
        let mut row = Vec::with_capacity(channels * image.width());
        for samples in image.rows() {
            row.clear();
            for pixel in samples.chunks_exact(channels) {
                row.extend_from_slice(pixel.get(..kept).unwrap_or_default());
                row.extend(pixel.last().filter(|_| !opaque));
            }
            hash.write(&row);
        }
        Content(hash.finish())
    }

    /// From its 64 bits.
    pub fn from_bits(bits: u64) -> Content {
        Content(bits)
    }

    /// Its 64 bits.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// Sixteen hexadecimal digits.
impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl serde::Serialize for Content {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u64::from_str_radix(&text, 16).ok().filter(|_| digits);
        bits.map(Content)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no content: expected 16 hexadecimal digits")))
    }
}

/// The hash of contents and of stored bytes: it runs at the speed of memory.
pub(super) fn xxh3() -> XxHash3_64 {
    XxHash3_64::new()
}

/// SHA-256 of what an image shows: its size and its RGB samples, grey spread over the three and alpha dropped.
///
/// A PNG, a record of a CIFAR archive and an upright copy of a rotated TIFF with the same pixels have the same hash; a JPEG
/// made from any of them has another. Unlike [`Content`] it takes no notice of opacity: for a model that drops it, two such
/// images are one, and a reference image must be none of the labelled ones.
pub fn content_hash(image: &Image) -> [u8; 32] {
    let rgb = recipe::colours(image.clone(), Channels::Rgb, Alpha::Drop);
    let mut hash = Sha256::new();
    hash.update((rgb.height() as u64).to_le_bytes());
    hash.update((rgb.width() as u64).to_le_bytes());
    hash.update(rgb.pixels());
    hash.finalize().into()
}

/// [`content_hash`] of every image, decoded in parallel; `None` where one cannot be decoded.
fn content_hashes(dataset: &Dataset) -> Vec<Option<[u8; 32]>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn content(height: usize, width: usize, channels: usize, pixels: &[u8]) -> Content {
        Content::of(&Image::new(height, width, channels, pixels.to_vec()).expect("an image"))
    }

    #[test]
    fn what_an_encoder_may_choose_does_not_change_the_content() {
        let grey = content(1, 2, 1, &[5, 9]);
        assert_eq!(grey, content(1, 2, 2, &[5, 255, 9, 255]));
        assert_eq!(grey, content(1, 2, 3, &[5, 5, 5, 9, 9, 9]));
        assert_eq!(grey, content(1, 2, 4, &[5, 5, 5, 255, 9, 9, 9, 255]));
        assert_eq!(content(1, 2, 3, &[5, 6, 7, 8, 9, 9]), content(1, 2, 4, &[5, 6, 7, 255, 8, 9, 9, 255]));
        assert_eq!(content(2, 1, 2, &[5, 1, 9, 255]), content(2, 1, 4, &[5, 5, 5, 1, 9, 9, 9, 255]));
    }

    #[test]
    fn size_colour_and_opacity_are_part_of_the_content() {
        let all = [
            content(1, 2, 1, &[5, 9]),
            content(2, 1, 1, &[5, 9]),
            content(1, 2, 1, &[9, 5]),
            content(1, 2, 3, &[5, 5, 6, 9, 9, 9]),
            content(1, 2, 4, &[5, 5, 5, 255, 9, 9, 9, 254]),
            content(1, 2, 2, &[5, 254, 9, 255]),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(!all[..place].contains(one), "{place}");
        }
    }

    #[test]
    fn sixteen_digits_stand_for_a_content_and_nothing_else_does() {
        let content = Content::from_bits(0x00ab);
        assert_eq!(serde_json::to_string(&content).expect("text"), "\"00000000000000ab\"");
        assert_eq!(serde_json::from_str::<Content>("\"00000000000000ab\"").expect("read"), content);
        for wrong in ["\"ab\"", "\"00000000000000zz\"", "\"+0000000000000ab\"", "7"] {
            assert!(serde_json::from_str::<Content>(wrong).is_err(), "{wrong}");
        }
    }
}
