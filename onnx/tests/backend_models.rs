//! Models we did not make: the test data that ships in the `onnx` wheel (`DATA` below), read and
//! written back.

use isal_onnx::{Model, ReadOptions};
use std::path::{Path, PathBuf};

/// Where `make setup` puts the wheel's test data.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.toolchain/venv/lib/python3.11/site-packages/onnx/backend/test/data")
}

fn models(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the test data is there").map(|e| e.expect("readable").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            models(&path, found);
        } else if path.extension().is_some_and(|e| e == "onnx") {
            found.push(path);
        }
    }
}

#[test]
fn every_backend_model_reads_and_comes_back_the_same() {
    let mut paths = Vec::new();
    for folder in ["node", "simple", "light", "pytorch-converted", "pytorch-operator"] {
        models(&data().join(folder), &mut paths);
    }
    assert!(paths.len() > 1600, "only {} models found", paths.len());
    // Several of them are older than opset 7 and others newer than any runtime in use.
    let options = ReadOptions { opsets: 1..=99, ..ReadOptions::default() };
    let mut failures = Vec::new();
    for path in &paths {
        let outcome = Model::read_with(path, &options).and_then(|model| {
            let back = Model::from_bytes_with(&model.to_bytes()?, None, &options)?;
            Ok((back == model && back.sha256() == model.sha256(), model))
        });
        match outcome {
            Ok((true, _)) => {}
            Ok((false, model)) => {
                failures.push(format!("{}: differs, NaN or real: {}", path.display(), model.graph.name))
            }
            Err(e) => failures.push(format!("{}: {e}", path.display())),
        }
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), paths.len(), failures.join("\n"));
}
