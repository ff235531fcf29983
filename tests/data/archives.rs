//! CIFAR, SVHN and IDX against what Python reads in the same files.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use isal::data::{ArchiveError, DataError, Dataset, Expected, Limits, OpenOptions, PickleError};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::truth::{folder, number, truth};

fn archive(name: &str) -> PathBuf {
    folder().join("archives").join(name)
}

fn part(part: &str) -> OpenOptions {
    OpenOptions { part: Some(part.to_string()), ..OpenOptions::default() }
}

fn unzipped(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(&std::fs::read(archive(name)).unwrap()[..]).read_to_end(&mut bytes).unwrap();
    bytes
}

fn unpack(name: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    tar::Archive::new(&unzipped(name)[..]).unpack(root.path()).unwrap();
    root
}

/// `data` holds the images `from..` of `truth`, with the labels at `key`.
fn assert_holds(data: &Dataset, truth: &Value, key: &str, range: std::ops::Range<usize>) {
    assert_eq!(data.len(), range.len());
    for (index, at) in range.enumerate() {
        let image = data.load(index).unwrap();
        let shape = [image.height(), image.width(), image.channels()];
        let expected: Vec<usize> = truth["shape"].as_array().unwrap().iter().map(number).collect();
        assert_eq!(shape[..expected.len()], expected);
        let digest: String = Sha256::digest(image.pixels()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(truth["sha256"][at], digest, "{}", data.id(index));
        assert_eq!(data.label(index).map(u64::from), truth[key][at].as_u64(), "{}", data.id(index));
    }
}

fn ids(data: &Dataset) -> Vec<String> {
    (0..data.len()).map(|index| data.id(index)).collect()
}

#[test]
fn cifar_10_is_read_in_both_forms_packed_or_not() {
    let truth = &truth()["cifar10"];
    for name in ["cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"] {
        let unpacked = unpack(name);
        for path in [archive(name), unpacked.path().to_path_buf()] {
            let train = Dataset::open(&path, &part("train")).unwrap();
            assert_holds(&train, truth, "labels", 0..4);
            let expected = ["data_batch_1/00000", "data_batch_1/00001", "data_batch_2/00000", "data_batch_2/00001"];
            assert_eq!(ids(&train), expected);
            assert_eq!(train.classes()[9], "class9");
            assert_holds(&Dataset::open(&path, &part("test")).unwrap(), truth, "labels", 4..6);
            let by_name = PathBuf::from(format!("{}#test", path.display()));
            let test = Dataset::open(&by_name, &OpenOptions::default()).unwrap();
            assert_eq!(ids(&test), ["test_batch/00000", "test_batch/00001"]);
            for (wanted, options) in [(None, OpenOptions::default()), (Some("extra"), part("extra"))] {
                let error = Dataset::open(&path, &options).unwrap_err();
                let DataError::Part { parts, wanted: found, .. } = error else { panic!("{error}") };
                assert_eq!((parts.as_slice(), found.as_deref()), (&["test".into(), "train".into()][..], wanted));
            }
        }
    }
}

#[test]
fn cifar_100_is_read_with_fine_and_coarse_labels() {
    let truth = &truth()["cifar100"];
    for name in ["cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"] {
        let unpacked = unpack(name);
        for path in [archive(name), unpacked.path().to_path_buf()] {
            let train = Dataset::open(&path, &part("train")).unwrap();
            assert_holds(&train, truth, "labels", 0..4);
            assert_eq!((train.classes().len(), train.classes()[42].as_str()), (100, "fine42"));
            let coarse = OpenOptions { coarse_labels: true, ..part("test") };
            let test = Dataset::open(&path, &coarse).unwrap();
            assert_holds(&test, truth, "coarse", 4..6);
            assert_eq!((test.classes().len(), test.classes()[19].as_str()), (20, "coarse19"));
        }
    }
}

#[test]
fn single_batches_of_every_pickle_protocol_are_read() {
    let truth = &truth()["cifar10"];
    for protocol in 2..=5 {
        let batch = Dataset::open(&archive(&format!("batch.protocol{protocol}.gz")), &OpenOptions::default()).unwrap();
        assert_holds(&batch, truth, "labels", 0..6);
        assert_eq!(batch.classes()[3], "3");
    }
    let binary = unpack("cifar-10-binary.tar.gz");
    let one = binary.path().join("cifar-10-batches-bin/data_batch_2.bin");
    let batch = Dataset::open(&one, &OpenOptions::default()).unwrap();
    assert_holds(&batch, truth, "labels", 2..4);
    assert_eq!(batch.classes()[3], "class3");
    // A name that says nothing: 4 * 3073 bytes are CIFAR-10, 4 * 3074 CIFAR-100.
    let odd = binary.path().join("odd.bin");
    std::fs::copy(&one, &odd).unwrap();
    assert_holds(&Dataset::open(&odd, &OpenOptions::default()).unwrap(), truth, "labels", 2..4);
    let hundred = unpack("cifar-100-binary.tar.gz");
    std::fs::copy(hundred.path().join("cifar-100-binary/train.bin"), &odd).unwrap();
    assert_holds(
        &Dataset::open(&odd, &OpenOptions::default()).unwrap(),
        &crate::truth::truth()["cifar100"],
        "labels",
        0..4,
    );
}

#[test]
fn svhn_is_read_packed_and_unpacked_and_ten_means_zero() {
    let truth = &truth()["svhn"];
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(archive("train_32x32.mat"), root.path().join("train_32x32.mat")).unwrap();
    std::fs::write(root.path().join("extra_32x32.mat"), unzipped("extra_32x32.mat.gz")).unwrap();
    for (name, count) in [("train", 6), ("extra", 2)] {
        let file = root.path().join(format!("{name}_32x32.mat"));
        for data in [Dataset::open(&file, &OpenOptions::default()), Dataset::open(root.path(), &part(name))] {
            let data = data.unwrap();
            assert_holds(&data, truth, "labels", 0..count);
            assert_eq!(data.id(1), format!("{name}_32x32/00001"));
            assert_eq!(data.classes().len(), 10);
        }
    }
    assert!(matches!(Dataset::open(root.path(), &OpenOptions::default()), Err(DataError::Part { .. })));
}

#[test]
fn idx_images_find_their_labels() {
    let truth = &truth()["idx"];
    let train = Dataset::open(&archive("train-images-idx3-ubyte.gz"), &OpenOptions::default()).unwrap();
    assert_holds(&train, truth, "labels", 0..4);
    assert_eq!((train.id(3), train.classes().len()), ("train/00003".to_string(), 3));
    let root = tempfile::tempdir().unwrap();
    for name in ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"] {
        std::fs::copy(archive(name), root.path().join(name)).unwrap();
    }
    assert_holds(&Dataset::open(root.path(), &part("train")).unwrap(), truth, "labels", 0..4);
    let test = Dataset::open(root.path(), &part("test")).unwrap();
    assert_eq!((test.len(), test.label(0), test.id(0)), (1, None, "t10k/00000".to_string()));
    std::fs::write(root.path().join("train-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 3, 1, 1, 1]).unwrap();
    let error = reason(Dataset::open(root.path(), &part("train")));
    assert_eq!(error, ArchiveError::Count { images: 4, labels: 3 });
}

fn reason(result: Result<Dataset, DataError>) -> ArchiveError {
    match result {
        Err(DataError::Archive { source, .. }) => *source,
        other => panic!("no archive error: {other:?}"),
    }
}

fn open_bytes(name: &str, bytes: &[u8]) -> Result<Dataset, DataError> {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(name), bytes).unwrap();
    Dataset::open(&root.path().join(name), &OpenOptions::default())
}

#[test]
fn damaged_archives_say_what_is_wrong() {
    let record = [vec![12], vec![0; 3072]].concat();
    let label = ArchiveError::Label { index: 0, found: 12, classes: 10 };
    assert_eq!(reason(open_bytes("data_batch_1.bin", &record)), label);
    let expected = Expected::MultipleOf(3073, 3073);
    let short = ArchiveError::Length { member: "data_batch_1.bin".into(), found: 3072, expected };
    assert_eq!(reason(open_bytes("data_batch_1.bin", &record[..3072])), short);
    let idx = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7];
    let length = ArchiveError::Length { member: "the array".into(), found: 1, expected: Expected::Exactly(2) };
    assert_eq!(reason(open_bytes("a-images-idx3-ubyte", &idx)), length);
    let long = ArchiveError::Length { member: "the array".into(), found: 3, expected: Expected::Exactly(2) };
    assert_eq!(reason(open_bytes("a-images-idx3-ubyte", &[&idx[..], &[7, 7, 7]].concat())), long);
    let header = ArchiveError::Length { member: "the header".into(), found: 11, expected: Expected::Exactly(16) };
    assert_eq!(reason(open_bytes("a-images-idx3-ubyte", &idx[..11])), header);
    let magic = ArchiveError::IdxMagic { found: vec![0, 0, 13, 3], expected: [0, 0, 8, 3] };
    assert_eq!(reason(open_bytes("a-images-idx3-ubyte", &[0, 0, 13, 3, 0, 0])), magic);
    // 4,294,967,295 images of as many pixels: refused by the header alone.
    let huge = [&[0, 0, 8, 3][..], &[255; 12]].concat();
    assert_eq!(reason(open_bytes("a-images-idx3-ubyte", &huge)), ArchiveError::TooLarge { limit: 2 << 30 });
    let hdf5 = [&b"MATLAB 7.3 MAT-file"[..], &[b' '; 200]].concat();
    assert!(reason(open_bytes("train_32x32.mat", &hdf5)).source_text().contains("7.3 (HDF5)"));
}

