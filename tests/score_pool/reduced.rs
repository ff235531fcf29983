//! `--jpeg-least-side`: photographs decoded at a fraction of their size.

use crate::place::{Place, files};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use isal::data::{Decoding, decode_as};
use isal::scores::{ScoreRow, ScoreTable};
use std::fs;

/// A pool of 100 digits as JPEGs of 112x112 pixels.
fn place() -> Place {
    let place = Place::new();
    for (number, (_, path)) in files(&place.path("pool")).into_iter().enumerate() {
        if number % 6 == 0 {
            let large = resize(&image::open(&path).expect("an image").to_luma8(), 112, 112, FilterType::Triangle);
            let file = fs::File::create(path.with_extension("jpg")).expect("a file");
            large.write_with_encoder(JpegEncoder::new_with_quality(file, 95)).expect("written");
        }
        fs::remove_file(path).expect("removed");
    }
    place
}

fn rows(place: &Place, out: &str) -> Vec<ScoreRow> {
    ScoreTable::read_parquet(&place.path(out).join("scores.parquet")).expect("scores").rows
}

#[test]
fn images_are_scored_as_they_are_at_a_fraction_of_their_size() {
    let place = place();
    let score = |out: &str, more: &[&str]| {
        place.score(&["-o", out, "--strategy", "entropy"]).args(more).assert().success();
        let run = place.json(&format!("{out}/run.json"));
        let entropies: Vec<f64> = rows(&place, out).iter().map(|row| row.beliefs[2]).collect();
        assert_eq!(entropies.len(), 100);
        (run["provenance"]["pool sha256"].clone(), run["provenance"]["jpeg least side"].clone(), entropies)
    };
    let (whole, none, exact) = score("whole", &[]);
    let (quarter, side, near) = score("quarter", &["--jpeg-least-side", "28"]);
    assert!(none.is_null() && side == "28" && whole != quarter);
    assert_ne!(exact, near);
    // The same pixels in files of their own.
    for (id, path) in files(&place.path("pool")) {
        let quarter =
            decode_as(&fs::read(path).expect("a file"), &Decoding { jpeg_least_side: Some(28), ..Decoding::default() });
        let quarter = quarter.expect("an image");
        assert_eq!((quarter.height(), quarter.width(), quarter.channels()), (28, 28, 1), "{id}");
        let copy = place.path("small").join(id).with_extension("png");
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        image::GrayImage::from_raw(28, 28, quarter.pixels().to_vec()).expect("784 pixels").save(copy).expect("written");
    }
    let score_small =
        ["score", "pool", "--model", "model.onnx", "--pool", "small", "--strategy", "entropy", "--budget", "20"];
    place.isal(&score_small).args(["--batch-size", "8", "--threads", "1", "-o", "small-out"]).assert().success();
    let small: Vec<f64> = rows(&place, "small-out").iter().map(|row| row.beliefs[2]).collect();
    assert_eq!(small, near);
    // The half would have 56 pixels.
    let (other, _, same) = score("half", &["--jpeg-least-side", "57"]);
    assert!(other != whole && other != quarter && same == exact);
}

#[test]
fn shards_are_joined_and_shown_as_they_were_scored() {
    let place = place();
    let given = ["--strategy", "entropy", "--jpeg-least-side", "28"];
    for shard in ["1/2", "2/2"] {
        let out = format!("shard-{}", &shard[..1]);
        place.score(&["-o", &out, "--shard", shard]).args(given).assert().success();
    }
    let merge = ["score", "merge", "shard-1", "shard-2", "--budget", "20", "--strategy", "entropy", "-o"];
    for (out, pool) in [("there", &[][..]), ("named", &["--pool", "pool"])] {
        place.isal(&merge).arg(out).args(pool).assert().success();
        let report = String::from_utf8_lossy(&place.read(&format!("{out}/report.html"))).into_owned();
        assert!(report.contains("data:image/png"), "{out}");
    }
}

#[test]
fn a_side_of_no_pixels_is_refused() {
    let place = Place::new();
    place.score(&["-o", "out", "--jpeg-least-side", "0"]).assert().code(2);
}
