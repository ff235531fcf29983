//! Resizing with antialiasing: Pillow's `Image.resize`, which torchvision's `Resize` calls.
//!
//! A separable filter whose support grows with the reduction: the output sample at `i` is the average of the
//! input under the kernel `k((x - c) / s)` with centre `c = (i + 0.5) * in / out` and `s = max(in / out, 1)`,
//! input samples standing at `x + 0.5`. Weights are normalised to one, then rounded to fixed point with 22
//! fractional bits; one axis is resampled first and rounded to 8 bits before the other is. With
//! the same rounding in the same places results are Pillow's to the bit (tested against its own).
//! `Nearest` takes the input sample under the output sample's centre.

use super::Image;
use std::ops::Range;

/// The kernel of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// The nearest sample; no antialiasing.
    Nearest,
    /// The mean over the covered area.
    Box,
    /// A triangle of half-width 1.
    #[default]
    Bilinear,
    /// Keys' cubic with a = -0.5, half-width 2.
    Bicubic,
    /// A sinc windowed by a wider sinc, half-width 3.
    Lanczos,
}

const FRACTION_BITS: u32 = 22;

impl Filter {
    fn half_width(self) -> f64 {
        match self {
            Filter::Nearest | Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            // Half open, so that a sample on the border belongs to one side only.
            Filter::Nearest | Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - x.abs()).max(0.0),
            Filter::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// The input samples that make one output sample, and their weights in fixed point.
#[derive(Debug, Clone)]
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn taps(filter: Filter, input: usize, output: usize) -> Vec<Taps> {
    let ratio = input as f64 / output as f64;
    let spread = ratio.max(1.0);
    let reach = filter.half_width() * spread;
    (0..output)
        .map(|i| {
            let centre = (i as f64 + 0.5) * ratio;
            // `as` saturates at zero, which is what a negative border needs.
            let first = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(input);
            let raw: Vec<f64> =
                (first..end).map(|x| filter.weight((x as f64 - centre + 0.5) * (1.0 / spread))).collect();
            let total: f64 = raw.iter().sum();
            let weights = raw
                .iter()
                .map(|w| {
                    let w = if total == 0.0 { *w } else { w / total };
                    let fixed = w * f64::from(1_u32 << FRACTION_BITS);
                    (if fixed < 0.0 { fixed - 0.5 } else { fixed + 0.5 }) as i32
                })
                .collect();
            Taps { first, weights }
        })
        .collect()
}

/// Rounds a fixed-point sum to 8 bits.
fn to_byte(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// `sum + weight * sample`. The absolute weights of one output sample add up to less than 2 for every kernel here
/// (1.57 for Lanczos at a border is the most), so sums stay below `2 * 255 * 2^22 + 2^21 < 2^31`; wrapping arithmetic only spares the check, which would keep the
/// loops from being vectorised.
fn add(sum: i32, weight: i32, sample: u8) -> i32 {
    sum.wrapping_add(weight.wrapping_mul(i32::from(sample)))
}

/// A part of an image, in pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// Rows.
    pub rows: Range<usize>,
    /// Columns.
    pub columns: Range<usize>,
}

/// The `window` of what `image` becomes at `height` x `width`, neither of them zero. An axis that keeps its length is left
/// alone. What lies outside of the window is not computed.
pub(crate) fn resize(image: &Image, height: usize, width: usize, filter: Filter, window: &Window) -> Option<Image> {
    if height == 0 || width == 0 || window.rows.end > height || window.columns.end > width {
        return None;
    }
    if filter == Filter::Nearest {
        return nearest(image, height, width, window);
    }
    let of_axis = |input: usize, output: usize, kept: &Range<usize>| -> Option<Vec<Taps>> {
        let taps = if input == output { as_they_are(input) } else { taps(filter, input, output) };
        Some(taps.get(kept.clone())?.to_vec())
    };
    let columns = of_axis(image.width(), width, &window.columns)?;
    let rows = of_axis(image.height(), height, &window.rows)?;
    // Pillow resamples rows first where that drops more than twice as many of them as columns would be dropped (found by
    // comparing 9,900 pairs of sizes with both orders, Pillow 13.0; older ones always take columns first).
    let dropped = |from: usize, to: usize| from as i64 - to as i64;
    let rows_first = height < image.height() && dropped(image.height(), height) > 2 * dropped(image.width(), width);
    let (same_height, same_width) = (height == image.height(), width == image.width());
    if rows_first {
        let part = down(image, &rows, 0, same_height)?;
        across(&part, &columns, 0..part.height(), same_width)
    } else {
        // Columns of the rows alone that the second pass reads.
        let first = rows.first().map_or(0, |taps| taps.first);
        let end = rows.last().map_or(0, |taps| taps.first + taps.weights.len());
        down(&across(image, &columns, first..end, same_width)?, &rows, first, same_height)
    }
}

/// The taps of an axis that keeps its length.
fn as_they_are(length: usize) -> Vec<Taps> {
    (0..length).map(|first| Taps { first, weights: vec![1 << FRACTION_BITS] }).collect()
}

/// These rows, each with a sample for every tap.
fn across(image: &Image, taps: &[Taps], rows: Range<usize>, same: bool) -> Option<Image> {
    if same && taps.len() == image.width() && rows == (0..image.height()) {
        return Some(image.clone());
    }
    let mut out = vec![0; rows.len() * taps.len() * image.channels()];
    let rows_out = out.chunks_exact_mut(taps.len() * image.channels());
    let mut padded = vec![0; image.width() * image.channels() + PADDING];
    let taps = in_fours(taps);
    let mut sums = vec![[0; AT_ONCE]; taps.len()];
    for (row, out) in image.rows().skip(rows.start).zip(rows_out) {
        padded.get_mut(..row.len())?.copy_from_slice(row);
        match image.channels() {
            1 => across_row::<1>(&padded, &taps, &mut sums, out),
            2 => across_row::<2>(&padded, &taps, &mut sums, out),
            3 => across_row::<3>(&padded, &taps, &mut sums, out),
            _ => across_row::<4>(&padded, &taps, &mut sums, out),
        }
    }
    Image::new(rows.len(), taps.len(), image.channels(), out).ok()
}

/// Taps that are summed at once, and lanes of a pixel's sums: four whatever the channels, so that loops have a length
/// that the compiler knows.
const AT_ONCE: usize = 4;

/// Samples that follow a row and belong to no pixel: what is read at once may end there, and weighs nothing.
const PADDING: usize = AT_ONCE * AT_ONCE;

/// The taps with their weights in fours, zeros behind the last.
fn in_fours(taps: &[Taps]) -> Vec<(usize, Vec<[i32; AT_ONCE]>)> {
    let four = |weights: &[i32]| std::array::from_fn(|i| weights.get(i).copied().unwrap_or_default());
    taps.iter().map(|tap| (tap.first, tap.weights.chunks(AT_ONCE).map(four).collect())).collect()
}

/// The sums of one output pixel each, from a `row` that ends with [`PADDING`].
///
/// They are rounded by a loop of their own: both loops are then made of the processor's widest integers.
#[multiversion::multiversion(targets = "simd")]
fn across_row<const CHANNELS: usize>(
    row: &[u8],
    taps: &[(usize, Vec<[i32; AT_ONCE]>)],
    sums: &mut [[i32; AT_ONCE]],
    out: &mut [u8],
) {
    for ((first, weights), sums) in taps.iter().zip(sums.iter_mut()) {
        let mut at = first * CHANNELS;
        let mut total = [HALF; AT_ONCE];
        for four in weights {
            let Some(samples) = row.get(at..).and_then(|rest| rest.first_chunk::<PADDING>()) else { break };
            for (pixel, weight) in four.iter().enumerate() {
                // Lanes past the pixel's channels are read by nobody.
                let lanes: [u8; AT_ONCE] = std::array::from_fn(|lane| samples[pixel * CHANNELS + lane]);
                total = std::array::from_fn(|lane| add(total[lane], *weight, lanes[lane]));
            }
            at += AT_ONCE * CHANNELS;
        }
        *sums = total;
    }
    let (out, _) = out.as_chunks_mut::<CHANNELS>();
    for (out, sums) in out.iter_mut().zip(&*sums) {
        let bytes = sums.map(to_byte);
        out.copy_from_slice(&bytes[..CHANNELS]);
    }
}

/// A row for every tap; `first` is the row of the whole image that `image` begins with.
fn down(image: &Image, taps: &[Taps], first: usize, same: bool) -> Option<Image> {
    if same && taps.len() == image.height() {
        return Some(image.clone());
    }
    let stride = image.width() * image.channels();
    let mut out = vec![0; taps.len() * stride];
    for (tap, out) in taps.iter().zip(out.chunks_exact_mut(stride)) {
        let start = tap.first.checked_sub(first)? * stride;
        let rows = image.pixels().get(start..start + tap.weights.len() * stride)?;
        down_row(rows, &tap.weights, out);
    }
    Image::new(taps.len(), image.width(), image.channels(), out).ok()
}

/// Samples whose sums stay in registers from the first of the `rows` to the last.
const BLOCK: usize = 32;

#[multiversion::multiversion(targets = "simd")]
fn down_row(rows: &[u8], weights: &[i32], out: &mut [u8]) {
    let stride = out.len();
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let blocked = blocks.len() * BLOCK;
    for (block, out) in blocks.iter_mut().enumerate() {
        let mut sums = [HALF; BLOCK];
        for (weight, row) in weights.iter().zip(rows.chunks_exact(stride)) {
            let Some(samples) = row.get(block * BLOCK..).and_then(|row| row.first_chunk::<BLOCK>()) else { continue };
            for (sum, sample) in sums.iter_mut().zip(samples) {
                *sum = add(*sum, *weight, *sample);
            }
        }
        for (to, sum) in out.iter_mut().zip(sums) {
            *to = to_byte(sum);
        }
    }
    for (at, to) in rest.iter_mut().enumerate() {
        let column = rows.iter().skip(blocked + at).step_by(stride);
        *to = to_byte(weights.iter().zip(column).fold(HALF, |sum, (weight, sample)| add(sum, *weight, *sample)));
    }
}

fn nearest(image: &Image, height: usize, width: usize, window: &Window) -> Option<Image> {
    let channels = image.channels();
    let pick = |i: usize, input: usize, output: usize| {
        (((i as f64 + 0.5) * (input as f64 / output as f64)) as usize).min(input - 1)
    };
    let columns: Vec<usize> = window.columns.clone().map(|i| pick(i, image.width(), width) * channels).collect();
    let mut pixels = Vec::with_capacity(window.rows.len() * window.columns.len() * channels);
    for i in window.rows.clone() {
        let row = image.rows().nth(pick(i, image.height(), height))?;
        for &at in &columns {
            pixels.extend_from_slice(row.get(at..at + channels)?);
        }
    }
    Image::new(window.rows.len(), window.columns.len(), channels, pixels).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_weights_stay_below_the_bound_that_keeps_sums_in_32_bits() {
        for filter in [Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            for (input, output) in [
                (1, 1),
                (1, 7),
                (4, 49),
                (56, 52),
                (2, 3),
                (3, 2),
                (5, 64),
                (64, 5),
                (37, 36),
                (36, 37),
                (1_000, 3),
                (4, 900),
            ] {
                for tap in taps(filter, input, output) {
                    let total: i64 = tap.weights.iter().map(|weight| i64::from(*weight).abs()).sum();
                    assert!(total < 2 << FRACTION_BITS, "{filter:?} {input} to {output}: {total}");
                }
            }
        }
    }
}
