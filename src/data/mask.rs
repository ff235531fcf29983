//! Masks: PNG whose samples are class numbers, for the palette's sake its indices, as Pascal VOC has them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek};
use std::path::Path;

use ndarray::{Array2, ArrayView2};

use super::{Channels, DecodeError, Filter, Image, Limits, Pad, Recipe, RecipeError, Size};

/// Class numbers of the pixels of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(Image);

/// Why a mask cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Io(#[from] std::io::Error),
    /// A folder, a pipe and the like.
    #[error("is not a regular file")]
    NotAFile,
    /// It is no PNG, or a broken one.
    #[error("is no PNG that can be read: {0}")]
    Png(String),
    /// Samples that are no class numbers.
    #[error("is {found}, expected grey or palette PNG of at most 8 bits, whose samples are class numbers")]
    Samples {
        /// What it is.
        found: String,
    },
    /// Larger than is allowed.
    #[error(transparent)]
    Limit(#[from] DecodeError),
}

impl Mask {
    /// Reads a mask.
    ///
    /// # Errors
    /// A file that is missing, no such PNG, or past the limits.
    pub fn read(path: &Path, limits: &Limits) -> Result<Mask, MaskError> {
        let metadata = std::fs::metadata(path)?;
        // Opening a named pipe would wait for a writer for ever.
        if !metadata.is_file() {
            return Err(MaskError::NotAFile);
        }
        let bytes = metadata.len();
        if bytes > limits.file_bytes {
            return Err(DecodeError::FileTooLarge { bytes, limit: limits.file_bytes }.into());
        }
        // The file may have grown since.
        let file = BufReader::new(File::open(path)?.take(limits.file_bytes));
        // Third-party code fed with whatever a disk holds: a panic in it counts as a broken file.
        std::panic::catch_unwind(|| Mask::decode(file, limits))
            .unwrap_or_else(|payload| Err(MaskError::Png(DecodeError::panicked(payload.as_ref()).to_string())))
    }

    fn decode(file: impl BufRead + Seek, limits: &Limits) -> Result<Mask, MaskError> {
        let broken = |error: png::DecodingError| MaskError::Png(error.to_string());
        let mut decoder = png::Decoder::new(file);
        // Palettes stay indices; bits are unpacked below, without being stretched to bytes.
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().map_err(broken)?;
        let (width, height) = (reader.info().width, reader.info().height);
        let (colour, depth) = (reader.info().color_type, reader.info().bit_depth);
        if u64::from(width).saturating_mul(u64::from(height)) > limits.pixels {
            return Err(DecodeError::TooManyPixels {
                height: height.into(),
                width: width.into(),
                limit: limits.pixels,
            }
            .into());
        }
        let bits = depth as usize;
        if !matches!(colour, png::ColorType::Grayscale | png::ColorType::Indexed) || bits > 8 {
            return Err(MaskError::Samples { found: format!("{colour:?} of {bits} bits") });
        }
        let size = reader.output_buffer_size().ok_or_else(|| MaskError::Png("it is too large".to_owned()))?;
        let mut packed = vec![0; size];
        let frame = reader.next_frame(&mut packed).map_err(broken)?;
        let mut labels = Vec::with_capacity(width as usize * height as usize);
        for line in packed.chunks_exact(frame.line_size.max(1)).take(height as usize) {
            let in_byte = 8 / bits;
            let sample = |x: usize| {
                let byte = line.get(x / in_byte).copied().unwrap_or(0);
                byte >> (8 - bits - bits * (x % in_byte)) & (0xff >> (8 - bits))
            };
            labels.extend((0..width as usize).map(sample));
        }
        let image = Image::new(height as usize, width as usize, 1, labels);
        image.map(Mask).map_err(|error| MaskError::Png(error.to_string()))
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.0.height()
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.0.width()
    }

    /// The class numbers, row by row.
    pub fn labels(&self) -> &[u8] {
        self.0.pixels()
    }

