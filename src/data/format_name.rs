//! What a file that is not read is, by its bytes: so that people learn what to convert.

use std::borrow::Cow;

use super::tiff_tags::{DNG_VERSION, MAKE, NEW_SUBFILE_TYPE, PHOTOMETRIC, Tags};

/// A pattern at a place.
type Signature = (usize, &'static [u8]);

/// Formats by the bytes that all of their files have. The first that fits is it.
const FORMATS: &[(&str, &[Signature])] = &[
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
    ("PDF", &[(0, b"%PDF-")]),
    ("OpenEXR", &[(0, b"\x76\x2f\x31\x01")]),
    ("Radiance HDR", &[(0, b"#?RADIANCE")]),
    ("DirectDraw surface", &[(0, b"DDS ")]),
    ("Windows icon", &[(0, b"\0\0\x01\0")]),
    ("farbfeld", &[(0, b"farbfeld")]),
    ("QOI", &[(0, b"qoif")]),
    ("Git LFS pointer (fetch it with `git lfs pull`)", &[(0, b"version https://git-lfs")]),
];

const HTML: &str = "HTML (a page saved under an image's name)";

/// The name of the format of `bytes`, if it is one of those that are not read.
pub(super) fn of(bytes: &[u8]) -> Option<Cow<'static, str>> {
    let fits = |(at, pattern): &Signature| bytes.get(*at..).is_some_and(|rest| rest.starts_with(pattern));
    let by_signature = || FORMATS.iter().find(|(_, signatures)| signatures.iter().all(fits)).map(|(name, _)| *name);
    let name = by_signature().or_else(|| heif(bytes)).or_else(|| markup(bytes)).or_else(|| tga(bytes));
    name.map(Cow::Borrowed).or_else(|| camera_raw(bytes))
}

/// A HEIF file by its brands: the major one, or where that names the container alone, the first compatible one that says
/// what is in it.
fn heif(bytes: &[u8]) -> Option<&'static str> {
    let name = |brand: &[u8]| match brand {
        b"avif" | b"avis" => Some("AVIF"),
        [b'h', b'e', b'i' | b'v', _] => Some("HEIC"),
        _ => None,
    };
    let length = bytes.first_chunk().map(|four| u32::from_be_bytes(*four) as usize)?;
    let brands = bytes.get(4..)?.strip_prefix(b"ftyp")?;
    let (major, rest) = brands.split_at_checked(4)?;
    if !matches!(major, b"mif1" | b"msf1") {
        return name(major);
    }
    // Length, kind, major brand and minor version take 16 bytes.
    let compatible = rest.get(4..).unwrap_or_default();
    let compatible = compatible.get(..length.saturating_sub(16)).unwrap_or(compatible);
    Some(compatible.chunks_exact(4).find_map(name).unwrap_or("HEIF"))
}

/// SVG, HTML or other XML: behind a byte order mark, white space, an XML declaration and comments stands the root or a
/// DOCTYPE that names it.
fn markup(bytes: &[u8]) -> Option<&'static str> {
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let mut otherwise = None;
    loop {
        let end: &[u8] = if rest.starts_with(b"<?") {
            otherwise = otherwise.or_else(|| rest.starts_with(b"<?xml").then_some("XML"));
            b"?>"
        } else if rest.starts_with(b"<!--") {
            b"-->"
        } else {
            break;
        };
        let Some(at) = rest.windows(end.len()).position(|window| window == end) else { return otherwise };
        rest = rest.get(at + end.len()..)?.trim_ascii_start();
    }
    let begins = |start: &[u8]| rest.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    let root = if begins(b"<!DOCTYPE") { rest.get(9..)?.trim_ascii_start() } else { rest.strip_prefix(b"<")? };
    let name = root.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b':').next().unwrap_or_default();
    match name.to_ascii_lowercase().as_slice() {
        b"svg" | b"svg:svg" => Some("SVG"),
        b"html" => Some(HTML),
        _ => otherwise,
    }
}

/// Targa has nothing of its own at its beginning; the second version has a footer. What may stand before it: 0 or 1 for the
/// colour map, which the second byte of no other format here is.
fn tga(bytes: &[u8]) -> Option<&'static str> {
    const FOOTER: &[u8] = b"TRUEVISION-XFILE.";
    let end = bytes.get(bytes.len().saturating_sub(64)..).unwrap_or_default();
    let has_footer = || end.windows(FOOTER.len()).any(|window| window == FOOTER);
    (bytes.get(1).is_some_and(|map| *map <= 1) && has_footer()).then_some("TGA")
}

/// A camera raw in the form of a TIFF, whose first image is mostly a preview: decoding that would take it for the photograph.
fn camera_raw(bytes: &[u8]) -> Option<Cow<'static, str>> {
    const COLOUR_FILTERS: usize = 32_803;
    const REDUCED: usize = 1;
    let tags = Tags::of(bytes)?;
    let first = tags.first()?;
    if tags.entry(first, DNG_VERSION).is_some() {
        return Some(Cow::Borrowed("DNG"));
    }
    let make = tags.text(first, MAKE)?;
    let below = tags.below(first);
    let is_preview = !below.is_empty() && tags.number(first, NEW_SUBFILE_TYPE) == Some(REDUCED);
    let is_raw = |directory: usize| tags.number(directory, PHOTOMETRIC) == Some(COLOUR_FILTERS);
    let found = is_preview || is_raw(first) || below.into_iter().any(is_raw);
    found.then(|| Cow::Owned(format!("camera raw ({make})")))
}