#[test]
fn an_archive_that_is_cut_after_it_was_opened_gives_errors_and_no_stale_pixels() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a-images-idx3-ubyte");
    std::fs::write(&path, [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7, 9]).unwrap();
    let data = Dataset::open(&path, &OpenOptions::default()).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(17).unwrap();
    assert_eq!(data.load(0).unwrap().pixels(), [7]);
    let error = data.load(1).unwrap_err();
    assert!(matches!(error, DataError::Io { .. }) && error.to_string() == "cannot read `a/00001`", "{error}");
}

trait SourceText {
    fn source_text(&self) -> String;
}

impl SourceText for ArchiveError {
    fn source_text(&self) -> String {
        std::error::Error::source(self).map(ToString::to_string).unwrap_or_default()
    }
}

#[test]
fn gzip_bombs_stop_at_the_limit() {
    let root = tempfile::tempdir().unwrap();
    let zeros = vec![0; 32 << 20];
    let mut header = tar::Header::new_gnu();
    header.set_path("test_batch.bin").unwrap();
    header.set_size(zeros.len() as u64);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, &zeros[..]).unwrap();
    let limit = 1 << 20;
    let limits = Limits { archive_bytes: limit, ..Limits::default() };
    for (name, content) in [("x.tar.gz", &archive.into_inner().unwrap()), ("test.bin.gz", &zeros), ("x.csv.gz", &zeros)]
    {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 64 << 10);
        let path = root.path().join(name);
        std::fs::write(&path, &bomb).unwrap();
        let opened = Dataset::open(&path, &OpenOptions { limits, ..OpenOptions::default() });
        assert_eq!(reason(opened), ArchiveError::TooLarge { limit }, "{name}");
    }
    // An array that claims 4 GB in a file of 200 bytes.
    let mut mat = vec![b' '; 124];
    mat.extend([0, 1, b'I', b'M', 14, 0, 0, 0, 0, 0, 0, 0xFF]);
    mat.extend([6, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    mat.extend([1, 0, 1, 0, b'X', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0xF0, 7, 7, 7, 7]);
    let opened = open_bytes("x.mat", &mat);
    assert!(reason(opened).source_text().contains("has 4026531840 bytes, the limit is 2147483648"));
}

#[test]
fn a_tar_of_something_else_is_told_by_its_names() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_path("docs/readme.txt").unwrap();
    header.set_size(2);
    header.set_cksum();
    archive.append(&header, &b"hi"[..]).unwrap();
    let opened = open_bytes("x.tar", &archive.into_inner().unwrap());
    assert_eq!(reason(opened), ArchiveError::NotCifar { names: vec!["readme.txt".into()] });
}

