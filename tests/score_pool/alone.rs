//! A scoring host: `isal score pool --influence`, with nothing else than the file, the pool and ONNX Runtime.

use crate::place::{Place, stderr};
use assert_cmd::Command;
use std::fs;

/// A place where a run has written its influence graph, which was then carried away from everything it was made of.
pub fn carried() -> Place {
    let place = Place::new();
    fs::write(place.path("model.toml"), "[preprocess]\nmean = [0.1307]\nstd = [0.3081]\n").expect("written");
    place.score(&["-o", "out", "--scores", "out/scores.csv", "--expected-top-k", "3"]).assert().success();
    fs::create_dir(place.path("elsewhere")).expect("a folder");
    fs::rename(place.path("out/influence.onnx"), place.path("elsewhere/graph.onnx")).expect("moved");
    place
}

/// `isal score pool --influence` where neither a model nor labels nor a plugin nor libtorch can be found.
pub fn alone(place: &Place, more: &[&str]) -> Command {
    let mut command = place.isal(&["score", "pool", "--influence", "elsewhere/graph.onnx", "--pool", "pool"]);
    command.args(["--budget", "20", "--batch-size", "8", "--threads", "1"]).args(more);
    command.env("ISAL_PLUGIN", "/nowhere/plugin.so").env("LD_LIBRARY_PATH", "/nowhere").env_remove("LIBTORCH");
    command
}

/// Takes away what the graph was made of.
fn strip(place: &Place) {
    for file in ["model.onnx", "model.toml"] {
        let path = place.path(file);
        assert!(!path.exists() || fs::remove_file(&path).is_ok(), "{file}");
    }
    fs::remove_dir_all(place.path("labeled")).expect("removed");
}

#[test]
fn an_influence_graph_alone_gives_the_scores_of_the_run_that_wrote_it() {
    let place = carried();
    strip(&place);
    alone(&place, &["-o", "host", "--scores", "host.csv"]).assert().success();
    assert!(place.read("out/scores.csv") == place.read("host.csv"), "the scores differ");
    assert!(place.read("out/selection.json") == place.read("host/selection.json"), "the selections differ");
    let (wrote, host) = (place.json("out/run.json"), place.json("host/run.json"));
    for (key, value) in host["provenance"].as_object().expect("an object") {
        if key != "influence graph" {
            assert_eq!(Some(value), wrote["provenance"].get(key), "{key}");
        }
    }
    assert_eq!(host["provenance"]["reference images"], "20");
    let summary = |run: &serde_json::Value| {
        let sentences =
            run["summary"].as_array().expect("sentences").iter().map(|s| s.as_str().expect("words").to_owned());
        // The time taken, and what only the one or only the other looks at: labelled images, or that there are none.
        let own = [
            "images/s",
            " labelled images, where guessing",
            " labelled images, and with",
            "no labelled images were given",
        ];
        sentences.filter(|sentence| !own.iter().any(|part| sentence.contains(part))).collect::<Vec<_>>()
    };
    assert!(summary(&wrote).iter().any(|sentence| sentence.starts_with("s = (curvature")), "{:?}", summary(&wrote));
    assert_eq!(
        summary(&wrote),
        summary(&host),
        "the same is said of s, of the graph, the selection and the reference set"
    );
    assert!(place.path("host/report.html").is_file());
}

#[test]
fn an_influence_graph_alone_serves_strategies_without_influence_as_the_model_does() {
    let place = carried();
    for strategy in ["entropy", "margin", "least-confidence", "random"] {
        let (plain, host) = (format!("plain-{strategy}"), format!("host-{strategy}"));
        let more = ["--strategy", strategy];
        place
            .isal(&["score", "pool", "--model", "model.onnx", "--pool", "pool", "--budget", "20", "--batch-size", "8"])
            .args(["--threads", "1", "-o", &plain])
            .args(more)
            .assert()
            .success();
        alone(&place, &["-o", &host]).args(more).assert().success();
        let selection = |out: &str| place.read(&format!("{out}/selection.json"));
        assert!(selection(&plain) == selection(&host), "{strategy}");
        let rows = |out: &str| {
            let path = place.path(out).join("scores.parquet");
            isal::scores::ScoreTable::read_parquet(&path).expect("scores").rows
        };
        assert_eq!(rows(&plain), rows(&host), "{strategy}");
    }
}

