//! A map of classes over its image.

use image::{Rgb, RgbImage};
use ndarray::ArrayView2;

/// How much of a pixel is the colour of its class.
const SHARE: f32 = 0.5;

/// The image, at the size of the map, half of each pixel the colour of its class. Class 0, mostly the background, is left as it
/// is.
pub(super) fn draw(image: &RgbImage, labels: ArrayView2<i64>) -> RgbImage {
    let (height, width) = labels.dim();
    let (height, width) = (height as u32, width as u32);
    let mut drawn = image::imageops::resize(image, width, height, image::imageops::FilterType::Triangle);
    for (pixel, label) in drawn.pixels_mut().zip(labels.iter()) {
        let Some(Rgb(colour)) = colour(*label) else { continue };
        for (channel, of_class) in pixel.0.iter_mut().zip(colour) {
            *channel = (f32::from(*channel) * (1.0 - SHARE) + f32::from(of_class) * SHARE).round() as u8;
        }
    }
    drawn
}

/// A colour of its own for each class: the bits of its number, spread over the three channels from the highest bit down, as
/// Pascal VOC's palette has them.
fn colour(label: i64) -> Option<Rgb<u8>> {
    let mut left = u8::try_from(label).ok().filter(|label| *label != 0)?;
    let mut channels = [0_u8; 3];
    for bit in (0..8).rev() {
        for (place, channel) in channels.iter_mut().enumerate() {
            *channel |= ((left >> place) & 1) << bit;
        }
        left >>= 3;
    }
    Some(Rgb(channels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn colours_are_those_of_pascal_voc_and_the_background_stays() {
        // The first entries of its palette.
        let expected =
            [(1, [128, 0, 0]), (2, [0, 128, 0]), (3, [128, 128, 0]), (4, [0, 0, 128]), (15, [192, 128, 128])];
        for (label, channels) in expected {
            assert_eq!(colour(label), Some(Rgb(channels)), "{label}");
        }
        let image = RgbImage::from_pixel(2, 1, Rgb([100, 50, 0]));
        let drawn = draw(&image, array![[0, 1]].view());
        assert_eq!((drawn.get_pixel(0, 0), drawn.get_pixel(1, 0)), (&Rgb([100, 50, 0]), &Rgb([114, 25, 0])));
    }
}
