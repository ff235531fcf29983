//! JPEG, strictly: a stream that ends early is an error, not a picture with a grey foot.
//!
//! The decoder's strict mode finds most damage, but looks for the end of the data only between rows of blocks,
//! so the marker that ends an image is looked for here too.
//!
//! A photograph of which a small picture is wanted can be decoded at 1/2, 1/4 or 1/8 of its size: the inverse cosine
//! transform then takes the lowest frequencies of a block and gives 4x4, 2x2 or 1 pixels instead of 8x8. Another decoder does
//! that. It finds the same cuts, but not damage that leaves the end marker where it is.

use image::metadata::Orientation;
use jpeg_decoder::{ColorTransform, Decoder as ScalingDecoder, PixelFormat};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Image;
use super::decode::{DecodeError, Decoding, orient};

const FORMAT: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], decoding: &Decoding) -> Result<Image, DecodeError> {
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(65_535).set_max_height(65_535);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(failed)?;
    let (width, height) = decoder.dimensions().ok_or(DecodeError::Truncated { format: FORMAT })?;
    let space = decoder.input_colorspace().ok_or(DecodeError::Truncated { format: FORMAT })?;
    let (channels, wanted) = match space {
        ColorSpace::Luma => (1, ColorSpace::Luma),
        _ => (3, ColorSpace::RGB),
    };
    // A progressive image is held as three or four planes of 16-bit coefficients beside the output.
    let pixels = (width as u64).saturating_mul(height as u64);
    decoding.limits.check(height as u64, width as u64, pixels.saturating_mul(8 + channels as u64))?;
    if !has_end(bytes) {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    let orientation =
        decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif)).unwrap_or(Orientation::NoTransforms);
    let (width, height) = (width as u16, height as u16);
    if let Some(least) = decoding.jpeg_least_side
        && let Some(size) = reduced([width, height], least)
        && let Some(image) = decode_reduced(bytes, size, space, decoding.limits.memory_bytes)?
    {
        return orient(image, orientation);
    }
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(wanted));
    let samples = decoder.decode().map_err(failed)?;
    orient(Image::new(usize::from(height), usize::from(width), channels, samples)?, orientation)
}

/// The smallest of 1/8, 1/4 and 1/2 of a size whose shorter side keeps `least` pixels.
fn reduced(size: [u16; 2], least: u32) -> Option<[u16; 2]> {
    let of = |divisor: u16| size.map(|side| side.div_ceil(divisor));
    [8, 4, 2].into_iter().map(of).find(|size| size.iter().all(|side| u32::from(*side) >= least))
}

/// Decodes to `size`; `None` of colours for which this is not done (CMYK), or where the decoder does not know this kind of
/// JPEG.
fn decode_reduced(
    bytes: &[u8],
    size: [u16; 2],
    space: ColorSpace,
    memory_bytes: u64,
) -> Result<Option<Image>, DecodeError> {
    let colours = match space {
        ColorSpace::Luma => ColorTransform::Grayscale,
        ColorSpace::YCbCr => ColorTransform::YCbCr,
        ColorSpace::RGB => ColorTransform::RGB,
        _ => return Ok(None),
    };
    let mut decoder = ScalingDecoder::new(bytes);
    decoder.set_max_decoding_buffer_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX));
    // The two decoders guess the colours otherwise where the file does not say them.
    decoder.set_color_transform(colours);
    let (width, height) = match decoder.scale(size[0], size[1]) {
        Ok(found) => found,
        Err(jpeg_decoder::Error::Unsupported(_)) => return Ok(None),
        Err(error) => return Err(failed_reduced(error)),
    };
    let channels = match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::L8) => 1,
        Some(PixelFormat::RGB24) => 3,
        _ => return Ok(None),
    };
    let samples = decoder.decode().map_err(failed_reduced)?;
    Ok(Some(Image::new(usize::from(height), usize::from(width), channels, samples)?))
}

fn failed_reduced(error: jpeg_decoder::Error) -> DecodeError {
    match error {
        jpeg_decoder::Error::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: FORMAT }
        }
        other => DecodeError::Codec { format: FORMAT, message: other.to_string() },
    }
}

fn failed(error: DecodeErrors) -> DecodeError {
    match error {
        DecodeErrors::ExhaustedData => DecodeError::Truncated { format: FORMAT },
        other => DecodeError::Codec { format: FORMAT, message: other.to_string() },
    }
}

