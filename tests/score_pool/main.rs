//! `isal score pool` as a user runs it, on real digits, with the real plugin and ONNX Runtime.

mod alone;
mod batch_size;
mod between;
mod digits;
mod duplicates;
mod forms;
mod given;
mod joint;
mod lenet;
#[cfg(target_os = "linux")]
mod memory;
mod overlap;
mod place;
mod providers;
mod reduced;
mod served;
mod shards;
mod solving;
mod to_label;
mod unusable;

use place::{Place, stderr};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_pool_is_scored_and_the_lowest_influence_is_selected() {
    let place = Place::new();
    place.score(&["-o", "out", "--scores", "scores.csv"]).assert().success();
    let mut reader = csv::Reader::from_path(place.path("scores.csv")).expect("the scores open");
    let columns = ["id", "influence", "pseudo_label", "confidence", "entropy", "margin", "label", "content", "same_as"];
    assert_eq!(reader.headers().expect("a header"), columns.as_slice());
    let row = |row: csv::StringRecord| (row[1].parse().expect("an influence"), row[0].to_owned());
    let mut scores: Vec<(f64, String)> = reader.records().map(|found| row(found.expect("a row"))).collect();
    assert_eq!(scores.len(), 600);
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let selection = place.json("out/selection.json");
    let selected: Vec<&str> =
        selection["selected"].as_array().expect("a list").iter().map(|s| s["id"].as_str().expect("an id")).collect();
    let lowest: Vec<&str> = scores.iter().take(20).map(|(_, id)| id.as_str()).collect();
    assert_eq!(selected, lowest);
    for file in ["out/report.html", "out/run.json", "out/s.safetensors"] {
        assert!(place.path(file).is_file(), "{file}");
    }
    let run = place.json("out/run.json");
    assert_eq!(run["provenance"]["labelled images"], "80", "a fifth is held out");
    assert_eq!(run["provenance"]["reference images"], "20");
}

#[test]
fn a_killed_sweep_goes_on_and_ends_with_the_same_bytes() {
    let place = Place::new();
    place.score(&["-o", "whole"]).assert().success();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("isal"))
        .current_dir(place.folder.path())
        .args(["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool"])
        .args(["--budget", "20", "--batch-size", "8", "-o", "broken", "--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // Part files hold 32 batches of 8: with 600 images, the first is there well before the end.
    let parts = place.path("broken/parts");
    let until = Instant::now() + Duration::from_secs(120);
    while count(&parts) == 0 && Instant::now() < until && child.try_wait().expect("a state").is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(count(&parts) >= 1, "a part was finished before the kill");
    let killed_early = !place.path("broken/selection.json").exists();
    place.score(&["-o", "broken"]).assert().success();
    assert!(killed_early, "the kill came before the end");
    for file in ["scores.parquet", "selection.json", "s.safetensors"] {
        let (whole, broken) = (place.read(&format!("whole/{file}")), place.read(&format!("broken/{file}")));
        if file == "s.safetensors" {
            // It holds the seconds the solve took; the vector itself is compared.
            let vector = |name: &str| isal::influence::SolvedVector::load(&place.path(name)).expect("a vector").s;
            assert_eq!(vector("whole/s.safetensors"), vector("broken/s.safetensors"));
        } else {
            assert!(whole == broken, "{file} differs");
        }
    }
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| {
        entries.filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "parquet"))).count()
    })
}

#[test]
fn finished_stages_are_not_done_again() {
    let place = Place::new();
    place.score(&["-o", "out"]).assert().success();
    let vector = place.read("out/s.safetensors");
    let said = stderr(place.score(&["-o", "out", "--strategy", "influence"]).output().expect("it runs"));
    assert!(said.contains("not solved again"), "{said}");
    assert_eq!(vector, place.read("out/s.safetensors"));
    assert!(place.json("out/run.json")["times"].is_null(), "no image was scored again");
}

#[test]
fn a_corrupt_image_is_named_and_left_out_or_fatal_under_strict() {
    let place = Place::new();
    fs::write(place.path("pool/3/corrupt.png"), b"\x89PNG\r\n\x1a\n and then nothing").expect("written");
    place.score(&["-o", "out"]).assert().success();
    let run = place.json("out/run.json");
    assert_eq!(run["skipped"][0][0], "3/corrupt.png");
    assert!(!String::from_utf8_lossy(&place.read("out/selection.json")).contains("corrupt"));
    let failed = place.score(&["-o", "strict", "--strict"]).assert().failure();
    assert!(String::from_utf8_lossy(&failed.get_output().stderr).contains("3/corrupt.png"));
}

