//! The recipes of published data sets, from files in the exact format: a few images, a few steps.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Pixels of image `n` of a class: planes of red, green and blue, no two images alike.
fn planes(class: usize, n: usize) -> Vec<u8> {
    (0..3 * 32 * 32).map(|i| ((i * (class + 3) / 7 + n * 29 + i % (n + 2)) % 256) as u8).collect()
}

fn packed(path: &Path, folder: &str, members: &[(&str, Vec<u8>)]) {
    let file = fs::File::create(path).expect("created");
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, format!("{folder}/{name}"), bytes.as_slice()).expect("packed");
    }
    archive.into_inner().and_then(GzEncoder::finish).expect("packed");
}

/// CIFAR-10's binary archive: a label byte and 3072 pixels a record.
fn cifar_10(folder: &Path) {
    let batch = |from: usize, images: usize| -> Vec<u8> {
        (from..from + images).flat_map(|n| [vec![(n % 10) as u8], planes(n % 10, n)].concat()).collect()
    };
    let names: Vec<String> = (0..10).map(|class| format!("name{class}")).collect();
    let members = [
        ("batches.meta.txt", names.join("\n").into_bytes()),
        ("data_batch_1.bin", batch(0, 60)),
        ("data_batch_2.bin", batch(60, 60)),
        ("test_batch.bin", batch(120, 20)),
    ];
    packed(&folder.join("cifar-10-binary.tar.gz"), "cifar-10-batches-bin", &members);
}

/// CIFAR-100's: a coarse and a fine label, and 3072 pixels a record.
fn cifar_100(folder: &Path) {
    let batch = |from: usize, images: usize| -> Vec<u8> {
        (from..from + images)
            .flat_map(|n| [vec![(n % 100 / 5) as u8, (n % 100) as u8], planes(n % 100, n)].concat())
            .collect()
    };
    let names = |word: &str, count: usize| -> Vec<u8> {
        (0..count).map(|class| format!("{word}{class}\n")).collect::<String>().into_bytes()
    };
    let members = [
        ("coarse_label_names.txt", names("coarse", 20)),
        ("fine_label_names.txt", names("fine", 100)),
        ("train.bin", batch(0, 300)),
        ("test.bin", batch(300, 20)),
    ];
    packed(&folder.join("cifar-100-binary.tar.gz"), "cifar-100-binary", &members);
}

/// An element of a MATLAB file of level 5: a tag of type and length, data, padding to eight bytes.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let padding = vec![0; data.len().wrapping_neg() % 8];
    [&kind.to_le_bytes(), &(data.len() as u32).to_le_bytes(), data, &padding].concat()
}

/// An array of bytes of this name.
fn array(name: &str, dims: &[i32], bytes: &[u8]) -> Vec<u8> {
    const MATRIX: u32 = 14;
    const CLASS_OF_BYTES: u32 = 9;
    let flags = element(6, &[CLASS_OF_BYTES.to_le_bytes(), [0; 4]].concat());
    let dims = element(5, &dims.iter().flat_map(|dim| dim.to_le_bytes()).collect::<Vec<u8>>());
    element(MATRIX, &[flags, dims, element(1, name.as_bytes()), element(2, bytes)].concat())
}

/// SVHN's: `X`, 32x32x3xN with the first index fastest, and `y`, in which 10 is the digit 0.
fn svhn(folder: &Path) {
    fs::create_dir(folder.join("svhn")).expect("a folder");
    for (name, from, images) in [("train", 0, 120), ("test", 120, 20)] {
        let mut header = b"MATLAB 5.0 MAT-file".to_vec();
        header.resize(124, b' ');
        header.extend([0x00, 0x01, b'I', b'M']);
        let turned = |n: usize| -> Vec<u8> {
            let of = planes(n % 10, n);
            let at = |i: usize| of[i / 1024 * 1024 + i % 32 * 32 + i / 32 % 32];
            (0..3 * 32 * 32).map(at).collect()
        };
        let pixels: Vec<u8> = (from..from + images).flat_map(turned).collect();
        let labels: Vec<u8> = (from..from + images).map(|n| if n % 10 == 0 { 10 } else { (n % 10) as u8 }).collect();
        let file = [header, array("X", &[32, 32, 3, images as i32], &pixels), array("y", &[images as i32, 1], &labels)];
        fs::write(folder.join(format!("svhn/{name}_32x32.mat")), file.concat()).expect("written");
    }
}

/// Runs the commands that a recipe begins with, the last of them for two rounds of one epoch.
fn run(recipe: &str, write: fn(&Path), reference: usize) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(root.join("configs"), place.path().join("configs")).expect("linked");
    write(place.path());
    let text = fs::read_to_string(root.join(format!("configs/rounds/{recipe}.toml"))).expect("a recipe");
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    for command in commands {
        let cuda = "--device cuda --execution-provider cuda";
        let few = "--execution-provider cpu --quiet --set rounds=2 --set train.epochs=1 --set labels.initial=20 --set labels.budget=10";
        let all = command.contains("reference=1000") || command.contains("reference=2000");
        let command = command.replace(cuda, few).replace("reference=1000", &format!("reference={reference}"));
        let command = command.replace("reference=2000", &format!("reference={reference}"));
        let words: Vec<&str> = command.split(' ').collect();
        let program = if words[0] == "isal" { assert_cmd::cargo::cargo_bin!("isal") } else { Path::new(words[0]) };
        let output = Command::new(program).args(&words[1..]).current_dir(place.path()).output().expect("it runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!all || place.path().join(format!("out/{recipe}/train/pool")).is_dir());
    }
    let curve = fs::read(place.path().join(format!("runs/{recipe}/curve.json"))).expect("a curve");
    let curve: Value = serde_json::from_slice(&curve).expect("JSON");
    let ended = curve["ended"].as_array().expect("rounds");
    let labels: Vec<u64> = ended.iter().map(|round| round["labeled"].as_u64().expect("a number")).collect();
    assert_eq!(labels, [20, 30]);
    assert!(ended.iter().all(|round| round["test_accuracy"].is_number()), "{curve}");
}

#[test]
fn the_recipe_of_cifar_10_runs_on_files_in_its_format() {
    run("cifar10", cifar_10, 20);
}

#[test]
fn the_recipe_of_cifar_100_runs_on_files_in_its_format() {
    run("cifar100", cifar_100, 100);
}

#[test]
fn the_recipe_of_svhn_runs_on_files_in_its_format() {
    run("svhn", svhn, 20);
}
