//! Any bytes: the reader refuses them or gives a model, and whatever it gives can be typed, searched for
//! parameters, written and read again to the same. Nothing panics, overflows or takes more than the limits.

#![no_main]

use isal_onnx::{Limits, Model, ReadOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { decoded_bytes: 64 << 20, nodes: 10_000, external_bytes: 0, ..Limits::default() };
    let options = ReadOptions { limits, opsets: 1..=99, ..ReadOptions::default() };
    let Ok(model) = Model::from_bytes_with(bytes, None, &options) else { return };
    let written = model.to_bytes().expect("what was read can be written");
    let back = Model::from_bytes_with(&written, None, &options).expect("what was written can be read");
    assert_eq!(back.sha256(), model.sha256());
    let _ = model.graph.to_string();
    let _ = model.graph.every_parameter();
    let mut typed = model;
    if typed.infer_shapes().is_ok() {
        typed.bind("N", 3);
        let _ = typed.infer_shapes();
    }
});
