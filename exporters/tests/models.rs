//! The structure-only models of `tests/fixtures/models`, filled: the weights are those that PyTorch ran with.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use isal_exporters::seeded;
use isal_onnx::{DataType, Dim, Model};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

fn fixtures() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/models");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn both_exporters_are_there_for_every_torchvision_model_and_the_newer_for_the_rest() {
    let names: Vec<String> = fixtures().iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let of = |exporter: &str| -> BTreeSet<&str> { names.iter().filter_map(|n| n.strip_suffix(exporter)).collect() };
    let (dynamo, torchscript) = (of(".dynamo"), of(".torchscript"));
    assert!(torchscript.is_subset(&dynamo), "{:?}", torchscript.difference(&dynamo));
    assert_eq!((torchscript.len(), dynamo.len()), (22, 22 + 19));
    // Kept with its BatchNorm by the older exporter, which folds it otherwise.
    assert_eq!(of(".torchscript-bn"), BTreeSet::from(["resnet18", "vgg11_bn"]));
}

#[test]
fn filling_a_structure_gives_the_bytes_that_pytorch_ran_with() {
    for folder in fixtures() {
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
        let mut model = Model::read(folder.join("model.onnx")).unwrap();
        let count = model.graph.inputs.len() - 1;
        seeded::fill(&mut model).unwrap();
        let mut sha = Sha256::new();
        for tensor in model.graph.initializers.values().take(count) {
            assert_eq!(tensor.data_type(), DataType::Float);
            sha.update(tensor.bytes());
        }
        let digest = sha.finalize().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        assert_eq!(digest, expected["weights_sha256"].as_str().unwrap(), "{}", folder.display());

        let [images] = &model.graph.inputs[..] else { panic!("{}: one input is left", folder.display()) };
        let dims: Vec<usize> = serde_json::from_value(expected["images"]["dims"].clone()).unwrap();
        let shape = images.value_type.as_ref().unwrap().shape.as_ref().unwrap();
        assert_eq!(shape[1..], dims[1..].iter().copied().map(Dim::from).collect::<Vec<_>>());
        assert_eq!(shape[0].known(), None, "{}: the batch is dynamic", folder.display());
        for row in expected["gradients"].as_array().unwrap() {
            let name = row["name"].as_str().unwrap();
            assert!(model.graph.initializers.contains_key(name), "{}: gradient of `{name}`", folder.display());
        }
    }
}
