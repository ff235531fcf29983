//! A detector whose loss was written elsewhere: torchvision's FCOS as raw heads with its loss exported from PyTorch, on scenes
//! that are composed (`tests/fixtures/detectors.py`).

use super::place::*;
use super::scenes;
use std::fs;

fn place() -> Place {
    let known = fs::read_to_string(scenes::fixture("fcos.jsonl")).expect("a list");
    let lines: Vec<&str> = known.lines().map(|line| line.trim_matches(['{', '}'])).collect();
    scenes::place("fcos", |n| lines[n as usize].to_owned())
}

#[test]
fn the_influence_of_a_detector_with_its_own_loss_is_the_exact_derivative_of_that_loss() {
    let place = place();
    let shown = place.isal(&["task", "show", "--model", "trained/model.onnx"]).output().expect("it runs");
    let text = String::from_utf8(shown.stdout).expect("text");
    for part in ["cls Float", "(by its name)", "boxes Float [N, M, 4]", "labels Int64 [N, M]", "confidence Float [N]"] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
    // GIoU is not convex in what it reads: the curvature is the empirical Fisher matrix.
    scenes::hold(&place, "all", ("weights", "cg-fisher"), 2e-2);
    scenes::hold(&place, "head", ("head.*", "cg-fisher"), 1e-3);
    let table = place.table("all");
    assert_eq!(columns(&table), ["confidence", "found"]);
    assert!(table.rows.iter().any(|row| row.beliefs[1] > 1.0 && row.beliefs[1] < 12.0), "boxes are padded");
}

#[test]
fn boxes_that_are_none_are_refused_by_image() {
    let place = place();
    let known = fs::read_to_string(place.path("labeled/list.jsonl")).expect("a list");
    let others: Vec<&str> = known.lines().skip(1).collect();
    fs::write(place.path("labeled/others.jsonl"), others.join("\n")).expect("written");
    let with = |line: &str| {
        fs::write(place.path("labeled/odd.jsonl"), format!("{line}\n")).expect("written");
        let more = ["--reference", "labeled/others.jsonl"];
        place.refused(&mut place.score("labeled/odd.jsonl", "odd", &more))
    };
    let said = with(r#"{"path": "00.png", "boxes": [[1, 2, 3]], "labels": [0]}"#);
    assert!(said.contains("`00.png`: `boxes`") && said.contains("expected numbers [M, 4]"), "{said}");
    let said = with(r#"{"path": "00.png", "boxes": [[1, 2, 3, 4]]}"#);
    assert!(said.contains("`00.png` has no `labels`"), "{said}");
}