fn pickled(program: &[u8]) -> ArchiveError {
    reason(open_bytes("test_batch", program))
}

#[test]
fn a_pickle_is_read_and_never_run() {
    let root = tempfile::tempdir().unwrap();
    let witness = root.path().join("witness");
    // What would run `touch` when unpickled by Python.
    let attack = format!("\u{2}cos\nsystem\n(X{}\0\0\0touch {}tR.", '\u{0}', witness.display());
    let mut attack = [&[0x80][..], attack.as_bytes()].concat();
    let command = format!("touch {}", witness.display());
    let at = attack.iter().position(|byte| *byte == b'X').unwrap();
    attack[at + 1] = command.len() as u8;
    assert_eq!(pickled(&attack), ArchiveError::Pickle(PickleError::Key { key: "data".into() }));
    assert!(!witness.exists());
}

#[test]
fn hostile_pickles_cost_no_more_than_their_bytes() {
    // A list of a list of ... of two references each: 2^200 elements if it were spelled out.
    let mut laughs = vec![0x80, 2, b']', b'q', 0];
    for level in 0..200_u8 {
        laughs.extend([b']', b'q', level + 1, b'(', b'h', level, b'h', level, b'e']);
    }
    laughs.push(b'.');
    assert_eq!(pickled(&laughs), ArchiveError::Pickle(PickleError::Key { key: "data".into() }));
    // 100,000 nested tuples would overflow the stack of a recursive reader.
    let nested = [&[0x80, 2, b')'][..], &[0x85; 100_000], b"."].concat();
    assert_eq!(pickled(&nested), ArchiveError::Pickle(PickleError::Key { key: "data".into() }));
    let endless = [&[0x80, 2][..], &[b'N'; 4_000_001], b"."].concat();
    assert_eq!(pickled(&endless), ArchiveError::Pickle(PickleError::TooManyValues { limit: 4_000_000 }));
    let long = [0x80, 2, b'T', 0xFF, 0xFF, 0xFF, 0x7F, b'x'];
    assert_eq!(pickled(&long), ArchiveError::Pickle(PickleError::Truncated { offset: 8 }));
    assert_eq!(
        pickled(&[0x80, 2, b'e', b'.']),
        ArchiveError::Pickle(PickleError::Operands { opcode: b'e', offset: 2 })
    );
    assert_eq!(pickled(&[0x80, 2, b'P', b'.']), ArchiveError::Pickle(PickleError::Opcode { opcode: b'P', offset: 2 }));
}

