//! What a table of a million rows takes: `cargo test --release -p isal --test view -- --ignored --nocapture a_million`.

use super::client::Client;
use isal::data::{Content, Dataset, OpenOptions};
use isal::scores::{BeliefColumn, Rows, ScoreRow, write};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const ROWS: u32 = 1_000_000;
const SIDE: u32 = 8;

/// A number in [0, 1) for another one, as good as drawn.
fn drawn(number: u32, salt: u32) -> f64 {
    let mut x = u64::from(number) << 32 | u64::from(salt);
    for _ in 0..2 {
        x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    }
    ((x ^ (x >> 33)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A folder as `isal score pool` leaves it, and its pool: an archive of images of 8x8.
fn make(folder: &Path) {
    let mut images = std::io::BufWriter::new(fs::File::create(folder.join("train-images-idx3-ubyte")).expect("a file"));
    for number in [0x803, ROWS, SIDE, SIDE] {
        images.write_all(&number.to_be_bytes()).expect("written");
    }
    for number in 0..ROWS {
        let pixels: Vec<u8> = (0..SIDE * SIDE).map(|at| (number.wrapping_mul(31) + at * 3) as u8).collect();
        images.write_all(&pixels).expect("written");
    }
    drop(images);
    let pool = folder.join("train-images-idx3-ubyte");
    let opened = Dataset::open(&pool, &OpenOptions::default()).expect("an archive");
    let columns = [
        BeliefColumn::whole("pseudo_label"),
        BeliefColumn::number("confidence"),
        BeliefColumn::number("entropy"),
        BeliefColumn::number("margin"),
    ];
    let rows: Vec<ScoreRow> = (0..ROWS)
        .map(|number| ScoreRow {
            id: opened.id(number as usize),
            influence: Some(drawn(number, 1) * 2.0 - 1.0),
            beliefs: vec![(drawn(number, 2) * 100.0).floor(), drawn(number, 3), drawn(number, 4), drawn(number, 5)],
            label: None,
            content: Content::from_bits(u64::from(number)),
            same_as: None,
        })
        .collect();
    let recipe = serde_json::json!({"channels": "grey", "layout": "nchw", "resize": {"height": 8, "width": 8}, "filter": "bilinear", "crop": null,
        "size": {"height": 8, "width": 8}, "range": "unit", "mean": [0.0], "std": [1.0], "alpha": "drop"});
    let provenance = [("preprocessing".to_owned(), recipe.to_string())].into_iter().collect();
    write(&provenance, Rows::Memory(&columns, &rows), &folder.join("scores.parquet")).expect("written");
    let classes: Vec<String> = (0..100).map(|class| format!("class {class}")).collect();
    let run = serde_json::json!({"schema": "isal-run/1", "summary": [], "files": {}, "pool": pool, "classes": classes});
    fs::write(folder.join("run.json"), run.to_string()).expect("written");
}

/// Memory of a process in MB, as `what` in its status counts it.
fn memory(process: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a status");
    let line = status.lines().find(|line| line.starts_with(what)).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

#[test]
#[ignore = "a measurement, of a minute"]
fn a_million_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    make(folder.path());
    let size = fs::metadata(folder.path().join("scores.parquet")).expect("a file").len() >> 20;
    println!("the table: {size} MB");
    let began = Instant::now();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
    command.arg("view").arg(folder.path()).args(["--port", "0", "--json", "-q"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut text = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let said: serde_json::Value = loop {
        text.push_str(&lines.next().expect("it lives").expect("text"));
        if let Ok(said) = serde_json::from_str(&text) {
            break said;
        }
    };
    assert_eq!(said["images"], ROWS);
    println!("until it answers: {:.2} s, {} MB", began.elapsed().as_secs_f64(), memory(child.id(), "VmRSS"));
    let client = Client::open(said["url"].as_str().expect("an address"));
    for address in [
        "/pool",
        "/pool?page=2",
        "/pool?page=16667",
        "/pool?class=7&least=90",
        "/pool?by=entropy&falling=yes",
        "/pool?text=99999",
        "/image?row=777777",
        "/picture?at=999999&side=160",
        "/label",
    ] {
        let began = Instant::now();
        let answer = client.get(address);
        assert_eq!(answer.status, 200, "{address}");
        println!(
            "{address}: {:.3} s, {} kB, {} MB held",
            began.elapsed().as_secs_f64(),
            answer.body.len() / 1000,
            memory(child.id(), "VmRSS")
        );
    }
    println!("at most: {} MB", memory(child.id(), "VmHWM"));
    child.kill().expect("ended");
    child.wait().expect("ended");
}
