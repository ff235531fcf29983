//! TIFF with a palette, which the decoder does not know: it is decoded as grey and looked up here.
//!
//! For the decoder a palette index and a grey level are the same byte; only the tag that says how to see it differs.
//! So a copy of the file says "grey", and the colours come from the `ColorMap` tag. Eight bits a pixel, as is usual.

use super::tiff_tags::{BITS_PER_SAMPLE, COLOR_MAP, PHOTOMETRIC, SAMPLES_PER_PIXEL, Tags};

/// A grey twin of the file, and the colours of its 256 levels.
pub(super) struct PaletteTiff {
    pub(super) grey: Vec<u8>,
    pub(super) colours: Vec<[u8; 3]>,
}

const PALETTE: usize = 3;
const BLACK_IS_ZERO: u16 = 1;

/// `None` where the file is no 8-bit palette TIFF.
pub(super) fn read(bytes: &[u8]) -> Option<PaletteTiff> {
    let tags = Tags::of(bytes)?;
    let directory = tags.first()?;
    let number = |tag| tags.number(directory, tag);
    let is_palette = number(PHOTOMETRIC) == Some(PALETTE) && number(BITS_PER_SAMPLE) == Some(8);
    if !is_palette || number(SAMPLES_PER_PIXEL).unwrap_or(1) != 1 {
        return None;
    }
    let photometric_at = tags.entry(directory, PHOTOMETRIC)?.at;
    let map_at = tags.long(tags.entry(directory, COLOR_MAP).filter(|map| map.count == 3 * 256)?.at)?;
    // All reds, then all greens, then all blues, 16 bits each; the high byte is the 8-bit colour.
    let channel = |index: usize, c: usize| Some((tags.short(map_at.checked_add(2 * (256 * c + index))?)? >> 8) as u8);
    let colours = (0..256)
        .map(|index| Some([channel(index, 0)?, channel(index, 1)?, channel(index, 2)?]))
        .collect::<Option<Vec<_>>>()?;
    let mut grey = bytes.to_vec();
    let tag = if tags.little { BLACK_IS_ZERO.to_le_bytes() } else { BLACK_IS_ZERO.to_be_bytes() };
    grey.get_mut(photometric_at..photometric_at + 2)?.copy_from_slice(&tag);
    Some(PaletteTiff { grey, colours })
}
