//! The batch size of a sweep: tried where it is not given, and kept.

use crate::lenet;
use crate::place::{Place, stderr};
use isal::scores::{ScoreRow, ScoreTable};
use std::fs;

/// `isal score pool` by entropy, with or without a batch size.
fn score(place: &Place, out: &str, more: &[&str]) -> assert_cmd::Command {
    let mut command = place.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool"]);
    command.args(["--budget", "20", "--threads", "1", "-o", out]).args(more);
    command
}

#[test]
fn a_batch_size_that_was_tried_is_kept_for_the_rest_of_the_sweep() {
    let place = Place::new();
    let said = stderr(score(&place, "out", &[]).assert().success().get_output().clone());
    let batch_size = place.json("out/run.json")["provenance"]["batch size"].as_str().expect("text").to_owned();
    assert!(said.contains(&format!("batch size {batch_size} (images a second")), "{said}");
    assert!([8, 16, 32, 64, 128, 256].map(|n: usize| n.to_string()).contains(&batch_size), "{batch_size}");
    let scores = place.read("out/scores.parquet");

    // As if killed after the first part, on a machine that would now find another size.
    fs::remove_file(place.path("out/scores.parquet")).expect("removed");
    let parts = fs::read_dir(place.path("out/parts")).expect("listed");
    let mut parts: Vec<_> = parts.map(|part| part.expect("a part").path()).collect();
    parts.sort();
    parts.iter().skip(usize::from(parts.len() > 1)).for_each(|part| fs::remove_file(part).expect("removed"));
    let said = stderr(score(&place, "out", &[]).assert().success().get_output().clone());
    assert!(!said.contains("images a second"), "it was not tried again: {said}");
    assert!(scores == place.read("out/scores.parquet"), "the bytes are the same");

    fs::remove_dir_all(place.path("out/parts")).expect("removed");
    score(&place, "out", &["--batch-size", &batch_size]).assert().success();
    assert!(scores == place.read("out/scores.parquet"), "a size that is given is the same as one that was found");

    // A sweep of something else is tried anew.
    let said = stderr(score(&place, "out", &["--strategy", "entropy"]).assert().success().get_output().clone());
    assert!(said.contains("images a second"), "{said}");
}

#[test]
fn scores_do_not_hang_on_the_batch_size_beyond_rounding() {
    let place = Place::new();
    let rows = |batch_size: &str| {
        // One vector and one graph for both: it is the sweep that is compared.
        score(&place, "out", &["--batch-size", batch_size]).assert().success();
        ScoreTable::read_parquet(&place.path("out/scores.parquet")).expect("scores").rows
    };
    let (small, large) = (rows("7"), rows("128"));
    let influence = |row: &ScoreRow| row.influence.expect("an influence");
    let scale = small.iter().map(|row| influence(row).abs()).fold(0.0, f64::max);
    assert_eq!(small.len(), 600);
    for (a, b) in small.iter().zip(&large) {
        assert_eq!((&a.id, a.beliefs[0], a.label), (&b.id, b.beliefs[0], b.label));
        assert!((a.beliefs[1] - b.beliefs[1]).abs() <= lenet::ROUNDING, "{}", a.id);
        // Outputs round to 6e-8, and the pair divides their difference by a step that may be as small as 1e-5.
        assert!((influence(a) - influence(b)).abs() < 2e-2 * scale, "{}: {a:?} {b:?} of {scale}", a.id);
    }
}

#[test]
fn shards_take_one_batch_size_whatever_the_machine() {
    let place = Place::new();
    let entropy = ["--strategy", "entropy", "--shard", "1/2"];
    score(&place, "shard-1", &entropy).assert().success();
    assert_eq!(place.json("shard-1/run.json")["provenance"]["batch size"], "64");
    let other = ["--strategy", "entropy", "--shard", "2/2", "--batch-size", "32"];
    score(&place, "shard-2", &other).assert().success();
    let merge = ["score", "merge", "shard-1", "shard-2", "--budget", "5", "-o", "merged"];
    let said = stderr(place.isal(&merge).assert().code(2).get_output().clone());
    assert!(said.contains("`batch size` is `32` in the first and `64` in the second"), "{said}");
}

#[test]
fn a_model_exported_for_one_batch_size_scores_a_pool_that_does_not_divide_by_it() {
    let place = Place::new();
    let mut model = isal_onnx::Model::read(place.path("model.onnx")).expect("read");
    score_all(&place, "free");
    let free = ScoreTable::read_parquet(&place.path("free/scores.parquet")).expect("scores").rows;
    let symbol = match &model.graph.inputs[0].value_type.as_ref().expect("a type").shape.as_ref().expect("a shape")[0] {
        isal_onnx::Dim::Symbol(name) => name.clone(),
        other => panic!("the batch is {other}"),
    };
    // 600 images do not divide by 7.
    model.bind(&symbol, 7);
    model.write(place.path("model.onnx")).expect("written");
    score_all(&place, "fixed");
    let fixed = ScoreTable::read_parquet(&place.path("fixed/scores.parquet")).expect("scores").rows;
    assert_eq!(fixed.len(), free.len());
    let influence = |row: &ScoreRow| row.influence.expect("an influence");
    let scale = free.iter().map(|row| influence(row).abs()).fold(0.0, f64::max);
    for (a, b) in free.iter().zip(&fixed) {
        assert_eq!((&a.id, a.beliefs[0]), (&b.id, b.beliefs[0]));
        assert!((influence(a) - influence(b)).abs() <= lenet::ROUNDING * scale, "{}: {a:?} against {b:?}", a.id);
    }
}

/// `isal score pool` by the exact graph, whose scores hang on no choice of a step.
fn score_all(place: &Place, out: &str) {
    let mut command = place.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool"]);
    command.args(["--budget", "20", "--threads", "1", "--engine", "tangent", "-o", out]).assert().success();
}