#[test]
fn what_was_settled_when_the_graph_was_written_cannot_be_given_again() {
    let place = Place::new();
    for conflict in [
        ["--model", "model.onnx"],
        ["--labeled", "labeled"],
        ["--reference", "labeled"],
        ["--reference-fraction", "0.3"],
        ["--engine", "native"],
        ["--solver", "identity"],
        ["--damping", "1"],
        ["--scope", "head"],
        ["--expected-top-k", "2"],
        ["--class-scores", "logits"],
        ["--recipe", "model.toml"],
        ["--set", "mean=[0.5]"],
        ["--device", "cpu"],
    ] {
        let failed = alone(&place, &["-o", "out"]).args(conflict).assert().code(2);
        let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(said.contains("--influence") && said.contains(conflict[0]), "{conflict:?}: {said}");
    }
}

#[test]
fn a_file_that_cannot_score_alone_is_refused_with_what_it_lacks() {
    let place = carried();
    fs::rename(place.path("elsewhere/graph.onnx"), place.path("whole.onnx")).expect("moved");
    fs::copy(place.path("model.onnx"), place.path("elsewhere/graph.onnx")).expect("copied");
    let said = stderr(alone(&place, &["-o", "host"]).assert().code(2).get_output().clone());
    assert!(said.contains("graph.onnx") && said.contains("no influence graph"), "{said}");

    let whole = isal_onnx::Model::read(place.path("whole.onnx")).expect("a model");
    let refused = |key: &str, value: Option<&str>| {
        let mut model = whole.clone();
        model.metadata.shift_remove(&format!("isal.influence.{key}")).expect("it was there");
        model.metadata.extend(value.map(|value| (format!("isal.influence.{key}"), value.to_owned())));
        model.write(place.path("elsewhere/graph.onnx")).expect("written");
        stderr(alone(&place, &["-o", "host"]).assert().code(2).get_output().clone())
    };
    for key in ["classes", "preprocessing", "task", "model sha256"] {
        let said = refused(key, None);
        assert!(said.contains(&format!("isal.influence.{key}")), "{key}: {said}");
    }
    let said = refused("classes", Some("[\"a\", \"b\"]"));
    assert!(said.contains("2 class names for 10"), "{said}");
    let text = &whole.metadata["isal.influence.preprocessing"];
    let said = refused("preprocessing", Some(&text.replace("28", "0")));
    assert!(said.contains("pixels"), "{said}");
}

#[test]
fn an_exported_graph_scores_alone_like_the_one_that_a_run_writes() {
    let place = Place::new();
    place.score(&["-o", "out"]).assert().success();
    let export = ["export", "influence", "--model", "model.onnx", "--vector", "out/s.safetensors", "--form", "tangent"];
    place.isal(&export).args(["--sample", "pool", "-o", "exported.onnx"]).assert().success();
    fs::create_dir(place.path("elsewhere")).expect("a folder");
    fs::rename(place.path("exported.onnx"), place.path("elsewhere/graph.onnx")).expect("moved");
    strip(&place);
    alone(&place, &["-o", "host"]).assert().success();
    let influences = |out: &str| -> Vec<f64> {
        let table = isal::scores::ScoreTable::read_parquet(&place.path(out).join("scores.parquet")).expect("scores");
        table.rows.iter().map(|row| row.influence.expect("an influence")).collect()
    };
    // The run's paired graph was held to 0.999 against the exact derivative, which the tangent graph is.
    let agreement = isal::influence::spearman(&influences("out"), &influences("host")).expect("two rankings");
    assert!(agreement >= 0.999, "{agreement}");
    let run = place.json("host/run.json");
    assert!(run["provenance"]["engine"].as_str().is_some_and(|engine| engine.starts_with("tangent graph")), "{run}");
    assert!(!run["summary"].to_string().contains("unknown"), "{}", run["summary"]);
}
