//! `isal bench` as a user runs it: who takes part. What it measures is nobody's to assert.

use assert_cmd::Command;
use half::f16;
use isal_exporters::{build, zoo};
use isal_onnx::{DataType, Node, Tensor};
use std::path::Path;

/// The names in the table, and what is said beside it, of a measurement as short as can be.
fn measured(folder: &Path, arguments: &[&str], plugin: bool) -> (Vec<String>, String) {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
    command.current_dir(folder).args(["bench", "--execution-provider", "cpu", "--batch-size", "2"]);
    command.args(["--rounds", "1", "--seconds", "0.001"]).args(arguments);
    if !plugin {
        command.env("ISAL_PLUGIN", "/nowhere/plugin.so");
    }
    let output = command.assert().success().get_output().clone();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Names of several words, and figures behind them; the first line says what the figures are.
    let name = |line: &str| line.split("  ").next().unwrap_or_default().to_owned();
    (text(&output.stdout).lines().skip(1).map(name).collect(), text(&output.stderr))
}

#[test]
fn everything_is_measured_that_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (all, said) = measured(folder.path(), &["--zoo", "lenet"], true);
    assert_eq!((all.len(), said.as_str()), (5, ""), "{all:?}");
    assert!(all[4].starts_with("native engine"), "{all:?}");
    let (graphs, said) = measured(folder.path(), &["--zoo", "lenet"], false);
    assert_eq!(graphs, all[..4]);
    assert!(said.contains("the gradient plugin is not there"), "{said}");
}

#[test]
fn weights_that_take_no_small_step_are_measured_in_the_tangent_graph_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("narrow.onnx");
    let entry = zoo().iter().find(|entry| entry.name == "lenet").expect("a model of the zoo");
    let mut model = build("lenet", &entry.defaults).expect("built");
    let graph = &mut model.graph;
    for tensor in graph.initializers.values_mut().filter(|t| t.data_type() == DataType::Float) {
        let values = tensor.to_vec::<f32>().expect("float32");
        *tensor = Tensor::new(tensor.dims(), &values.into_iter().map(f16::from_f32).collect::<Vec<_>>());
    }
    // Images and logits stay float32.
    let (input, output) = (graph.inputs[0].name.clone(), graph.outputs[0].name.clone());
    for name in graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs)) {
        if *name == input || *name == output {
            name.push_str("/narrow");
        }
    }
    let cast = |from: &str, to: &str, data_type: DataType| {
        Node::new("Cast", to, [from.to_owned()], [to.to_owned()]).with("to", i64::from(data_type.number()))
    };
    graph.nodes.insert(0, cast(&input, &format!("{input}/narrow"), DataType::Float16));
    graph.nodes.push(cast(&format!("{output}/narrow"), &output, DataType::Float));
    graph.value_types.clear();
    model.write(&path).expect("written");
    let (names, said) = measured(folder.path(), &["--model", "narrow.onnx"], false);
    assert_eq!(names, ["ONNX Runtime, prediction alone", "tangent graph, prediction and influence"]);
    assert!(said.contains("a small step is rounded away"), "{said}");
}
