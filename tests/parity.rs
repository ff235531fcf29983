//! One network on both engines: what the plugin computes is what ONNX Runtime computes.
//!
//! A pool is swept by ONNX Runtime and its gradients come from the plugin, so a disagreement would not show anywhere
//! else. The networks are torchvision's and timm's, as PyTorch's exporters write them (`tests/fixtures/README.md`). Needs
//! the plugin and ONNX Runtime (`make plugin`).

use isal::plugin::{LoadOptions, Plugin, PluginEngine};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal_exporters::seeded;
use isal_onnx::Model;
use ndarray::Array4;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest difference of an output, over the largest output.
const TOLERANCE: f32 = 1e-4;

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let entries = fs::read_dir(root).expect("the fixtures");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.retain(|folder| folder.join("model.onnx").exists());
    folders.sort();
    folders
}

fn images(folder: &Path) -> Array4<f32> {
    let text = fs::read_to_string(folder.join("expected.json")).expect("expectations");
    let expected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let images = &expected["images"];
    let dims: Vec<usize> =
        images["dims"].as_array().expect("dims").iter().map(|d| d.as_u64().expect("a size") as usize).collect();
    let dims: [usize; 4] = dims.try_into().expect("four axes");
    let tensor = seeded::images(images["seed"].as_u64().expect("a seed"), dims);
    Array4::from_shape_vec(dims, tensor.to_vec().expect("float32")).expect("as many pixels")
}

/// Outputs of the model on both engines differ by this much of the largest.
fn difference(folder: &Path, library: &Library, plugin: &Plugin) -> Result<f32, String> {
    let mut model = Model::read(folder.join("model.onnx")).map_err(|e| e.to_string())?;
    seeded::fill(&mut model).map_err(|e| e.to_string())?;
    let weights = model.graph.initializers.iter().find(|(_, t)| t.data_type().is_float() && t.dims().len() >= 2);
    let parameters = vec![weights.ok_or("no weights")?.0.clone()];
    let output = model.graph.outputs.first().ok_or("no output")?.name.clone();
    let images = images(folder);

    let file = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = file.path().join("model.onnx");
    model.write(&path).map_err(|e| e.to_string())?;
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 0 };
    let mut session = Session::open(library, &path, options).map_err(|e| e.to_string())?;
    let expected = session.run(images.view(), &[&output]).map_err(|e| e.to_string())?.remove(0);

    let options = LoadOptions { parameters, ..LoadOptions::default() };
    let engine = PluginEngine::from_model(plugin, &model, &options).map_err(|e| e.to_string())?;
    let outputs = engine.forward_all(images.view()).map_err(|e| e.to_string())?;
    let found = &outputs.iter().find(|a| a.name == output).ok_or("no such output")?.values;
    if found.shape() != expected.shape() {
        return Err(format!("{:?} instead of {:?}", found.shape(), expected.shape()));
    }
    let largest = expected.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
    Ok(found.iter().zip(&expected).fold(0.0, |m: f32, (a, b)| m.max((a - b).abs())) / largest)
}

#[test]
fn the_plugin_and_onnx_runtime_give_the_same_outputs() {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let folders = fixtures();
    assert!(folders.len() >= 65, "only {} fixtures", folders.len());
    let mut failures = Vec::new();
    for folder in &folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        match difference(folder, &library, &plugin) {
            Ok(error) => {
                println!("{name:36} {error:.1e}");
                if error.is_nan() || error > TOLERANCE {
                    failures.push(format!("{name}: {error:e}"));
                }
            }
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "over {TOLERANCE:e} of the largest output:\n{}", failures.join("\n"));
}
