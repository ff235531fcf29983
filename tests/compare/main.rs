//! `isal compare` on runs whose worth is known beforehand, and `isal study` on real digits.

#[path = "../score_pool/digits.rs"]
mod digits;

mod study;

use assert_cmd::Command;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder for runs.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn isal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.isal(arguments).arg("--json").output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.isal(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    }

    /// A run as `isal run` leaves it, with these accuracies at 20, 40, 60, ... labels.
    fn run(&self, folder: &str, select: Value, seed: u64, accuracies: &[f64]) {
        self.run_with(folder, select, seed, accuracies, |_| ());
    }

    /// The same, with `run.json` changed.
    fn run_with(&self, folder: &str, select: Value, seed: u64, accuracies: &[f64], change: impl Fn(&mut Value)) {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).expect("made");
        let mut identity = json!({
            "schema": "isal-rounds/1",
            "config": {
                "seed": seed, "rounds": 3, "model": "model.onnx", "data": { "pool": "pool", "test": "test" },
                "labels": { "initial": 20, "budget": 20 }, "select": select,
            },
            "model": "a".repeat(64), "pool": "b".repeat(64), "reference": null, "test": "c".repeat(64),
        });
        change(&mut identity);
        let round = |(round, accuracy): (usize, &f64)| {
            json!({
                "round": round, "labeled": 20 * (round + 1), "test_loss": 1.0 - accuracy, "test_accuracy": accuracy,
                "train_s": 2.0, "score_s": if round == 2 { Value::Null } else { json!(0.5) },
            })
        };
        let ended: Vec<Value> = accuracies.iter().enumerate().map(round).collect();
        let curve = json!({ "schema": "isal-rounds/1", "strategy": select["strategy"], "seed": seed, "rounds": 3, "ended": ended });
        write(&folder.join("run.json"), &identity);
        write(&folder.join("curve.json"), &curve);
    }

    /// `random` and three arms over four seeds: one clearly better, one the same on average, one clearly worse.
    fn known() -> Place {
        let place = Place::new();
        for (seed, off) in (1..).zip([0.01, -0.02, 0.03, -0.01]) {
            let run = |name: &str, gains: [f64; 2]| {
                let accuracies = [0.5 + off, 0.6 + off + gains[0], 0.7 + off + gains[1]];
                place.run(&format!("runs/{name}-{seed}"), json!({ "strategy": name }), seed, &accuracies);
            };
            run("random", [0.0, 0.0]);
            run("margin", [0.1 + off / 10.0, 0.1 + off / 10.0]);
            run("entropy", [[0.01, -0.01, 0.01, -0.01][seed as usize - 1]; 2]);
            run("least-confidence", [-0.05 + off / 5.0, -0.05 + off / 5.0]);
        }
        place
    }
}

fn write(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).expect("written");
}

fn arm<'a>(comparison: &'a Value, name: &str) -> &'a Value {
    let arms = comparison["arms"].as_array().expect("arms");
    arms.iter().find(|arm| arm["name"] == name).unwrap_or_else(|| panic!("no arm `{name}` in {comparison}"))
}

fn near(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
}

