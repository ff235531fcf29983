//! Decoded images for people to look at: in colour, no larger than a page shows them, and packed again.

use image::{DynamicImage, ExtendedColorType, GrayAlphaImage, GrayImage, ImageEncoder as _, RgbImage, RgbaImage};

use super::Image;

/// Pictures up to this side are packed without loss: their pixels are seen one by one.
const EXACT_SIDE: u32 = 256;
/// Quality of those that are larger, as JPEG counts it.
const QUALITY: u8 = 90;

/// The image in colour, without transparency.
pub(crate) fn rgb(image: &Image) -> Option<RgbImage> {
    let (width, height) = (u32::try_from(image.width()).ok()?, u32::try_from(image.height()).ok()?);
    let pixels = image.pixels().to_vec();
    let colour = match image.channels() {
        1 => DynamicImage::ImageLuma8(GrayImage::from_raw(width, height, pixels)?),
        2 => DynamicImage::ImageLumaA8(GrayAlphaImage::from_raw(width, height, pixels)?),
        3 => DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, pixels)?),
        4 => DynamicImage::ImageRgba8(RgbaImage::from_raw(width, height, pixels)?),
        _ => return None,
    };
    Some(colour.into_rgb8())
}

/// The image with no side longer than `side`.
pub(crate) fn within(image: RgbImage, side: u32) -> RgbImage {
    match image.width().max(image.height()) > side {
        true => DynamicImage::ImageRgb8(image).thumbnail(side, side).into_rgb8(),
        false => image,
    }
}

/// The image as PNG.
pub(crate) fn as_png(image: &RgbImage) -> Option<Vec<u8>> {
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .ok()?;
    Some(png)
}

/// The image as a browser takes it, with its media type: PNG where it is small, else JPEG.
pub(crate) fn packed(image: &RgbImage) -> Option<(&'static str, Vec<u8>)> {
    if image.width().max(image.height()) <= EXACT_SIDE {
        return Some(("image/png", as_png(image)?));
    }
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(image).ok()?;
    Some(("image/jpeg", jpeg))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_channels_becomes_colour() {
        for (channels, pixel, expected) in [
            (1, vec![7], [7, 7, 7]),
            (2, vec![7, 9], [7, 7, 7]),
            (3, vec![1, 2, 3], [1, 2, 3]),
            (4, vec![1, 2, 3, 4], [1, 2, 3]),
        ] {
            let image = Image::new(1, 1, channels, pixel).unwrap();
            assert_eq!(rgb(&image).unwrap().get_pixel(0, 0).0, expected, "{channels}");
        }
    }

    #[test]
    fn a_large_image_is_made_smaller_and_a_small_one_is_left_as_it_is() {
        let large = RgbImage::from_fn(1_000, 400, |x, y| image::Rgb([(x % 251) as u8, (y % 241) as u8, 9]));
        let small = within(large.clone(), 100);
        assert_eq!(small.dimensions(), (100, 40));
        assert_eq!(within(small.clone(), 100), small);
        let (kind, bytes) = packed(&small).unwrap();
        assert_eq!((kind, image::load_from_memory(&bytes).unwrap().into_rgb8()), ("image/png", small));
        let (kind, bytes) = packed(&large).unwrap();
        assert_eq!(
            (kind, image::load_from_memory(&bytes).unwrap().into_rgb8().dimensions()),
            ("image/jpeg", (1_000, 400))
        );
    }
}
