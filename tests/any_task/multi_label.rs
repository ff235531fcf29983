//! Several labels an image: which digits are in the picture.

use super::place::*;
use isal::influence::spearman;

const TASK: [&str; 4] = ["--task", "sigmoid-cross-entropy", "--classes", "names.txt"];

fn trained() -> Place {
    let place = Place::new(400);
    place
        .isal(&["model", "new", "lenet", "--input", "1x56x56", "--classes", "5", "-o", "model.onnx"])
        .assert()
        .success();
    let train =
        ["train", "--model", "model.onnx", "--train", "labeled/labels.jsonl", "--epochs", "20", "-o", "trained"];
    place.isal(&train).args(["--learning-rate", "0.02"]).args(TASK).assert().success();
    place
}

#[test]
fn a_pool_is_scored_by_the_influence_of_its_believed_labels() {
    let place = trained();
    // The task and the names of the classes travel with the model.
    place.score("labeled/labels.jsonl", "paired", &["--scores", "paired/scores.csv"]).assert().success();
    place.score("labeled/labels.jsonl", "out", &[]).assert().success();
    let table = place.table("out");
    assert_eq!(columns(&table), ["positives", "confidence", "entropy", "margin"]);
    assert_eq!(table.rows.len(), 300);
    for row in &table.rows {
        let [positives, confidence, entropy, margin] = row.beliefs[..] else { panic!("{row:?}") };
        assert!((0.0..=5.0).contains(&positives) && positives.fract() == 0.0, "{row:?}");
        assert!((0.0..=1.0).contains(&confidence) && (0.0..=confidence).contains(&margin), "{row:?}");
        // Five answers, each at most as unsure as a coin.
        assert!((0.0..=5.0 * 2_f64.ln() + 1e-5).contains(&entropy) && row.label.is_none(), "{row:?}");
    }
    let (chosen, lowest) = selected(&place, "out");
    assert_eq!(chosen, lowest);
    let text = std::fs::read_to_string(place.path("paired/scores.csv")).expect("read");
    assert!(
        text.starts_with("id,influence,positives,confidence,entropy,margin,label,content,same_as\n"),
        "{text:.200}"
    );

    let run = place.json("out/run.json");
    assert_eq!(run["labelled"]["measure"], "F1");
    let f1 = run["labelled"]["value"].as_f64().expect("a score");
    assert!(f1 > 0.8, "the model has learnt its task: {f1}");
    let provenance = &run["provenance"];
    let task = provenance["task"].as_str().expect("a line");
    assert!(task.starts_with("sigmoid-cross-entropy (outputs = logits; "), "{task}");
    assert_eq!(provenance["class names"], "the model's property `isal.classes`");
    let page = std::fs::read_to_string(place.path("out/report.html")).expect("a page");
    assert!(page.contains("classes (") || page.contains("1 class ("), "a caption says how many labels are believed");

    // The plugin's own derivative, and the graph alone.
    place.score("labeled/labels.jsonl", "native", &["--engine", "native"]).assert().success();
    let rank = spearman(&place.influences("out"), &place.influences("native")).expect("ranks");
    assert!(rank > 0.999, "{rank}");
    let alone = ["score", "pool", "--influence", "out/influence.onnx", "--pool", "pool", "--budget", "20"];
    place.isal(&alone).args(["--batch-size", "16", "-o", "alone"]).env("ISAL_PLUGIN", "none").assert().success();
    assert_eq!(place.table("alone").rows, table.rows);
    assert_eq!(place.json("alone/run.json")["provenance"]["task"], provenance["task"]);
    let margin = ["score", "pool", "--influence", "out/influence.onnx", "--pool", "pool", "--strategy", "margin"];
    place.isal(&margin).args(["--budget", "3", "-o", "margin"]).assert().success();
    let lowest = place.json("margin/selection.json")["selected"][0]["margin"].as_f64().expect("a margin");
    let least = table.rows.iter().map(|row| row.beliefs[3]).fold(f64::INFINITY, f64::min);
    assert!((lowest - least).abs() < 1e-6, "{lowest} {least}");
}

#[test]
fn slices_of_the_pool_join_into_the_table_of_an_unbroken_sweep() {
    let place = trained();
    place.score("labeled/labels.jsonl", "whole", &[]).assert().success();
    for shard in ["1/2", "2/2"] {
        let out = format!("shard-{}", &shard[..1]);
        // One vector and one graph for all.
        std::fs::create_dir(place.path(&out)).expect("a folder");
        for file in ["s.safetensors", "influence.onnx", "labelled.json"] {
            std::fs::copy(place.path("whole").join(file), place.path(&out).join(file)).expect("copied");
        }
        place.score("labeled/labels.jsonl", &out, &["--shard", shard]).assert().success();
    }
    place.isal(&["score", "merge", "shard-1", "shard-2", "--budget", "20", "-o", "joined"]).assert().success();
    assert_eq!(place.table("joined").rows, place.table("whole").rows);
    assert_eq!(place.json("joined/selection.json"), place.json("whole/selection.json"));
}

#[test]
fn annotations_that_do_not_fit_are_refused_by_image_and_field() {
    let place = trained();
    let known = std::fs::read_to_string(place.path("labeled/labels.jsonl")).expect("a list");
    let others: Vec<&str> = known.lines().skip(1).take(50).collect();
    std::fs::write(place.path("labeled/others.jsonl"), others.join("\n")).expect("written");
    let with = |line: &str| {
        std::fs::write(place.path("labeled/odd.jsonl"), format!("{line}\n")).expect("written");
        place.refused(&mut place.score("labeled/odd.jsonl", "odd", &["--reference", "labeled/others.jsonl"]))
    };
    let said = with(r#"{"path": "images/0000.png", "labels": ["digit 0", "cow"]}"#);
    assert!(
        said.contains("`images/0000.png`") && said.contains("\"cow\"") && said.contains("digit 0, digit 1"),
        "{said}"
    );
    let said = with(r#"{"path": "images/0000.png", "labels": [5]}"#);
    assert!(said.contains("`labels` is 5"), "{said}");
    let said = with(r#"{"path": "images/0000.png", "tags": []}"#);
    assert!(said.contains("has no `labels`") && said.contains("docs/TASKS.md"), "{said}");
    // A folder says nothing of its images.
    let said = place.refused(&mut place.score("labeled/images", "odd", &[]));
    assert!(said.contains("have no label"), "{said}");
}