#[test]
fn bad_models_are_refused_with_exit_code_2() {
    let place = Place::new();
    let model = place.read("model.onnx");
    fs::write(place.path("model.onnx"), &model[..model.len() / 2]).expect("written");
    let failed = place.score(&["-o", "out"]).assert().code(2);
    let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(said.contains("model.onnx"), "{said}");

    let mut broken = isal_onnx::Model::from_bytes(&model, None).expect("a model");
    let weight = broken.graph.initializers.values_mut().next().expect("a weight");
    *weight = isal_onnx::Tensor::new(weight.dims(), &vec![f32::NAN; weight.len()]);
    broken.write(place.path("model.onnx")).expect("written");
    let failed = place.score(&["-o", "out"]).assert().failure();
    let said = String::from_utf8_lossy(&failed.get_output().stderr).to_lowercase();
    assert!(said.contains("nan") || said.contains("finite"), "{said}");
}

#[test]
fn strategies_without_influence_need_no_plugin_and_no_labels() {
    let place = Place::new();
    for strategy in ["entropy", "margin", "least-confidence", "random"] {
        let out = format!("out-{strategy}");
        place
            .isal(&["score", "pool", "--model", "model.onnx", "--pool", "pool", "--budget", "7", "-o", &out])
            .args(["--strategy", strategy])
            .env("ISAL_PLUGIN", "/nowhere/plugin.so")
            .assert()
            .success();
        let selection = place.json(&format!("{out}/selection.json"));
        assert_eq!(selection["selected"].as_array().map(Vec::len), Some(7), "{strategy}");
    }
}

#[test]
fn a_missing_plugin_or_label_is_explained() {
    let place = Place::new();
    let said = stderr(place.score(&["-o", "out"]).env("ISAL_PLUGIN", "/nowhere/plugin.so").output().expect("it runs"));
    assert!(said.contains("/nowhere/plugin.so") && said.contains("make plugin"), "{said}");
    place
        .isal(&["score", "pool", "--model", "model.onnx", "--pool", "pool", "--budget", "7", "-o", "out"])
        .assert()
        .code(2);
}

#[test]
fn a_folder_in_use_is_not_written_to() {
    let place = Place::new();
    let _lock = isal::durable::FolderLock::take(&place.path("out")).expect("locked");
    let failed = place.score(&["-o", "out"]).assert().failure();
    assert!(String::from_utf8_lossy(&failed.get_output().stderr).contains("in use"));
}

#[test]
fn a_vector_that_was_solved_for_one_output_does_not_serve_another() {
    let place = Place::new();
    // A second output of class scores over the same parameters: the same network, turned round.
    let mut model = isal_onnx::Model::from_bytes(&place.read("model.onnx"), None).expect("a model");
    model.graph.nodes.push(isal_onnx::Node::new("Neg", "turned", ["logits"], ["against"]));
    let output = model.graph.outputs[0].clone();
    model.graph.outputs.push(isal_onnx::ValueInfo { name: "against".into(), ..output });
    model.write(place.path("model.onnx")).expect("written");
    let vector = || isal::influence::SolvedVector::load(&place.path("out/s.safetensors")).expect("a vector");
    place.score(&["-o", "out", "--class-scores", "logits"]).assert().success();
    let first = vector();
    let said = stderr(place.score(&["-o", "out", "--class-scores", "against"]).output().expect("it runs"));
    assert!(!said.contains("not solved again"), "{said}");
    let second = vector();
    for (vector, value) in [(&first, "logits"), (&second, "against")] {
        let loss = &vector.provenance.loss;
        assert!(loss.starts_with(&format!("softmax-cross-entropy (outputs = {value};")), "{loss}");
    }
    assert_ne!(first.s, second.s);
}

#[test]
fn a_random_draw_looks_at_what_it_draws_alone_and_draws_again_for_what_it_cannot_read() {
    let place = Place::new();
    let draw = |out: &str, budget: &str| -> Vec<String> {
        let request =
            ["score", "pool", "--model", "model.onnx", "--pool", "pool", "--strategy", "random", "--seed", "5"];
        place.isal(&request).args(["--budget", budget, "-o", out]).assert().success();
        let selection = place.json(&format!("{out}/selection.json"));
        assert_eq!(selection["pool"], 600);
        let selected = selection["selected"].as_array().expect("a list");
        let mut ids: Vec<_> = selected.iter().map(|s| s["id"].as_str().expect("an id").to_owned()).collect();
        let path = place.path(out).join("scores.parquet");
        let mut scored: Vec<_> =
            isal::scores::ScoreTable::read_parquet(&path).expect("scores").rows.into_iter().map(|row| row.id).collect();
        let order = ids.clone();
        ids.sort();
        scored.sort();
        assert_eq!(ids, scored);
        order
    };
    let eight = draw("eight", "8");
    assert_eq!(draw("seven", "7"), eight[..7]);
    fs::write(place.path("pool").join(&eight[2]), b"\x89PNG\r\n\x1a\n and then nothing").expect("written");
    let mut expected = eight.clone();
    expected.remove(2);
    assert_eq!(draw("again", "7"), expected);
    assert_eq!(place.json("again/run.json")["skipped"][0][0], eight[2].as_str());
}