    /// Labels `[H, W]` of the pixels that an image of the mask's size becomes by a recipe: resized by nearest neighbour, and
    /// cropped alike. Where the crop is larger than the image, which is black there, the label is 0.
    ///
    /// # Errors
    /// A mask that does not come to the recipe's size.
    pub fn seen_through(&self, recipe: &Recipe) -> Result<Array2<i64>, RecipeError> {
        let of_classes = Recipe { channels: Channels::Grey, filter: Filter::Nearest, ..recipe.clone() };
        let seen = of_classes.pixels_of(self.0.clone())?;
        let labels = seen.pixels().iter().map(|label| i64::from(*label)).collect();
        if let Some(pad) = recipe.pad {
            return Ok(padded(seen.height(), seen.width(), labels, &pad, recipe.size));
        }
        let shape = (seen.height(), seen.width());
        let refused =
            |_| RecipeError::ImageSize { found: Size { height: shape.0, width: shape.1 }, expected: recipe.size };
        Array2::from_shape_vec(shape, labels).map_err(refused)
    }
}

/// The label of what does not count, which what fills an image up is.
const NOTHING: i64 = 255;

/// Labels row by row, within what fills their image up.
fn padded(height: usize, width: usize, labels: Vec<i64>, pad: &Pad, size: Size) -> Array2<i64> {
    let (top, left) = (pad.before(height, size.height), pad.before(width, size.width));
    let mut all = Array2::from_elem((size.height, size.width), NOTHING);
    for (y, row) in labels.chunks_exact(width.max(1)).enumerate() {
        for (x, label) in row.iter().enumerate() {
            if let Some(place) = all.get_mut((top + y, left + x)) {
                *place = *label;
            }
        }
    }
    all
}

