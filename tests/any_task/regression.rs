//! A number an image: how many different digits it shows.

use super::place::*;

#[test]
fn numbers_are_learnt_and_their_own_prediction_teaches_nothing() {
    let place = Place::new(100);
    let new = ["model", "new", "lenet", "--input", "1x56x56", "--classes", "1", "-o", "model.onnx"];
    place.isal(&new).assert().success();
    let train =
        ["train", "--model", "model.onnx", "--train", "labeled/labels.jsonl", "--epochs", "10", "-o", "trained"];
    place.isal(&train).args(["--task", "squared-error", "--learning-rate", "0.01"]).assert().success();
    let said = place.refused(&mut place.score("labeled/labels.jsonl", "out", &[]));
    assert!(said.contains("no gradient at what the model itself believes"), "{said}");
    let said = place.refused(&mut place.score("labeled/labels.jsonl", "out", &["--strategy", "entropy"]));
    assert!(said.contains("goes by `entropy`") && said.contains("it has `value`"), "{said}");
    place.score("labeled/labels.jsonl", "random", &["--strategy", "random"]).assert().success();
    let table = place.table("random");
    assert_eq!((columns(&table), table.rows.len()), (vec!["value"], 20));
    // Counts of one to four, about which a model that has learnt something is.
    assert!(table.rows.iter().all(|row| (0.0..5.0).contains(&row.beliefs[0])), "{table:?}");
}
