//! Whole networks as PyTorch's two exporters write them: every operator at work, outputs against PyTorch's own.
//!
//! The fixtures hold structures without weights, and float64 results of PyTorch for seeded weights and images (see
//! `tests/fixtures/README.md`). Gradients of the same networks are held in `engine/fixtures.rs`.

use isal_exporters::seeded;
use isal_onnx::Model;
use isal_plugin_tch::{Engine, Options, ops};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Largest difference of an output, over the largest output.
const OUTPUTS: f64 = 1e-4;
/// The same in float64. What is left are attributes: ONNX holds an epsilon or a slope of 1/6 in float32.
const OUTPUTS_FLOAT64: f64 = 1e-6;

struct Fixture {
    name: String,
    model: Model,
    expected: Value,
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
    let mut dirs: Vec<PathBuf> =
        fs::read_dir(&root).expect("the fixtures").map(|entry| entry.expect("an entry").path()).collect();
    dirs.retain(|dir| dir.join("model.onnx").exists());
    dirs.sort();
    assert!(dirs.len() >= 65, "only {} fixtures", dirs.len());
    dirs.iter()
        .map(|dir| {
            let mut model = Model::read(dir.join("model.onnx")).expect("a valid model");
            seeded::fill(&mut model).expect("a structure to fill");
            let text = fs::read_to_string(dir.join("expected.json")).expect("expectations");
            let expected = serde_json::from_str(&text).expect("JSON");
            Fixture { name: dir.file_name().expect("a name").to_string_lossy().into_owned(), model, expected }
        })
        .collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

impl Fixture {
    fn images(&self) -> Tensor {
        let images = &self.expected["images"];
        let dims: Vec<usize> = numbers(&images["dims"]).into_iter().map(|d| d as usize).collect();
        let dims: [usize; 4] = dims.try_into().expect("four axes");
        let images = seeded::images(images["seed"].as_u64().expect("a seed"), dims);
        ops::constant(&images, Kind::Float, Device::Cpu).expect("floats")
    }

    /// Names of the initializers with an expected gradient.
    fn parameters(&self) -> Vec<String> {
        let gradients = self.expected["gradients"].as_array().expect("a list");
        gradients.iter().map(|g| g["name"].as_str().expect("a name").to_owned()).collect()
    }

    fn engine(&self, kind: Kind) -> Result<Engine, String> {
        let parameters = self.parameters();
        let options = Options { parameters, loss_output: None, device: "cpu".to_owned(), kind, threads: 0 };
        Engine::load(&self.model, &options).map_err(|e| e.to_string())
    }

    /// Largest difference of the outputs, over the largest output.
    fn output_error(&self, engine: &Engine) -> Result<f64, String> {
        let outputs = engine.forward(&self.images()).map_err(|e| e.to_string())?;
        let rows = self.expected["outputs"].as_array().expect("a list");
        let expected: Vec<f64> = rows.iter().flat_map(numbers).collect();
        let found =
            Vec::<f64>::try_from(outputs[0].1.reshape([-1]).to_kind(Kind::Double)).map_err(|e| e.to_string())?;
        if found.len() != expected.len() {
            return Err(format!("{} outputs instead of {}", found.len(), expected.len()));
        }
        let largest = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        Ok(found.iter().zip(&expected).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs())) / largest)
    }
}

/// Measures all fixtures and reports every one over its bound.
fn hold(kind: Kind, bound: f64) {
    let mut failures = Vec::new();
    for fixture in fixtures() {
        match fixture.engine(kind).and_then(|engine| fixture.output_error(&engine)) {
            Ok(error) => {
                println!("{:36} {error:.1e}", fixture.name);
                if error.is_nan() || error > bound {
                    failures.push(format!("{}: {error:e} over {bound:e}", fixture.name));
                }
            }
            Err(error) => failures.push(format!("{}: {error}", fixture.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn outputs_are_those_of_pytorch() {
    hold(Kind::Float, OUTPUTS);
}

#[test]
fn outputs_in_float64_are_those_of_pytorch_up_to_the_rounding_of_attributes() {
    hold(Kind::Double, OUTPUTS_FLOAT64);
}
