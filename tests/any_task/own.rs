//! Graphs that PyTorch wrote: the focal loss of docs/TASKS.md.

use super::place::*;
use isal::influence::spearman;
use std::path::Path;

#[test]
fn a_loss_of_ones_own_scores_a_pool() {
    let place = Place::new(300);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks");
    let [loss, decode] = ["loss", "decode"].map(|graph| fixtures.join(format!("focal.dynamo.{graph}.onnx")));
    let own = ["--loss", loss.to_str().expect("text"), "--decode", decode.to_str().expect("text")];
    let new = ["model", "new", "lenet", "--input", "1x56x56", "--classes", "5", "--opset", "18", "-o", "model.onnx"];
    place.isal(&new).assert().success();
    let train =
        ["train", "--model", "model.onnx", "--train", "labeled/labels.jsonl", "--epochs", "20", "-o", "trained"];
    place.isal(&train).args(["--learning-rate", "0.05"]).args(own).assert().success();
    // Both graphs stand beside the trained model.
    place.score("labeled/labels.jsonl", "out", &[]).assert().success();
    let table = place.table("out");
    assert_eq!((columns(&table).len(), table.rows.len()), (0, 300), "its decode graph has no beliefs");
    let (chosen, lowest) = selected(&place, "out");
    assert_eq!(chosen, lowest);
    place.score("labeled/labels.jsonl", "native", &["--engine", "native"]).assert().success();
    let rank = spearman(&place.influences("out"), &place.influences("native")).expect("ranks");
    assert!(rank > 0.999, "{rank}");
    let said = place.refused(&mut place.score("labeled/labels.jsonl", "out", &["--strategy", "margin"]));
    assert!(said.contains("goes by `margin`") && said.contains("it has none"), "{said}");
    place.score("labeled/labels.jsonl", "random", &["--strategy", "random"]).assert().success();
    assert_eq!(place.table("random").rows.len(), 20);
    let said = place.refused(&mut place.score("labeled/labels.jsonl", "out", &["--expected-top-k", "3"]));
    assert!(said.contains("one class an image"), "{said}");
}
