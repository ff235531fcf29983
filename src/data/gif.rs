//! The first frame of a GIF, as Pillow gives it: what the frame leaves free of the canvas has the transparent colour, or where
//! there is none the first of the palette, whatever background the file names; a frame that reaches beyond the canvas widens it.

use std::num::NonZeroU64;

use gif::{DecodeOptions, DecodingError, MemoryLimit};

use super::Image;
use super::decode::{DecodeError, Limits};

const FORMAT: &str = "GIF";

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, DecodeError> {
    let failed = |error| failed(limits, error);
    let mut options = DecodeOptions::new();
    options.set_memory_limit(MemoryLimit::Bytes(NonZeroU64::new(limits.memory_bytes).unwrap_or(NonZeroU64::MIN)));
    let mut decoder = options.read_info(bytes).map_err(failed)?;
    let screen = [decoder.width(), decoder.height()].map(usize::from);
    let frame = decoder.next_frame_info().map_err(failed)?.ok_or(DecodeError::Truncated { format: FORMAT })?;
    let [left, top, columns, rows] = [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    let transparent = frame.transparent;
    let (width, height) = (screen[0].max(left + columns), screen[1].max(top + rows));
    let channels = if transparent.is_some() { 4 } else { 3 };
    // Beside what comes out, an index a pixel of the frame and of the canvas.
    limits.check(height as u64, width as u64, (width as u64 * height as u64).saturating_mul(channels as u64 + 2))?;
    let mut frame = vec![0; columns * rows];
    decoder.read_into_buffer(&mut frame).map_err(failed)?;
    let mut canvas = vec![transparent.unwrap_or(0); width * height];
    for (to, from) in canvas.chunks_exact_mut(width).skip(top).zip(frame.chunks_exact(columns.max(1))) {
        to.iter_mut().skip(left).zip(from).for_each(|(to, from)| *to = *from);
    }
    drop(frame);
    // A number past the palette is black.
    let mut palette = [[0, 0, 0, 255]; 256];
    for (colour, rgb) in palette.iter_mut().zip(decoder.palette().map_err(failed)?.chunks_exact(3)) {
        colour.iter_mut().zip(rgb).for_each(|(to, from)| *to = *from);
    }
    if let Some(colour) = transparent.and_then(|index| palette.get_mut(usize::from(index))) {
        colour[3] = 0;
    }
    let colour = |index: &u8| palette.get(usize::from(*index)).into_iter().flat_map(|c| c.iter().take(channels));
    let mut pixels = Vec::with_capacity(canvas.len() * channels);
    pixels.extend(canvas.iter().flat_map(colour));
    Ok(Image::new(height, width, channels, pixels)?)
}

fn failed(limits: &Limits, error: DecodingError) -> DecodeError {
    match error {
        DecodingError::UnexpectedEof => DecodeError::Truncated { format: FORMAT },
        DecodingError::MemoryLimit | DecodingError::OutOfMemory => {
            DecodeError::TooMuchMemory { limit: limits.memory_bytes }
        }
        DecodingError::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: FORMAT }
        }
        other => DecodeError::Codec { format: FORMAT, message: other.to_string() },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    const GLOBAL: [[u8; 3]; 4] = [[10, 20, 30], [200, 100, 50], [0, 255, 0], [255, 255, 255]];
    const LOCAL: [[u8; 3]; 4] = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [11, 12, 13]];

    /// A canvas of 4x3 pixels and a frame of two, the colours 1 and 2 of its palette, at `place`.
    fn gif(background: u8, transparent: Option<u8>, place: [u16; 2], palettes: [bool; 2]) -> Vec<u8> {
        let [global, local] = palettes;
        let mut file = b"GIF89a\x04\0\x03\0".to_vec();
        file.extend([if global { 0x81 } else { 1 }, background, 0]);
        file.extend(GLOBAL.as_flattened().iter().filter(|_| global));
        if let Some(index) = transparent {
            file.extend([0x21, 0xf9, 4, 1, 0, 0, index, 0]);
        }
        file.push(b',');
        [place[0], place[1], 2, 1].into_iter().for_each(|number: u16| file.extend(number.to_le_bytes()));
        file.push(if local { 0x81 } else { 0 });
        file.extend(LOCAL.as_flattened().iter().filter(|_| local));
        // Codes of 3 bits each, the first the lowest: clear, 1, clear, 2, end.
        file.extend([2, 2, 0x0c, 0x55, 0, b';']);
        file
    }

    /// What Pillow 13.0.0 gives for these very files by `Image.open(f).convert("RGB")`: the colour outside the frame and those
    /// of its two pixels; and by `convert("RGBA")` whether each is opaque.
    #[test]
    fn what_the_first_frame_leaves_free_has_the_colour_that_pillow_gives_it() {
        let [ink, red, green, white] = GLOBAL;
        let [one, four, seven, _] = LOCAL;
        type Seen = [([u8; 3], bool); 3];
        let cases: [(u8, Option<u8>, [bool; 2], Seen); 11] = [
            (0, None, [true, false], [(ink, true), (red, true), (green, true)]),
            (3, None, [true, false], [(ink, true), (red, true), (green, true)]),
            (9, None, [true, false], [(ink, true), (red, true), (green, true)]),
            (3, Some(3), [true, false], [(white, false), (red, true), (green, true)]),
            (0, Some(2), [true, false], [(green, false), (red, true), (green, false)]),
            (3, Some(1), [true, false], [(red, false), (red, false), (green, true)]),
            (2, Some(0), [true, false], [(ink, false), (red, true), (green, true)]),
            (0, Some(9), [true, false], [([0; 3], false), (red, true), (green, true)]),
            (3, None, [true, true], [(one, true), (four, true), (seven, true)]),
            (2, Some(0), [false, true], [(one, false), (four, true), (seven, true)]),
            (2, Some(2), [true, true], [(seven, false), (four, true), (seven, false)]),
        ];
        for (background, transparent, palettes, seen) in cases {
            let image = decode(&gif(background, transparent, [1, 1], palettes), &Limits::default()).unwrap();
            assert_eq!((image.height(), image.width()), (3, 4));
            let found: Vec<([u8; 3], bool)> = image
                .pixels()
                .chunks(image.channels())
                .map(|pixel| ([pixel[0], pixel[1], pixel[2]], pixel.get(3).is_none_or(|alpha| *alpha == 255)))
                .collect();
            let [outside, first, second] = seen;
            let mut expected = vec![outside; 12];
            expected[5..7].copy_from_slice(&[first, second]);
            assert_eq!(found, expected, "background {background}, transparent {transparent:?}, {palettes:?}");
        }
    }

    /// Pillow 13.0.0 gives 3x5 pixels, the last two of the last row the frame's.
    #[test]
    fn a_frame_beyond_the_canvas_widens_it() {
        let image = decode(&gif(3, None, [3, 2], [true, false]), &Limits::default()).unwrap();
        assert_eq!((image.height(), image.width(), image.channels()), (3, 5, 3));
        let mut expected = [GLOBAL[0]; 15];
        expected[13..].copy_from_slice(&GLOBAL[1..3]);
        assert_eq!(image.pixels(), expected.as_flattened());
    }

    #[test]
    fn a_frame_that_is_cut_short_or_too_large_is_an_error() {
        let whole = gif(0, None, [1, 1], [true, false]);
        // The end mark and the zero before it may be missing.
        for len in 0..whole.len() - 2 {
            assert!(decode(&whole[..len], &Limits::default()).is_err(), "{len} bytes");
        }
        let limits = Limits { pixels: 11, ..Limits::default() };
        assert_eq!(decode(&whole, &limits), Err(DecodeError::TooManyPixels { height: 3, width: 4, limit: 11 }));
        let limits = Limits { memory_bytes: 59, ..Limits::default() };
        assert_eq!(decode(&whole, &limits), Err(DecodeError::TooMuchMemory { limit: 59 }));
    }
}
