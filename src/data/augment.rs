//! Random shifts and mirrorings for training, the same whatever the threads, batches or order.

use super::Image;
use super::seeded::Seeded;

/// What is varied at random, on 8-bit samples after resize and crop.
///
/// Each image of each epoch has its own random stream, picked by (seed, epoch, position in the data set).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Pixels of zeros put around the image before a window of its old size is cut at random; 4 for CIFAR.
    pub pad_crop: usize,
    /// Mirrors left and right with probability one half.
    pub horizontal_flip: bool,
    /// Picks the random streams.
    pub seed: u64,
}

impl Augment {
    /// Whether the image of `index` is mirrored in `epoch`.
    pub fn mirrors(&self, epoch: u64, index: usize) -> bool {
        self.draw(epoch, index).2
    }

    /// Rows down, columns to the right, whether it is mirrored.
    fn draw(&self, epoch: u64, index: usize) -> (usize, usize, bool) {
        let mut random = Seeded::new("augment", &[self.seed, epoch, index as u64]);
        let span = 2 * self.pad_crop + 1;
        (random.below(span), random.below(span), random.coin() && self.horizontal_flip)
    }

    /// The varied image of `index` in `epoch`.
    pub(crate) fn apply(&self, image: Image, epoch: u64, index: usize) -> Image {
        let (down, right, flip) = self.draw(epoch, index);
        if self.pad_crop == 0 && !flip {
            return image;
        }
        let (width, channels) = (image.width(), image.channels());
        let stride = width * channels;
        let mut pixels = vec![0; image.pixels().len()];
        // Row y of the result is row y + down - pad of the image, if there is one; columns alike.
        let window = |shift: usize| (shift.saturating_sub(self.pad_crop), self.pad_crop.saturating_sub(shift));
        let ((skip_rows, blank_rows), (skip, blank)) = (window(down), window(right));
        let copied = width.saturating_sub(skip).min(width.saturating_sub(blank)) * channels;
        let rows = image.rows().skip(skip_rows);
        for (to, from) in pixels.chunks_exact_mut(stride).skip(blank_rows).zip(rows) {
            let from = from.iter().skip(skip * channels).take(copied);
            to.iter_mut().skip(blank * channels).zip(from).for_each(|(to, from)| *to = *from);
            if flip {
                mirror(to, channels);
            }
        }
        Image::new(image.height(), width, channels, pixels).unwrap_or(image)
    }
}

fn mirror(row: &mut [u8], channels: usize) {
    row.reverse();
    row.chunks_exact_mut(channels).for_each(<[u8]>::reverse);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    fn ramp(height: usize, width: usize, channels: usize) -> Image {
        let pixels = (0..height * width * channels).map(|i| i as u8 + 1).collect();
        Image::new(height, width, channels, pixels).unwrap()
    }

    /// The sample at a place that may lie outside, by plain indexing.
    fn at(image: &Image, y: isize, x: isize, c: usize) -> u8 {
        let inside = (0..image.height() as isize).contains(&y) && (0..image.width() as isize).contains(&x);
        if !inside {
            return 0;
        }
        image.pixels()[(y as usize * image.width() + x as usize) * image.channels() + c]
    }

    #[test]
    fn every_result_is_one_of_the_shifted_and_mirrored_windows_and_all_occur() {
        let image = ramp(3, 4, 3);
        let augment = Augment { pad_crop: 2, horizontal_flip: true, seed: 7 };
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..2_000 {
            let result = augment.apply(image.clone(), 0, index);
            let matching = (0..50_isize).find(|choice| {
                let (down, right, flip) = (choice / 10 - 2, choice / 2 % 5 - 2, choice % 2 == 1);
                (0..3).all(|y| {
                    (0..4).all(|x| {
                        let from = if flip { 3 - x } else { x };
                        (0..3).all(|c| at(&result, y, x, c) == at(&image, y + down, from + right, c))
                    })
                })
            });
            seen.insert(matching.expect("a window of the padded image"));
        }
        // 50 windows; the chance that one is missed in 2,000 draws is below 50 * 0.98^2000 = 1e-16.
        assert_eq!(seen.len(), 50);
    }

    #[test]
    fn nothing_asked_for_changes_nothing() {
        let image = ramp(3, 4, 1);
        for index in 0..20 {
            assert_eq!(Augment { seed: 1, ..Augment::default() }.apply(image.clone(), 0, index), image);
        }
    }
}