/// Labels `[height, width]` at another size: of each pixel that which lies at its centre. There must be labels to take.
pub fn nearest(labels: ArrayView2<i64>, height: usize, width: usize) -> Array2<i64> {
    let (rows, columns) = labels.dim();
    let at =
        |place: usize, to: usize, from: usize| ((2 * place + 1) * from / (2 * to.max(1))).min(from.saturating_sub(1));
    Array2::from_shape_fn((height, width), |(y, x)| labels[[at(y, height, rows), at(x, width, columns)]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Preprocess, Resize};
    use ndarray::array;
    use std::path::PathBuf;

    /// A PNG of these bytes of packed samples.
    fn written(
        folder: &Path,
        colour: png::ColorType,
        depth: png::BitDepth,
        (w, h): (u32, u32),
        data: &[u8],
    ) -> PathBuf {
        let path = folder.join(format!("{colour:?}{depth:?}.png"));
        let mut encoder = png::Encoder::new(File::create(&path).expect("a file"), w, h);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == png::ColorType::Indexed {
            encoder.set_palette(
                (0..=255u8)
                    .flat_map(|n| [n.wrapping_mul(91), 255 - n, 7])
                    .take(3 << (depth as usize))
                    .collect::<Vec<u8>>(),
            );
        }
        encoder.write_header().expect("a header").write_image_data(data).expect("written");
        path
    }

    fn labels(path: &Path) -> Vec<u8> {
        Mask::read(path, &Limits::default()).expect("a mask").0.pixels().to_vec()
    }

    #[test]
    fn samples_are_class_numbers_whatever_their_bits_and_the_palette() {
        use png::{BitDepth, ColorType};
        let folder = tempfile::tempdir().expect("a folder");
        let of = |colour, depth, size, data: &[u8]| labels(&written(folder.path(), colour, depth, size, data));
        for colour in [ColorType::Grayscale, ColorType::Indexed] {
            assert_eq!(of(colour, BitDepth::Eight, (3, 1), &[0, 7, 255]), [0, 7, 255]);
            // Lines begin on bytes of their own.
            assert_eq!(of(colour, BitDepth::Four, (3, 2), &[0x1f, 0x20, 0x03, 0x40]), [1, 15, 2, 0, 3, 4]);
            assert_eq!(of(colour, BitDepth::Two, (5, 1), &[0b00_01_10_11, 0b10_000000]), [0, 1, 2, 3, 2]);
            assert_eq!(of(colour, BitDepth::One, (2, 2), &[0b01_000000, 0b10_000000]), [0, 1, 1, 0]);
        }
        let refused = |colour, depth, data: &[u8]| {
            let path = written(folder.path(), colour, depth, (1, 1), data);
            Mask::read(&path, &Limits::default()).expect_err("refused").to_string()
        };
        assert!(refused(ColorType::Rgb, BitDepth::Eight, &[1, 2, 3]).contains("Rgb of 8 bits"));
        assert!(refused(ColorType::Grayscale, BitDepth::Sixteen, &[1, 2]).contains("16 bits"));
        let path = folder.path().join("none.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nand no more").expect("written");
        assert!(matches!(Mask::read(&path, &Limits::default()), Err(MaskError::Png(_))));
        let small = Limits { pixels: 3, ..Limits::default() };
        let path = written(folder.path(), ColorType::Grayscale, BitDepth::Eight, (2, 2), &[0; 4]);
        assert!(matches!(Mask::read(&path, &small), Err(MaskError::Limit(_))));
    }

    /// A picture of regions whose grey is that of their class, and the mask of the same classes.
    #[test]
    fn a_pixel_of_the_mask_lies_where_that_of_its_image_lies() {
        let grey = |class: u8| class * 60;
        for (height, width) in [(48, 64), (97, 61), (200, 200)] {
            let class = |n: usize| {
                let (y, x) = (n / width, n % width);
                (usize::from(2 * y >= height) * 2 + usize::from(3 * x >= width)) as u8
            };
            let classes: Vec<u8> = (0..height * width).map(class).collect();
            let mask = Mask(Image::new(height, width, 1, classes.clone()).expect("a mask"));
            let pixels = classes.iter().map(|class| grey(*class)).collect();
            let image = Image::new(height, width, 1, pixels).expect("an image");
            let exact = Resize::Exact(Size { height: 40, width: 56 });
            for (resize, crop) in [
                (exact, None),
                (Resize::ShorterSide { shorter_side: 40 }, Some(Size { height: 32, width: 36 })),
                (Resize::ShorterSide { shorter_side: 150 }, Some(Size { height: 101, width: 99 })),
            ] {
                for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Nearest] {
                    let wanted = Preprocess {
                        channels: Some(Channels::Grey),
                        resize: Some(resize),
                        filter: Some(filter),
                        crop,
                        ..Preprocess::default()
                    };
                    let size = crop.unwrap_or(Size { height: 40, width: 56 });
                    let input = [None, Some(1), Some(size.height), Some(size.width)];
                    let recipe = Recipe::resolve(&wanted, &input, None).expect("a recipe");
                    let seen = recipe.pixels_of(image.clone()).expect("pixels");
                    let labels = mask.seen_through(&recipe).expect("labels");
                    let (mut inside, mut wrong) = (0, 0);
                    for (pixel, label) in seen.pixels().iter().zip(&labels) {
                        // At a border a filter mixes classes.
                        if [0, 60, 120, 180].contains(pixel) {
                            inside += 1;
                            wrong += usize::from(*pixel != grey(*label as u8));
                        }
                    }
                    // A sharp border may fall half a pixel aside: no more than one line of pixels along each.
                    let lines = size.height + size.width;
                    assert!(wrong <= lines && 2 * inside > size.height * size.width, "{resize:?} {filter:?}: {wrong}");
                    if filter == Filter::Nearest {
                        assert_eq!(wrong, 0, "{resize:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn nearest_takes_what_lies_at_the_centre() {
        let labels = array![[0, 1, 2, 3], [4, 5, 6, 7]];
        assert_eq!(nearest(labels.view(), 1, 2), array![[5, 7]]);
        assert_eq!(nearest(labels.view(), 2, 4), labels);
        assert_eq!(nearest(array![[1, 2]].view(), 2, 4), array![[1, 1, 2, 2], [1, 1, 2, 2]]);
    }
}
