//! A pool scored in slices, `isal score pool --shard`, and joined by `isal score merge`.

use crate::place::{Place, stderr};
use isal::scores::ScoreTable;
use std::fs;

/// Scores slice `number` of `of` into the folder `shard-NUMBER`.
fn shard(place: &Place, number: usize, of: usize, more: &[&str]) {
    let (slice, out) = (format!("{number}/{of}"), format!("shard-{number}"));
    place.score(&["--shard", &slice, "-o", &out]).args(more).assert().success();
    assert!(!place.path(&out).join("selection.json").exists(), "a slice selects nothing");
}

fn merge(place: &Place, shards: &[&str], more: &[&str]) -> assert_cmd::Command {
    let mut command = place.isal(&["score", "merge"]);
    command.args(shards).args(["--budget", "20", "-o", "merged"]).args(more);
    command
}

fn refused(place: &Place, shards: &[&str]) -> String {
    let said = stderr(merge(place, shards, &[]).assert().code(2).get_output().clone());
    assert!(!place.path("merged/scores.parquet").exists(), "nothing is written");
    said
}

const ALL: [&str; 3] = ["shard-3", "shard-1", "shard-2"];

#[test]
fn joined_shards_are_the_bytes_of_an_unbroken_run() {
    let place = Place::new();
    // A hole in the second slice: what is left out must come through the joining, and move no image to another batch.
    fs::write(place.path("pool/4/corrupt.png"), b"\x89PNG\r\n\x1a\n and then nothing").expect("written");
    place.score(&["-o", "whole"]).assert().success();
    (1..=3).for_each(|number| shard(&place, number, 3, &[]));
    let images = |number: usize| {
        let table = ScoreTable::read_parquet(&place.path(&format!("shard-{number}/scores.parquet"))).expect("scores");
        assert_eq!(table.provenance["shard"], format!("{number}/3"));
        table.rows.len()
    };
    // 601 images in parts of 32 batches of 8.
    assert_eq!([images(1), images(2), images(3)], [256, 255, 89]);
    merge(&place, &ALL, &[]).assert().success();
    for file in ["scores.parquet", "selection.json"] {
        assert!(place.read(&format!("whole/{file}")) == place.read(&format!("merged/{file}")), "{file} differs");
    }
    let (whole, merged) = (place.json("whole/run.json"), place.json("merged/run.json"));
    assert_eq!(whole["provenance"], merged["provenance"]);
    assert_eq!(whole["skipped"], merged["skipped"]);
    assert_eq!(merged["skipped"][0][0], "4/corrupt.png");
    let pictures = |out: &str| {
        let page = String::from_utf8(place.read(&format!("{out}/report.html"))).expect("text");
        page.matches("data:image/png").map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(pictures("merged").len(), 20);
    assert_eq!(pictures("merged"), pictures("whole"));
}

#[test]
fn shards_of_a_host_without_a_model_are_those_of_the_run_that_wrote_the_graph() {
    let place = Place::new();
    place.score(&["-o", "whole"]).assert().success();
    for number in 1..=2 {
        let (slice, out) = (format!("{number}/2"), format!("shard-{number}"));
        place
            .isal(&["score", "pool", "--influence", "whole/influence.onnx", "--pool", "pool", "--shard", &slice, "-o"])
            .args([&out, "--batch-size", "8", "--threads", "1"])
            .assert()
            .success();
    }
    merge(&place, &["shard-1", "shard-2"], &["--scores", "merged.csv"]).assert().success();
    assert!(place.read("whole/selection.json") == place.read("merged/selection.json"));
    place.score(&["-o", "whole", "--scores", "whole.csv"]).assert().success();
    assert!(place.read("whole.csv") == place.read("merged.csv"));
}

#[test]
fn a_pool_of_fewer_parts_than_shards_leaves_empty_shards_that_join_all_the_same() {
    let place = Place::new();
    let entropy = ["--strategy", "entropy"];
    place.score(&["-o", "whole"]).args(entropy).assert().success();
    (1..=5).for_each(|number| shard(&place, number, 5, &entropy));
    let all = ["shard-1", "shard-2", "shard-3", "shard-4", "shard-5"];
    merge(&place, &all, &entropy).assert().success();
    for file in ["scores.parquet", "selection.json"] {
        assert!(place.read(&format!("whole/{file}")) == place.read(&format!("merged/{file}")), "{file} differs");
    }
    // Without influences there is nothing for the default strategy to go by.
    fs::remove_dir_all(place.path("merged")).expect("removed");
    let said = refused(&place, &all);
    assert!(said.contains("no influence"), "{said}");
}

#[test]
fn missing_doubled_and_foreign_shards_are_named() {
    let place = Place::new();
    let entropy = ["--strategy", "entropy"];
    (1..=3).for_each(|number| shard(&place, number, 3, &entropy));
    let said = refused(&place, &["shard-1", "shard-3"]);
    assert!(said.contains("of 3 shards, one is missing: 2/3"), "{said}");
    let said = refused(&place, &["shard-2"]);
    assert!(said.contains("some are missing: 1/3, 3/3"), "{said}");

    fs::create_dir(place.path("copy")).expect("a folder");
    fs::copy(place.path("shard-2/scores.parquet"), place.path("copy/scores.parquet")).expect("copied");
    let said = refused(&place, &["shard-1", "shard-2", "copy", "shard-3"]);
    assert!(said.contains("shard 2/3 is there twice") && said.contains("copy") && said.contains("shard-2"), "{said}");

    let foreign = |key: &str, slice: &str, more: &[&str]| {
        place.score(&["--shard", slice, "-o", "foreign", "--strategy", "entropy"]).args(more).assert().success();
        let said = refused(&place, &["shard-1", "foreign", "shard-3"]);
        assert!(said.contains("foreign/scores.parquet") && said.contains(&format!("`{key}`")), "{key}: {said}");
        fs::remove_dir_all(place.path("foreign")).expect("removed");
    };
    foreign("preprocessing", "2/3", &["--set", "mean=[0.5]"]);
    foreign("number of shards", "2/4", &[]);
    place.isal(&["model", "new", "lenet", "--seed", "4", "-o", "model.onnx"]).assert().success();
    foreign("model sha256", "2/3", &[]);
    place.isal(&["model", "new", "lenet", "--seed", "3", "-o", "model.onnx"]).assert().success();
    fs::remove_file(fs::read_dir(place.path("pool/9")).expect("listed").next().expect("one").expect("one").path())
        .expect("removed");
    foreign("pool sha256", "2/3", &[]);
}

#[test]
fn what_is_no_shard_and_a_folder_that_is_one_are_refused() {
    let place = Place::new();
    let entropy = ["--strategy", "entropy"];
    place.score(&["-o", "whole"]).args(entropy).assert().success();
    let said = refused(&place, &["whole"]);
    assert!(said.contains("whole/scores.parquet") && said.contains("--shard"), "{said}");

    shard(&place, 1, 1, &entropy);
    let into_itself = ["score", "merge", "shard-1", "--budget", "20", "-o", "shard-1"];
    let said = stderr(place.isal(&into_itself).assert().code(2).get_output().clone());
    assert!(said.contains("`shard-1` is the folder of a shard"), "{said}");
    let path = place.path("shard-1/scores.parquet");
    let mut table = ScoreTable::read_parquet(&path).expect("scores");
    table.rows.pop();
    table.write(&path).expect("written");
    let said = refused(&place, &["shard-1"]);
    assert!(said.contains("it holds 599 images, shard 1/1 has 600"), "{said}");
}
