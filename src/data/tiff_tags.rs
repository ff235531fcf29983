//! The tags of a classic TIFF (not BigTIFF), without its pixels. Places in the file come from the file: none is trusted, and
//! what points past its end is passed over.

pub(super) const NEW_SUBFILE_TYPE: u16 = 254;
pub(super) const BITS_PER_SAMPLE: u16 = 258;
pub(super) const PHOTOMETRIC: u16 = 262;
pub(super) const MAKE: u16 = 271;
pub(super) const SAMPLES_PER_PIXEL: u16 = 277;
pub(super) const COLOR_MAP: u16 = 320;
pub(super) const SUB_IFDS: u16 = 330;
pub(super) const DNG_VERSION: u16 = 50_706;

const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const IFD: u16 = 13;
/// Directories that are looked at below one, at most. Camera raws have two to four.
const MOST_BELOW: usize = 16;
/// Longest text that is read.
const MOST_TEXT: usize = 64;

/// A file by its tags.
#[derive(Clone, Copy)]
pub(super) struct Tags<'a> {
    bytes: &'a [u8],
    pub(super) little: bool,
}

/// One tag of a directory.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    kind: u16,
    pub(super) count: usize,
    /// Where the value stands, or, where it has more than four bytes, its place.
    pub(super) at: usize,
}

