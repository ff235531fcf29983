//! The score that a detection must be above to be a pseudo box, and images without any.

use super::{detector, place::*};
use isal_onnx::Model;

#[path = "../fixtures/exported_detector.rs"]
mod exported_detector;
use exported_detector::exported;

fn score(place: &Place, out: &str, more: &[&str]) -> assert_cmd::Command {
    let pool = ["score", "pool", "--model", "exported.onnx", "--labeled", "labeled/list.jsonl", "--pool", "pool"];
    let mut command = place.isal(&pool);
    command.args(["--budget", "5", "--batch-size", "8", "--scope", "head", "-o", out]).args(more);
    command
}

#[test]
fn the_threshold_reaches_the_graph_and_images_without_boxes_are_counted_and_may_be_left_out() {
    let place = detector::place();
    exported().write(place.path("exported.onnx")).expect("written");
    score(&place, "usual", &[]).assert().success();
    let usual = place.table("usual");
    let of = |out: &str, name: &str| {
        let table = place.table(out);
        let column = columns(&table).iter().position(|column| *column == name).expect(name);
        table.rows.iter().map(|row| (row.id.clone(), row.beliefs[column])).collect::<Vec<(String, f64)>>()
    };
    // An untrained network is as sure of every image as of the next: every one has boxes above 0.1.
    assert!(of("usual", "found").iter().all(|(_, found)| *found > 0.0));
    assert_eq!(place.json("usual/run.json")["without_boxes"], 0);
    let mut sure: Vec<f64> = of("usual", "confidence").into_iter().map(|(_, sure)| sure).collect();
    sure.sort_by(f64::total_cmp);
    // Between the two in the middle, so that half of the images have no box.
    let middle = usual.rows.len() / 2;
    let threshold = ((sure[middle - 1] + sure[middle]) / 2.0) as f32;
    assert!(sure[middle - 1] < f64::from(threshold) && f64::from(threshold) < sure[middle], "{sure:?}");
    let given = threshold.to_string();

    score(&place, "scored", &["--noised-score-thresh", &given]).assert().success();
    let run = place.json("scored/run.json");
    assert_eq!(run["without_boxes"], middle);
    let said = run["summary"].to_string();
    assert!(said.contains(&format!("In {middle} of 30 images the model finds no box: they are scored")), "{said}");
    for ((id, sure), (_, found)) in of("scored", "confidence").iter().zip(of("scored", "found")) {
        assert_eq!(*sure > f64::from(threshold), found > 0.0, "{id}");
    }
    assert!(place.influences("scored") != place.influences("usual"), "other pseudo boxes, other influences");
    let graph = Model::read(place.path("scored/influence.onnx")).expect("a graph");
    let inside = graph.graph.initializers.iter().filter(|(name, _)| name.contains("noised_score_thresh"));
    let inside: Vec<f32> = inside.flat_map(|(_, tensor)| tensor.to_vec::<f32>().expect("floats")).collect();
    assert!(!inside.is_empty() && inside.iter().all(|value| *value == threshold), "{inside:?}");

    score(&place, "left", &["--noised-score-thresh", &given, "--without-boxes", "leave-out"]).assert().success();
    let selection = place.json("left/selection.json");
    assert_eq!(selection["left_out"]["without_boxes"], middle);
    let chosen = selection["selected"].as_array().expect("a list");
    assert!(chosen.len() == 5 && chosen.iter().all(|chosen| chosen["found"].as_u64() > Some(0)), "{chosen:?}");
    let said = place.json("left/run.json")["summary"].to_string();
    assert!(said.contains(&format!("{middle} are left out of the selection")), "{said}");

    let said = place.refused(&mut score(&place, "odd", &["--noised-score-thresh", "0.01"]));
    assert!(said.contains("0.05"), "{said}");
    let said = place.refused(&mut score(&place, "odd", &["--without-boxes", "leave-out", "--strategy", "random"]));
    assert!(said.contains("does not go with strategy `random`"), "{said}");
    let own = ["--noised-score-thresh", "0.2"];
    let said = place.refused(&mut place.score("labeled/list.jsonl", "own", &own));
    assert!(said.contains("no value `noised_score_thresh`"), "{said}");
}