#[test]
fn files_cut_short_are_errors_at_every_length() {
    let names = ["train_32x32.mat", "train-images-idx3-ubyte.gz", "cifar-10-python.tar.gz", "batch.protocol2.gz"];
    for name in names {
        let whole = std::fs::read(archive(name)).unwrap();
        let options = if name.contains("tar") { part("train") } else { OpenOptions::default() };
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        let fingerprint = Dataset::open(&archive(name), &options).unwrap();
        for len in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..len]).unwrap();
            if let Ok(data) = Dataset::open(&path, &options) {
                // The rest was padding, a checksum or the labels beside.
                assert!((0..data.len()).all(|i| data.load(i).unwrap() == fingerprint.load(i).unwrap()), "{name} {len}");
                assert_eq!(data.len(), fingerprint.len(), "{name} {len}");
            }
        }
    }
}

/// Opens `bytes` under a name of every format; whatever opens must load or fail without a panic.
fn try_every_reader(bytes: &[u8], root: &Path) {
    let names = [
        "data_batch_1.bin",
        "test.bin",
        "x.bin",
        "test_batch",
        "x.tar",
        "x.tar.gz",
        "x.mat",
        "x-images-idx3-ubyte",
        "x-images-idx3-ubyte.gz",
        "x.csv",
        "x.csv.gz",
        "x.jsonl",
        "x.png",
        "noname",
    ];
    let limits = Limits { archive_bytes: 1 << 22, pixels: 1 << 20, memory_bytes: 1 << 24, ..Limits::default() };
    for name in names {
        let path = root.join(name);
        std::fs::write(&path, bytes).unwrap();
        if let Ok(data) = Dataset::open(&path, &OpenOptions { limits, ..OpenOptions::default() }) {
            for index in 0..data.len().min(3) {
                let _ = (data.load(index), data.id(index), data.label(index));
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_break_a_reader(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        try_every_reader(&bytes, tempfile::tempdir().unwrap().path());
    }

    #[test]
    fn damaged_archives_never_break_a_reader(
        which in 0_usize..6,
        damage in proptest::collection::vec((proptest::prelude::any::<u32>(), proptest::prelude::any::<u8>()), 1..8),
    ) {
        let plain = ["batch.protocol2.gz", "batch.protocol4.gz", "batch.protocol5.gz", "extra_32x32.mat.gz",
            "cifar-10-python.tar.gz", "train-images-idx3-ubyte.gz"];
        let mut bytes = unzipped(plain[which]);
        let len = bytes.len();
        for (at, value) in damage {
            // Most structure is near the beginning.
            let range = if at % 2 == 0 { len } else { len.min(700) };
            bytes[at as usize / 2 % range] = value;
        }
        try_every_reader(&bytes, tempfile::tempdir().unwrap().path());
    }
}
