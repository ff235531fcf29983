//! Weights in and out of safetensors files.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use half::{bf16, f16};
use isal_exporters::{Error, ModelOptions, build, weights, zoo};
use isal_onnx::{Model, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

fn model(name: &str, seed: u64) -> Model {
    let entry = zoo().iter().find(|e| e.name == name).unwrap();
    build(name, &ModelOptions { seed, ..entry.defaults.clone() }).unwrap()
}

/// A safetensors file of `model`'s weights, each tensor's type, dims and bytes as `edit` leaves them.
fn file(
    model: &Model,
    extra: &[(&str, Dtype, &[u8])],
    edit: impl Fn(&str) -> Option<(Dtype, Vec<usize>, Vec<u8>)>,
) -> Vec<u8> {
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, tensor) in &model.graph.initializers {
        let (dtype, dims, bytes) = edit(name).unwrap_or((Dtype::F32, tensor.dims().to_vec(), tensor.bytes().to_vec()));
        if !dims.contains(&0) {
            tensors.push((name.clone(), dtype, dims, bytes));
        }
    }
    tensors.extend(extra.iter().map(|(name, dtype, bytes)| (name.to_string(), *dtype, vec![], bytes.to_vec())));
    let views =
        tensors.iter().map(|(name, dtype, dims, bytes)| (name, TensorView::new(*dtype, dims.clone(), bytes).unwrap()));
    serialize(views, None).unwrap()
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let (mut target, source) = (model("resnet8", 1), model("resnet8", 2));
    let before = target.graph.initializers.keys().cloned().collect::<Vec<_>>();
    assert_ne!(target.graph.initializers, source.graph.initializers);
    weights::save(&source, &path).unwrap();
    weights::load(&mut target, &path).unwrap();
    assert_eq!(target.graph.initializers, source.graph.initializers);
    assert_eq!(target.graph.initializers.keys().cloned().collect::<Vec<_>>(), before, "the order is the model's");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn half_precision_is_widened_exactly() {
    let mut target = model("lenet", 1);
    let weights: Vec<f32> = target.graph.initializers["conv1.bias"].to_vec::<f32>().unwrap();
    let numbers = [1.0f32, -2.5, 0.333_251_95, 65504.0, 5.960_464_5e-8, 0.0];
    assert_eq!(weights.len(), numbers.len());
    for dtype in [Dtype::F16, Dtype::BF16] {
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|x| {
                if dtype == Dtype::F16 { f16::from_f32(*x).to_le_bytes() } else { bf16::from_f32(*x).to_le_bytes() }
            })
            .collect();
        let edit = |name: &str| (name == "conv1.bias").then(|| (dtype, vec![6], bytes.clone()));
        let bytes = file(&target, &[], edit);
        weights::from_bytes(&mut target, &bytes).unwrap();
        let found: Vec<f32> = target.graph.initializers["conv1.bias"].to_vec().unwrap();
        let expected: Vec<f32> =
            numbers.iter().map(|x| if dtype == Dtype::F16 { *x } else { bf16::from_f32(*x).to_f32() }).collect();
        assert_eq!(found, expected, "{dtype:?}");
    }
}

#[test]
fn every_misfit_is_named_and_nothing_is_changed() {
    let mut target = model("lenet", 1);
    let before = target.clone();
    let bytes = file(&model("lenet", 2), &[("fc4.bias", Dtype::F32, &[0; 4])], |name| match name {
        "conv1.bias" => Some((Dtype::F64, vec![6], vec![0; 48])),
        "conv1.weight" => Some((Dtype::F32, vec![0], vec![])),
        "fc3.weight" => Some((Dtype::F32, vec![84, 10], vec![0; 3360])),
        _ => None,
    });
    let error = weights::from_bytes(&mut target, &bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the weights do not fit the model: missing `conv1.weight`; unexpected `fc4.bias`; \
         `conv1.bias` is F64 [6], expected Float [6], `fc3.weight` is F32 [84, 10], expected Float [10, 84]"
    );
    assert_eq!(target, before);
}

#[test]
fn a_long_list_of_misfits_is_cut_in_the_message_and_whole_in_the_value() {
    let bytes = weights::to_bytes(&model("resnet8", 0)).unwrap();
    let error = weights::from_bytes(&mut model("resnet20", 0), &bytes).unwrap_err();
    assert!(error.to_string().ends_with(" and 50 more"), "{error}");
    let Error::Weights { missing, unexpected, mismatched } = error else { panic!("{error}") };
    // Two more blocks in each of three stages, each of two convolutions and two BatchNorms of four tensors.
    assert_eq!((missing.len(), unexpected.len(), mismatched.len()), (60, 0, 0));
}

#[test]
fn step_counters_are_passed_over_only_for_the_models_own_batch_norms() {
    let source = model("resnet8", 2);
    let counters = |name| file(&source, &[(name, Dtype::I64, &[0; 8])], |_| None);
    let mut target = model("resnet8", 1);
    weights::from_bytes(&mut target, &counters("layer1.0.bn1.num_batches_tracked")).unwrap();
    assert_eq!(target.graph.initializers, source.graph.initializers);
    let error = weights::from_bytes(&mut target, &counters("layer1.0.bn9.num_batches_tracked")).unwrap_err();
    assert!(error.to_string().ends_with("unexpected `layer1.0.bn9.num_batches_tracked`"), "{error}");
}

#[test]
fn damaged_files_are_errors() {
    let mut target = model("lenet", 1);
    let whole = weights::to_bytes(&target).unwrap();
    for length in [0, 7, 8, 100, whole.len() - 1] {
        assert!(matches!(weights::from_bytes(&mut target, &whole[..length]), Err(Error::Safetensors(_))), "{length}");
    }
    let error = weights::load(&mut target, std::path::Path::new("/nowhere/w.safetensors")).unwrap_err();
    assert!(error.to_string().starts_with("`/nowhere/w.safetensors`: "), "{error}");
}

#[test]
fn integer_initializers_are_no_weights() {
    let mut source = model("lenet", 1);
    source.graph.initializers.insert("axes".to_owned(), Tensor::new([1], &[1i64]));
    let bytes = weights::to_bytes(&source).unwrap();
    weights::from_bytes(&mut model("lenet", 3), &bytes).unwrap();
    weights::from_bytes(&mut source, &bytes).unwrap();
}