/// Whether the image's own end marker is there: headers are stepped over by their lengths, so that the end
/// marker of a thumbnail inside one does not count.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&[first, second]) = bytes.get(at..at + 2) {
        match (first, second) {
            (0xFF, 0xD9) => return true,
            // Fill bytes before a marker.
            (0xFF, 0xFF) => at += 1,
            // Start of image, restarts and a stuffed zero carry no length.
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => at += 2,
            (0xFF, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
            // Entropy-coded data, or stray bytes between headers.
            _ => at += 1,
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::super::{Limits, decode_as};
    use super::*;
    use image::codecs::jpeg::JpegEncoder;

    /// A smooth picture with an edge, of one or three channels.
    fn picture(width: u32, height: u32, channels: usize) -> Vec<u8> {
        let mut pixels = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let wave = |a: u32, b: u32| (f64::from(a * x + b * y) / 40.0).sin() * 80.0 + 120.0;
            let edge = if x > width / 3 { 40.0 } else { 0.0 };
            pixels.extend([wave(1, 2) + edge, wave(2, 1), wave(3, 0) + edge].iter().take(channels).map(|v| *v as u8));
        }
        pixels
    }

    fn jpeg(width: u32, height: u32, channels: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let colour = if channels == 1 { image::ExtendedColorType::L8 } else { image::ExtendedColorType::Rgb8 };
        let pixels = picture(width, height, channels);
        JpegEncoder::new_with_quality(&mut bytes, 90).encode(&pixels, width, height, colour).unwrap();
        bytes
    }

    fn read(bytes: &[u8], jpeg_least_side: Option<u32>) -> Result<Image, DecodeError> {
        decode_as(bytes, &Decoding { limits: Limits::default(), jpeg_least_side })
    }

    /// The means of squares of `side` pixels; at the right and lower edge of what there is of them.
    fn boxes(image: &Image, side: usize) -> Vec<f64> {
        let (width, channels) = (image.width(), image.channels());
        let mut means = Vec::new();
        for top in (0..image.height()).step_by(side) {
            for (left, channel) in (0..width).step_by(side).flat_map(|left| (0..channels).map(move |c| (left, c))) {
                let rows = top..(top + side).min(image.height());
                let places =
                    rows.flat_map(|y| (left..(left + side).min(width)).map(move |x| (y * width + x) * channels));
                let values: Vec<f64> = places.map(|at| f64::from(image.pixels()[at + channel])).collect();
                means.push(values.iter().sum::<f64>() / values.len() as f64);
            }
        }
        means
    }

    #[test]
    fn the_smallest_size_whose_shorter_side_keeps_so_many_pixels_is_taken() {
        for (least, size) in [
            (1, Some([25, 19])),
            (19, Some([25, 19])),
            (20, Some([50, 38])),
            (38, Some([50, 38])),
            (39, Some([100, 75])),
            (75, Some([100, 75])),
            (76, None),
            (1000, None),
        ] {
            assert_eq!(reduced([200, 150], least), size, "{least}");
        }
        assert_eq!(reduced([65_535, 9], 2), Some([8192, 2]));
    }

    #[test]
    fn a_reduced_image_has_the_means_of_the_whole_and_keeps_its_channels() {
        for channels in [1, 3] {
            let bytes = jpeg(203, 150, channels);
            let whole = read(&bytes, None).unwrap();
            assert_eq!((whole.width(), whole.height(), whole.channels()), (203, 150, channels));
            for (least, divisor) in [(75, 2), (38, 4), (19, 8)] {
                let found = read(&bytes, Some(least)).unwrap();
                let sides = [203_usize.div_ceil(divisor), 150_usize.div_ceil(divisor)];
                assert_eq!(([found.width(), found.height()], found.channels()), (sides, channels));
                let means = boxes(&whole, divisor);
                let off: f64 = means.iter().zip(found.pixels()).map(|(a, b)| (a - f64::from(*b)).abs()).sum();
                // Rounding is a quarter of a level on average. Where 2x2 or 4x4 pixels come out of a block, what of its frequencies
                // is left out has a small share in the means of squares too; at 1/8 the mean of a block is all that is asked.
                let (off, most) = (off / means.len() as f64, if divisor == 8 { 1.0 } else { 2.0 });
                assert!(off < most, "{channels} channels at 1/{divisor}: {off} levels");
            }
            // More than half of the shorter side: the whole, to the bit.
            for least in [76, 150, 4000] {
                assert!(read(&bytes, Some(least)).unwrap() == whole, "{least}");
            }
        }
    }

    #[test]
    fn a_reduced_image_is_turned_upright() {
        let bytes = jpeg(64, 40, 3);
        // "Turn a quarter to the right", in an EXIF block of that tag alone, behind the start of the image.
        let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let header = [&[0xFF, 0xE1, 0, exif.len() as u8 + 2][..], exif].concat();
        let turned = [&bytes[..2], &header, &bytes[2..]].concat();
        let (upright, lying) = (read(&turned, Some(20)).unwrap(), read(&bytes, Some(20)).unwrap());
        assert_eq!((lying.width(), lying.height(), upright.width(), upright.height()), (32, 20, 20, 32));
        let at = |image: &Image, y: usize, x: usize| image.pixels()[3 * (y * image.width() + x)];
        for (y, x) in (0..32).flat_map(|y| (0..20).map(move |x| (y, x))) {
            assert_eq!(at(&upright, y, x), at(&lying, 19 - x, y), "{y} {x}");
        }
    }

    #[test]
    fn cuts_and_limits_are_errors_at_a_fraction_too() {
        let bytes = jpeg(64, 40, 3);
        let whole = read(&bytes, Some(5)).unwrap();
        assert_eq!((whole.width(), whole.height()), (8, 5));
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len], Some(5)).is_err(), "{len} bytes");
        }
        // The limit is on the image as it is stored.
        let limits = Limits { pixels: 64 * 40 - 1, ..Limits::default() };
        let refused = decode_as(&bytes, &Decoding { limits, jpeg_least_side: Some(5) });
        assert_eq!(refused, Err(DecodeError::TooManyPixels { height: 40, width: 64, limit: 64 * 40 - 1 }));
    }

    #[test]
    fn cmyk_is_decoded_whole() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data/images");
        for name in ["cmyk.jpg", "ycck.jpg"] {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            assert!(read(&bytes, Some(1)).unwrap() == read(&bytes, None).unwrap(), "{name}");
        }
        for name in ["420.jpg", "grey.jpg", "progressive.jpg", "restart.jpg"] {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            let (half, whole) = (read(&bytes, Some(5)).unwrap(), read(&bytes, None).unwrap());
            assert_eq!((whole.width(), whole.height(), half.width(), half.height()), (17, 11, 9, 6), "{name}");
            assert_eq!(half.channels(), whole.channels());
        }
    }
}