impl<'a> Tags<'a> {
    /// `None` where the bytes begin like no classic TIFF.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Tags<'a>> {
        match bytes.get(..4)? {
            b"II*\0" => Some(Tags { bytes, little: true }),
            b"MM\0*" => Some(Tags { bytes, little: false }),
            _ => None,
        }
    }

    pub(super) fn short(self, at: usize) -> Option<u16> {
        let two = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    }

    pub(super) fn long(self, at: usize) -> Option<usize> {
        let four = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) } as usize)
    }

    /// Where the first directory is.
    pub(super) fn first(self) -> Option<usize> {
        self.long(4)
    }

    /// A tag of the directory at `directory`.
    pub(super) fn entry(self, directory: usize, tag: u16) -> Option<Entry> {
        (0..usize::from(self.short(directory)?))
            .map_while(|entry| directory.checked_add(2 + 12 * entry))
            .find(|at| self.short(*at) == Some(tag))
            .and_then(|at| {
                let (kind, count) = (self.short(at.checked_add(2)?)?, self.long(at.checked_add(4)?)?);
                Some(Entry { kind, count, at: at.checked_add(8)? })
            })
    }

    /// The first value of a tag that holds whole numbers.
    pub(super) fn number(self, directory: usize, tag: u16) -> Option<usize> {
        let entry = self.entry(directory, tag).filter(|entry| entry.count > 0)?;
        match (entry.kind, entry.count) {
            (SHORT, 1 | 2) => self.short(entry.at).map(usize::from),
            (SHORT, _) => self.short(self.long(entry.at)?).map(usize::from),
            (LONG | IFD, 1) => self.long(entry.at),
            (LONG | IFD, _) => self.long(self.long(entry.at)?),
            _ => None,
        }
    }

    /// The directories that a directory names as its own.
    pub(super) fn below(self, directory: usize) -> Vec<usize> {
        let entry = self.entry(directory, SUB_IFDS).filter(|entry| [LONG, IFD].contains(&entry.kind));
        let Some(Entry { count, at, .. }) = entry else { return Vec::new() };
        let start = if count == 1 { Some(at) } else { self.long(at) };
        let place = |n: usize| self.long(start?.checked_add(4 * n)?);
        (0..count.min(MOST_BELOW)).map_while(place).collect()
    }

    /// A text, without what it is filled up with.
    pub(super) fn text(self, directory: usize, tag: u16) -> Option<String> {
        let Entry { count, at, .. } = self.entry(directory, tag).filter(|entry| entry.kind == ASCII)?;
        let start = if count <= 4 { at } else { self.long(at)? };
        let bytes = self.bytes.get(start..start.checked_add(count.min(MOST_TEXT))?)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let text: String = text.iter().map(|byte| char::from(*byte)).filter(|c| (' '..='~').contains(c)).collect();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tag with its type and its values: texts as bytes, numbers one by one.
    pub(in crate::data) type Tag = (u16, u16, Vec<u32>);

    pub(in crate::data) fn text(tag: u16, text: &str) -> Tag {
        (tag, ASCII, text.bytes().map(u32::from).chain([0]).collect())
    }

    pub(in crate::data) fn short(tag: u16, value: u16) -> Tag {
        (tag, SHORT, vec![u32::from(value)])
    }

    /// A file of one directory with `below` as its SubIFDs.
    pub(in crate::data) fn tiff(little: bool, tags: &[Tag], below: &[&[Tag]]) -> Vec<u8> {
        let mut bytes = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        bytes.extend([0; 4]);
        let places: Vec<u32> = below.iter().map(|tags| directory(&mut bytes, little, tags)).collect();
        let mut tags = tags.to_vec();
        if !places.is_empty() {
            tags.push((SUB_IFDS, LONG, places));
        }
        let first = directory(&mut bytes, little, &tags);
        bytes[4..8].copy_from_slice(&long(little, first));
        bytes
    }

    fn long(little: bool, value: u32) -> [u8; 4] {
        if little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn value(little: bool, kind: u16, value: u32) -> Vec<u8> {
        match (kind, little) {
            (SHORT, true) => (value as u16).to_le_bytes().to_vec(),
            (SHORT, false) => (value as u16).to_be_bytes().to_vec(),
            (LONG, _) => long(little, value).to_vec(),
            _ => vec![value as u8],
        }
    }

    fn directory(bytes: &mut Vec<u8>, little: bool, tags: &[Tag]) -> u32 {
        let mut entries = value(little, SHORT, tags.len() as u32);
        for (tag, kind, values) in tags {
            let mut data: Vec<u8> = values.iter().flat_map(|v| value(little, *kind, *v)).collect();
            if data.len() > 4 {
                let place = bytes.len() as u32;
                bytes.append(&mut data);
                data = long(little, place).to_vec();
            }
            data.resize(4, 0);
            entries.extend(value(little, SHORT, u32::from(*tag)));
            entries.extend(value(little, SHORT, u32::from(*kind)));
            entries.extend(long(little, values.len() as u32));
            entries.extend(data);
        }
        let place = bytes.len() as u32;
        bytes.extend(entries);
        bytes.extend([0; 4]);
        place
    }

    #[test]
    fn tags_are_read_in_both_orders_of_bytes() {
        for little in [true, false] {
            let below: [&[Tag]; 2] = [&[short(PHOTOMETRIC, 32_803)], &[short(PHOTOMETRIC, 6)]];
            let bits = (BITS_PER_SAMPLE, SHORT, vec![8, 9, 10]);
            let bytes = tiff(little, &[text(MAKE, "NIKON CORPORATION  "), bits, short(PHOTOMETRIC, 2)], &below);
            let tags = Tags::of(&bytes).expect("a TIFF");
            let first = tags.first().expect("a directory");
            assert_eq!(tags.text(first, MAKE).as_deref(), Some("NIKON CORPORATION"));
            assert_eq!(tags.number(first, PHOTOMETRIC), Some(2));
            assert_eq!(tags.number(first, BITS_PER_SAMPLE), Some(8));
            assert_eq!(tags.number(first, COLOR_MAP), None);
            let found: Vec<_> = tags.below(first).into_iter().map(|at| tags.number(at, PHOTOMETRIC)).collect();
            assert_eq!(found, [Some(32_803), Some(6)]);
        }
    }

    #[test]
    fn places_past_the_end_are_passed_over() {
        let bytes = tiff(true, &[text(MAKE, "Canon EOS"), short(PHOTOMETRIC, 2)], &[&[short(PHOTOMETRIC, 1)], &[]]);
        for at in 4..bytes.len() {
            for hostile in [0xFF_u8, 0x80, 0x00] {
                let mut bytes = bytes.clone();
                let end = (at + 4).min(bytes.len());
                bytes[at..end].fill(hostile);
                let tags = Tags::of(&bytes).expect("a TIFF");
                if let Some(first) = tags.first() {
                    for directory in tags.below(first).into_iter().chain([first]) {
                        let _ = (tags.number(directory, PHOTOMETRIC), tags.text(directory, MAKE));
                    }
                }
            }
            let tags = Tags::of(&bytes[..at]).expect("a TIFF");
            let first = tags.first().unwrap_or_default();
            assert_eq!(tags.number(first, 0xFFFF), None);
        }
    }
}
