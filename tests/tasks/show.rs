//! `isal task show`: what binds to what, and what does not.

use super::exported::file;
use super::place::network;
use assert_cmd::Command;
use isal_onnx::{Builder, Model, Node};
use std::path::Path;

fn isal(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_isal")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn written(model: &Model, folder: &Path) -> String {
    let path = folder.join("model.onnx");
    model.write(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The network of several labels with a Sigmoid at its end, as deployed models have it.
fn squashed() -> Model {
    let mut model = network(&[5]);
    model.opsets.insert(String::new(), 18);
    let mut output = model.graph.outputs.remove(0);
    model.graph.nodes.push(Node::new("Sigmoid", "squash", ["outputs"], ["tags_on"]));
    output.name = "tags_on".to_owned();
    model.graph.outputs.push(output);
    model
}

#[test]
fn a_built_in_task_sees_through_the_sigmoid_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let model = written(&squashed(), folder.path());
    let (code, out, _) = isal(&["task", "show", "--model", &model, "--task", "sigmoid-cross-entropy"]);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("outputs Float [N, 5]  <-  `outputs` Float [N, 5] (what goes into the Sigmoid at the end)"),
        "{out}"
    );
    assert!(out.contains("labels Float [N, 5]"), "{out}");
    let (code, out, _) = isal(&["task", "show", "--model", &model, "--task", "sigmoid-cross-entropy", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["values"][0]["how"]), (0, &serde_json::json!("behind-sigmoid")));
    assert_eq!(said["annotations"], serde_json::json!([{"name": "labels", "type": "Float [N, 5]"}]));
}

#[test]
fn a_loss_of_ones_own_binds_by_name_or_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let model = written(&squashed(), folder.path());
    let (loss, decode) = (file("dynamo", "loss"), file("dynamo", "decode"));
    let show = |bind: &[&str]| {
        let fixed =
            ["task", "show", "--model", &model, "--loss", loss.to_str().unwrap(), "--decode", decode.to_str().unwrap()];
        isal(&[&fixed[..], bind].concat())
    };
    let (code, out, _) = show(&[]);
    assert!(code == 0 && out.contains("scores Float [N, 5]  <-  `tags_on` Float [N, 5] (the output)"), "{out}");
    let (code, out, _) = show(&["--bind", "scores=outputs"]);
    assert!(code == 0 && out.contains("<-  `outputs` Float [N, 5] (as given)"), "{out}");
    for (bind, part) in [
        (
            "scores=logits",
            "`scores` is bound to `logits`, which the model does not have; its outputs are `tags_on` Float [N, 5]",
        ),
        ("tags=outputs", "`tags` is no input to bind: the task's graphs read `scores` Float [N, 5]"),
        ("scores=hidden", "the task reads `scores` Float [N, 5], and the model's value `hidden` is Float [N, 4, 6, 6]"),
    ] {
        let (code, _, error) = show(&["--bind", bind]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(part), "expected `{part}` in `{error}`");
    }
}

