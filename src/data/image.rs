//! A decoded image: 8-bit samples, rows from the top, samples of a pixel side by side.

/// Pixels as they were stored, upright, before any recipe.
///
/// `pixels` has `height * width * channels` samples in the order row, column, channel. One channel is
/// grey, two grey and alpha, three RGB, four RGB and alpha.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

/// Dims and samples that do not make an image together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{height}x{width} pixels of {channels} channels cannot hold {samples} samples")]
pub struct ImageShapeError {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Samples of a pixel.
    pub channels: usize,
    /// Samples that were given.
    pub samples: usize,
}

impl Image {
    /// An image of these samples; neither side may be zero and there are one to four channels.
    pub fn new(height: usize, width: usize, channels: usize, pixels: Vec<u8>) -> Result<Self, ImageShapeError> {
        let expected = height.checked_mul(width).and_then(|n| n.checked_mul(channels));
        if expected != Some(pixels.len()) || pixels.is_empty() || channels > 4 {
            return Err(ImageShapeError { height, width, channels, samples: pixels.len() });
        }
        Ok(Image { height, width, channels, pixels })
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Samples of a pixel, 1 to 4.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The samples, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Rows of `width * channels` samples.
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.pixels.chunks_exact(self.width * self.channels)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    #[test]
    fn an_image_refuses_a_sample_count_that_its_dims_do_not_give() {
        assert!(Image::new(2, 3, 3, vec![0; 18]).is_ok());
        for (height, width, channels, samples) in
            [(2, 3, 3, 17), (0, 3, 1, 0), (1, 1, 5, 5), (usize::MAX, 2, 1, 4), (1, 1, 0, 0)]
        {
            assert_eq!(
                Image::new(height, width, channels, vec![0; samples]),
                Err(ImageShapeError { height, width, channels, samples })
            );
        }
    }
}
