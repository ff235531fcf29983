//! The graphs as ONNX's own checker sees them, shapes inferred and held against what they declare.
//!
//! Needs the Python of `toolchain/setup conformance`, with `onnx`.

use crate::place::pair;
use isal_exporters::losses::{Loss, PixelCrossEntropy, SoftmaxCrossEntropy, all};
use std::path::Path;
use std::process::Command;

const CHECK: &str = "
import sys, onnx
for path in sys.argv[1:]:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
print(len(sys.argv) - 1)
";

#[test]
fn the_checker_of_onnx_takes_every_graph() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let weights = Some(vec![1.0, 2.0, 0.5]);
    let mut losses: Vec<Loss> = all().iter().map(|entry| entry.defaults.clone()).collect();
    losses.push(Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy {
        label_smoothing: 0.1,
        class_weights: weights.clone(),
        top_k: 2,
    }));
    losses.push(Loss::PixelCrossEntropy(PixelCrossEntropy { ignore: 0, class_weights: weights }));
    let mut paths = Vec::new();
    for (i, loss) in losses.iter().enumerate() {
        let dims: &[usize] = if matches!(loss, Loss::PixelCrossEntropy(_)) { &[1, 3, 4, 5] } else { &[1, 3] };
        // Opset 23 is newer than the checker's package may be.
        for opset in [7, 9, 11, 13, 17, 18, 22] {
            let pair = pair(loss, dims, opset);
            for (role, model) in [("loss", pair.loss), ("decode", pair.decode)] {
                let path = folder.path().join(format!("{i}.{role}.{opset}.onnx"));
                model.write(&path).expect("written");
                paths.push(path);
            }
        }
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/venv/bin/python");
    let output = Command::new(&program).args(["-c", CHECK]).args(&paths).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}: run `toolchain/setup conformance`", program.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), paths.len().to_string());
}
