//! From the bytes of an image file to upright 8-bit samples.
//!
//! JPEG, PNG, WebP, BMP, TIFF, GIF and PNM, told apart by their first bytes (names lie). What comes out is what Pillow
//! gives after `ImageOps.exif_transpose`: rotated as EXIF or the TIFF tag asks, palettes looked up, CMYK
//! turned to RGB by `(255 - c)(255 - k) / 255`. 16-bit samples keep their range (65535 becomes 255, rounded),
//! where Pillow drops the low byte of colours; a PNM whose maximum is below 255 may differ from Pillow by one level. Colour profiles are not applied, as in torchvision. Alpha stays
//! in the image; the recipe says what becomes of it. Of several frames or pages the first is taken.
//!
//! A file that is cut short, damaged or larger than the limits is an error; nothing half decoded comes out.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, metadata::Orientation};

use super::{Image, ImageShapeError, Size, format_name, gif, jpeg, tiff_palette};

/// What an image or an archive may cost. The defaults stop decompression bombs and pass photographs and every published
/// archive that is read (the largest, SVHN's extra images, unpacks to 1.6 GB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the encoded file.
    pub file_bytes: u64,
    /// Height times width.
    pub pixels: u64,
    /// Bytes that a decoder may hold at once, its output included; one image a thread is decoded.
    pub memory_bytes: u64,
    /// Bytes that an archive may unpack to.
    pub archive_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { file_bytes: 512 << 20, pixels: 128 << 20, memory_bytes: 2 << 30, archive_bytes: 2 << 30 }
    }
}

/// How image files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoding {
    /// What an image may cost.
    pub limits: Limits,
    /// Decode JPEGs at 1/2, 1/4 or 1/8 of their size as long as the shorter side keeps so many pixels. That is faster for large
    /// photographs and gives other pixels than the whole image.
    pub jpeg_least_side: Option<u32>,
}

impl From<Limits> for Decoding {
    /// Every image whole.
    fn from(limits: Limits) -> Self {
        Decoding { limits, jpeg_least_side: None }
    }
}

/// Why bytes gave no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// Not a regular file.
    #[error("it is not a regular file")]
    NotAFile,
    /// The first bytes belong to no known image format.
    #[error("no known image format begins with the bytes {start:02x?}")]
    UnknownFormat {
        /// Up to 16 first bytes.
        start: Vec<u8>,
    },
    /// A format that is not read.
    #[error("{format} images are not read")]
    UnsupportedFormat {
        /// Its name.
        format: String,
    },
    /// Samples of a kind that has no 8-bit meaning.
    #[error("{samples} samples are not read")]
    UnsupportedSamples {
        /// Their kind.
        samples: &'static str,
    },
    /// More encoded bytes than the limit.
    #[error("the file has {bytes} bytes, the limit is {limit}")]
    FileTooLarge {
        /// Bytes of the file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// More pixels than the limit.
    #[error("the image has {height}x{width} pixels, the limit is {limit}")]
    TooManyPixels {
        /// Rows.
        height: u64,
        /// Columns.
        width: u64,
        /// The limit on their product.
        limit: u64,
    },
    /// A decoder would need more memory than the limit.
    #[error("decoding needs more than {limit} bytes")]
    TooMuchMemory {
        /// The limit.
        limit: u64,
    },
    /// The end is missing.
    #[error("the {format} data is cut short")]
    Truncated {
        /// Name of the format.
        format: &'static str,
    },
    /// The decoder refused the data.
    #[error("the {format} decoder says: {message}")]
    Codec {
        /// Name of the format.
        format: &'static str,
        /// Its message.
        message: String,
    },
    /// The decoder itself broke on the data.
    #[error("the decoder panicked: {message}")]
    Panicked {
        /// Its message.
        message: String,
    },
    /// Numbers of a harvest of which no image can be made.
    #[error("the numbers ({datatype} {shape:?}) {reason}")]
    Numbers {
        /// Their type.
        datatype: String,
        /// Sizes of the axes.
        shape: Vec<usize>,
        /// Why they are none.
        reason: &'static str,
    },
    /// The samples do not fit the dims.
    #[error(transparent)]
    Shape(#[from] ImageShapeError),
}

/// Decodes one image file held in memory, whole; see [`decode_as`].
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, DecodeError> {
    decode_as(bytes, &Decoding::from(*limits))
}

/// Decodes one image file held in memory.
///
/// Codecs are third-party code fed with whatever a disk holds: a panic in one is caught and counts as a
/// damaged image.
pub fn decode_as(bytes: &[u8], decoding: &Decoding) -> Result<Image, DecodeError> {
    std::panic::catch_unwind(|| decode_unguarded(bytes, decoding))
        .unwrap_or_else(|payload| Err(DecodeError::panicked(payload.as_ref())))
}

/// Rows and columns of an image file, upright, from what stands at its beginning; `None` where that does not say.
pub(super) fn size_of(path: &Path) -> Option<Size> {
    // Third-party code, as above.
    let size = std::panic::catch_unwind(|| {
        let reader = ImageReader::new(BufReader::new(File::open(path).ok()?)).with_guessed_format().ok()?;
        let mut decoder = reader.into_decoder().ok()?;
        let (width, height) = decoder.dimensions();
        let turned = matches!(
            decoder.orientation().unwrap_or(Orientation::NoTransforms),
            Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
        );
        let (height, width) = if turned { (width, height) } else { (height, width) };
        Some(Size { height: height as usize, width: width as usize })
    });
    size.ok().flatten()
}

impl DecodeError {
    /// From what a caught panic carried.
    pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_string());
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        DecodeError::Panicked { message }
    }
}

