//! `isal graph` as a user runs it.

#[path = "fixtures/classes.rs"]
mod classes;

use assert_cmd::Command;
use classes::Classes;
use isal_onnx::influence::{Difference, Direction, Paired};
use isal_onnx::{Model, Tensor};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

fn isal(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
    command.current_dir(folder).args(arguments);
    command
}

/// Standard output as JSON, and the exit code.
fn json(arguments: &[&str], folder: &Path) -> (Value, i32) {
    let output = isal(arguments, folder).arg("--json").output().expect("it runs");
    (serde_json::from_slice(&output.stdout).expect("JSON"), output.status.code().expect("a code"))
}

/// A folder with a ResNet-8 and its paired influence graph over the last layer.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    isal(&["model", "new", "resnet8", "-o", "model.onnx"], folder.path()).assert().success();
    let model = Model::read(folder.path().join("model.onnx")).expect("a model");
    let s = Direction::from([("fc.weight".to_owned(), Tensor::new([10, 64], &[0.5f32; 640]))]);
    let options = Classes { logits: "logits".to_owned(), classes: 10, top_k: 1, per_class: false, embedding: false };
    let how = Paired { relative_step: 1e-3, difference: Difference::OneSided };
    let built = options.paired(&model, &[s], how).expect("built");
    built.write(folder.path().join("influence.onnx")).expect("written");
    folder
}

#[test]
fn show_counts_parameters_by_scope_and_what_they_reach() {
    let folder = place();
    let (shown, code) = json(&["graph", "show", "model.onnx", "--scope", "head"], folder.path());
    assert_eq!((code, &shown["schema"]), (0, &Value::from("isal-graph/1")));
    // ResNet-8 over 3 channels: convolutions 3x16, 2 of 16x16, 16x32, 32x32, 32x64, 64x64 at 3x3, two 1x1 shortcuts, 64x10.
    let weights = 9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 16 * 32 + 32 * 64 + 640;
    assert_eq!(shown["scopes"]["weights"]["elements"], weights);
    assert_eq!(shown["scopes"]["head"], serde_json::json!({"tensors": 2, "elements": 650}));
    assert_eq!((&shown["node_count"], &shown["reached_count"]), (&Value::from(31), &Value::from(1)));
    let reached: Vec<&Value> =
        shown["nodes"].as_array().expect("nodes").iter().filter(|n| n["reached"] == true).collect();
    assert_eq!(reached.len(), 1);
    assert_eq!(reached[0]["op"], "Gemm");
    assert_eq!(reached[0]["outputs"][0], serde_json::json!({"name": "logits", "type": "Float [N, 10]"}));
    let whole = json(&["graph", "show", "model.onnx"], folder.path()).0;
    assert_eq!(whole["reached_count"], 31);
}

#[test]
fn an_influence_graph_says_its_form_and_step() {
    let folder = place();
    let output = isal(&["graph", "show", "influence.onnx"], folder.path()).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    for part in ["isal.influence.form: paired", "isal.influence.relative step: 1e-3", "output influence: Float [N]"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn diff_says_no_where_something_differs_and_what() {
    let folder = place();
    let (alike, code) = json(&["graph", "diff", "model.onnx", "model.onnx"], folder.path());
    assert_eq!((code, &alike["alike"]), (0, &Value::Bool(true)));
    let (found, code) = json(&["graph", "diff", "model.onnx", "influence.onnx"], folder.path());
    assert_eq!((code, &found["alike"]), (1, &Value::Bool(false)));
    let outputs = found["outputs"].as_array().expect("outputs");
    assert!(outputs.iter().all(|output| output["change"]["added"].is_string()), "{outputs:?}");
    let names: Vec<&str> = outputs.iter().map(|output| output["name"].as_str().expect("a name")).collect();
    let beliefs = ["belief.pseudo_label", "belief.confidence", "belief.entropy", "belief.margin"];
    assert_eq!(names, [&["pseudo_label.weights"][..], &beliefs, &["influence"]].concat());
    // One-sided over the last layer: the model's own nodes and weights stay, one Gemm is doubled.
    let nodes = found["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().all(|n| n["whole"]["added"].is_string()), "{nodes:?}");
    assert_eq!(nodes.iter().filter(|n| n["whole"]["added"] == "Gemm").count(), 1);
    let initializers = found["initializers"].as_array().expect("initializers");
    assert!(initializers.iter().all(|i| i["whole"]["added"].is_string()), "{initializers:?}");
    assert_eq!(found["weights"]["max_abs"], 0.0);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = place();
    // Far more than a pipe holds: the command cannot have finished writing before its reader is gone.
    let mut big = Model::read(folder.path().join("model.onnx")).expect("a model");
    for i in 0..20_000 {
        big.metadata.insert(format!("key {i}"), "value".repeat(10));
    }
    big.write(folder.path().join("big.onnx")).expect("written");
    for arguments in [&["graph", "show", "big.onnx"][..], &["graph", "show", "big.onnx", "--json"]] {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("isal"))
            .current_dir(folder.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