#[test]
fn graphs_that_are_no_task_of_the_model_are_refused_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let older = written(&network(&[5]), folder.path());
    let (loss, decode) = (file("torchscript", "loss"), file("torchscript", "decode"));
    let (loss, decode) = (loss.to_str().unwrap(), decode.to_str().unwrap());
    let refused = |arguments: &[&str], part: &str| {
        let (code, _, error) = isal(&[&["task", "show", "--model", &older], arguments].concat());
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(part), "expected `{part}` in `{error}`");
    };
    refused(
        &["--loss", loss, "--decode", decode],
        "the loss graph of opset 18: export it again with `opset_version=17`",
    );
    refused(&["--loss", decode, "--decode", loss], "opset");
    refused(&["--task", "sigmoid"], "softmax-cross-entropy");
    refused(&["--task", "pixel-cross-entropy"], "[N, C, H, W]");
    refused(&[], "`--task NAME`");

    // A loss that gives a matrix, and one that only counts.
    let newer = folder.path().join("newer.onnx");
    let mut model = network(&[5]);
    model.opsets.insert(String::new(), 18);
    model.write(&newer).unwrap();
    let graph = |op: &str, name: &str| {
        let mut b = Builder::new("loss");
        let x = b.input("scores", super::place::float(&[5]));
        let y = b.op(op, [x]);
        let axis = b.constant("axis", isal_onnx::Tensor::new([1], &[1_i64]));
        let sum = b.node("ReduceSum", [y, axis]).attr("keepdims", i64::from(name == "matrix")).value();
        b.output("loss", sum, None);
        let mut model = Model::new(18, b.finish().unwrap());
        model.infer_shapes().unwrap();
        let kind = model.graph.value_type("loss");
        model.graph.outputs[0].value_type = kind;
        let path = folder.path().join(format!("{name}.onnx"));
        model.write(&path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (loss, part) in [
        (graph("Neg", "matrix"), "the loss graph gives `loss` Float [N, 1], expected one output of floats [N]"),
        (graph("Floor", "steps"), "the loss graph cannot be differentiated"),
    ] {
        let arguments = ["task", "show", "--model", newer.to_str().unwrap(), "--loss", &loss, "--decode", decode];
        let (code, _, error) = isal(&arguments);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(part), "expected `{part}` in `{error}`");
    }
}

#[test]
fn a_table_beside_the_model_says_the_task() {
    let folder = tempfile::tempdir().unwrap();
    let model = written(&squashed(), folder.path());
    let table = |text: &str| std::fs::write(folder.path().join("model.toml"), text).unwrap();
    for graph in ["loss", "decode"] {
        std::fs::copy(file("dynamo", graph), folder.path().join(format!("{graph}.onnx"))).unwrap();
    }
    let show = |more: &[&str]| isal(&[&["task", "show", "--model", &model], more].concat());
    table(
        "[preprocess]\nmean = [0.5]\n\n[task]\nloss = \"loss.onnx\"\ndecode = \"decode.onnx\"\nbind = { scores = \"outputs\" }\n",
    );
    let (code, out, error) = show(&[]);
    assert!(code == 0 && out.contains("scores Float [N, 5]  <-  `outputs` Float [N, 5] (as given)"), "{out}{error}");
    let (code, out, _) = show(&["--bind", "scores=tags_on"]);
    assert!(code == 0 && out.contains("<-  `tags_on`"), "{out}");
    table("[task]\nname = \"sigmoid-cross-entropy\"\n");
    let (code, out, _) = show(&[]);
    assert!(code == 0 && out.contains("labels Float [N, 5]"), "{out}");
    for (wrong, part) in [
        ("[task]\nloss = \"loss.onnx\"\n", "takes a `name`, or `loss` and `decode`"),
        ("[task]\nnane = \"x\"\n", "unknown field `nane`"),
        ("[preprocess]\nmean = [0.5]\n", "or a `[task]` table in"),
    ] {
        table(wrong);
        let (code, _, error) = show(&[]);
        assert!(code == 2 && error.contains(part), "expected `{part}` in `{error}`");
    }
}

/// What docs/TASKS.md shows is what the fixture was made with, and what the command prints.
#[test]
fn the_guide_shows_what_is_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (guide, script) = (text("docs/TASKS.md"), text("tests/fixtures/tasks.py"));
    let blocks: Vec<&str> = guide.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert!(script.contains(block.trim_end()), "tests/fixtures/tasks.py has no such lines:\n{block}");
    }
    assert!(guide.contains(&isal(&["task", "list"]).1));
    let folder = tempfile::tempdir().unwrap();
    for graph in ["loss", "decode"] {
        std::fs::copy(file("dynamo", graph), folder.path().join(format!("{graph}.onnx"))).unwrap();
    }
    for (command, shown) in [
        ("model new lenet --classes 5 --opset 18 -o model.onnx", false),
        ("task show --model model.onnx --loss loss.onnx --decode decode.onnx", true),
    ] {
        assert!(guide.contains(&format!("$ isal {command}\n")), "{command}");
        let output = Command::new(env!("CARGO_BIN_EXE_isal"))
            .args(command.split(' '))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(!shown || guide.contains(&printed), "{printed}");
    }
}
