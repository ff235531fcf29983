//! What a run says of `s`: whose curvature, how far it was solved, and what no order can be made of.

use crate::place::{Place, stderr};
use std::fs;

/// The provenance and the warnings of the run in `out`.
fn told(place: &Place, out: &str) -> (serde_json::Value, Vec<String>) {
    let run = place.json(&format!("{out}/run.json"));
    let sentences = run["summary"].as_array().expect("sentences").iter().filter_map(|s| s.as_str());
    let warnings = sentences.filter_map(|s| s.strip_prefix("Warning: ")).map(str::to_owned).collect();
    (run["provenance"].clone(), warnings)
}

#[test]
fn the_curvature_is_that_of_the_images_asked_for() {
    let place = Place::new();
    let cases: [(&[&str], &str); 4] = [
        (&[], "80 labelled images"),
        (&["--curvature", "pool", "--curvature-samples", "64"], "64 pool images"),
        (&["--curvature", "both", "--curvature-samples", "100"], "50 labelled and 50 pool images"),
        (&["--curvature", "both"], "80 labelled and 600 pool images"),
    ];
    let mut vectors = Vec::new();
    for (more, expected) in cases {
        // One folder for all: other images of the curvature are another solve.
        let ran = place.score(&["-o", "out"]).args(more).assert().success();
        assert!(!stderr(ran.get_output().clone()).contains("not solved again"), "{more:?}");
        let (provenance, _) = told(&place, "out");
        assert_eq!(provenance["curvature images"], expected);
        assert_eq!(provenance["labelled images"], "80");
        assert_eq!(provenance["converged"], "yes");
        vectors.push(provenance["s sha256"].clone());
        let again = place.score(&["-o", "out"]).args(more).assert().success();
        assert!(stderr(again.get_output().clone()).contains("not solved again"), "{more:?}");
    }
    vectors.dedup();
    assert_eq!(vectors.len(), cases.len());
}

#[test]
fn a_solver_that_needs_labels_refuses_the_pool() {
    let place = Place::new();
    let refused = place.score(&["-o", "out", "--solver", "cg-hessian", "--curvature", "pool"]).assert().code(2);
    let said = stderr(refused.get_output().clone());
    assert!(said.contains("`cg-hessian`") && said.contains("--curvature labeled"), "{said}");
}

#[test]
fn a_solve_that_runs_out_of_iterations_is_warned_of_with_what_may_be_off_and_what_to_do() {
    let place = Place::new();
    let solver = "solver = \"cg-gauss-newton\"\nmax-iterations = 12\naccepted-residual = 10.0\n\
                  damping = { relative = { fraction = 1e-4 } }\n";
    fs::write(place.path("short.toml"), solver).expect("written");
    place.score(&["-o", "out", "--solver", "short.toml", "--engine", "native"]).assert().success();
    let (provenance, warnings) = told(&place, "out");
    assert_eq!((&provenance["converged"], &provenance["iterations"]), (&"no".into(), &"12".into()));
    let warning = warnings.iter().find(|w| w.starts_with("s is not solved to the end")).expect("a warning");
    for part in ["after 12 iterations", "residual", "Spearman", "lowest tenth", "--damping", "max-iterations"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    place.score(&["-o", "whole"]).assert().success();
    assert!(!told(&place, "whole").1.iter().any(|w| w.contains("not solved")), "{:?}", told(&place, "whole").1);
}

#[test]
fn images_that_the_model_cannot_tell_apart_are_called_so_and_scored_on_request() {
    let place = Place::new();
    let image = fs::read_dir(place.path("pool/3")).expect("listed").next().expect("an image").expect("read").path();
    fs::create_dir(place.path("same")).expect("made");
    for copy in 0..40 {
        fs::copy(&image, place.path("same").join(format!("{copy}.png"))).expect("copied");
    }
    let score = |more: &[&str]| {
        let mut command =
            place.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "same"]);
        command.args(["--budget", "3", "--batch-size", "8", "--threads", "1", "-o", "out"]).args(more);
        command
    };
    let said = stderr(score(&[]).assert().code(2).get_output().clone());
    assert!(said.contains("all alike") && said.contains("--unproven"), "{said}");
    score(&["--unproven"]).assert().success();
    let (_, warnings) = told(&place, "out");
    assert!(warnings.iter().any(|w| w.contains("unproven") && w.contains("all alike")), "{warnings:?}");
    // What was let pass once is not taken for proven.
    score(&[]).assert().code(2);
}
