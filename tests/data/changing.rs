//! Whether a data set is the one that it was: its fingerprint.

use std::io::Write as _;
use std::path::Path;

use isal::data::{Dataset, OpenOptions};

fn fingerprint(path: &Path) -> String {
    Dataset::open(path, &OpenOptions::default()).unwrap().fingerprint()
}

fn bmp(path: &Path, side: u32, value: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_fn(side, side, |x, _| image::Luma([x as u8 ^ value])).save(path).unwrap();
}

#[test]
fn a_file_that_is_changed_in_place_changes_the_fingerprint_and_a_copy_does_not() {
    let (root, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["cat/1.bmp", "cat/2.bmp", "dog/3.bmp"] {
        bmp(&root.path().join(name), 300, 0);
    }
    let before = fingerprint(root.path());
    for name in ["cat/1.bmp", "cat/2.bmp", "dog/3.bmp"] {
        std::fs::create_dir_all(copy.path().join(name).parent().unwrap()).unwrap();
        std::fs::copy(root.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(fingerprint(copy.path()), before, "another place and another time are no other data");
    // One pixel in the middle of 90,000, the size as it was.
    let changed = copy.path().join("cat/2.bmp");
    let mut image = image::open(&changed).unwrap().to_luma8();
    image.get_pixel_mut(150, 77).0[0] ^= 1;
    image.save(&changed).unwrap();
    assert_ne!(fingerprint(copy.path()), before);
    std::fs::copy(root.path().join("cat/2.bmp"), &changed).unwrap();
    assert_eq!(fingerprint(copy.path()), before, "and back again");
    std::fs::remove_file(changed).unwrap();
    assert_ne!(fingerprint(copy.path()), before);
}

#[test]
fn a_list_and_its_labels_are_part_of_the_fingerprint() {
    let root = tempfile::tempdir().unwrap();
    bmp(&root.path().join("1.bmp"), 4, 0);
    let list = root.path().join("list.csv");
    let of = |text: &str| {
        std::fs::write(&list, text).unwrap();
        fingerprint(&list)
    };
    let cat = of("path,label\n1.bmp,cat\n");
    assert_ne!(of("path,label\n1.bmp,dog\n"), cat);
    assert_eq!(of("image;class\r\n1.bmp;cat\r\n"), cat, "how it is written is not");
    bmp(&root.path().join("1.bmp"), 4, 1);
    assert_ne!(of("path,label\n1.bmp,cat\n"), cat);
}

/// An IDX file of 20 images of 3x3; one byte of one image is `value`.
fn idx(path: &Path, value: u8) {
    let mut bytes = [0, 0, 8, 3].to_vec();
    bytes.extend([20_u32, 3, 3].map(u32::to_be_bytes).concat());
    bytes.extend((0..180).map(|i| i as u8));
    bytes[16 + 100] = value;
    if path.extension().is_some_and(|ending| ending == "gz") {
        let mut packed =
            flate2::write::GzEncoder::new(std::fs::File::create(path).unwrap(), flate2::Compression::fast());
        packed.write_all(&bytes).unwrap();
        packed.finish().unwrap();
    } else {
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn one_byte_of_an_archive_changes_the_fingerprint_and_its_packing_does_not() {
    let root = tempfile::tempdir().unwrap();
    let (plain, packed) = (root.path().join("pool-images-idx3-ubyte"), root.path().join("pool-images-idx3-ubyte.gz"));
    idx(&plain, 100);
    idx(&packed, 100);
    let before = fingerprint(&plain);
    assert_eq!(fingerprint(&packed), before);
    idx(&plain, 101);
    assert_ne!(fingerprint(&plain), before);
    // A part of the data has the fingerprint of that part.
    let of_part = |value, part: &[usize]| {
        idx(&plain, value);
        let data = Dataset::open(&plain, &OpenOptions::default()).unwrap();
        data.subset(part).unwrap().fingerprint()
    };
    assert_eq!(of_part(100, &[0, 5]), of_part(101, &[0, 5]));
    assert_ne!(of_part(100, &[0, 11]), of_part(101, &[0, 11]));
}

#[test]
fn the_fraction_at_which_jpegs_are_decoded_counts_where_one_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    bmp(&root.path().join("cat/1.bmp"), 300, 0);
    std::fs::write(root.path().join("list.csv"), "path\ncat/1.bmp\n").unwrap();
    let open = |name: &str, jpeg_least_side| {
        let options = OpenOptions { jpeg_least_side, ..OpenOptions::default() };
        Dataset::open(&root.path().join(name), &options).unwrap().fingerprint()
    };
    for name in ["", "list.csv"] {
        let found = [None, Some(64), Some(65)].map(|side| open(name, side));
        assert!(found[0] != found[1] && found[1] != found[2] && found[0] != found[2], "{name}");
    }
    // As it was before there was this option.
    assert_eq!(open("", None), "2a9ea398122f598703b0b62a5448ea1914f9d8290cb3d7f0f5335e37489dda92");
}