fn decode_unguarded(bytes: &[u8], decoding: &Decoding) -> Result<Image, DecodeError> {
    let limits = &decoding.limits;
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() as u64 > limits.file_bytes {
        return Err(DecodeError::FileTooLarge { bytes: bytes.len() as u64, limit: limits.file_bytes });
    }
    if let Some(format) = format_name::of(bytes) {
        return Err(DecodeError::UnsupportedFormat { format: format.into_owned() });
    }
    let format = image::guess_format(bytes)
        .map_err(|_| DecodeError::UnknownFormat { start: bytes.iter().take(16).copied().collect() })?;
    let name = match format {
        ImageFormat::Jpeg => return jpeg::decode(bytes, decoding),
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => {
            // The decoder passes over metadata that is cut off, and with it the rotation.
            let declared = bytes.get(4..8).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes);
            if declared.is_none_or(|riff| (bytes.len() as u64) < u64::from(riff) + 8) {
                return Err(DecodeError::Truncated { format: "WebP" });
            }
            "WebP"
        }
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => return gif::decode(bytes, limits),
        ImageFormat::Pnm => "PNM",
        ImageFormat::Tiff => {
            if let Some(palette) = tiff_palette::read(bytes) {
                let levels = decode_by_crate(&palette.grey, format, "TIFF", limits)?;
                let colour = |level: &u8| palette.colours.get(usize::from(*level)).copied().unwrap_or_default();
                let pixels = levels.pixels().iter().flat_map(colour).collect();
                return Ok(Image::new(levels.height(), levels.width(), 3, pixels)?);
            }
            "TIFF"
        }
        other => return Err(DecodeError::UnsupportedFormat { format: format!("{other:?}") }),
    };
    decode_by_crate(bytes, format, name, limits)
}

fn decode_by_crate(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    limits: &Limits,
) -> Result<Image, DecodeError> {
    let failed = |error: image::ImageError| codec_error(name, limits, &error);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(codec_limits(limits));
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    limits.check(u64::from(height), u64::from(width), decoder.total_bytes())?;
    // A broken EXIF block does not spoil the pixels: it means no rotation, as in Pillow.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(failed)?;
    decoded.apply_orientation(orientation);
    from_dynamic(decoded)
}

impl Limits {
    /// Refuses dims and output sizes beyond the limits.
    pub(crate) fn check(&self, height: u64, width: u64, bytes: u64) -> Result<(), DecodeError> {
        if height.saturating_mul(width) > self.pixels {
            return Err(DecodeError::TooManyPixels { height, width, limit: self.pixels });
        }
        if bytes > self.memory_bytes {
            return Err(DecodeError::TooMuchMemory { limit: self.memory_bytes });
        }
        Ok(())
    }
}

fn codec_limits(limits: &Limits) -> image::Limits {
    let mut inner = image::Limits::no_limits();
    inner.max_alloc = Some(limits.memory_bytes);
    inner
}

fn codec_error(format: &'static str, limits: &Limits, error: &image::ImageError) -> DecodeError {
    match error {
        image::ImageError::Limits(_) => DecodeError::TooMuchMemory { limit: limits.memory_bytes },
        image::ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        other => DecodeError::Codec { format, message: other.to_string() },
    }
}

/// 16 bits to 8, the ends of the range kept.
fn to_8_bit(samples: &[u16]) -> Vec<u8> {
    samples.iter().map(|&v| ((u32::from(v) + 128) / 257) as u8).collect()
}

fn from_dynamic(image: DynamicImage) -> Result<Image, DecodeError> {
    let (height, width) = (image.height() as usize, image.width() as usize);
    let (channels, pixels) = match image {
        DynamicImage::ImageLuma8(buffer) => (1, buffer.into_raw()),
        DynamicImage::ImageLumaA8(buffer) => (2, buffer.into_raw()),
        DynamicImage::ImageRgb8(buffer) => (3, buffer.into_raw()),
        DynamicImage::ImageRgba8(buffer) => (4, buffer.into_raw()),
        DynamicImage::ImageLuma16(buffer) => (1, to_8_bit(buffer.as_raw())),
        DynamicImage::ImageLumaA16(buffer) => (2, to_8_bit(buffer.as_raw())),
        DynamicImage::ImageRgb16(buffer) => (3, to_8_bit(buffer.as_raw())),
        DynamicImage::ImageRgba16(buffer) => (4, to_8_bit(buffer.as_raw())),
        _ => return Err(DecodeError::UnsupportedSamples { samples: "floating-point" }),
    };
    Ok(Image::new(height, width, channels, pixels)?)
}

/// Turns an image upright.
pub(crate) fn orient(image: Image, orientation: Orientation) -> Result<Image, DecodeError> {
    if orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let (height, width, channels) = (image.height() as u32, image.width() as u32, image.channels());
    let pixels = image.pixels().to_vec();
    let mut dynamic = match channels {
        1 => image::GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    }
    .ok_or(DecodeError::UnsupportedSamples { samples: "two- or four-channel" })?;
    dynamic.apply_orientation(orientation);
    from_dynamic(dynamic)
}
