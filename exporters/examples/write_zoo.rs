//! Writes every model of the zoo into a folder: `NAME.onnx`, and with seeded weights (so that BatchNormalization has
//! something to do) `NAME.seeded.onnx`, and the latter's weights as `NAME.seeded.safetensors`.
//!
//! `cargo run --release -p isal-exporters --example write_zoo -- FOLDER [OPSET]`

use isal_exporters::{ModelOptions, build, seeded, weights, zoo};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("no folder given")?);
    let opset = arguments.next().map(|v| v.parse()).transpose()?;
    std::fs::create_dir_all(&folder)?;
    for entry in zoo() {
        let opset = opset.unwrap_or(entry.defaults.opset);
        let mut model = build(entry.name, &ModelOptions { opset, ..entry.defaults.clone() })?;
        model.write(folder.join(format!("{}.onnx", entry.name)))?;
        seeded::overwrite(&mut model, 1, 1.0);
        model.write(folder.join(format!("{}.seeded.onnx", entry.name)))?;
        weights::save(&model, &folder.join(format!("{}.seeded.safetensors", entry.name)))?;
    }
    Ok(())
}