#[test]
fn what_is_better_by_construction_is_called_better_and_what_is_not_is_not() {
    let place = Place::known();
    let found = place.json(&["compare", "runs", "-o", "out"]);
    let verdict = |name: &str| arm(&found, name)["against_random"]["verdict"].as_str().expect("a verdict").to_owned();
    assert_eq!(verdict("margin"), "better than random");
    assert_eq!(verdict("entropy"), "no better than random");
    assert_eq!(verdict("least-confidence"), "worse than random");
    assert!(arm(&found, "random")["against_random"].is_null());
    let names: Vec<&str> =
        found["arms"].as_array().expect("arms").iter().map(|arm| arm["name"].as_str().expect("a name")).collect();
    assert_eq!((names[0], names[3]), ("margin", "least-confidence"), "the best first");

    // The offsets add up to 0.01 over four seeds, so means are 0.0025 off.
    let random = arm(&found, "random");
    near(&random["area"]["mean"], 0.65 + 0.0025);
    near(&random["area_with_first_round"]["mean"], 0.6 + 0.0025);
    near(&random["train_s"], 2.0);
    near(&random["score_s"], 0.5);
    near(&random["curve"][2]["worth"]["mean"], 0.7 + 0.0025);
    near(&random["curve"][2]["labels"], 60.0);
    let margin = &arm(&found, "margin")["against_random"];
    near(&margin["gain"]["mean"], 0.1 + 0.00025);
    // Four differences of one sign are as far from zero in 2 of 16 ways, and margin's p is the lowest of three.
    near(&margin["gain"]["interval"][0], MARGIN_LOW);
    near(&margin["p"], MARGIN_P);
    near(&margin["p_sign_flips"], 0.125);
    near(&margin["p_corrected"], 3.0 * MARGIN_P);
    let saved: f64 = [0.01, -0.02, 0.03, -0.01].into_iter().map(saved_by_margin).sum::<f64>() / 4.0;
    near(&margin["labels_saved"]["mean"], saved);
    assert_eq!(margin["never_reached"], 0);
    assert_eq!(arm(&found, "least-confidence")["against_random"]["never_reached"], 4);
    assert_eq!(found["pairs"].as_array().expect("pairs").len(), 6);

    let written: Value =
        serde_json::from_slice(&fs::read(place.path("out/compare.json")).expect("there")).expect("JSON");
    assert_eq!(written, found);
    let page = fs::read_to_string(place.path("out/compare.html")).expect("a page");
    assert!(
        page.contains("margin is better than random") && page.contains("<svg") && !page.contains("http://localhost")
    );
    assert!(!page.contains("<script") && !page.contains("<link") && !page.contains(" src="), "it loads nothing");
    assert!(fs::read_to_string(place.path("out/compare.svg")).expect("a drawing").contains("least-confidence"));
}

/// Share of random's 60 labels that margin does without, from its curve: a line from 0.5 + off at 20 labels to 0.7 + 1.1 off at 40,
/// and on to 0.8 + 1.1 off at 60; random's best is 0.7 + off.
fn saved_by_margin(off: f64) -> f64 {
    let target = 0.7 + off;
    let (start, middle, end) = (0.5 + off, 0.7 + 1.1 * off, 0.8 + 1.1 * off);
    let labels = match middle >= target {
        true => 20.0 + 20.0 * (target - start) / (middle - start),
        false => 40.0 + 20.0 * (target - middle) / (end - middle),
    };
    1.0 - labels / 60.0
}

/// Of margin's gains 0.101, 0.098, 0.103 and 0.099, by SciPy: the lower end of the interval, and p of `ttest_rel`.
const MARGIN_LOW: f64 = 0.096_721_692_141_069_36;
const MARGIN_P: f64 = 2.981_553_307_599_008_2e-6;

#[test]
fn where_nothing_is_better_it_says_so() {
    let place = Place::known();
    let runs: Vec<String> =
        (1..=4).flat_map(|seed| ["random", "entropy"].map(|name| format!("runs/{name}-{seed}"))).collect();
    let mut arguments = vec!["compare"];
    arguments.extend(runs.iter().map(String::as_str));
    let output = place.isal(&arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("No better than random.\n"), "{text}");
    assert!(text.contains("2 arms, 8 runs, 3 rounds, 20 to 60 labels"), "{text}");
    assert!(text.contains("4 seeds are few"), "{text}");
}

#[test]
fn one_seed_has_no_intervals_and_says_so() {
    let place = Place::known();
    let found = place.json(&["compare", "runs/random-1", "runs/margin-1"]);
    let margin = arm(&found, "margin");
    assert!(margin["area"]["interval"].is_null() && margin["against_random"]["p"].is_null());
    assert_eq!(margin["against_random"]["verdict"], "one seed, no telling");
    let summary = found["summary"].to_string();
    assert!(summary.contains("One seed") && summary.contains("no intervals"), "{summary}");
}

#[test]
fn options_of_a_strategy_make_arms_and_seeds_do_not() {
    let place = Place::new();
    for seed in 1..=2 {
        for beta in [1.0, 3.0] {
            let select = json!({ "strategy": "power-margin", "beta": beta, "seed": seed });
            place.run(&format!("power-{beta}-{seed}"), select, seed, &[0.5, 0.6, 0.7 + beta / 100.0]);
        }
    }
    let found = place.json(&["compare", "."]);
    assert_eq!(found["arms"].as_array().expect("arms").len(), 2);
    assert_eq!(arm(&found, "power-margin (select.beta=3.0)")["seeds"], json!([1, 2]));
    assert!(found["summary"].to_string().contains("No run of `random`"));
}

