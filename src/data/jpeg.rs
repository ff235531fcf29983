//! JPEG, strictly: a stream that ends early is an error, not a picture with a grey foot.
//!
//! The decoder's strict mode finds most damage, but looks for the end of the data only between rows of blocks,
//! so the marker that ends an image is looked for here too.

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Image;
use super::decode::{DecodeError, Limits, orient};

const FORMAT: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, DecodeError> {
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
    limits.check(height as u64, width as u64, pixels.saturating_mul(8 + channels as u64))?;
    if !has_end(bytes) {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    let orientation =
        decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif)).unwrap_or(Orientation::NoTransforms);
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(wanted));
    let samples = decoder.decode().map_err(failed)?;
    orient(Image::new(height, width, channels, samples)?, orientation)
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
