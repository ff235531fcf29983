//! TIFF with a palette, which the decoder does not know: it is decoded as grey and looked up here.
//!
//! For the decoder a palette index and a grey level are the same byte; only the tag that says how to see it differs.
//! So a copy of the file says "grey", and the colours come from the `ColorMap` tag. Eight bits a pixel, as is usual.

/// A grey twin of the file, and the colours of its 256 levels.
pub(super) struct PaletteTiff {
    pub(super) grey: Vec<u8>,
    pub(super) colours: Vec<[u8; 3]>,
}

const BITS_PER_SAMPLE: u16 = 258;
const PHOTOMETRIC: u16 = 262;
const SAMPLES_PER_PIXEL: u16 = 277;
const COLOR_MAP: u16 = 320;
const PALETTE: u16 = 3;
const BLACK_IS_ZERO: u16 = 1;
const SHORT: u16 = 3;

struct Reader<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl Reader<'_> {
    fn short(&self, at: usize) -> Option<u16> {
        let two = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    }

    fn long(&self, at: usize) -> Option<usize> {
        let four = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) } as usize)
    }
}

/// `None` where the file is no 8-bit palette TIFF.
pub(super) fn read(bytes: &[u8]) -> Option<PaletteTiff> {
    let little = match bytes.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let reader = Reader { bytes, little };
    let directory = reader.long(4)?;
    let (mut bits, mut samples) = (1, 1);
    let (mut photometric_at, mut map_at) = (None, None);
    for entry in 0..usize::from(reader.short(directory)?) {
        let at = directory.checked_add(2 + 12 * entry)?;
        let (tag, kind, count) = (reader.short(at)?, reader.short(at + 2)?, reader.long(at + 4)?);
        if kind != SHORT {
            continue;
        }
        let value = reader.short(at + 8)?;
        match tag {
            BITS_PER_SAMPLE => bits = value,
            SAMPLES_PER_PIXEL => samples = value,
            PHOTOMETRIC if value == PALETTE => photometric_at = Some(at + 8),
            COLOR_MAP if count == 3 * 256 => map_at = Some(reader.long(at + 8)?),
            _ => {}
        }
    }
    let (photometric_at, map_at) = photometric_at.zip(map_at)?;
    if (bits, samples) != (8, 1) {
        return None;
    }
    // All reds, then all greens, then all blues, 16 bits each; the high byte is the 8-bit colour.
    let channel = |index: usize, c: usize| Some((reader.short(map_at + 2 * (256 * c + index))? >> 8) as u8);
    let colours = (0..256)
        .map(|index| Some([channel(index, 0)?, channel(index, 1)?, channel(index, 2)?]))
        .collect::<Option<Vec<_>>>()?;
    let mut grey = bytes.to_vec();
    let tag = if little { BLACK_IS_ZERO.to_le_bytes() } else { BLACK_IS_ZERO.to_be_bytes() };
    grey.get_mut(photometric_at..photometric_at + 2)?.copy_from_slice(&tag);
    Some(PaletteTiff { grey, colours })
}
