//! What a file that is not read is, by its first bytes: so that people learn what to convert.

/// A pattern at a place.
type Signature = (usize, &'static [u8]);

/// Formats by the bytes that all of their files have. The first that fits is it.
const FORMATS: &[(&str, &[Signature])] = &[
    ("AVIF", &[(4, b"ftypavif")]),
    ("AVIF", &[(4, b"ftypavis")]),
    ("HEIC", &[(4, b"ftyphei")]),
    ("HEIC", &[(4, b"ftyphev")]),
    ("HEIF", &[(4, b"ftypmif1")]),
    ("HEIF", &[(4, b"ftypmsf1")]),
    ("Canon CR3", &[(4, b"ftypcrx ")]),
    ("Canon CR2", &[(0, b"II*\0"), (8, b"CR")]),
    ("Fujifilm RAF", &[(0, b"FUJIFILMCCD-RAW")]),
    ("Panasonic RW2", &[(0, b"IIU\0")]),
    ("Olympus ORF", &[(0, b"IIRO")]),
    ("Sigma X3F", &[(0, b"FOVb")]),
    ("JPEG 2000", &[(0, b"\0\0\0\x0cjP  ")]),
    ("JPEG 2000", &[(0, b"\xff\x4f\xff\x51")]),
    ("JPEG XL", &[(0, b"\0\0\0\x0cJXL ")]),
    ("JPEG XL", &[(0, b"\xff\x0a")]),
    ("JPEG XR", &[(0, b"II\xbc")]),
    ("Photoshop", &[(0, b"8BPS")]),
    ("DICOM", &[(128, b"DICM")]),
    ("SVG", &[(0, b"<svg")]),
    ("SVG", &[(0, b"<?xml")]),
    ("PDF", &[(0, b"%PDF-")]),
    ("OpenEXR", &[(0, b"\x76\x2f\x31\x01")]),
    ("Radiance HDR", &[(0, b"#?RADIANCE")]),
    ("DirectDraw surface", &[(0, b"DDS ")]),
    ("Windows icon", &[(0, b"\0\0\x01\0")]),
    ("farbfeld", &[(0, b"farbfeld")]),
    ("QOI", &[(0, b"qoif")]),
    ("HTML (a page saved under an image's name)", &[(0, b"<!DOCTYPE html")]),
    ("HTML (a page saved under an image's name)", &[(0, b"<html")]),
    ("Git LFS pointer (fetch it with `git lfs pull`)", &[(0, b"version https://git-lfs")]),
];

/// The name of the format that `bytes` begin like.
pub(super) fn of(bytes: &[u8]) -> Option<&'static str> {
    let fits = |(at, pattern): &Signature| bytes.get(*at..).is_some_and(|rest| rest.starts_with(pattern));
    FORMATS.iter().find(|(_, signatures)| signatures.iter().all(fits)).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named_by_their_first_bytes() {
        for (bytes, name) in [
            (&b"\0\0\0\x20ftypavif\0\0\0\0"[..], Some("AVIF")),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Some("HEIC")),
            (b"\0\0\0\x0cjP  \r\n\x87\n", Some("JPEG 2000")),
            (b"\xff\x4f\xff\x51\0\x2f", Some("JPEG 2000")),
            (b"II*\0\x10\0\0\0CR\x02\0", Some("Canon CR2")),
            (b"II*\0\x08\0\0\0\x0e\0", None),
            (b"\xff\xd8\xff\xe0", None),
            (b"", None),
        ] {
            assert_eq!(of(bytes), name, "{bytes:?}");
        }
    }
}
