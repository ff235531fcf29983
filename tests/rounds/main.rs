//! `isal run` as a user runs it, on real digits, with the real plugin and ONNX Runtime.

mod boxes;
mod command;
mod detector;
mod exported;
mod killed;
mod kinds;
mod label_studio;
mod people;
mod place;
mod recipes;
mod tools;

use place::{CONFIG, Place, list, stderr};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;

#[test]
fn every_round_labels_what_was_selected_before_and_trains_on_all_of_it() {
    let place = Place::new();
    place.run("out", &[]).assert().success();
    let labeled = place.labeled("out");
    assert_eq!(labeled.iter().map(Vec::len).collect::<Vec<_>>(), [20, 15, 15], "a share of 0.05 of 300 is 15");
    let class = |id: &String| id.split('/').next().expect("a class").to_owned();
    for digit in 0..10 {
        let of = labeled[0].iter().filter(|id| class(id) == digit.to_string()).count();
        assert_eq!(of, 2, "balanced");
    }
    let all: HashSet<&String> = labeled.iter().flatten().collect();
    assert_eq!(all.len(), 50, "no image is labelled twice");
    for round in 0..2 {
        let selection = place.json(&format!("out/round-{round:02}/scored/selection.json"));
        let selected: Vec<&str> = selection["selected"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|s| s["id"].as_str().expect("an id"))
            .collect();
        assert_eq!(selected, labeled[round + 1], "round {round}");
        let influence = selection["selected"][0]["influence"].as_f64().expect("an influence");
        assert!(influence < 0.0, "the most useful image is expected to lower the loss");
    }
    let curve = place.json("out/curve.json");
    let ended = curve["ended"].as_array().expect("rounds");
    assert_eq!(ended.iter().map(|r| r["labeled"].as_u64().expect("a number")).collect::<Vec<_>>(), [20, 35, 50]);
    for (round, ended) in ended.iter().enumerate() {
        let metrics = place.json(&format!("out/round-{round:02}/trained/metrics.json"));
        assert_eq!(metrics["epochs"][3]["test"]["accuracy"], ended["test_accuracy"]);
        assert!(metrics["epochs"][2]["test"].is_null(), "the test images are looked at after the last epoch alone");
    }
    assert!(fs::read_to_string(place.path("out/curve.svg")).expect("a drawing").starts_with("<svg"));

    let status = place.isal(&["run", "--status", "out", "--json"]).output().expect("it runs");
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["ended"], curve["ended"]);
    assert_eq!((&status["state"], &status["cost"]["labeled"]), (&"done".into(), &50.into()));
}

#[test]
fn models_are_kept_as_the_output_says_and_reference_images_as_the_data_say() {
    let place = Place::new();
    let settings = ["output.keep=last", "data.reference-images=20", "train.warm-start=true", "rounds=2"];
    let more: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    place.run("out", &more).assert().success();
    let models: Vec<bool> =
        (0..2).map(|round| place.path(&format!("out/round-{round:02}/trained/model.onnx")).exists()).collect();
    assert_eq!(models, [false, true]);
    let scored = place.json("out/round-00/scored/run.json").to_string();
    assert!(scored.contains(r#""reference images":"20""#), "{scored}");
    // A run that has ended is left as it is, but for what is kept of it.
    place.run("out", &more).args(["--set", "output.keep=none"]).assert().success();
    assert!(!place.path("out/round-01/trained/model.onnx").exists());
    let said = stderr(place.run("other", &more).args(["--set", "data.reference-images=41"]), 2);
    assert!(said.contains("data.reference-images is 41, expected 1 to 40"), "{said}");
}

#[test]
fn what_influence_is_of_can_be_said() {
    let place = Place::new();
    let settings = ["rounds=2", "influence.scope=head", "influence.expected-top-k=3"];
    let more: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    place.run("out", &more).assert().success();
    let scored = place.json("out/round-00/scored/run.json").to_string();
    for part in ["over scope `head`", "the 3 most likely classes"] {
        assert!(scored.contains(part), "{part}: {scored}");
    }
    let said = stderr(&mut place.run("other", &["--set", "influence.scope=nothing.*"]), 2);
    assert!(said.contains("nothing.*"), "{said}");
    let said = stderr(&mut place.run("other", &["--set", "influence.expected-top-k=0"]), 2);
    assert!(said.contains("influence.expected-top-k is 0"), "{said}");
}

#[test]
fn another_seed_is_another_run_and_needs_another_folder() {
    let place = Place::new();
    let random = ["--set", "select.strategy=random", "--set", "labels.balanced=false", "--set", "rounds=2"];
    place.run("out", &random).assert().success();
    let said = stderr(place.run("out", &random).args(["--set", "seed=6"]), 2);
    assert!(said.contains("holds another run") && said.contains("configuration"), "{said}");
    place.run("other", &random).args(["--set", "seed=6"]).assert().success();
    let first = |out: &str| place.json(&format!("{out}/round-00/labeled.json"))["ids"].clone();
    assert_ne!(first("out"), first("other"));
    fs::write(place.path("model.onnx"), fs::read(place.path("out/round-00/trained/model.onnx")).expect("a model"))
        .expect("written");
    let said = stderr(&mut place.run("out", &random), 2);
    assert!(said.contains("its model is not the one given"), "{said}");
}

#[test]
fn what_makes_no_run_is_refused_before_anything_is_trained() {
    let place = Place::new();
    let copy = |from: &str, to: &str| fs::copy(place.path(from), place.path(to)).expect("copied");
    let shared: Vec<String> = list(&place.path("test/7"));
    copy(&format!("test/7/{}", shared[0]), "reference/7/also.png");
    for (setting, expected) in [
        ("labels.budget=200", "label 420 images in all, and the pool holds 300"),
        ("labels.initial=0", "labels.initial"),
        ("labels.initial-labels=list.csv", "initial-labels"),
        ("oracle.kind=human", "labels.balanced"),
        ("train.kind=command", "train.command"),
        ("output.keep=some", "some"),
        ("train.momentum=1.5", "train.momentum"),
        ("train.epoch=3", "epoch"),
        ("select.strategy=guess", "guess"),
        ("data.pool=nowhere", "nowhere"),
        ("rounds=0", "rounds"),
        // The picture that reference and test share.
        ("seed=1", "also.png"),
    ] {
        let said = stderr(&mut place.run("out", &["--set", setting]), 2);
        assert!(said.contains(expected), "{setting}: {said}");
    }
    fs::remove_file(place.path("reference/7/also.png")).expect("removed");
    // What the test images are is in no other set either.
    for (set, setting) in [("pool", "seed=1"), ("new-site", "data.target=new-site")] {
        let to = format!("{set}/7/also-{set}.png");
        fs::create_dir_all(place.path(&format!("{set}/7"))).expect("made");
        copy(&format!("test/7/{}", shared[0]), &to);
        let said = stderr(&mut place.run("out", &["--set", setting]), 2);
        assert!(said.contains(&format!("also-{set}.png")) && said.contains("test"), "{set}: {said}");
        fs::remove_file(place.path(&to)).expect("removed");
    }
    let text = CONFIG.replace(" reference = \"reference\",", "");
    fs::write(place.path("run.toml"), text).expect("written");
    let said = stderr(&mut place.run("out", &[]), 2);
    assert!(said.contains("needs data.reference"), "{said}");
    assert!(!place.path("out/round-00").exists());
    let said = stderr(&mut place.isal(&["run", "--status", "out"]), 2);
    assert!(said.contains("holds no run"), "{said}");
}
