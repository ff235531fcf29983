//! Every format against Pillow's pixels, and damage of every kind.

use isal::data::{DecodeError, Decoding, Image, Limits, decode, decode_as};

use crate::truth::{distance, folder, image, truth};

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join("images").join(name)).unwrap()
}

/// Lossy JPEG leaves the rounding of the inverse cosine transform and of the colour conversion open: decoders differ by
/// some levels. CMYK to RGB is a product of two bytes over 255, which Pillow rounds another way in TIFF. All else is
/// lossless and must agree to the bit.
fn tolerance(name: &str) -> u8 {
    match name {
        "cmyk.tif" => 1,
        _ if name.ends_with(".jpg") => 3,
        _ => 0,
    }
}

#[test]
fn every_image_has_the_pixels_that_pillow_reads() {
    let mut wrong = Vec::new();
    for (name, expected) in truth()["images"].as_object().unwrap() {
        let expected = image(expected);
        let shape = |image: &Image| (image.height(), image.width(), image.channels());
        match decode(&read(name), &Limits::default()) {
            Ok(found) if shape(&found) != shape(&expected) => wrong.push(format!("{name}: {:?}", shape(&found))),
            Ok(found) if distance(&found, &expected) > tolerance(name) => {
                wrong.push(format!("{name}: off by {}", distance(&found, &expected)));
            }
            Ok(_) => {}
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_cut_short_gives_an_error_or_all_of_its_pixels() {
    let mut wrong = Vec::new();
    for name in truth()["images"].as_object().unwrap().keys() {
        let whole = read(name);
        let expected = decode(&whole, &Limits::default()).unwrap();
        for len in 0..whole.len() {
            match decode(&whole[..len], &Limits::default()) {
                // What follows the pixels (an end mark, padding, a directory entry) may be missing.
                Ok(found) if found != expected => wrong.push(format!("{name}: {len} of {} bytes", whole.len())),
                Err(error @ DecodeError::Panicked { .. }) => wrong.push(format!("{name}: {len} bytes: {error}")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} cuts, {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_decoded() {
    let bomb = decode(&read("bomb.png"), &Limits::default());
    assert_eq!(bomb, Err(DecodeError::TooManyPixels { height: 20_000, width: 20_000, limit: 128 << 20 }));
    for name in ["444.jpg", "rgb.png", "lossless.webp", "rgb.bmp", "rgb.tif"] {
        let limits = Limits { pixels: 186, ..Limits::default() };
        assert_eq!(decode(&read(name), &limits), Err(DecodeError::TooManyPixels { height: 11, width: 17, limit: 186 }));
        let limits = Limits { file_bytes: 10, ..Limits::default() };
        assert!(matches!(decode(&read(name), &limits), Err(DecodeError::FileTooLarge { limit: 10, .. })));
        let limits = Limits { memory_bytes: 500, ..Limits::default() };
        assert_eq!(decode(&read(name), &limits), Err(DecodeError::TooMuchMemory { limit: 500 }), "{name}");
    }
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    assert_eq!(decode(b"", &Limits::default()), Err(DecodeError::Empty));
    let text = decode(b"hello", &Limits::default());
    assert_eq!(text, Err(DecodeError::UnknownFormat { start: b"hello".to_vec() }));
    for (bytes, format) in [(&b"\0\0\0\x20ftypavif\0\0\0\0"[..], "AVIF"), (b"8BPS\0\x01", "Photoshop")] {
        let refused = decode(bytes, &Limits::default());
        assert_eq!(refused, Err(DecodeError::UnsupportedFormat { format: format.into() }));
    }
    let float = decode(&read("float.tif"), &Limits::default());
    assert!(matches!(float, Err(DecodeError::Codec { format: "TIFF", .. })), "{float:?}");
}

/// Two frames of 3x2 pixels, as Pillow 12 writes them.
#[rustfmt::skip]
const GIF: [u8; 99] = [
    71, 73, 70, 56, 55, 97, 3, 0, 2, 0, 130, 0, 0, 255, 255, 255, 0, 255, 0, 9,
    8, 7, 255, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0,
    0, 0, 3, 0, 2, 0, 0, 8, 9, 0, 7, 4, 32, 0, 160, 128, 128, 128, 0, 33,
    249, 4, 1, 0, 0, 1, 0, 44, 0, 0, 0, 0, 3, 0, 2, 0, 129, 1, 2, 3,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 6, 0, 1, 8, 28, 24, 16, 0, 59,
];

#[test]
fn the_first_frame_of_a_gif_is_read() {
    let image = decode(&GIF, &Limits::default()).unwrap();
    assert_eq!((image.height(), image.width()), (2, 3));
    let colours: Vec<&[u8]> = image.pixels().chunks(image.channels()).map(|pixel| &pixel[..3]).collect();
    let pillow: [[u8; 3]; 6] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3], [0; 3], [9, 8, 7]];
    assert_eq!(colours, pillow);
    for end in 0..GIF.len() - 45 {
        assert!(decode(&GIF[..end], &Limits::default()).is_err(), "{end} bytes");
    }
    let mut huge = GIF;
    huge[6..10].fill(0xFF);
    let refused = decode(&huge, &Limits::default());
    assert!(matches!(refused, Err(DecodeError::TooManyPixels { height: 65_535, width: 65_535, .. })), "{refused:?}");
}

#[test]
fn portable_maps_are_read_in_text_and_binary() {
    let read = |bytes: &[u8]| decode(bytes, &Limits::default()).unwrap();
    let colours = read(b"P3\n# a comment\n2 1\n255\n255 0 7  1 2 3\n");
    assert_eq!((colours.channels(), colours.pixels()), (3, &[255, 0, 7, 1, 2, 3][..]));
    let colours = read(b"P6 2 1 255\n\x01\x02\x03\xff\xfe\xfd");
    assert_eq!((colours.channels(), colours.pixels()), (3, &[1, 2, 3, 255, 254, 253][..]));
    let grey = read(b"P5 3 1 255\n\x00\x80\xff");
    assert_eq!((grey.channels(), grey.pixels()), (1, &[0, 128, 255][..]));
    // In a bitmap a set bit is black.
    let bits = read(b"P4 8 1\n\xa0");
    assert_eq!((bits.channels(), bits.pixels()), (1, &[0, 255, 0, 255, 255, 255, 255, 255][..]));
    assert!(decode(b"P6 2 1 255\n\x01\x02", &Limits::default()).is_err());
    let refused = decode(b"P5 60000 60000 255\n\x00", &Limits::default());
    assert!(matches!(refused, Err(DecodeError::TooManyPixels { .. })), "{refused:?}");
}

#[test]
fn a_damaged_png_is_refused_wherever_the_damage_lies() {
    let whole = read("rgb.png");
    let expected = decode(&whole, &Limits::default()).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        // Only what is not read (the end chunk) may be damaged without notice.
        if let Ok(found) = decode(&damaged, &Limits::default()) {
            assert_eq!(found, expected, "byte {at}");
            assert!(at >= whole.len() - 12, "byte {at}");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(512))]

    #[test]
    fn damaged_files_never_break_a_decoder(
        which in 0_usize..100,
        damage in proptest::collection::vec((proptest::prelude::any::<u16>(), proptest::prelude::any::<u8>()), 1..6),
    ) {
        let truth = truth();
        let names: Vec<&String> = truth["images"].as_object().unwrap().keys().collect();
        let mut bytes = read(names[which % names.len()]);
        let len = bytes.len();
        for (at, value) in damage {
            bytes[usize::from(at) % len] = value;
        }
        // Any answer but a hang or an abort will do; a decoder's panic is caught and counted as damage.
        let limits = Limits { pixels: 1 << 20, memory_bytes: 1 << 24, ..Limits::default() };
        for jpeg_least_side in [None, Some(2), Some(5)] {
            if let Ok(image) = decode_as(&bytes, &Decoding { limits, jpeg_least_side }) {
                proptest::prop_assert!(image.height() * image.width() <= 1 << 20);
            }
        }
    }

    #[test]
    fn random_bytes_behind_a_magic_number_never_break_a_decoder(
        magic in 0_usize..6,
        rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
    ) {
        let magics: [&[u8]; 6] =
            [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"MM\0*"];
        let bytes = [magics[magic], &rest].concat();
        let limits = Limits { pixels: 1 << 20, memory_bytes: 1 << 24, ..Limits::default() };
        if let Ok(image) = decode(&bytes, &limits) {
            proptest::prop_assert!(image.height() * image.width() <= 1 << 20);
        }
    }
}