#[test]
fn random_with_the_reference_set_trained_on_is_an_arm_of_its_own_and_no_baseline() {
    let place = Place::known();
    for seed in 1..=4 {
        let folder = format!("runs/with-{seed}");
        let reference = |run: &mut Value| {
            run["config"]["train"] = json!({ "with-reference": true });
            run["config"]["data"]["reference"] = json!("reference");
            run["reference"] = json!("d".repeat(64));
        };
        place.run_with(&folder, json!({ "strategy": "random" }), seed, &[0.8, 0.9, 0.95], reference);
        let path = place.path(&folder).join("curve.json");
        let mut curve: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
        for round in curve["ended"].as_array_mut().expect("rounds") {
            round["reference_labeled"] = json!(200);
        }
        write(&path, &curve);
    }
    let found = place.json(&["compare", "runs"]);
    let arms = found["arms"].as_array().expect("arms");
    assert_eq!((arms.len(), &arms[0]["reference_labeled"]), (5, &json!(200)), "the best first");
    let best = arms[0]["name"].as_str().expect("a name");
    assert!(best.starts_with("random (") && best.contains("train.with-reference=true"), "{best}");
    near(&arms[0]["curve"][2]["labels"], 60.0);
    // Held against the random that has no other labels, by 0.925 less the 0.6525 of that.
    near(&arms[0]["against_random"]["gain"]["mean"], 0.925 - 0.6525);
    let plain = arms.iter().find(|arm| arm["strategy"] == "random" && arm["against_random"].is_null());
    assert!(plain.is_some_and(|arm| arm["reference_labeled"].is_null()));
    assert!(found["summary"].to_string().contains("is trained on 200 labelled images of the reference set as well"));
}

#[test]
fn losses_are_better_when_they_are_lower() {
    let place = Place::known();
    for entry in fs::read_dir(place.path("runs")).expect("runs") {
        let path = entry.expect("a run").path().join("curve.json");
        let mut curve: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
        for round in curve["ended"].as_array_mut().expect("rounds") {
            round["test_accuracy"] = Value::Null;
        }
        write(&path, &curve);
    }
    let found = place.json(&["compare", "runs"]);
    assert_eq!((&found["metric"], &found["arms"][0]["name"]), (&json!("test_loss"), &json!("margin")));
    let margin = &arm(&found, "margin")["against_random"];
    near(&margin["gain"]["mean"], 0.1 + 0.00025);
    assert_eq!(margin["verdict"], "better than random");
}

#[test]
fn runs_that_are_not_of_one_task_are_refused_by_name() {
    let place = Place::known();
    let random = json!({ "strategy": "random" });
    let curve = [0.5, 0.6, 0.7];
    place.run_with("test", random.clone(), 7, &curve, |run| run["test"] = json!("d".repeat(64)));
    place.run_with("epochs", random.clone(), 7, &curve, |run| run["config"]["train"] = json!({ "epochs": 7 }));
    place.run_with("moved", random.clone(), 7, &curve, |run| run["config"]["data"]["pool"] = json!("elsewhere"));
    place.run("again", random.clone(), 1, &curve);
    place.run("open", random.clone(), 8, &curve[..2]);
    for (folder, expected) in [
        ("test", "the test set (\"cccccccccccc\" and \"dddddddddddd\")"),
        ("epochs", "train.epochs (30 and 7)"),
        ("again", "are the same run: arm `random`, seed 1"),
        ("nowhere", "`nowhere` holds no run"),
    ] {
        let said = place.refused(&["compare", "runs/random-1", folder]);
        assert!(said.contains(expected), "{folder}: {said}");
    }
    let said = place.refused(&["compare", "open"]);
    assert!(said.contains("no run has ended: `open` has 2 of 3 rounds"), "{said}");
    // What lies elsewhere and is the same is the same; what has not ended is named and left out.
    let found = place.json(&["compare", "runs/random-1", "runs/random-1", "moved", "open"]);
    assert_eq!(arm(&found, "random")["seeds"], json!([1, 7]));
    assert_eq!(found["left_out"], json!([{ "folder": "open", "ended": 2, "rounds": 3 }]));
}

