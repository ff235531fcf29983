//! Files that PyTorch wrote (`tests/fixtures/weights.py`), and what is wrong with others.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use half::{bf16, f16};
use isal_exporters::weights::{Naming, Stored, Tensors, TorchError};
use isal_exporters::{Error, ModelOptions, build, zoo};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/weights");
    std::fs::read(PathBuf::from(folder).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn values(stored: &Stored) -> (&'static str, Vec<f64>) {
    let bytes = stored.bytes();
    let each = |size: usize, number: &dyn Fn(&[u8]) -> f64| bytes.chunks_exact(size).map(number).collect::<Vec<f64>>();
    match stored.dtype() {
        Dtype::F32 => ("float32", each(4, &|b| f32::from_le_bytes(b.try_into().unwrap()).into())),
        Dtype::F64 => ("float64", each(8, &|b| f64::from_le_bytes(b.try_into().unwrap()))),
        Dtype::F16 => ("float16", each(2, &|b| f16::from_le_bytes(b.try_into().unwrap()).to_f64())),
        Dtype::BF16 => ("bfloat16", each(2, &|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f64())),
        Dtype::I64 => ("int64", each(8, &|b| i64::from_le_bytes(b.try_into().unwrap()) as f64)),
        Dtype::I32 => ("int32", each(4, &|b| i32::from_le_bytes(b.try_into().unwrap()).into())),
        Dtype::U8 => ("uint8", each(1, &|b| b[0].into())),
        Dtype::BOOL => ("bool", each(1, &|b| b[0].into())),
        other => panic!("no fixture has {other:?}"),
    }
}

#[derive(serde::Deserialize)]
struct Expected {
    dtype: String,
    dims: Vec<usize>,
    values: Vec<f64>,
}

#[test]
fn tensors_are_those_that_pytorch_wrote() {
    let files: BTreeMap<String, BTreeMap<String, Expected>> = serde_json::from_slice(&fixture("values.json")).unwrap();
    assert_eq!(files.len(), 4);
    for (file, expected) in files {
        let bytes = fixture(&file);
        let tensors = Tensors::read(&bytes).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(tensors.len(), expected.len(), "{file}");
        for (name, expected) in expected {
            let stored = tensors.get(&name).unwrap_or_else(|| panic!("{file} lacks `{name}`"));
            let (dtype, values) = values(stored);
            assert_eq!((dtype, stored.dims()), (expected.dtype.as_str(), &expected.dims[..]), "{file}: `{name}`");
            assert_eq!(values, expected.values, "{file}: `{name}`");
        }
    }
}

#[test]
fn what_is_not_read_is_refused_by_name_and_nothing_is_run() {
    let cases = [
        ("whole_module.pt", "`the file` is an object of `torch.nn.modules.linear.Linear`"),
        ("runs.pt", "`more` is an object of `posix.system`"),
        ("runs_at_top.pt", "`the file` is an object of `posix.system`"),
        ("expanded.pt", "tensor `weight`: dims [1000] from element 0 do not lie in its storage of 1 elements"),
        ("complex.pt", "tensor `weight`: elements of a `torch.ComplexFloatStorage` are not read"),
        ("no_tensors.pt", "no tensors by name, neither at its top nor under `state_dict`, `model_state`, `model`"),
        ("legacy.pth", "the form from before PyTorch 1.6"),
        ("big_endian.pt", "written on a big-endian machine"),
        ("compressed.pt", "is compressed or encrypted"),
        ("cycle.pt", "more than 64 modules in each other"),
        ("doubling.pt", "more than 65536 tensors and modules"),
        ("long_name.pt", "more than 1024 bytes in a name"),
    ];
    for (file, expected) in cases {
        let error = Tensors::read(&fixture(file)).unwrap_err();
        assert!(matches!(error, Error::Torch(_)), "{file}: {error}");
        assert!(error.to_string().contains(expected), "{file}: {error}");
    }
    assert!(!std::path::Path::new("weights-were-run").exists());
}

/// Every prefix of a file, and every byte of it changed in two ways: an error or some tensors, and no panic.
#[test]
fn damaged_files_are_errors_and_bytes_of_a_storage_are_held_against_their_checksum() {
    for file in ["state_dict.pth", "trainer.pt", "script.pt"] {
        let whole = fixture(file);
        for length in 0..whole.len() {
            assert!(Tensors::read(&whole[..length]).is_err(), "{file} cut at {length}");
        }
        let sound = Tensors::read(&whole).unwrap();
        let mut unnoticed = 0;
        for at in 0..whole.len() {
            for flip in [0x01, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let Ok(tensors) = Tensors::read(&damaged) else { continue };
                // What is left to be changed are names, padding, and members that are not read.
                let same = |name: &str| match (tensors.get(name), sound.get(name)) {
                    (Some(found), Some(truth)) => found.bytes() == truth.bytes() && found.dims() == truth.dims(),
                    _ => false,
                };
                let names = ["0.weight", "0.bias", "module.transposed", "module.sliced"];
                unnoticed += usize::from(names.iter().any(|name| sound.get(name).is_some() && !same(name)));
            }
        }
        assert_eq!(unnoticed, 0, "{file}");
    }
    let whole = fixture("state_dict.pth");
    // The first weight is 0, 1, 2, ... in float32.
    let ones = [1.0f32, 2.0, 3.0].map(f32::to_le_bytes).concat();
    let at = whole.windows(ones.len()).position(|window| window == ones).unwrap();
    let mut damaged = whole;
    damaged[at + 2] ^= 0x40;
    let error = Tensors::read(&damaged).unwrap_err();
    assert!(matches!(&error, Error::Torch(TorchError::Damaged { member }) if member == "data/0"), "{error}");
}

#[derive(serde::Deserialize)]
struct Named {
    names: String,
    zoo: String,
    shapes: BTreeMap<String, Vec<usize>>,
}

/// A safetensors file of zeros with these names and shapes.
fn zeros(shapes: &BTreeMap<String, Vec<usize>>) -> Vec<u8> {
    let bytes = |dims: &[usize]| vec![0; 4 * dims.iter().product::<usize>()];
    let zeros: Vec<_> = shapes.iter().map(|(name, dims)| (name.as_str(), dims, bytes(dims))).collect();
    let view = |dims: &[usize], bytes| TensorView::new(Dtype::F32, dims.to_vec(), bytes).unwrap();
    let tensors = zeros.iter().map(|(name, dims, bytes)| (*name, view(dims, bytes)));
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn names_of_timm_and_pycls_fill_the_networks_of_the_zoo() {
    let cases: Vec<Named> = serde_json::from_slice(&fixture("names.json")).unwrap();
    assert_eq!(cases.len(), 6);
    for Named { names, zoo: name, shapes } in cases {
        let bytes = zeros(&shapes);
        let defaults = &zoo().iter().find(|e| e.name == name).unwrap().defaults;
        let model = build(&name, &ModelOptions { classes: 1000, ..defaults.clone() }).unwrap();
        for asked in [Naming::Auto, names.parse().unwrap()] {
            let mut filled = model.clone();
            let (tensors, naming) = Tensors::read(&bytes).unwrap().named_for(&model, asked);
            let count = tensors.fill(&mut filled, &[]).unwrap_or_else(|e| panic!("{names}, {name}, {asked:?}: {e}"));
            assert_eq!(count, shapes.len(), "{names}, {name}");
            // timm's ResNets are torchvision's by name.
            let same = names == "timm" && name.starts_with("resnet") && asked == Naming::Auto;
            assert_eq!(naming.name(), if same { "torchvision" } else { names.as_str() }, "{name}, {asked:?}");
        }
    }
}

#[test]
fn what_the_file_calls_a_tensor_is_what_is_said_of_one_that_does_not_fit() {
    let cases: Vec<Named> = serde_json::from_slice(&fixture("names.json")).unwrap();
    let mut case = cases.into_iter().find(|case| case.names == "pycls" && case.zoo == "resnet20").unwrap();
    case.shapes.insert("s1.b9.f.a.weight".to_owned(), vec![1]);
    case.shapes.remove("stem.conv.weight").or_else(|| case.shapes.remove("s1.conv.weight")).unwrap();
    case.shapes.insert("head.fc.bias".to_owned(), vec![3]);
    let wrapped = case.shapes.into_iter().map(|(name, dims)| (format!("module.{name}"), dims)).collect();
    let bytes = zeros(&wrapped);
    let defaults = &zoo().iter().find(|e| e.name == "resnet20").unwrap().defaults;
    let mut model = build("resnet20", &ModelOptions { classes: 1000, ..defaults.clone() }).unwrap();
    let (tensors, naming) = Tensors::read(&bytes).unwrap().named_for(&model, Naming::Auto);
    assert_eq!(naming, Naming::Pycls);
    let Err(Error::Weights { missing, unexpected, mismatched }) = tensors.fill(&mut model, &[]) else {
        panic!("it fits")
    };
    assert_eq!((missing, unexpected), (vec!["conv1.weight".to_owned()], vec!["module.s1.b9.f.a.weight".to_owned()]));
    let [mismatch] = &mismatched[..] else { panic!("{mismatched:?}") };
    assert_eq!((mismatch.name.as_str(), &mismatch.found[..]), ("fc.bias", &[3][..]));
}
