//! What a sweep holds does not grow with the pool.

use crate::place::{Place, stderr};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A pool of so many links to one image, in folders of two classes.
fn pool(place: &Place, name: &str, images: usize) {
    let image = place.path("image.png");
    if !image.exists() {
        image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * y % 256) as u8])).save(&image).expect("written");
    }
    for class in ["cat", "dog"] {
        let folder = place.path(name).join(class);
        fs::create_dir_all(&folder).expect("a folder");
        // A file system that allows few links to a file gets copies.
        for number in 0..images / 2 {
            let path = folder.join(format!("picture-{number:06}.png"));
            fs::hard_link(&image, &path).or_else(|_| fs::copy(&image, &path).map(drop)).expect("an image");
        }
    }
}

/// The most memory that the process ever had, in KiB; `None` where it has ended.
fn peak(process: u32) -> Option<usize> {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Runs the command, and gives the most memory it ever had, in KiB, or less where it ended soon after that. The mark never
/// falls, so the last look at it counts; the first may be at the process before it became this command.
fn watched(place: &Place, arguments: &[&str]) -> usize {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("isal"))
        .current_dir(place.folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut most = 0;
    while child.try_wait().expect("a state").is_none() {
        most = peak(child.id()).unwrap_or(most);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait().expect("it ended").success(), "{arguments:?}");
    most
}

#[test]
fn twenty_times_the_pool_takes_as_much_memory() {
    let place = Place::new();
    let (few, many) = (2_000, 40_000);
    pool(&place, "few", few);
    pool(&place, "many", many);
    let score = |name: &str, images: usize, out: &str| {
        let model = ["score", "pool", "--model", "model.onnx", "--pool", name, "--strategy", "entropy"];
        let how = ["--budget", "20", "--batch-size", "32", "--threads", "1", "-o", out];
        let peak = watched(&place, &[&model[..], &how].concat());
        let run = place.json(&format!("{out}/run.json"));
        assert!(run["summary"].to_string().contains(&format!("{images} pool images scored")), "{run}");
        peak
    };
    // A run this short may be looked at too seldom on a busy machine; the highest mark of several is the nearest.
    let of_few = (0..3).map(|run| score("few", few, &format!("out-few-{run}"))).max().unwrap_or_default();
    let of_many = score("many", many, "out-many");
    // A name of ten bytes an image would be 0.4 MiB; a row of scores and a path an image would be 13 MiB and more. What two
    // runs on the same pool differ by stays under 2 MiB.
    let growth = of_many.saturating_sub(of_few);
    assert!(of_few > 10_000, "{of_few} KiB is too little to be the command");
    assert!(growth < 6 * 1024, "{of_few} KiB for {few} images, {of_many} KiB for {many}");

    // The joining of slices reads them piece by piece too.
    for slice in ["1/2", "2/2"] {
        let out = format!("slice-{}", &slice[..1]);
        let model = ["score", "pool", "--model", "model.onnx", "--pool", "many", "--strategy", "entropy"];
        watched(
            &place,
            &[&model[..], &["--shard", slice, "--batch-size", "32", "--threads", "1", "-o", &out]].concat(),
        );
    }
    let merge = ["score", "merge", "slice-1", "slice-2", "--strategy", "entropy", "--budget", "20", "-o", "merged"];
    let merging = watched(&place, &merge);
    for file in ["scores.parquet", "selection.json"] {
        assert!(place.read(&format!("out-many/{file}")) == place.read(&format!("merged/{file}")), "{file} differs");
    }
    assert!(merging < of_few, "{merging} KiB to join {many} rows, {of_few} KiB to score {few}");
}

/// An IDX file of so many images, packed or not.
fn idx(place: &Place, name: &str, images: u32) {
    let file = fs::File::create(place.path(name)).expect("a file");
    let mut file: Box<dyn std::io::Write> = match name.strip_suffix(".gz") {
        Some(_) => Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast())),
        None => Box::new(file),
    };
    let dims = [images, 28, 28].map(u32::to_be_bytes).concat();
    file.write_all(&[&[0, 0, 8, 3][..], &dims].concat()).expect("written");
    for image in 0..images {
        let pixels: Vec<u8> = (0..784).map(|i| (image.wrapping_mul(i) >> 3) as u8).collect();
        file.write_all(&pixels).expect("written");
    }
}

#[test]
fn the_pixels_of_an_archive_stay_on_disk() {
    let place = Place::new();
    let (few, many) = (2_000, 60_000);
    let score = |name: &str, images: u32| {
        idx(&place, name, images);
        let model = ["score", "pool", "--model", "model.onnx", "--pool", name, "--strategy", "entropy"];
        let how = ["--budget", "20", "--batch-size", "32", "--threads", "1", "-o", &format!("out-{name}")];
        watched(&place, &[&model[..], &how].concat())
    };
    let of_few =
        ["a", "b", "c"].map(|n| score(&format!("{n}-images-idx3-ubyte"), few)).into_iter().max().unwrap_or_default();
    let of_many = ["many-images-idx3-ubyte", "packed-images-idx3-ubyte.gz"].map(|name| score(name, many));
    // 60,000 images are 45 MiB. What the scores and the buffers of unpacking take is under a tenth of that.
    for of_many in of_many {
        assert!(of_many.saturating_sub(of_few) < 6 * 1024, "{of_few} KiB for {few}, {of_many} KiB for {many}");
    }
    let scores = |name: &str| place.read(&format!("out-{name}/selection.json"));
    let same = |name: &str| String::from_utf8(scores(name)).expect("text").replace("many", "packed").replace(".gz", "");
    assert_eq!(same("many-images-idx3-ubyte"), same("packed-images-idx3-ubyte.gz"));

    let packed =
        ["score", "pool", "--model", "model.onnx", "--pool", "packed-images-idx3-ubyte.gz", "--strategy", "entropy"];
    let mut nowhere = place.isal(&[&packed[..], &["--budget", "20", "-o", "out"]].concat());
    let refused = nowhere.env("TMPDIR", place.path("nowhere")).assert().failure().get_output().clone();
    let said = stderr(refused);
    assert!(said.contains("nowhere") && said.contains("TMPDIR"), "{said}");
}