#[test]
fn runs_of_a_seed_that_began_with_other_images_are_refused() {
    let place = Place::known();
    for (run, id) in [("random-1", "a"), ("margin-1", "b")] {
        fs::create_dir_all(place.path(&format!("runs/{run}/round-00"))).expect("made");
        let labeled = json!({ "schema": "isal-labeled/1", "ids": [id] });
        write(&place.path(&format!("runs/{run}/round-00/labeled.json")), &labeled);
    }
    let said = place.refused(&["compare", "runs"]);
    assert!(said.contains("have seed 1 and began with different labelled images"), "{said}");
}

#[test]
fn an_unnamed_solver_is_the_default_of_the_task_that_the_run_is_of() {
    let place = Place::new();
    let runs = |task: Option<&str>, seed: u64| {
        place.run_with(&format!("runs/{seed}"), json!({ "strategy": "influence" }), seed, &[0.5, 0.6, 0.7], |run| {
            run["config"]["data"]["reference"] = "reference".into();
            run["task"] = json!(task);
            if seed > 1 {
                run["config"]["solver"] = json!({ "solver": "cg-fisher" });
            }
        });
    };
    let arms = || place.json(&["compare", "runs"])["arms"].clone();
    // A detector's: the run that names it and the one that does not are of one arm.
    runs(Some("fcos"), 1);
    runs(Some("fcos"), 2);
    let found = arms();
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["options"]["solver.solver"], "cg-fisher");
    // A classifier's, also of runs that an earlier version left, which do not say what they are of.
    for task in [Some("softmax-cross-entropy"), None] {
        runs(task, 1);
        let found = arms();
        let solvers: Vec<&Value> = (0..2).map(|arm| &found[arm]["options"]["solver.solver"]).collect();
        assert!(solvers.contains(&&json!("cg-gauss-newton")) && solvers.contains(&&json!("cg-fisher")), "{found}");
    }
}

/// Crowded images: as good by images as is said, and no better than random by boxes.
#[test]
fn against_boxes_a_strategy_that_picks_crowded_images_is_worth_what_its_boxes_are() {
    let place = Place::new();
    for (seed, off) in (1..).zip([0.01, -0.02, 0.03, -0.01]) {
        // mAP is 0.001 a box from 0.1 at 100 boxes on; the crowded arm pays for twice as many boxes a round.
        for (name, step) in [("random", 100), ("entropy", 200)] {
            let folder = format!("runs/{name}-{seed}");
            place.run(&folder, json!({ "strategy": name }), seed, &[0.0; 3]);
            let path = place.path(&folder).join("curve.json");
            let mut curve: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
            for (round, ended) in (0..).zip(curve["ended"].as_array_mut().expect("rounds")) {
                let boxes = 100 + step * round;
                ended["boxes"] = boxes.into();
                ended["test_accuracy"] = Value::Null;
                ended["test_figure"] = json!({ "measure": "mAP", "value": off + 0.001 * f64::from(boxes) });
            }
            write(&path, &curve);
        }
    }
    let by_images = place.json(&["compare", "runs"]);
    assert_eq!(by_images["against"], "labels");
    // Rounds 2 and 3: 0.3 and 0.5 against 0.2 and 0.3.
    near(&arm(&by_images, "entropy")["against_random"]["gain"]["mean"], 0.15);

    let by_boxes = place.json(&["compare", "runs", "--against", "boxes", "-o", "out"]);
    assert_eq!((&by_boxes["against"], &by_boxes["metric"]), (&"boxes".into(), &json!({ "test_share": "mAP" })));
    let against = &arm(&by_boxes, "entropy")["against_random"];
    // Both curves are one line; up to the 300 boxes that both have, its mean is that at 200.
    near(&against["gain"]["mean"], 0.0);
    near(&arm(&by_boxes, "random")["area"]["mean"], 0.2 + 0.0025);
    near(&against["labels_saved"]["mean"], 0.0);
    near(&arm(&by_boxes, "entropy")["curve"][2]["boxes"], 500.0);
    let page = fs::read_to_string(place.path("out/compare.html")).expect("a page");
    assert_eq!(page.matches("<svg").count(), 2, "against labels and against boxes");
    assert!(page.contains("Boxes that were labelled") && page.contains("<td class=\"n\">500"), "{page}");
    let svg = fs::read_to_string(place.path("out/compare-boxes.svg")).expect("a drawing");
    assert!(svg.contains("boxes"), "{svg}");

    let said = Place::known().refused(&["compare", "runs", "--against", "boxes"]);
    assert!(said.contains("how many boxes"), "{said}");
}