#[cfg(test)]
mod tests {
    use super::super::tiff_tags::tests::{Tag, short, text, tiff};
    use super::*;

    /// The format of each of these.
    fn assert_named(cases: &[(&[u8], Option<&str>)]) {
        for (bytes, name) in cases {
            assert_eq!(of(bytes).as_deref(), *name, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn formats_are_named_by_their_first_bytes() {
        assert_named(&[
            (b"\0\0\0\x0cjP  \r\n\x87\n", Some("JPEG 2000")),
            (b"\xff\x4f\xff\x51\0\x2f", Some("JPEG 2000")),
            (b"II*\0\x10\0\0\0CR\x02\0", Some("Canon CR2")),
            (b"II*\0\x08\0\0\0\x0e\0", None),
            (b"\xff\xd8\xff\xe0", None),
            (b"", None),
        ]);
    }

    #[test]
    fn a_container_of_images_is_named_by_the_brand_that_says_what_is_in_it() {
        assert_named(&[
            (b"\0\0\0\x20ftypavif\0\0\0\0", Some("AVIF")),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Some("HEIC")),
            (b"\0\0\0\x18ftyphevc\0\0\0\0mif1heic", Some("HEIC")),
            (b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiafMA1B", Some("AVIF")),
            (b"\0\0\0\x1cftypmsf1\0\0\0\0msf1hevciso8", Some("HEIC")),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", Some("HEIC")),
            // The brands end where the box does.
            (b"\0\0\0\x14ftypmif1\0\0\0\0mif1avif", Some("HEIF")),
            (b"\0\0\0\x14ftypmif1\0\0", Some("HEIF")),
            (b"\xff\xff\xff\xffftypmif1\0\0\0\0avi", Some("HEIF")),
            (b"\0\0\0\x18ftypisom\0\0\0\0avif", None),
            (b"\0\0\0\x18ftyphe", None),
        ]);
    }

    #[test]
    fn drawings_and_pages_are_found_behind_what_may_stand_before_them() {
        let drawing =
            b"<!-- Made by hand --><?xml-stylesheet href='a'?>\n<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\">";
        assert_named(&[
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Some("SVG")),
            (b"\xef\xbb\xbf\r\n <svg>", Some("SVG")),
            (b"<?xml version='1.0'?>\n<!-- <html> -->\n<svg>", Some("SVG")),
            (b"<?xml version='1.0'?><svg:svg xmlns:svg='a'>", Some("SVG")),
            (drawing, Some("SVG")),
            (b"\n\n<!doctype HTML>", Some(HTML)),
            (b"<?xml version='1.0'?><!DOCTYPE html PUBLIC ''>", Some(HTML)),
            (b"<!-- saved --> <HTML lang='en'>", Some(HTML)),
            (b"<?xml version='1.0'?><kml>", Some("XML")),
            (b"<?xml version='1.0'", Some("XML")),
            (b"<?xml version='1.0'?><!-- never ends <svg>", Some("XML")),
            (b"<svgz>", None),
            (b"<!-- <svg>", None),
            (b"<", None),
        ]);
    }

    #[test]
    fn targa_is_named_by_its_footer() {
        let mut targa = vec![0, 0, 2];
        targa.resize(900, 7);
        assert_named(&[(&targa, None)]);
        targa.extend(b"\0\0\0\0\0\0\0\0TRUEVISION-XFILE.\0");
        assert_named(&[(&targa, Some("TGA"))]);
        // Another format with a stray footer.
        targa[..3].copy_from_slice(b"\xff\xd8\xff");
        assert_named(&[(&targa, None)]);
    }

    #[test]
    fn camera_raws_that_begin_like_a_tiff_are_told_from_tiffs() {
        const RGB: u16 = 2;
        const FILTERS: u16 = 32_803;
        let make = || text(MAKE, "SONY");
        let kind = |value| short(NEW_SUBFILE_TYPE, value);
        let seen = |value| short(PHOTOMETRIC, value);
        let dng = (DNG_VERSION, 1, vec![1, 4, 0, 0]);
        let raw: &[Tag] = &[kind(0), seen(FILTERS)];
        let colours: &[Tag] = &[kind(0), seen(RGB)];
        for little in [true, false] {
            let name = |tags: &[Tag], below: &[&[Tag]]| of(&tiff(little, tags, below)).map(Cow::into_owned);
            let sony = Some("camera raw (SONY)".to_owned());
            assert_eq!(name(&[kind(1), make(), dng.clone()], &[raw]), Some("DNG".into()));
            assert_eq!(name(&[seen(FILTERS), make()], &[]), sony);
            assert_eq!(name(&[seen(RGB), make()], &[colours, raw]), sony);
            assert_eq!(name(&[kind(1), seen(RGB), make()], &[colours]), sony, "a preview before the photograph");
            assert_eq!(name(&[kind(0), seen(RGB), make()], &[]), None, "a scan or a photograph");
            assert_eq!(name(&[kind(0), seen(RGB), make()], &[colours]), None, "a pyramid: the largest comes first");
            assert_eq!(name(&[kind(1), seen(RGB), make()], &[]), None);
            assert_eq!(name(&[kind(1), seen(RGB)], &[colours]), None);
        }
        assert_eq!(of(b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"), None, "BigTIFF");
    }
}
