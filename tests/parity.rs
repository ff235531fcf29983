//! One network on both engines: what the plugin computes is what ONNX Runtime computes.
//!
//! A pool is swept by ONNX Runtime and its gradients come from the plugin, so a disagreement would not show anywhere
//! else. The networks are torchvision's and timm's, as PyTorch's exporters write them (`tests/fixtures/README.md`). ONNX
//! Runtime's float32 is held against the plugin's float64, to what float32 can give of each (`testing::rounding`); the
//! plugin's float32 is held against the same in its own tests. Needs the plugin and ONNX Runtime (`make plugin`).

#[path = "fixtures/networks.rs"]
mod networks;

use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal_exporters::seeded;
use isal_onnx::testing::rounding::{Float32, moved};
use isal_onnx::{Scope, Tensor};
use ndarray::Array4;
use networks::Exported;

fn text<E: std::fmt::Display>(e: E) -> String {
    e.to_string()
}

fn images(network: &Exported) -> Result<Array4<f32>, String> {
    let expected: serde_json::Value = serde_json::from_str(&network.expected()).map_err(text)?;
    let images = &expected["images"];
    let dims: Vec<usize> = serde_json::from_value(images["dims"].clone()).map_err(text)?;
    let dims: [usize; 4] = dims.try_into().map_err(|_| "four axes")?;
    let tensor: Tensor = seeded::images(images["seed"].as_u64().ok_or("a seed")?, dims);
    Array4::from_shape_vec(dims, tensor.to_vec().ok_or("float32")?).map_err(text)
}

/// The outputs of ONNX Runtime, and how far they are from the plugin's of what float32 explains.
fn compare(network: &Exported, library: &Library, plugin: &Plugin) -> Result<(Float32, f64), String> {
    let model = network.model();
    let output = model.graph.outputs.first().ok_or("no output")?.name.clone();
    let images = images(network)?;
    let folder = tempfile::tempdir().map_err(text)?;
    let path = folder.path().join("model.onnx");
    model.write(&path).map_err(text)?;
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 0 };
    let mut session = Session::open(library, &path, options).map_err(text)?;
    let found = Float32::measure(|draw| {
        let pixels = images.as_slice().ok_or("in order")?;
        let pixels = draw.map_or_else(|| pixels.to_vec(), |draw| moved(pixels, draw));
        let images = Array4::from_shape_vec(images.dim(), pixels).map_err(text)?;
        let outputs = session.run(images.view(), &[&output]).map_err(text)?.remove(0);
        Ok::<_, String>(outputs.into_iter().collect())
    })?;
    let parameters = model.graph.parameters(&Scope::Weights).map_err(text)?;
    let load = LoadOptions { parameters, precision: Precision::Float64, ..LoadOptions::default() };
    let engine = PluginEngine::from_model(plugin, &model, &load).map_err(text)?;
    let outputs = engine.forward_all(images.view()).map_err(text)?;
    let truth = &outputs.iter().find(|a| a.name == output).ok_or("no such output")?.values;
    let off = found.off(&truth.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
    Ok((found, off))
}

#[test]
fn the_plugin_and_onnx_runtime_give_the_same_outputs() {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let mut failures = Vec::new();
    for network in networks::to_test() {
        match compare(&network, &library, &plugin) {
            Ok((found, off)) => {
                println!("{:36} {off:.2} of {:.1e}", network.name, found.allowed());
                if off.is_nan() || off > 1.0 {
                    failures.push(format!(
                        "{}: {off:.2} times the {:.1e} that float32 explains",
                        network.name,
                        found.allowed()
                    ));
                }
            }
            Err(error) => failures.push(format!("{}: {error}", network.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
